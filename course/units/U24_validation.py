# %% [markdown]
# # U24 How good is the map?
#
# **Question.** A program prints “2.9 Å”. Where does that number come from, what may one do to a map before looking at it, and how does one notice that the number is wrong?
#
# **What you need.** U04 (transforms), U07 (B-factors), U16 (Einstein from noise); U21 for where maps come from.
#
# **What you will be able to do.**
#
# - say what a Fourier shell correlation of 0.143 means, in terms of signal, noise and truth;
# - compute one, under a mask, and take off what the mask itself adds;
# - measure a B-factor, sharpen with it, and know what that does to noise;
# - fool a correlation with pure noise, and see what protects against it;
# - predict how many particles a better map would take.
#
# About 75 minutes. *Blur*: a mask slider, a sharpening slider, noise that becomes what it is compared with. *Sharpen*: the correlation from scratch, random phases, the Guinier fit, numbers of particles, three ways in which a map can be bad.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import fourier
from cryowalk.course import Choice, Slider, check, explain, exploration, parameters, predict, prediction
from cryowalk.course.checks.u24 import BOX, VOXEL_SIZE, half_maps, molecule, tight_mask
from cryowalk.data import Volume
from cryowalk.fourier.nufft import rotate_exactly
from cryowalk.geometry.sampling import perturb_rotations
from cryowalk.validation import compare_maps, fourier_shell_correlation, spherical_mask
from cryowalk.validation.guinier import b_factor_of_numbers
from cryowalk.validation.masks import automatic_mask, independent_fraction
from cryowalk.validation.phase_randomisation import masked_correlation
from cryowalk.validation.post_processing import post_process
from cryowalk.validation.thresholds import information_curve, noise_deviation, shell_sizes

torch.set_num_threads(1)
truth = molecule()
halves = half_maps(noise=3.1, seed=24)
average = halves.average()
shell_frequency = fourier_shell_correlation(halves).frequency.numpy()


def middle(volume):
    """The middle slice, z = 0."""
    return volume.voxels[BOX // 2]


def seeded(number):
    """A generator of random numbers."""
    return torch.Generator().manual_seed(number)


# %% [markdown] tags=["blur"]
# <a id="L-M19-1"></a>
# ## Two halves
#
# Nobody has the true map. What one has is a trick: divide the particles into two halves at the very beginning, never let the two meet, and make a map of each. What the two maps share can only come from the specimen. What differs is noise.

# %% tags=["blur"]
figure, axes = plt.subplots(1, 4, figsize=(12.5, 3.4))
for each, one, title in zip(
    axes, (halves.first, halves.second, average, truth), ("half map 1", "half map 2", "average", "the truth"), strict=True
):
    each.imshow(middle(one), cmap="gray", vmin=-6, vmax=9)
    each.set(xticks=[], yticks=[], title=title)
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U24.a. Slices of two half maps of a molecule (96 Å box, 2 Å voxels), of their average, and of what nobody has.*
#
# Compare them frequency by frequency: take all Fourier coefficients of one radius (a shell), and correlate those of one half with those of the other,
# $$ \mathrm{FSC}(k) = \frac{\mathrm{Re}\sum F_1 F_2^*}{\sqrt{\sum|F_1|^2\,\sum|F_2|^2}}. $$
# With signal power $S$ and noise power $N$ in each half it tends to $S/(S+N)$: the noise of the two halves does not correlate. The resolution is, by agreement, where this curve falls to **0.143**. Why so low a number?
#
# ### Exercise U24.1 · One seventh
#
# Say the halves correlate by exactly 1/7 in some shell. The map one looks at is their average. Give (1) the correlation of the *average* with the *truth*, $C_\mathrm{ref}$, and (2) the ratio of signal to noise power in the average, as `(C, SNR)`.

# %% tags=["blur"]
# BEGIN SOLUTION
snr_half = (1 / 7) / (1 - 1 / 7)  # S/(S + N) = 1/7, so S/N = 1/6
snr_full = 2 * snr_half  # averaging halves the noise
answer = (math.sqrt(snr_full / (1 + snr_full)), snr_full)
# END SOLUTION
check("U24.1", answer)

# %% [markdown] tags=["solution", "blur"]
# In general $C_\mathrm{ref} = \sqrt{2\,\mathrm{FSC}/(1+\mathrm{FSC})}$ (Rosenthal & Henderson, 2003). At 0.143 the average correlates by one half with the truth: the same quality for which crystallographers accept a map (a figure of merit of 0.5, phases off by 60° on the average). It is a convention with a reason, no law of nature; and one third signal is not much: at its nominal resolution a map is mostly noise.

# %% [markdown] tags=["blur"]
# ## Masks: what is in the denominator
#
# Most of the box is solvent, which has noise and no signal. Multiply both halves by a mask, and the correlation rises, rightly: that noise has nothing to do with the molecule. But a mask can do more than that.
#
# Make the mask tighter and tighter, with an edge as sharp as a knife. **What will the correlation of the masked halves do, beyond the resolution, where there is nothing but noise?** (a) stay at zero; (b) fall below; (c) rise above zero.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "c"
# END SOLUTION
predict("U24.opening", my_guess, options=("a", "b", "c"))

# %% tags=["blur"]
prediction("U24.opening")


def outlined(axes, volume, mask, *, grey=(-6, 9)):
    """A slice with the outline of a mask."""
    axes.imshow(middle(volume), cmap="gray", vmin=grey[0], vmax=grey[1])
    cut = middle(mask)
    if float(cut.min()) < 0.5 < float(cut.max()):
        axes.contour(cut, levels=[0.5], colors="C1", linewidths=1.2)
    axes.set(xticks=[], yticks=[])


blurred_halves = half_maps(noise=0.5, seed=3, b_factor=900.0)


def draw_mask(radius, edge, specimen):
    """The four curves under a spherical mask."""
    chosen = halves if specimen == "signal to 5 Å" else blurred_halves
    mask = spherical_mask(truth, radius=radius, edge=edge)
    curves = masked_correlation(chosen, mask, generator=seeded(1), draws=2)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.2), width_ratios=(1, 1.6))
    outlined(left, chosen.average(), mask)
    for name, label, style in (
        ("unmasked", "no mask", "C1--"),
        ("masked", "masked", "C2-."),
        ("randomised", "masked, random phases", "C3:"),
        ("corrected", "corrected", "C0-"),
    ):
        right.plot(shell_frequency, getattr(curves, name).correlation, style, label=label)
    right.axhline(0.143, color="0.5", lw=0.8)
    right.set(xlabel="spatial frequency (1/Å)", ylabel="FSC", ylim=(-0.15, 1.03))
    right.set_title(f"masked {curves.masked.resolution():.1f} Å, corrected {curves.corrected.resolution():.1f} Å")
    right.legend()
    return figure


mask_slider = exploration(
    draw_mask,
    radius=Slider(14.0, 40.0, 30.0, step=1.0, label="radius of the mask (Å)"),
    edge=Slider(0.0, 20.0, 8.0, step=1.0, label="soft edge (Å)"),
    specimen=Choice(("signal to 5 Å", "signal to 9 Å"), label="halves"),
)
mask_slider

# %% [markdown] tags=["blur"]
# *Figure U24.b. Two half maps under a mask of your making. Try a radius of 24 Å without an edge on the halves whose signal ends at 9 Å: the masked curve says 4 Å.*
#
# (c). Multiplying by a mask convolves the transform with that of the mask: strong low frequencies leak into high ones, *the same way in both halves*, and correlate there. A sharp or a ragged edge leaks far. The cure has two parts: an edge that is soft over some voxels (6 or more), and a measurement of what is left. **Random phases** (Chen et al., 2013): take both *unmasked* halves, replace all phases beyond some resolution by random ones, so that nothing is shared there any more; mask them; whatever correlates now was made by the mask (red dots). Take it off:
# $$ \mathrm{FSC}_\mathrm{true} = \frac{\mathrm{FSC}_t - \mathrm{FSC}_n}{1 - \mathrm{FSC}_n}. $$

# %% [markdown] tags=["blur"]
# <a id="Q-M06-2"></a>
# ## Sharpening: a B-factor with the sign turned round
#
# *What happens when the B-factor is negative versus positive?* Amplitudes are multiplied by $e^{-Bk^2/4}$. A positive B damps the fine detail; everything on the way to the map does that (motion, errors of the poses, the molecule's own movements). A negative B undoes it; that is sharpening. It multiplies what is there: signal *and* noise. On a Guinier plot, $\ln|F|$ against $k^2$, it turns the curve about the origin, by a slope of $-B/4$.

# %% tags=["blur"]


def mean_amplitude(volume):
    """The mean amplitude of each shell."""
    spectrum = fourier.to_fourier(volume.voxels, dimensions=3)
    return fourier.shell_average(spectrum.abs(), size=(BOX, BOX, BOX))


def draw_sharpened(applied_b, weighting):
    """The average with a B-factor applied, and its Guinier plot."""
    spectrum = fourier.to_fourier(average.voxels, dimensions=3)
    curve = masked_correlation(halves, soft, generator=seeded(1)).corrected.correlation.clamp_min(0)
    weight = (2 * curve / (1 + curve)).sqrt() if weighting == "weighted by FSC" else torch.ones_like(curve)
    k = torch.as_tensor(shell_frequency)
    factor = fourier.filters.weights_on_spectrum(weight * torch.exp(-applied_b / 4 * k**2), size=(BOX, BOX, BOX))
    sharpened = Volume(voxels=fourier.to_real(spectrum * factor, width=BOX, dimensions=3), voxel_size=VOXEL_SIZE)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.2), width_ratios=(1, 1.6))
    spread = float(sharpened.voxels.std())
    left.imshow(middle(sharpened), cmap="gray", vmin=-2 * spread, vmax=5 * spread)
    quality = compare_real(sharpened, molecule(0.0))
    left.set(xticks=[], yticks=[], title=f"correlation with the sharp truth: {quality:.2f}")
    for volume, label, style in (
        (average, "average", "C1--"),
        (sharpened, "after", "C0-"),
        (molecule(0.0), "atoms without B", "k:"),
    ):
        right.plot(k[1:] ** 2, mean_amplitude(volume)[1:].clamp_min(1e-6).log(), style, label=label)
    right.set(xlabel="k² (1/Å²)", ylabel="ln |F|", ylim=(-3, 6))
    right.legend()
    return figure


soft = spherical_mask(truth, radius=30.0, edge=8.0)


def compare_real(volume, other):
    """The correlation of the voxels of two maps inside the mask."""
    weight = soft.voxels
    a, b = ((one.voxels - (weight * one.voxels).sum() / weight.sum()) * weight.sqrt() for one in (volume, other))
    return float((a * b).sum() / (a.norm() * b.norm()))


sharpening = exploration(
    draw_sharpened,
    applied_b=Slider(-300.0, 200.0, -100.0, step=10.0, label="B applied (Å²)"),
    weighting=Choice(("weighted by FSC", "not weighted"), label="shells"),
)
sharpening

# %% [markdown] tags=["blur"]
# *Figure U24.c. The molecule was made with B = 100 Å². −100 Å² puts it back, if shells are weighted by what is known of them; without the weights the noise comes up with it, and at −300 Å² there is little else.*
#
# <a id="H22"></a>
# ### Denoising a volume is weighting its shells
#
# The best factor for a shell, in the sense of least squares, is how far its coefficients can be trusted: $S/(S+N) = C_\mathrm{ref}^2$ (the Wiener filter of U23); for a map whose amplitudes shall look right it is $C_\mathrm{ref}$, which post-processing uses. No radial factor changes the FSC, by the way: it cancels. **A denoised map is not data**: it is data times what one believes about it. A weight below one only takes away. Methods that *add* (a network that was trained on other maps) must show that what they add is there, on half maps that they did not see.

# %% tags=["blur"]
curve = fourier_shell_correlation(halves).correlation.clamp_min(0)
trust = fourier.filters.weights_on_spectrum(2 * curve / (1 + curve), size=(BOX, BOX, BOX))
filtered = fourier.to_real(fourier.to_fourier(average.voxels, dimensions=3) * trust, width=BOX, dimensions=3)
before, after = (float((voxels - truth.voxels).square().mean()) for voxels in (average.voxels, filtered))
print(f"mean square error of the average {before:.2f}, weighted by C_ref² {after:.2f} (the molecule's own power is 1)")
assert after < 0.4 * before

# %% [markdown] tags=["blur"]
# ## What a correlation cannot see
#
# Two halves that agree are worth something only if nothing made them agree. Here is the experiment that everyone should have seen once. A thousand images of **pure noise**. Each is shifted to where it fits a reference best, then all are averaged.
#
# ### Exercise U24.5 · A thousand images of nothing
#
# By how much does that average correlate with the reference: about `"0.0"`, `"0.1"`, or `"0.8"` and more?

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_correlation = "0.8"
# END SOLUTION
predict("U24.5", my_correlation, options=("0.0", "0.1", "0.8"))

# %% tags=["blur"]
my_correlation = prediction("U24.5")
SMALL = 32  # pixels of the images, 3 Å each
view = fourier.resample(molecule(30.0).voxels.sum(dim=0), SMALL)
view = (view - view.mean()) / (view - view.mean()).norm()
blank = torch.randn(2000, SMALL, SMALL, generator=seeded(7), dtype=torch.float64)


def aligned(images, reference):
    """Each image shifted by whole pixels to where it correlates best with the reference (periodic)."""
    score = fourier.to_real(fourier.to_fourier(images).conj() * fourier.to_fourier(reference), width=SMALL)
    best = score.flatten(1).argmax(dim=1)
    moved = [
        torch.roll(image, (int(place) // SMALL - SMALL // 2, int(place) % SMALL - SMALL // 2), (0, 1))
        for image, place in zip(images, best, strict=True)
    ]
    return torch.stack(moved)


def likeness(image, reference):
    """The correlation coefficient of two pictures."""
    a, b = image - image.mean(), reference - reference.mean()
    return float((a * b).sum() / (a.norm() * b.norm()))


def draw_noise(images, reference_to, sets):
    """Averages of aligned noise in two half sets, and their ring correlation."""
    count = int(images)
    reference = fourier.low_pass(view, resolution=reference_to, pixel_size=3.0) if reference_to > 6.5 else view
    sources = (reference, reference if sets == "one reference for both" else torch.rot90(reference))
    first, second = (aligned(part, one).mean(dim=0) for part, one in zip((blank[:count], blank[-count:]), sources, strict=True))
    figure, axes = plt.subplots(1, 4, figsize=(13.5, 3.3), width_ratios=(1, 1, 1, 1.5))
    for each, picture, title in zip(
        axes,
        (reference, first, second),
        ("reference", f"half 1: cc {likeness(first, reference):.2f}", f"half 2: cc {likeness(second, reference):.2f}"),
        strict=False,
    ):
        each.imshow(picture, cmap="gray")
        each.set(xticks=[], yticks=[], title=title)
    rings = fourier.shell_correlation(first, second)
    axes[3].plot(np.arange(1, len(rings)) / (SMALL * 3.0), rings[1:], "C0-")
    axes[3].axvline(1 / reference_to, color="C1", ls="--", label="reference ends")
    axes[3].axhline(0.143, color="0.5", lw=0.8)
    axes[3].set(xlabel="spatial frequency (1/Å)", ylim=(-0.5, 1.03), title="FRC of the two halves")
    axes[3].legend()
    return figure


noise_to_einstein = exploration(
    draw_noise,
    images=Slider(10, 1000, 1000, step=10, label="images in each half"),
    reference_to=Slider(6.0, 30.0, 6.0, step=1.0, label="reference low-passed to (Å)"),
    sets=Choice(("one reference for both", "each half its own"), label="halves"),
)
noise_to_einstein

# %% tags=["blur"]
single = aligned(blank[:1000], view)
measured = likeness(single.mean(dim=0), view)
print(f"one aligned image: cc {np.mean([likeness(one, view) for one in single]):.2f}; the average of 1,000: cc {measured:.2f}")
assert measured >= 0.7
check("U24.5", my_correlation)

# %% [markdown] tags=["blur"]
# *Figure U24.d. Noise, aligned to a picture, becomes the picture. Two halves that were aligned to one reference agree, out of nothing.*
#
# This is U16's Einstein, and worse: **the half-map FSC does not notice.** Both halves were aligned to the same picture, so they share it. What protects?
#
# 1. *Independent halves from the beginning* (the “gold standard”): each half its own reference. Choose *each half its own* above.
# 2. *A reference without detail*: low-passed to 40 or 60 Å, it can only put coarse features in. Move the second slider: what correlates beyond the dashed line was not put in.
# 3. *Looking*: at 4.5 Å strands are apart, at 3.5 Å there are side chains. A map whose number is better than its looks is over-fitted.
#
# ### A checklist
#
# | ask | because |
# |---|---|
# | Were the halves apart from the first iteration on? | otherwise they share noise |
# | What is the curve without the mask, and with random phases? | a mask can make 1 Å, or 5 |
# | Does the curve fall, and stay down? | one that stays up was filtered, masked or duplicated |
# | Is it the same in all directions, and everywhere? | one number hides preferred views and floppy parts |
# | Does a model built into one half fit the other? | it finds what was fitted to noise |
# | How does the resolution grow with the number of particles? | pure noise does not improve |
# | Is the detail there that belongs to the number? | the eye is a good judge of it |
#
# **In your own words.** A paper reports “2.9 Å by FSC 0.143”. What four things would you ask for before you believe it?

# %% tags=["blur"]
# BEGIN SOLUTION
my_text = (
    "Were the two half sets independent from the start? The curve without the mask and with random phases. "
    "Side chains in the map. A model built into one half, against the other."
)
# END SOLUTION
explain("U24.words", my_text)

# %% [markdown] tags=["sharpen"]
# ## The correlation, from scratch
#
# ### Exercise U24.2 · Write it
#
# `fsc(first, second)`: for two cubes (tensors of side n, even or odd) the correlation in the shells 0 … n // 2. A coefficient belongs to the shell to which its radius, in units of one over the box, rounds.


# %% tags=["sharpen"]
def fsc(first, second):
    """The Fourier shell correlation of two cubes, n // 2 + 1 values."""
    # BEGIN SOLUTION
    side = first.shape[-1]
    one, other = np.fft.fftn(np.asarray(first)), np.fft.fftn(np.asarray(second))
    k = np.fft.fftfreq(side) * side
    shell = np.rint(np.sqrt(k**2 + k[:, None] ** 2 + k[:, None, None] ** 2)).astype(int).ravel()
    shared, first_power, second_power = (
        np.bincount(shell, values.ravel())[: side // 2 + 1]
        for values in ((one * other.conj()).real, np.abs(one) ** 2, np.abs(other) ** 2)
    )
    return shared / np.sqrt(first_power * second_power)
    # END SOLUTION


check("U24.2", fsc)

# %% tags=["sharpen"]
mine, library = fsc(halves.first.voxels, halves.second.voxels), fourier_shell_correlation(halves)
assert np.abs(mine - library.correlation.numpy())[1:].max() < 0.01
counts = shell_sizes(BOX)
to_truth = compare_maps(average, truth).correlation
expected = (2 * library.correlation.clamp_min(0) / (1 + library.correlation.clamp_min(0))).sqrt()
figure, axes = plt.subplots(figsize=(7.5, 4))
axes.plot(shell_frequency, mine, "C0-", label="halves (yours)")
axes.plot(shell_frequency, to_truth, "C2-", label="average with the truth")
axes.plot(shell_frequency, expected, "k:", label="√(2 FSC/(1 + FSC))")
axes.plot(shell_frequency[2:], 3 * noise_deviation(counts)[2:], "0.6", lw=1, label="3 σ of noise")
axes.plot(shell_frequency[2:], information_curve(counts)[2:], "0.6", lw=1, ls="--", label="half a bit")
axes.axhline(0.143, color="C3", lw=0.8)
axes.set(xlabel="spatial frequency (1/Å)", ylabel="correlation", ylim=(-0.1, 1.03))
axes.legend()
plt.show()
print(
    f"halves reach 0.143 at {library.resolution():.2f} Å, the average reaches 0.5 with the truth at {compare_maps(average, truth).resolution(at=0.5):.2f} Å"
)

# %% [markdown] tags=["sharpen"]
# *Figure U24.e. The halves know how good the average is. Two other thresholds count coefficients: three standard deviations of pure noise, $3/\sqrt{2n}$ with $n$ independent complex coefficients in the shell, and half a bit of information a coefficient (van Heel & Schatz, 2005), which tends to 0.17.*
#
# How noisy is the curve itself? The sum over a shell is an average over $n$ products, whose real part has half their power: a deviation of $1/\sqrt{2n}$. Near the origin a shell holds a handful of coefficients, and its value means little. A mask makes it worse: under one that fills a fraction $f$ of the box only about $f\,n$ coefficients stay independent.

# %% tags=["sharpen"]
for name, mask in (("whole box", None), ("soft sphere", soft), ("tight sphere", tight_mask())):
    fraction = 1.0 if mask is None else independent_fraction(mask)
    deviation = float(noise_deviation(counts, independent_fraction=fraction)[12])
    print(f"{name:12s} {100 * fraction:5.1f} % independent; noise of the FSC at 8 Å: ±{deviation:.3f}")

# %% [markdown] tags=["sharpen"]
# ## The mask's share, taken off
#
# ### Exercise U24.3 · Random phases
#
# Write `true_fsc(first, second, mask, shell)`: the correlation of the masked halves, corrected from `shell` on with random phases (before it, the masked curve). You may use your `fsc`. A helper gives a map's transform and back: `fourier.to_fourier(x, dimensions=3)`, `fourier.to_real(F, width=n, dimensions=3)`; `fourier.frequency_radius((n, n, n), pixel_size=1.0) * n` is the radius in shells.


# %% tags=["sharpen"]
def true_fsc(first, second, mask, shell):
    """The masked correlation without what the mask adds."""
    # BEGIN SOLUTION
    side = first.shape[-1]
    radius = fourier.frequency_radius((side, side, side), pixel_size=1.0) * side
    source = seeded(11)

    def randomised(voxels):
        spectrum = fourier.to_fourier(voxels, dimensions=3)
        noise = fourier.to_fourier(torch.randn(voxels.shape, generator=source, dtype=voxels.dtype), dimensions=3)
        phases = noise / noise.abs()
        return fourier.to_real(torch.where(radius >= shell, spectrum.abs() * phases, spectrum), width=side, dimensions=3)

    masked = fsc(first * mask, second * mask)
    by_mask = np.mean([fsc(randomised(first) * mask, randomised(second) * mask) for _ in range(4)], axis=0)
    masked[shell:] = (masked[shell:] - by_mask[shell:]) / (1 - by_mask[shell:])
    return masked
    # END SOLUTION


check("U24.3", true_fsc)

# %% [markdown] tags=["sharpen"]
# Three remarks. The phases of the first shells after `shell` are wrong on purpose: true ones from before the border leak over it through the mask, so that programs begin to correct two shells later. Phases are randomised from where the *unmasked* curve falls below 0.8; to begin later would leave out what it should measure. And the correction needs a mask that is not too bad: where the random phases correlate by more than about 0.1 *at the resolution*, make a softer mask instead of trusting the division.

# %% [markdown] tags=["sharpen"]
# <a id="Q-M06-5"></a>
# ## Measuring B
#
# *What other factors of B are there in cryo-EM?* Every small random displacement of rms $u$ along a direction blurs with $B = 8\pi^2\langle u^2\rangle$. They are independent, so their B's add:


# %% tags=["sharpen"]
def b_of_motion(rms):
    """B of a random displacement of this rms along each axis (Å)."""
    return 8 * math.pi**2 * rms**2


zoo = {
    "motion left in the movies, 0.5 Å": b_of_motion(0.5),
    "atoms in the molecule, 0.8 Å": b_of_motion(0.8),
    "errors of the shifts, 0.4 Å": b_of_motion(0.4),
    "errors of the angles, 0.5° at 50 Å": b_of_motion(50 * math.radians(0.5)),
}
for name, value in {**zoo, "all of them": sum(zoo.values())}.items():
    print(f"{name:36s} {value:6.1f} Å²")
rms = {name: math.sqrt(value / (8 * math.pi**2)) for name, value in zoo.items()}
assert abs(sum(zoo.values()) - b_of_motion(math.hypot(*rms.values()))) < 1e-9

# %% [markdown] tags=["sharpen"]
# (Not every envelope is a B: that of the energy spread falls as $e^{-ck^4}$ (U01), and radiation damage has its own law (U14), which dose weighting undoes.)
#
# ### Exercise U24.4 · The Guinier fit
#
# Write `b_factor(first, second, voxel_size)`: the B-factor in Å² of two half maps. Amplitudes of the average hold noise: weight them by $C_\mathrm{ref}$ first. Fit from 10 Å (coarser, the molecule's shape rules) to the resolution.


# %% tags=["sharpen"]
def b_factor(first, second, voxel_size):
    """The B-factor of the average of two half maps, Å²."""
    # BEGIN SOLUTION
    side = first.shape[-1]
    k = np.arange(side // 2 + 1) / (side * voxel_size)
    curve = fsc(first, second)
    low = np.flatnonzero(curve[1:] < 0.143)
    last = int(low[0]) if len(low) else side // 2  # the last shell before the crossing
    mean = fourier.shell_average(fourier.to_fourier((first + second) / 2, dimensions=3).abs(), size=(side, side, side)).numpy()
    trusted = np.clip(curve, 1e-6, None)
    weighted = mean * np.sqrt(2 * trusted / (1 + trusted))
    inside = (k >= 1 / 10.0) & (np.arange(len(k)) <= last)
    return -4 * np.polyfit(k[inside] ** 2, np.log(weighted[inside]), 1)[0]
    # END SOLUTION


check("U24.4", b_factor)

# %% tags=["sharpen"]
good = half_maps(noise=1.0, seed=8)
measured_b = b_factor(good.first.voxels, good.second.voxels, VOXEL_SIZE)
blunt = fourier.b_factor(truth.voxels, b_factor=80.0, pixel_size=VOXEL_SIZE, dimensions=3)
back = fourier.b_factor(blunt, b_factor=-80.0, pixel_size=VOXEL_SIZE, dimensions=3)
assert float((back - truth.voxels).abs().max()) < 1e-9  # +B, then −B: nothing happened
slope = np.polyfit(
    shell_frequency[6:20] ** 2,
    (mean_amplitude(Volume(voxels=blunt, voxel_size=VOXEL_SIZE)) / mean_amplitude(truth)).log().numpy()[6:20],
    1,
)[0]
print(f"measured B = {measured_b:.1f} Å² (100 went in); 80 Å² more change the slope by {slope:.2f} = −80/4")
assert abs(slope + 20) < 0.2

# %% [markdown] tags=["sharpen"]
# ## From two halves to the map
#
# The library does all of this in one call, and so does `cryowalk postprocess --i run_half1_class001_unfil.mrc --o PostProcess/job001`: a mask of the map's own shape, the four curves, the B-factor, weights, and a low pass at the resolution.

# %% tags=["sharpen"]
mask = automatic_mask(average)
result = post_process(halves, mask=mask.mask, generator=seeded(5))
print(f"resolution {result.resolution:.2f} Å, B applied {result.b_factor:.0f} Å²; doubts: {result.doubts or 'none'}")
print(
    f"the average under the mask reaches 0.5 with the truth at {compare_maps(average, truth, mask=mask.mask).resolution(at=0.5):.2f} Å"
)
figure, axes = plt.subplots(1, 4, figsize=(13, 3.5), width_ratios=(1, 1, 1, 1.5))
sharp = molecule(0.0)
shown = (
    (average, "average"),
    (result.masked, "post-processed"),
    (
        Volume(
            voxels=fourier.low_pass(sharp.voxels, resolution=result.resolution, pixel_size=VOXEL_SIZE, dimensions=3),
            voxel_size=VOXEL_SIZE,
        ),
        "truth without B",
    ),
)
for each, (volume, title) in zip(axes, shown, strict=False):
    spread = float(volume.voxels.std())
    outlined(each, volume, mask.mask, grey=(-1.5 * spread, 5 * spread))
    each.set_title(title)
k2 = shell_frequency**2
for values, label, style in (
    (result.guinier.original, "masked average", "C1--"),
    (result.guinier.weighted, "weighted", "C2-."),
    (result.guinier.sharpened, "final map", "C0-"),
):
    axes[3].plot(k2[1:], values[1:], style, label=label)
axes[3].plot(k2, result.fit.line(torch.as_tensor(shell_frequency)), "k:", lw=1)
axes[3].axvline(result.resolution**-2, color="0.6", lw=0.8)
axes[3].set(xlabel="k² (1/Å²)", ylabel="ln |F|", ylim=(-4, 6), title=f"B = {result.fit.b_factor:.0f} ± {result.fit.error:.0f} Å²")
axes[3].legend()
plt.show()
assert abs(result.fit.b_factor - 100) < 25
assert abs(compare_maps(average, truth, mask=mask.mask).resolution(at=0.5) / result.resolution - 1) < 0.08

# %% [markdown] tags=["sharpen"]
# *Figure U24.f. Post-processing. The weighted amplitudes are a straight line to the resolution (grey), the final map's are flat, and beyond there is nothing.*
#
# One detail that is easy to get wrong: the curve under the mask says how trustworthy the *masked* amplitudes are. Multiply those of the whole box with it, solvent noise and all, and the B-factor comes out a third too small.

# %% [markdown] tags=["sharpen"]
# <a id="H06"></a>
# ## What limits the resolution: numbers of particles
#
# The signal's power falls as $e^{-Bk^2/2}$; the noise of a map from $N$ particles as $1/N$. The resolution $d$ is where their ratio has a fixed value, so that
# $$ \ln N = \mathrm{const} + \frac{B}{2 d^2}. $$
#
# ### Exercise U24.6 · Half an ångström
#
# A data set reaches 3.0 Å, its overall B-factor is 100 Å². By what factor must it grow to reach 2.5 Å?

# %% tags=["sharpen"]
mine = parameters("U24.6")
# BEGIN SOLUTION
answer = math.exp(mine["b_factor"] / 2 * (1 / mine["wanted"] ** 2 - 1 / mine["now"] ** 2))
# END SOLUTION
check("U24.6", answer)

# %% tags=["sharpen"]
numbers = [1000, 1700, 3000, 5500, 10000, 20000]
reached = [
    fourier_shell_correlation(half_maps(noise=4.8 / math.sqrt(count / 1000), seed=count)).resolution() for count in numbers
]
line = b_factor_of_numbers(numbers, reached)
figure, axes = plt.subplots(figsize=(6.8, 3.8))
axes.plot(1 / np.array(reached) ** 2, np.log(numbers), "o")
ends = np.array([min(1 / np.array(reached) ** 2), max(1 / np.array(reached) ** 2)])
axes.plot(ends, -2 * (line.intercept - line.b_factor / 4 * ends), "k:", label=f"B = {line.b_factor:.0f} ± {line.error:.0f} Å²")
axes.set(xlabel="1/d² (1/Å²)", ylabel="ln N")
axes.legend()
plt.show()
assert 70 < line.b_factor < 140

# %% [markdown] tags=["sharpen"]
# *Figure U24.g. Maps from more and more particles (the noise falls as $1/\sqrt N$): the slope is B/2 (Rosenthal & Henderson, 2003; as a diagnosis called ResLog, Stagg et al., 2014).* Make it from subsets of your data. A straight line says: more of the same will help, and how much. A line that bends upwards says that something other than noise limits: the optics, the pixel, the molecule.
#
# <a id="L-M16-2"></a>
# ## Three ways to be bad
#
# A map may be bad for want of signal, because poses are wrong, or because views are missing. The FSC alone does not tell which. Look at *where* it is bad.


# %% tags=["sharpen"]
def direction_fsc(volume, other, axis, *, half_angle=35.0):
    """The correlation of two maps within a cone about an axis (0, 1, 2: x, y, z), for shells 0 … n // 2."""
    one, two = (fourier.to_fourier(each.voxels, dimensions=3) for each in (volume, other))
    grid = fourier.frequency_grid((BOX, BOX, BOX), pixel_size=VOXEL_SIZE, dtype=torch.float64)
    radius = fourier.frequency_radius((BOX, BOX, BOX), pixel_size=VOXEL_SIZE, dtype=torch.float64)
    inside = (grid[axis].abs() >= radius * math.cos(math.radians(half_angle))).double()
    sums = [
        fourier.shells.shell_sum(values * inside, size=(BOX, BOX, BOX))
        for values in ((one * two.conj()).real, one.abs() ** 2, two.abs() ** 2)
    ]
    return sums[0] / (sums[1] * sums[2]).clamp_min(1e-12).sqrt()


noise = 0.9 * torch.randn(BOX, BOX, BOX, generator=seeded(31), dtype=torch.float64)
turns = perturb_rotations(torch.eye(3, dtype=torch.float64).expand(12, 3, 3), angle=math.radians(5.0), generator=seeded(32))
kx, ky, kz = fourier.frequency_grid((BOX, BOX, BOX), pixel_size=VOXEL_SIZE, dtype=torch.float64)
seen = ((kx**2 + ky**2) >= kz**2 * math.tan(math.radians(50.0)) ** 2).double()  # no side views: a cone about z is empty
one_sided = fourier.to_real(fourier.to_fourier(truth.voxels, dimensions=3) * seen, width=BOX, dimensions=3)
bad = {
    "few particles": truth.voxels + 3 * noise,
    "poses off by 5°": rotate_exactly(truth, turns).mean(dim=0) + noise,
    "a cone of views missing": one_sided + noise,
}
figure, axes = plt.subplots(2, 3, figsize=(12, 7))
for (name, voxels), (above, below) in zip(bad.items(), axes.T, strict=True):
    volume = Volume(voxels=voxels, voxel_size=VOXEL_SIZE)
    above.imshow(volume.voxels[:, BOX // 2], cmap="gray", vmin=-3, vmax=6)
    above.set(xticks=[], yticks=[], title=name, xlabel="x", ylabel="z")
    for axis, style in zip((0, 1, 2), ("C0-", "C2--", "C1-"), strict=True):
        below.plot(shell_frequency[1:], direction_fsc(volume, truth, axis)[1:], style, label=f"along {'xyz'[axis]}")
    below.set(xlabel="spatial frequency (1/Å)", ylim=(-0.1, 1.03))
    below.legend()
plt.show()
blur_edge = rotate_exactly(truth, turns).mean(dim=0)
inner, outer = ((spherical_mask(truth, radius=radius, edge=4.0).voxels) for radius in (8.0, 32.0))
loss = {
    name: 1 - float((blur_edge * weight * truth.voxels).sum() / (truth.voxels.square() * weight).sum())
    for name, weight in (("middle", inner), ("rim", outer - inner))
}
print(f"signal lost by wrong poses: {100 * loss['middle']:.0f} % in the middle, {100 * loss['rim']:.0f} % farther out")
assert loss["rim"] > 2 * loss["middle"]

# %% [markdown] tags=["sharpen"]
# *Figure U24.h. The same molecule, spoilt in three ways; below, its correlation with the truth in cones about three axes.*
#
# | sign | want of signal | wrong poses | missing views |
# |---|---|---|---|
# | FSC in different directions | alike | alike | low along the missing cone |
# | where in the map | everywhere alike | worse with distance from the middle | smeared along one direction, everywhere |
# | more particles | help, as ln N says | help little | do not help; other views do |
# | angular plot | even | even | bald |
#
# ## What you have seen
#
# - The FSC of independent halves is $S/(S+N)$; at 1/7 the average correlates by one half with the truth.
# - A mask takes noise away and adds correlation; random phases measure what it adds.
# - Amplitudes fall with a B-factor; sharpening puts them back, noise included, unless shells are weighted.
# - Halves that share a reference agree out of nothing.
# - The next half ångström costs ten times the particles.
#
# **Further.** `cryowalk postprocess`, `mask`, and the guide's page on post-processing. Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003). Chen et al., Ultramicroscopy 135, 24 (2013). Scheres & Chen, Nat. Methods 9, 853 (2012), on halves that never meet. van Heel & Schatz, J. Struct. Biol. 151, 250 (2005), for another opinion on thresholds.
