# %% [markdown]
# # U14 Movies to micrographs: motion and dose
#
# **Question.** The beam shakes the specimen and destroys it. A movie knows when each electron came. How do we make one good picture of it?
#
# **What you need.** U03 to U05 (a shift is a phase; correlation), and U12 (how a movie comes about). For *sharpen*: a little Python with arrays.
#
# **What you will be able to do.**
#
# - say why specimens move, which frames move most, and what motion costs;
# - align the frames of a movie, first with twenty lines of your own, then with the library, and say how well it is known (*sharpen*);
# - explain what patches are for, and why their motions are not independent;
# - read a critical exposure, and weight frames by dose (*sharpen*: why by *amplitude*, and what the weights do to noise).
#
# About 60 minutes. *Blur*: the movie player, the path, patches, the dose clock. *Sharpen*: shifts below a pixel, a whole movie, a frame that meets itself, dose weights.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import Optics, fourier, microscope, motion
from cryowalk.course import Choice, Slider, check, explain, exploration, predict, prediction
from cryowalk.course.checks.u14 import moving, pair
from cryowalk.data import ImageStack
from cryowalk.microscope import beam_motion, damage, solvent
from cryowalk.microscope.simulate.movies import simulate_movie
from cryowalk.microscope.simulate.specimens import Source, prepare_specimens

torch.set_num_threads(1)
PIXEL, FRAMES, DOSE = 1.3, 24, 48.0  # Å, frames, e⁻/Å²


def dice(seed):
    """Random numbers that are the same in every run."""
    return torch.Generator().manual_seed(seed)


# %% [markdown] tags=["blur"]
# <a id="H14"></a>
# ## A shaky movie
#
# A modern camera does not take one picture. It takes a **movie**: 24 frames here, each with 2 electrons per Å². We simulate one, so that we know the truth. Frames go to a list; we ask for the *expected* frames and let the electrons fall ourselves.

# %% tags=["blur"]


class Frames(list):
    """A sink that keeps all frames."""

    def write(self, images):
        """Append these images."""
        self.extend(images.float())


optics = Optics(pixel_size=PIXEL, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
specimens = prepare_specimens([Source(structure=microscope.hinge())], optics, dress=solvent.displaced)
kept = Frames()
truth = simulate_movie(
    specimens, optics, generator=dice(14), sink=kept, size=(448, 448), frames=FRAMES, dose=DOSE, particles=10, noise="none",
    camera="ideal", defocus_range=(14000.0, 14000.0), early_motion=10.0, early_dose=5.0, drift=0.05, local_motion=2.5, jitter=0.12,
)  # fmt: skip
expected = torch.stack(list(kept))
counted = torch.poisson(expected, generator=dice(15))
line = torch.linspace(0, 448 * PIXEL, 9, dtype=torch.float64)
places = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).reshape(-1, 2)
path = beam_motion.displacement(truth.motion, places).mean(1)  # Å, since frame 0, the mean over the field
print(f"{FRAMES} frames, {float(counted.mean()):.1f} electrons per pixel and frame")

# %% [markdown] tags=["blur"]
# Play it: frame by frame, then with more and more frames summed, as they are and moved back by the true motion.

# %% tags=["blur"]
aligned_expected = fourier.shift_images(expected, -path, pixel_size=PIXEL)


def ring_picture(image, side=256):
    """The square root of the power spectrum of an image, origin in the middle, averaged over overlapping tiles."""
    window = torch.hann_window(side, periodic=False)
    tiles = image.unfold(0, side, side // 2).unfold(1, side, side // 2).reshape(-1, side, side)
    half = (fourier.to_fourier((tiles - tiles.mean()) * window * window[:, None]).abs() ** 2).mean(0).sqrt()
    mates = half[(-torch.arange(side)) % side].flip(-1)[:, 1:-1]
    return torch.cat([half, mates], dim=1).roll((side // 2, side // 2), dims=(0, 1))


def draw_movie(last, electrons, frames):
    """The sum of the frames up to `last`, and its rings."""
    source = {"as they are": expected, "moved back": aligned_expected}[frames][: int(last)]
    total = source.sum(0)
    if electrons == "counted":
        total = torch.poisson(total.clamp_min(0), generator=dice(16))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5.2))
    shown = total[112:336, 112:336]
    left.imshow(shown, cmap="gray", vmin=shown.mean() - 3 * shown.std(), vmax=shown.mean() + 3 * shown.std())
    left.set(xticks=[], yticks=[], title=f"sum of {int(last)} frames, {frames} (a quarter)")
    rings = ring_picture(total)
    rings[128, 128] = 0
    right.imshow(rings[28:228, 28:228], cmap="gray", vmax=float(rings[28:228, 28:228].flatten().kthvalue(39600).values))
    right.set(xticks=[], yticks=[], title="its spectrum")
    figure.tight_layout()
    return figure


movie_player = exploration(
    draw_movie,
    last=Slider(1, FRAMES, FRAMES, step=1, label="frames summed"),
    electrons=Choice(("expected", "counted")),
    frames=Choice(("as they are", "moved back")),
)
movie_player

# %% [markdown] tags=["blur"]
# *Figure U14.a. Left: the sum. Right: its spectrum. With frames as they are, the outer rings fade in one direction: along the motion. Moved back, they are round.*
#
# <a id="H09"></a>
# ## Why it moves
#
# Three things move a frozen specimen under the beam (U12 plays with each). The **stage drifts**, evenly and slowly. Freezing left **stress** in the film, and the first electrons release it: a jump of several Å. And the film **domes**, like a drum skin, so that places move differently: *local* motion.
#
# What it costs is simple. A frame that moves by $d$ while it is taken keeps $|\operatorname{sinc}(kd)|$ of the amplitude at frequency $k$ along $d$: 0.83 at 3 Å for 1 Å of way, 0.41 for 2 Å. No alignment brings that back. **What frames are for is to make this way short.**
#
# ### Exercise U14.1 · Which frames?
#
# Before you look: where does most of the path lie? `"first"` (the first 6 of the 24 frames), `"last"` (the last 6), or `"alike"` (no difference)?

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "first"
# END SOLUTION
predict("U14.1", my_guess, options=("first", "last", "alike"))

# %% tags=["blur"]
my_guess = prediction("U14.1")
steps = (path[1:] - path[:-1]).norm(dim=1)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
left.plot(path[:, 0], path[:, 1], "o-", ms=3, lw=0.8)
left.plot(0, 0, "C3o", label="frame 1")
left.set(xlabel="x (Å)", ylabel="y (Å)", aspect="equal", title="the true path of the whole field")
left.legend()
right.bar(np.arange(1, FRAMES), steps, color=["C3" if step < 6 else "C0" for step in range(1, FRAMES)])
right.set(xlabel="step from frame to frame", ylabel="Å", title="its steps")
plt.show()
share = float(steps[:6].sum() / steps.sum())
print(f"the first six steps hold {100 * share:.0f} % of the path; you said: {my_guess}")
assert share > 0.5

# %% tags=["blur"]
answer = ""
# BEGIN SOLUTION
answer = "first"
# END SOLUTION
check("U14.1", answer)

# %% [markdown] tags=["blur"]
# *Figure U14.b. The path and its steps.*
#
# That is a cruel fact: the frames that move most are those in which the specimen is *freshest*. Keep it in mind for the end of this unit.
#
# ## What alignment is worth
#
# The library finds the motion from the counted movie alone. How much power do the sums have between 5 and 3 Å? (We apply the motion that was found to the *expected* frames, so that the noise of the electrons, the same in both, does not hide the answer.)

# %% tags=["blur"]
movie = ImageStack(pixels=counted, pixel_size=PIXEL)
whole_field = motion.AlignmentSettings(patches=(1, 1), dose_weighting="no")
found = motion.estimate_motion(movie, whole_field, pixel_size=PIXEL)


def rms(one, other):
    """Root mean square distance of two paths, their means taken away."""
    return float(((one - one.mean(0)) - (other - other.mean(0))).square().sum(-1).mean().sqrt())


def band_power(image, coarse=5.0, fine=3.0):
    """The power of an image between two spacings in Å."""
    k = fourier.frequency_radius(tuple(image.shape), pixel_size=PIXEL)
    power = fourier.to_fourier(image - image.mean()).abs() ** 2
    return float(power[(k > 1 / coarse) & (k < 1 / fine)].mean())


sums = {
    "as they are": expected.sum(0),
    "aligned": fourier.shift_images(expected, -found.motion.global_displacement, pixel_size=PIXEL).sum(0),
    "true path": aligned_expected.sum(0),
}
powers = {name: band_power(image) for name, image in sums.items()}
for name, value in powers.items():
    print(f"power between 5 and 3 Å, {name:12}: {value:7.2f}")
miss = rms(found.motion.global_displacement, path)
print(f"the path is wrong by {miss:.2f} Å; the estimate itself says {float(found.precision.median()) * math.sqrt(2):.2f} Å")
print(f"agreement of frames: {found.contrast_before:.1f} σ before, {found.contrast:.1f} σ after")
assert powers["aligned"] > 1.03 * powers["as they are"]
assert miss < 0.3 * PIXEL * 2
assert found.contrast > found.contrast_before

# %% [markdown] tags=["blur"]
# Only a few per cent? Most of the power at these spacings is the ice's, and the beam stirs the ice (U12): it is other ice in every frame, and no alignment makes one picture of it. The part that is the same in all frames, the molecules, is what is gained.
#
# Compare the path that was found with the truth while you change what the alignment looks at: the B-factor is the weight $e^{-Bk^2/4}$ that keeps the noise of high frequencies out.

# %% tags=["blur"]


def draw_paths(b_factor, dose_share):
    """The path found from a part of the electrons, beside the truth."""
    thinned = counted if dose_share == 1 else torch.binomial(counted, torch.tensor(float(dose_share)), generator=dice(17))
    settings = motion.AlignmentSettings(patches=(1, 1), dose_weighting="no", b_factor=b_factor)
    estimate = motion.estimate_motion(ImageStack(pixels=thinned, pixel_size=PIXEL), settings, pixel_size=PIXEL)
    figure, axes = plt.subplots(figsize=(6.5, 4.4))
    for track, colour, name in ((path, "k", "truth"), (estimate.motion.global_displacement, "C1", "found")):
        centred = track - track.mean(0)
        axes.plot(centred[:, 0], centred[:, 1], colour, marker="o", ms=3, lw=0.8, label=name)
    error = rms(estimate.motion.global_displacement, path)
    axes.set(xlabel="x (Å)", ylabel="y (Å)", aspect="equal", title=f"off by {error:.2f} Å ({error / PIXEL:.2f} px)")
    axes.legend()
    return figure


path_player = exploration(
    draw_paths,
    b_factor=Slider(0.0, 2000.0, 300.0, step=100.0, label="B-factor (Å²)"),
    dose_share=Choice((1, 0.3, 0.1), label="part of the electrons"),
)
path_player

# %% [markdown] tags=["blur"]
# *Figure U14.c. The path that was found, and the truth. With a tenth of the electrons it is smoother than the truth: where the data say little, the library trusts that tracks are smooth.*
#
# ## Patches
#
# The whole field does not move as one. Cut it into patches and align each? Look at how many electrons a patch has, and at how little contrast: a patch's own path is mostly noise. But **neighbours move alike**: the film bends smoothly. So all patches are aligned *together*, under one smooth model: a displacement that is a polynomial of second order in the place, and smooth in time. How strong the bending is, the movie itself must tell.
#
# Our field of 448 pixels has too few electrons even for that (a camera has seventy times its area), so we look at the *expected* frames here.

# %% tags=["blur"]
without_noise = ImageStack(pixels=expected, pixel_size=PIXEL)
whole = motion.estimate_motion(without_noise, whole_field, pixel_size=PIXEL)
local = motion.estimate_motion(without_noise, motion.AlignmentSettings(patches=(3, 3), dose_weighting="no"), pixel_size=PIXEL)
known, by_field, by_patches = (beam_motion.displacement(each, places) for each in (truth.motion, whole.motion, local.motion))
figure, panels = plt.subplots(1, 3, figsize=(14, 4.6))
for axes, moved, name in zip(panels, (known, by_field, by_patches), ("truth", "whole field", "3 × 3 patches"), strict=True):
    tracks = places + 15 * (moved - moved.mean(0))
    axes.plot(tracks[:, :, 0], tracks[:, :, 1], "C0", lw=0.8)
    axes.set(
        aspect="equal", xlabel="x (Å)", title=name if name == "truth" else f"{name}: off by {rms(moved, known) / PIXEL:.2f} px"
    )
plt.show()
print("what the library doubts:", local.doubts or "nothing")
assert rms(by_patches, known) < 0.6 * rms(by_field, known)

# %% [markdown] tags=["blur"]
# *Figure U14.d. Tracks of 81 places, drawn 15 times too long: true, with one path for all, and with the smooth model.*
#
# <a id="L-M19-1"></a>
# ## The dose clock
#
# The electrons that make the picture destroy the specimen, the finest detail first. After a dose $N$ an amplitude at frequency $k$ has fallen to $e^{-N/2N_c(k)}$, with the **critical exposure** that Grant and Grigorieff measured at 300 kV:
# $$ N_c(k) = 0.24499\,k^{-1.6649} + 2.8141\ \text{e⁻/Å²}. $$
#
# ### Exercise U14.5 · Two hours on the clock
#
# What is the critical exposure at 3 Å, and at 10 Å? Give both numbers.

# %% tags=["blur"]
# BEGIN SOLUTION
critical_exposures = tuple(0.24499 * spacing**1.6649 + 2.8141 for spacing in (3.0, 10.0))
# END SOLUTION
check("U14.5", critical_exposures)

# %% [markdown] tags=["solution", "blur"]
# 4.34 and 14.1 e⁻/Å². Our movie has 48: at its end the amplitude at 3 Å is $e^{-48/8.7}=0.4\,\%$ of what it was, at 10 Å still 18 %. The fine detail is in the **first** frames, and those are the ones that move.

# %% tags=["blur"]
spacings = (3.0, 5.0, 10.0, 20.0)
frequency = 1 / torch.tensor(spacings, dtype=torch.float64)


def draw_dose(dose, dose_before):
    """What is left of four spacings, and how much the sum with and without weights holds of each."""
    exposure = torch.linspace(0, 80, 161, dtype=torch.float64)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
    for index, spacing in enumerate(spacings):
        remaining = damage.exposure_filter(frequency[index], dose=exposure, voltage_kv=300.0)
        left.plot(exposure, remaining, f"C{index}", label=f"{spacing:g} Å")
    left.axvspan(dose_before, dose_before + dose, color="0.9")
    left.set(xlabel="dose (e⁻/Å²)", ylabel="amplitude left", title="the movie is the grey part")
    left.legend()
    k = torch.linspace(0.01, 0.4, 200, dtype=torch.float64)
    per_frame = dose / FRAMES
    weights = damage.dose_weights(k, frames=FRAMES, dose_per_frame=per_frame, dose_before=dose_before, voltage_kv=300.0)
    ends = dose_before + per_frame * torch.arange(1, FRAMES + 1, dtype=torch.float64)[:, None]
    amplitude = damage.exposure_filter(k, dose=ends, voltage_kv=300.0)
    right.plot(k, amplitude.sum(0) / math.sqrt(FRAMES), "C3", label="plain sum")
    right.plot(k, (weights * amplitude).sum(0), "C0", label="weighted sum")
    right.set(xlabel="k (1/Å)", ylabel="signal / noise of a frame", title="what the sum knows", ylim=(0, None))
    right.legend()
    figure.tight_layout()
    return figure


dose_player = exploration(
    draw_dose,
    dose=Slider(4.0, 80.0, 48.0, step=4.0, label="dose of the movie (e⁻/Å²)"),
    dose_before=Slider(0.0, 20.0, 0.0, step=1.0, label="dose before (e⁻/Å²)"),
)
dose_player

# %% [markdown] tags=["blur"]
# *Figure U14.e. Left: how the amplitudes of four spacings fade. Right: signal over noise of the plain and the weighted sum. More dose makes the plain sum* worse *at high frequency; the weighted one never.*
#
# So nobody has to choose a dose: take many electrons, and let the weights use, at each frequency, those that came in time. The late, spoilt frames still help to *see* the particle: at 20 Å they are almost as good as new.
#
# <a id="H15"></a>
# ## Align it yourself
#
# The rest is *sharpen*. Where does the second of two noisy images lie as seen from the first? A shift is a phase ramp (U04), so the **cross-correlation** of the two has its peak at the displacement:
# $$ c(d) = \mathcal F^{-1}\left[ B_2\,\overline{B_1}\,w \right](d), $$
# with weights $w(k)$ that keep the noise out. Its highest pixel is the answer to the nearest pixel; the parabola through the peak and its neighbours $a, b, c$ puts the top at $(a-c)/\big(2(a-2b+c)\big)$ from the middle one.
#
# ### Exercise U14.2 · Between the pixels
#
# Write `subpixel_shift(first, second)`: the displacement $(x, y)$ in pixels of the second image, to 0.1 px, at the noise of this pair. (Displacements are a few pixels, of either sign; the first axis of the arrays is $y$.)

# %% tags=["sharpen"]
first, second, pair_truth = pair(dice(3))
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.8))
for axes, image in ((left, first), (right, second)):
    axes.imshow(image, cmap="gray")
    axes.set(xticks=[], yticks=[])
plt.show()
print("the second image lies at", pair_truth.round(2))


# %% [markdown] tags=["sharpen"]
# *Figure U14.f. One scene, twice, and as much noise as signal. Can you see the displacement?*


# %% tags=["sharpen"]
def cycles(shape):
    """Frequencies (ky, kx) of the half spectrum, cycles per pixel."""
    return np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])


def subpixel_shift(first, second):
    # BEGIN SOLUTION
    ky, kx = cycles(first.shape)
    weight = np.exp(-(kx**2 + ky**2) / 0.1**2)
    product = np.fft.rfft2(second - second.mean()) * np.fft.rfft2(first - first.mean()).conj()
    return peak_of(np.fft.irfft2(product * weight, s=first.shape))
    # END SOLUTION


# BEGIN SOLUTION
def peak_of(correlation):
    """The place (x, y) of the peak, between the pixels, displacements beyond half of the image being negative."""
    height, width = correlation.shape
    y, x = np.unravel_index(correlation.argmax(), correlation.shape)
    place = []
    for line, at, size in ((correlation[y], x, width), (correlation[:, x], y, height)):
        a, b, c = line[at - 1], line[at], line[(at + 1) % size]
        position = at + (a - c) / (2 * (a - 2 * b + c))
        place.append(position - size if position > size / 2 else position)
    return np.array(place)


# END SOLUTION
check("U14.2", subpixel_shift)

# %% [markdown] tags=["sharpen"]
# ### Exercise U14.4 · A frame that meets itself
#
# Now for a movie: compare each frame with the *sum* of all, it has far less noise. This function does, and something is wrong with it. Feed it frames of pure noise:


# %% tags=["sharpen"]
def with_sum(frames, index):
    """The correlation of a frame with the sum, displacement (0, 0) at [0, 0]."""
    spectra = np.fft.rfft2(frames - frames.mean((1, 2), keepdims=True))
    total = spectra.sum(0)
    return np.fft.irfft2(spectra[index] * total.conj(), s=frames.shape[1:])


noise = np.random.default_rng(4).poisson(1.0, (24, 128, 128)).astype(float)
found_peak = with_sum(noise, 3)
print(f"24 frames of nothing, and a peak at displacement 0 of {found_peak[0, 0] / found_peak.std():.0f} standard deviations")
assert found_peak.argmax() == 0

# %% [markdown] tags=["sharpen"]
# So the movie seems not to move, whatever it does. Mend it: write `with_others(frames, index)`, and leave the frames themselves as they are.


# %% tags=["sharpen"]
def with_others(frames, index):
    # BEGIN SOLUTION
    spectra = np.fft.rfft2(frames - frames.mean((1, 2), keepdims=True))
    others = spectra.sum(0) - spectra[index]  # the frame must not meet its own noise
    return np.fft.irfft2(spectra[index] * others.conj(), s=frames.shape[1:])
    # END SOLUTION


check("U14.4", with_others)

# %% [markdown] tags=["solution", "sharpen"]
# The sum holds the frame, and with it the frame's noise, which agrees with itself at displacement zero and nowhere else. In a sum of $F$ frames the false peak has the height of the frame's whole power, the true one only of the signal's. Every alignment against a reference that contains the data suffers from it: 2D classes (U17) and refinement (U23) will meet it as *overfitting* and as *Einstein from noise* (U16).
#
# ### Exercise U14.3 · The whole movie
#
# Write `align(frames)`: the displacement $(x, y)$ of every frame, in pixels, to 0.2 px rms (a constant does not matter). One electron per pixel and frame. Compare with the others, move back, and repeat: each round the reference gets sharper.


# %% tags=["sharpen"]
def align(frames):
    # BEGIN SOLUTION
    ky, kx = cycles(frames.shape[1:])
    weight = np.exp(-(kx**2 + ky**2) / 0.1**2)
    spectra = np.fft.rfft2(frames - frames.mean((1, 2), keepdims=True))
    path = np.zeros((len(frames), 2))
    for _ in range(5):
        back = np.exp(2j * np.pi * (path[:, 0, None, None] * kx + path[:, 1, None, None] * ky))
        aligned = spectra * back
        total = aligned.sum(0)
        for index, frame in enumerate(aligned):
            others = total - frame
            path[index] += peak_of(np.fft.irfft2(frame * others.conj() * weight, s=frames.shape[1:]))
    return path - path[0]
    # END SOLUTION


check("U14.3", align)

# %% [markdown] tags=["sharpen"]
# How good is it? Beside the library, on the same movie. And what the mistake of the last exercise does to it, if no weight hides it:

# %% tags=["sharpen"]
shaky, shaky_path = moving(dice(5), contrast=0.25)
stack = ImageStack(pixels=torch.from_numpy(shaky).float(), pixel_size=1.0)
alone = motion.AlignmentSettings(patches=(1, 1), b_factor=150.0, dose_weighting="no")
tracks = {"library": motion.estimate_motion(stack, alone, pixel_size=1.0).motion.global_displacement.numpy()}
# BEGIN SOLUTION
tracks["mine"] = align(shaky)


def align_with_itself(frames):
    """Each frame being part of its own reference, and no weight."""
    ky, kx = cycles(frames.shape[1:])
    path = np.zeros((len(frames), 2))
    spectra = np.fft.rfft2(frames - frames.mean((1, 2), keepdims=True))
    for _ in range(5):
        aligned = spectra * np.exp(2j * np.pi * (path[:, 0, None, None] * kx + path[:, 1, None, None] * ky))
        total = aligned.sum(0)
        path += [peak_of(np.fft.irfft2(frame * total.conj(), s=frames.shape[1:])) for frame in aligned]
    return path - path[0]


tracks["meeting itself"] = align_with_itself(shaky)
# END SOLUTION
figure, axes = plt.subplots(figsize=(7, 4.4))
errors = {}
for name, track in {"truth": shaky_path, **tracks}.items():
    centred = track - track.mean(0)
    errors[name] = math.sqrt(((centred - (shaky_path - shaky_path.mean(0))) ** 2).sum(-1).mean())
    label = name if name == "truth" else f"{name}: off by {errors[name]:.2f} px"
    axes.plot(centred[:, 0], centred[:, 1], "o-", ms=3, lw=0.8, label=label)
axes.set(xlabel="x (px)", ylabel="y (px)", aspect="equal")
axes.legend(fontsize=8)
plt.show()
assert errors["library"] < 0.2
# BEGIN SOLUTION
assert errors["meeting itself"] > 3 * errors["mine"]
# END SOLUTION

# %% [markdown] tags=["sharpen"]
# *Figure U14.g. One movie: the truth, the library, your own alignment, and one whose frames meet themselves. The latter does not leave its starting point: the false peak at zero wins every time, and the movie is declared to stand still.*
#
# The library does the same with one difference: it does not look for peaks one by one but climbs the *likelihood* of all displacements at once. Its curvature says how well each is known (that is `precision`), and so how far a track may be smoothed.
#
# ### Exercise U14.6 · Dose weights
#
# Write `dose_weights(frequency, frames, dose)`: the weight of each frame (rows) at each frequency (columns), in proportion to the *amplitude* that is left at the frame's end, adding up to 1 at every frequency. 300 kV, `dose` in e⁻/Å² per frame.


# %% tags=["sharpen"]
def dose_weights(frequency, frames, dose):
    # BEGIN SOLUTION
    critical = 0.24499 * frequency**-1.6649 + 2.8141
    left = np.exp(-dose * np.arange(1, frames + 1)[:, None] / (2 * critical))
    return left / left.sum(0)
    # END SOLUTION


check("U14.6", dose_weights)

# %% [markdown] tags=["solution", "sharpen"]
# Why amplitudes? The best weights for signals $a_f$ in equal noise are $w_f\propto a_f$ (Cauchy and Schwarz: $\left(\sum w_f a_f\right)^2 \le \sum w_f^2\,\sum a_f^2$, with equality for $w\propto a$), the matched filter of U22.

# %% [markdown] tags=["sharpen"]
# The library divides by $\sqrt{\sum w^2}$ instead of $\sum w$. Then white noise stays white, and as strong at every frequency: spectra of micrographs look alike, and later programs may take the noise for what it is. Only the scale at each frequency differs:

# %% tags=["sharpen"]
k = np.array([0.02, 0.1, 0.2, 1 / 3])
library_weights = damage.dose_weights(torch.from_numpy(k), frames=FRAMES, dose_per_frame=2.0, voltage_kv=300.0).numpy()
print("Σw² of the library's weights:", (library_weights**2).sum(0).round(6))
assert np.allclose((library_weights**2).sum(0), 1)
assert np.allclose(np.diff(np.log(library_weights[:, 3])), -2.0 / (2 * (0.24499 * 3**1.6649 + 2.8141)))
weighted = motion.correct_motion(
    movie, local.motion, motion.AlignmentSettings(dose_per_frame=DOSE / FRAMES), pixel_size=PIXEL, voltage_kv=300.0
)
figure, panels = plt.subplots(1, 2, figsize=(10, 5))
for axes, image, name in (
    (panels[0], counted.sum(0), "sum of the frames as they are"),
    (panels[1], weighted.weighted, "aligned, weighted by dose"),
):
    shown = torch.nn.functional.avg_pool2d(image[None], 4)[0]  # coarser, so that the molecules show
    axes.imshow(shown, cmap="gray", vmin=shown.mean() - 3 * shown.std(), vmax=shown.mean() + 3 * shown.std())
    axes.set(xticks=[], yticks=[], title=name)
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U14.h. What we began with, and what goes on to U15.*
#
# ## In your own words
#
# A colleague leaves out the first three frames of every movie, because they move most. What is lost, and what would you do?

# %% tags=["blur"]
my_words = ""
# BEGIN SOLUTION
my_words = "The first frames have the least damage, so only they hold fine detail: use shorter frames, align them, and weight by dose instead."
# END SOLUTION
explain("U14.words", my_words)

# %% [markdown] tags=["blur"]
# ## With your own data
#
# ```console
# $ cryowalk motion --i movies.star --gain gain.mrc --dose-per-frame 1.277 --o MotionCorr/job002
# ```
#
# `report.html` shows the path and the tracks of the movies. Ask of each: is the path smooth? Is the precision below half an Å? Did the agreement of the frames rise? Are the early steps longest? A movie that jumps in the middle was hit by something, and one with no contrast at all is empty ice: look at it.
#
# ## Further reading
#
# - A. F. Brilot et al., *Beam-induced motion of vitrified specimen on holey carbon film*, J. Struct. Biol. 177, 630–637 (2012). Doming, and the fast beginning.
# - S. Q. Zheng et al., *MotionCor2: anisotropic correction of beam-induced motion for improved cryo-electron microscopy*, Nat. Methods 14, 331–332 (2017). Patches under one smooth model.
# - T. Grant, N. Grigorieff, *Measuring the optimal exposure for single particle cryo-EM using a 2.6 Å reconstruction of rotavirus VP6*, eLife 4, e06980 (2015). The critical exposure.
# - J. Zivanov, T. Nakane, S. H. W. Scheres, *A Bayesian approach to beam-induced motion correction in cryo-EM single-particle analysis*, IUCrJ 6, 5–17 (2019).
#
# **Next:** U15, estimating the CTF and triaging micrographs.
