# %% [markdown]
# # U23 Deconvolution, Wiener filters and denoising
#
# **Question.** An image is blurred, its contrast is reversed in rings, and it is mostly noise. How much of that can be undone, and when does a beautiful picture begin to lie?
#
# **What you need.** U06 (why dividing by a transfer function explodes), U07 (the CTF), U08 (noise), and U21's maps.
#
# **What you will be able to do.**
#
# - derive Wiener's filter from Bayes, and choose its constant;
# - combine images of several defoci so that no frequency is missing;
# - denoise maps by the correlation of their halves, and images by what a whole set has in common;
# - say of each denoiser what it cannot do, and test it for bias.
#
# About 75 minutes. *Blur*: the Wiener slider, what no filter can do, the invented blob. *Sharpen*: the posterior, five defoci, FSC weights, principal components, a network that learns from noise.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import fourier
from cryowalk.course import Choice, Slider, check, explain, exploration, predict, prediction
from cryowalk.course.checks.u23 import (
    BOX,
    LENGTH,
    PIXEL_SIZE,
    SIDE,
    VOXEL_SIZE,
    halves_of,
    least_transfer,
    lenses,
    object_of,
    oracle,
    pieces_of,
    seen_through,
)
from cryowalk.data import ImageStack, Optics, ParticleSet
from cryowalk.denoising import DenoisingSettings, covariance_filter, denoise_pairs, wiener_filter, wiener_sum

torch.set_num_threads(1)


def error(found, clean):
    """The mean square error."""
    return float((found - clean).square().mean())


# %% [markdown] tags=["blur"]
# <a id="H23"></a>
# ## Deconvolution: dividing is not enough
#
# Here is an object, what the lens makes of it at 1.5 µm underfocus, and what a camera records. In Fourier space the lens multiplies each coefficient by the CTF: $Y = H X + N$. So why not divide?

# %% tags=["blur"]
clean = object_of(7)
lens = lenses([15000.0])
image = seen_through(clean, lens, deviation=0.6, seed=1)[0]
lens = lens[0]


def filtered(spectrum_weight):
    """The recorded image with its spectrum multiplied by these weights."""
    return fourier.to_real(fourier.to_fourier(image) * spectrum_weight, width=SIDE)


divided = filtered(1 / torch.where(lens.abs() < 1e-3, torch.full_like(lens, 1e-3), lens))
figure, axes = plt.subplots(1, 4, figsize=(13, 3.5))
for each, picture, title in zip(
    axes,
    (clean, fourier.to_real(fourier.to_fourier(clean) * lens, width=SIDE), image, divided),
    ("object", "behind the lens", "recorded", "divided by the CTF"),
    strict=True,
):
    each.imshow(picture, cmap="gray")
    each.set(xticks=[], yticks=[], title=title)
plt.show()
print(f"error of the recorded image {error(image, clean):.2f}, of the divided one {error(divided, clean):.0f}")
assert error(divided, clean) > 10 * error(image, clean)

# %% [markdown] tags=["blur"]
# *Figure U23.a. Division is right where the lens transferred much, and turns noise into a catastrophe where it transferred little.* In U06 it was round-off that exploded; here it is the camera's noise, which is larger by fifteen orders of magnitude.
#
# The cure is to stop dividing where there is nothing to gain:
# $$ \hat X = \frac{H}{H^2 + c}\, Y. $$
# Where $H^2 \gg c$ that is division; where $H^2 \ll c$ it is nearly zero. **Move the slider.** What do you see when $c$ is far too small, and far too large?

# %% tags=["blur"]
c_values = np.logspace(-4, 3, 60)
c_errors = [error(filtered(lens / (lens**2 + c)), clean) for c in c_values]


def draw_constant(power):
    """The image deconvolved with the constant 10^power, the filter, and the error over all constants."""
    constant = 10.0**power
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    result = filtered(lens / (lens**2 + constant))
    left.imshow(result, cmap="gray")
    left.set(xticks=[], yticks=[], title=f"c = {constant:.3g}: error {error(result, clean):.3f}")
    frequency = np.arange(SIDE // 2 + 1) / (SIDE * PIXEL_SIZE)
    middle.plot(frequency, lens[0].numpy(), color="0.6", label="CTF")
    middle.plot(frequency, np.clip((lens / (lens**2 + constant))[0].numpy(), -6, 6), label="filter")
    middle.set(xlabel="spatial frequency (1/Å)", ylim=(-6, 6))
    middle.legend()
    right.loglog(c_values, c_errors)
    right.axvline(constant, color="C3", ls=":")
    right.set(xlabel="c", ylabel="mean square error")
    return figure


wiener_slider = exploration(draw_constant, power=Slider(-4.0, 3.0, -2.0, step=0.1, label="log₁₀ of the constant"))
wiener_slider

# %% [markdown] tags=["blur"]
# *Figure U23.b. Too small a constant: noise. Too large: a faint blur. Between them a minimum, and it lies where the noise's power over the object's says.*
#
# <a id="H24"></a>
# ## Wiener filtering
#
# That is Wiener's insight: the best constant is not a matter of taste. It is $c = N/S$, the power of the noise over the power of the object, at each frequency: **one over the signal-to-noise ratio**.
#
# ### Exercise U23.2 · The constant
#
# At some frequency the object's signal-to-noise ratio is 0.1 (before the lens). Which constant stands beside $H^2$ there?

# %% tags=["blur"]
# BEGIN SOLUTION
my_constant = 1 / 0.1
# END SOLUTION
check("U23.2", my_constant)

# %% [markdown] tags=["sharpen"]
# ## Where it comes from
#
# Take one frequency. The object's coefficient $x$ is Gaussian with variance $s$, the noise has variance $n$, and we saw $y = h x + \text{noise}$. Bayes says
# $$ -\log p(x \mid y) = \frac{(y - hx)^2}{2n} + \frac{x^2}{2s} + \text{const}. $$
#
# ### Exercise U23.1 · The most probable object
#
# Which $x$ makes that smallest? A formula in `h`, `s`, `n`, `y`.

# %% tags=["sharpen"]
# BEGIN SOLUTION
my_formula = "h*s*y/(h^2*s + n)"
# END SOLUTION
check("U23.1", my_formula)

# %% [markdown] tags=["sharpen"]
# The same by algebra, and then for a whole image with dense matrices: regularised least squares $\min_x |Ax - y|^2/n + x^\mathsf{T} C^{-1} x$ has no idea of Fourier space, and must give the same picture.

# %% tags=["sharpen"]
import sympy

x, y, h, s, n = sympy.symbols("x y h s n", positive=True)
energy = (y - h * x) ** 2 / (2 * n) + x**2 / (2 * s)
(best,) = sympy.solve(sympy.diff(energy, x), x)
assert sympy.simplify(best - h * s * y / (h**2 * s + n)) == 0

small = 9  # a side that a dense matrix can afford
pictures = torch.eye(small**2, dtype=torch.float64).reshape(-1, small, small)
small_lens = fourier.frequency_radius((small, small), pixel_size=1.0, dtype=torch.float64).mul(9).sin()
power = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.2], dtype=torch.float64)  # of the object, in each ring
noise_power = 0.3


def as_matrix(operator):
    """An operator on small images as a matrix."""
    return operator(pictures).reshape(small**2, -1).T


lens_matrix = as_matrix(lambda f: fourier.to_real(fourier.to_fourier(f) * small_lens, width=small))
inverse_covariance = as_matrix(lambda f: fourier.apply_shell_weights(f, 1 / power))
recorded = torch.randn(small, small, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
left_side = lens_matrix.T @ lens_matrix / noise_power + inverse_covariance
by_least_squares = torch.linalg.solve(left_side, lens_matrix.T @ recorded.reshape(-1) / noise_power)
by_wiener = wiener_filter(recorded, signal=power, noise=torch.full_like(power, noise_power), transfer=small_lens)
difference = float((by_least_squares.reshape(small, small) - by_wiener).abs().max())
print(f"largest difference {difference:.1e}")
assert difference < 1e-10

# %% [markdown] tags=["sharpen"]
# Two remarks. For Gaussians the most probable object is also the mean of the posterior, so Wiener's filter has the **smallest mean square error of all filters**. And its price stands in the formula: on average $\hat x$ is $h^2 s/(h^2 s + n)$ times the truth. It is biased towards zero, the more so the less it knows.

# %% [markdown] tags=["blur"]
# <a id="H21"></a>
# ## Denoising images: side by side
#
# Six ways to make particle images quieter, on 400 images of an object that bends (no lens here, so that only the noise matters), at a signal-to-noise ratio of 0.15. First without words: which column would you publish?

# %% tags=["blur"]
line = torch.arange(40, dtype=torch.float64) - 20
source = torch.Generator().manual_seed(23)
bends = torch.rand(400, generator=source, dtype=torch.float64) * 2 - 1  # what differs from image to image
turns = 2 * math.pi * torch.rand(400, generator=source, dtype=torch.float64)


def bent(bend, turn):
    """An arm with a hand on it whose place depends on the bend, turned in the plane."""
    angle = 0.5 + 0.9 * bend
    places = [(-6.0, 0.0), (-2.0, 0.0), (2.0, 0.0), (2 + 7 * math.cos(angle), 7 * math.sin(angle))]
    total = torch.zeros(40, 40, dtype=torch.float64)
    for a, b in places:
        px, py = math.cos(turn) * a - math.sin(turn) * b, math.sin(turn) * a + math.cos(turn) * b
        total += torch.exp(-((line - px) ** 2 + (line[:, None] - py) ** 2) / (2 * 2.2**2))
    return total


arms = torch.stack([bent(float(bend), float(turn)) for bend, turn in zip(bends, turns, strict=True)])
deviation = math.sqrt(float(arms.var()) / 0.15)
noisy = arms + deviation * torch.randn(arms.shape, generator=source, dtype=torch.float64)


class Album:
    """Takes images as they come."""

    def __init__(self):
        self.images = []

    def write(self, images):
        self.images.append(images)


album = Album()
arm_particles = ParticleSet(
    optics=(Optics(pixel_size=4.0),),
    optics_index=torch.zeros(400, dtype=torch.int64),
    images=ImageStack(pixels=noisy.float(), pixel_size=4.0),
)
statistics = covariance_filter(arm_particles, DenoisingSettings(diameter=128.0, finest_resolution=16.0), sink=album)


def ring_power(images):
    """The mean power in each ring."""
    return fourier.shell_average(fourier.to_fourier(images).abs().square().mean(dim=0), size=tuple(images.shape[-2:]))


by_class = torch.stack([bent(0.0, float(turn)) for turn in turns])
ways = {
    "clean": arms,
    "noisy": noisy,
    "low pass 25 Å": fourier.low_pass(noisy, resolution=25.0, pixel_size=4.0),
    "Wiener": wiener_filter(noisy, signal=ring_power(arms), noise=torch.full((21,), deviation**2, dtype=torch.float64)),
    "covariance (PCA)": torch.cat(album.images).double(),
    "mean bend, true turn": by_class,
}
figure, axes = plt.subplots(3, 6, figsize=(12, 6.3))
for column, (name, images) in enumerate(ways.items()):
    for row, which in enumerate((0, 1, 2)):
        axes[row, column].imshow(images[which], cmap="gray")
        axes[row, column].set(xticks=[], yticks=[])
    axes[0, column].set_title(name, fontsize=10)
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U23.c. Three images, six ways. The last column is what an ideal class average would put in place of each image: turned exactly as the particle is, with the hand where it is on average. It has no noise at all.*
#
# Now with words. **A bias test** asks more than beauty: does the hand in the denoised image move when the hand of the particle moves? We compare the image's difference from the mean bend with that of the clean one. A slope of 1: it moves as far. 0: it does not move, whatever the particle does.


# %% tags=["blur"]
def centred(images):
    """Each image about its own mean."""
    return images - images.mean(dim=(-1, -2), keepdim=True)


own = centred(arms) - centred(by_class)  # what is particular to each image
print(f"{'':22s}{'error':>8s}{'bias slope':>12s}")
table = {}
for name, images in ways.items():
    seen = centred(images) - centred(by_class)
    table[name] = (error(centred(images), centred(arms)), float((seen * own).sum() / (own * own).sum()))
    print(f"{name:22s}{table[name][0]:8.4f}{table[name][1]:12.2f}")
low_passes = [
    error(centred(fourier.low_pass(noisy, resolution=r, pixel_size=4.0)), centred(arms)) for r in np.linspace(10, 80, 40)
]
assert table["Wiener"][0] < min(low_passes)  # no low pass reaches Wiener
assert table["covariance (PCA)"][0] < table["Wiener"][0]
assert abs(table["mean bend, true turn"][1]) < 1e-9

# %% [markdown] tags=["blur"]
# The low pass and Wiener's filter treat every image alike and know only which rings are loud. The covariance knows which *patterns* occur in the set. And the class average, the smoothest of all, has a slope of zero: **it shows what it was told, not what was there.** Error and bias are two different numbers; ask for both.
#
# ## What no filter can do
#
# Take two half maps and their average. Filter the average, with any weights that depend on the radius alone: a low pass, Wiener's, a B factor.
#
# ### Exercise U23.4 · Does it raise the resolution?
#
# Does the Fourier shell correlation with the truth rise? `"yes"`, `"no"`, or `"only Wiener"` (only Wiener's filter raises it).

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "no"
# END SOLUTION
predict("U23.4", my_guess, options=("yes", "no", "only Wiener"))

# %% tags=["blur"]
my_guess = prediction("U23.4")
halves = halves_of(11)
average = (halves.first + halves.second) / 2
fsc = fourier.shell_correlation(halves.first, halves.second)
quiet = fourier.apply_shell_weights(average, (2 * fsc / (1 + fsc)).clamp(1e-3, 1.0), dimensions=3)
before, after = (fourier.shell_correlation(volume, halves.truth) for volume in (average, quiet))
frequency = np.arange(BOX // 2 + 1) / (BOX * VOXEL_SIZE)
figure, axes = plt.subplots(1, 3, figsize=(12, 3.7), layout="constrained")
for each, picture, title in zip(axes[:2], (average, quiet), ("average of the halves", "the same, filtered"), strict=True):
    each.imshow(picture[BOX // 2], cmap="gray", vmin=-0.4, vmax=1.2)
    each.set(xticks=[], yticks=[], title=title)
axes[2].plot(frequency, before, lw=5, alpha=0.35, label="average")
axes[2].plot(frequency, after, "k", lw=1, label="filtered")
axes[2].set(xlabel="spatial frequency (1/Å)", ylabel="FSC with the truth", ylim=(-0.1, 1.05))
axes[2].legend()
plt.show()
largest = float((after - before)[1:].abs().max())
print(
    f"error {error(average, halves.truth):.4f} before, {error(quiet, halves.truth):.4f} after; largest change of the FSC {largest:.0e}"
)
assert largest < 1e-10
check("U23.4", my_guess)

# %% [markdown] tags=["blur"]
# *Figure U23.d. An error more than twenty times smaller, and not one shell that is better known.* Each shell's weight stands above and below the fraction bar of the FSC. What changed is how loud the shells are against each other: the picture, not the information.
#
# ## Who invented this blob?
#
# To raise a shell's correlation a denoiser must *add* something: what it knows of other images, other maps, other molecules. That may be true. Here a set of particles has a ligand (the small blob below right, in the circle). **One** particle has none. The denoiser has learnt the mean of the set, and does what Bayes says: $\hat x = \mu + w\,(y - \mu)$, $w = s/(s + n)$.

# %% tags=["blur"]
body = object_of(5, side=48)
spot = 1.6 * torch.exp(
    -((torch.arange(48.0).double() - 33) ** 2 + (torch.arange(48.0).double()[:, None] - 35) ** 2) / (2 * 2.0**2)
)
around = torch.hypot(torch.arange(48.0) - 33, torch.arange(48.0)[:, None] - 35) < 4
one_noise = torch.randn(48, 48, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


def draw_game(noise, particle):
    """What was there, what was recorded, what the denoiser says, and how much of the blob is invented."""
    truth = body + (spot if particle == "with ligand" else 0)
    recorded = truth + noise * one_noise
    mean = body + spot
    weight = 0.25**2 / (0.25**2 + noise**2)  # particles are known to differ from the mean by 0.25 or so
    found = mean + weight * (recorded - mean)
    shown = float(((found - body) * spot)[around].sum() / (spot * spot)[around].sum())
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.9))
    for each, picture, title in zip(
        axes,
        (truth, recorded, found),
        (f"there: {particle}", "recorded", f"denoised: {100 * shown:.0f} % of a ligand"),
        strict=True,
    ):
        each.imshow(picture, cmap="gray", vmin=-1.0, vmax=2.2)
        each.add_patch(plt.Circle((33, 35), 6, fill=False, color="C3"))
        each.set(xticks=[], yticks=[], title=title)
    return figure


invention = exploration(
    draw_game,
    noise=Slider(0.05, 3.0, 1.5, step=0.05, label="noise"),
    particle=Choice(("without ligand", "with ligand"), label="the particle"),
)
invention

# %% [markdown] tags=["blur"]
# *Figure U23.e. The more noise, the more of the blob comes from the set and not from the particle. At a noise of 1.5 the two particles cannot be told apart, and both have a ligand. Nothing in the picture says so.*
#
# A network trained on the maps of a data bank is the same with a larger $\mu$. The rules that follow: **denoised is not data.** Look at it, pick with it, make a mask with it. Do not refine against it, do not average it, and never measure resolution with it: what was added is the same in both halves.
#
# **In your own words.** A colleague refines against a map that a network has denoised, and reports the resolution. What is wrong, and what could the map be used for?

# %% tags=["blur"]
# BEGIN SOLUTION
my_text = (
    "The prior is in both halves, so they are not independent and the resolution is that of the prior. "
    "The noise gets aligned to it. It may serve to look at, or for a mask."
)
# END SOLUTION
explain("U23.words", my_text)

# %% [markdown] tags=["sharpen"]
# ## Several defoci, one object
#
# One image has zeros, and no filter brings back what was never recorded. Images at other defoci have zeros elsewhere. The most probable object behind all of them together is
# $$ \hat X = \frac{\sum_i H_i Y_i}{\sum_i H_i^2 + N/S}. $$
# It follows as before: minus the log posterior is now $\sum_i |Y_i - H_i X|^2/2N + |X|^2/2S$.


# %% tags=["sharpen"]
def draw_set(first, ratio, images):
    """Σ CTF² over the frequencies for a geometric series of defoci."""
    defoci = [1e4 * first * ratio**i for i in range(int(images))]
    transfer = lenses(defoci)
    frequency = np.arange(SIDE // 2 + 1) / (SIDE * PIXEL_SIZE)
    figure, axes = plt.subplots(figsize=(7.5, 3.6))
    axes.plot(frequency, (transfer[:, 0] ** 2).T, color="0.8", lw=0.8)
    axes.plot(frequency, (transfer[:, 0] ** 2).sum(dim=0), lw=2)
    axes.axvspan(0, 1 / 30, color="0.93")
    axes.axhline(0.2, color="C3", ls=":")
    axes.set(xlabel="spatial frequency (1/Å)", ylabel="sum of CTF²")
    axes.set_title(f"{', '.join(f'{d / 1e4:.2f}' for d in defoci)} µm: least {least_transfer(defoci):.2f}")
    return figure


combiner = exploration(
    draw_set,
    first=Slider(0.5, 4.0, 1.0, step=0.05, label="first defocus (µm)"),
    ratio=Slider(1.0, 1.8, 1.02, step=0.01, label="ratio of neighbours"),
    images=Slider(1, 8, 5, step=1, label="images"),
)
combiner

# %% [markdown] tags=["sharpen"]
# *Figure U23.f. Grey: each image's CTF². Blue: their sum. Left of the band (coarser than 30 Å) every lens transfers little; beyond it the sum should nowhere fall to the red line.*
#
# ### Exercise U23.3 · Five defoci
#
# Choose five defoci (Å) whose sum of CTF² stays above 0.2 between 1/30 Å⁻¹ and Nyquist, and write `combine(images, transfer, noise_to_signal)` for a stack of images and their CTFs (given on half spectra, as `fourier.to_fourier` makes them).


# %% tags=["sharpen"]
# BEGIN SOLUTION
my_defoci = (25000.0, 19000.0, 14500.0, 11000.0, 8200.0)
# END SOLUTION


def combine(images, transfer, noise_to_signal):
    """One image out of all of them."""
    # BEGIN SOLUTION
    total = (fourier.to_fourier(images) * transfer).sum(dim=0)
    return fourier.to_real(total / ((transfer**2).sum(dim=0) + noise_to_signal), width=images.shape[-1])
    # END SOLUTION


check("U23.3", (my_defoci, combine))

# %% tags=["sharpen"]
five = lenses(my_defoci)
series = seen_through(clean, five, deviation=0.6, seed=2)
together = combine(series, five, 0.3)
assert torch.allclose(together, wiener_sum(series, five, noise_to_signal=0.3), atol=1e-9)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), width_ratios=(1, 1.6), layout="constrained")
left.imshow(together, cmap="gray")
left.set(xticks=[], yticks=[], title="five images, one object")
rings = np.arange(SIDE // 2 + 1) / (SIDE * PIXEL_SIZE)
singles = [
    fourier.shell_correlation(fourier.to_real(fourier.to_fourier(one) * lens_of_one, width=SIDE), clean)
    for one, lens_of_one in zip(series, five, strict=True)
]
for index, curve in enumerate(singles):
    right.plot(rings, curve, color="0.75", lw=0.9, label="single images" if index == 0 else None)
right.plot(rings, fourier.shell_correlation(together, clean), lw=2, label="together")
right.set(xlabel="spatial frequency (1/Å)", ylabel="ring correlation with the object", ylim=(-0.3, 1.05))
right.legend()
plt.show()
assert float(fourier.shell_correlation(together, clean)[2:22].mean()) > max(float(curve[2:22].mean()) for curve in singles)

# %% [markdown] tags=["sharpen"]
# *Figure U23.g. Here, and only here, the correlation rises: more data came in.* A three-dimensional reconstruction is this sum, with slices in place of images (U21).
#
# <a id="H22"></a>
# ## Denoising volumes
#
# For a map nobody tells $S$ and $N$; the two halves do. Each half has FSC $= S/(S+N)$ with the other. The average of both has noise $N/2$.
#
# ### Exercise U23.5 · From the FSC to a filter
#
# Write `reference_correlation(fsc)`, the expected correlation $C_\mathrm{ref}$ of the *average* with the noiseless truth (negative values of the FSC count as 0), and `denoise(first, second)`, the average with each shell multiplied by Wiener's weight, which is $C_\mathrm{ref}^2$. (Rosenthal and Henderson, 2003, weight by $C_\mathrm{ref}$ itself, a figure of merit; both pass.)


# %% tags=["sharpen"]
def reference_correlation(fsc):
    """C_ref in each shell."""
    # BEGIN SOLUTION
    positive = fsc.clamp_min(0)
    return (2 * positive / (1 + positive)).sqrt()
    # END SOLUTION


def denoise(first, second):
    """The average, filtered."""
    # BEGIN SOLUTION
    weight = reference_correlation(fourier.shell_correlation(first, second)) ** 2
    return fourier.apply_shell_weights((first + second) / 2, weight, dimensions=3)
    # END SOLUTION


check("U23.5", (reference_correlation, denoise))

# %% [markdown] tags=["sharpen"]
# At the famous FSC of 0.143 = 1/7 the average correlates with the truth by one half. That is where the number comes from.
#
# **Place by place.** A shell's weight is the same in the protein and in the solvent, where there is only noise. The local filter asks how well the halves agree *here*, band by band. This is no radial filter any more, so it can raise the correlation, and it might lower it. The library keeps a promise: from $\mathrm{Re}\sum D_1 H_2^*$, where $D_1$ is the denoised first half and $H_2$ the *other* half, it estimates the correlation with the truth, and mixes the denoised map in only where that helps.

# %% tags=["sharpen"]
plain, local = (
    next(iter(denoise_pairs([(halves.first, halves.second)], DenoisingSettings(method=method), generator=torch.Generator())))
    for method in ("wiener", "local")
)
figure, axes = plt.subplots(1, 4, figsize=(14, 3.6), width_ratios=(1, 1, 1, 1.5), layout="constrained")
for each, picture, title in zip(
    axes[:3], (average, plain.array, local.array), ("average", "Wiener, by shells", "Wiener, place by place"), strict=True
):
    each.imshow(picture[BOX // 2], cmap="gray", vmin=-0.4, vmax=1.2)
    each.set(xticks=[], yticks=[], title=title)
local_after = fourier.shell_correlation(local.array, halves.truth)
axes[3].plot(frequency, before, "0.6", label="average, and by shells")
axes[3].plot(frequency, local_after, label="place by place")
axes[3].plot(frequency, local.amplitude.clamp(0, 1.2), ":", color="C3", label="amplitude left (the bias)")
axes[3].set(xlabel="spatial frequency (1/Å)", ylabel="FSC with the truth; amplitude", ylim=(-0.1, 1.05))
axes[3].legend(fontsize=8)
plt.show()
print(
    f"errors: {error(average, halves.truth):.4f}, {error(plain.array, halves.truth):.4f}, {error(local.array, halves.truth):.4f}"
)
assert error(local.array, halves.truth) < error(plain.array, halves.truth)
assert float((local_after - before)[1:].min()) > -0.01

# %% [markdown] tags=["sharpen"]
# *Figure U23.h. The solvent falls silent, and shells gain. The dotted line is the price: amplitudes fall below the truth's where the filter is unsure.*
#
# ## Principal components: how many?
#
# Take $n$ images of $p$ pixels as the rows of $Y$. The covariance $Y^\mathsf{T}Y/n$ of *pure noise* of variance $\sigma^2$ is not $\sigma^2$ times the identity unless $n \gg p$: its eigenvalues spread from $\sigma^2(1-\sqrt{p/n})^2$ to $\sigma^2(1+\sqrt{p/n})^2$ (Marchenko and Pastur, 1967). So a large eigenvalue proves nothing until it lies beyond that edge.

# %% tags=["sharpen"]
pieces, nothing = pieces_of(31), pieces_of(32, rank=0)
figure, axes = plt.subplots(figsize=(7.5, 3.6))
for each, label in ((nothing, "noise alone"), (pieces, "noise and four patterns")):
    spectrum = torch.linalg.eigvalsh(each.images.T @ each.images / len(each.images))
    axes.semilogy(np.arange(len(spectrum)), spectrum.flip(0).clamp_min(1e-4), ".", ms=4, label=label)
edge = (1 + math.sqrt(LENGTH**2 / len(pieces.images))) ** 2
axes.axhline(edge, color="C3", ls=":", label="edge")
axes.set(xlabel="component", ylabel="eigenvalue", xlim=(-3, 256), ylim=(0.01, 100))
axes.legend()
plt.show()

# %% [markdown] tags=["sharpen"]
# *Figure U23.i. 1,500 images of 256 pixels. Of the eigenvalues of noise of variance 1 the largest is near 2. Four stand out in the other set.*
#
# ### Exercise U23.6 · A denoiser by components
#
# Write `pca_denoise(images, deviation)` for images as rows (mean 0) with white noise of this standard deviation: the denoised images, and the number of components that it kept. Keep what lies beyond the edge, and shrink what you keep as Wiener would. It is tried on sets with other numbers of components, none among them, and compared with the one who knows the true covariance.


# %% tags=["sharpen"]
def pca_denoise(images, deviation):
    """Denoised images, and how many components were kept."""
    # BEGIN SOLUTION
    count, pixels = images.shape
    ratio = pixels / count
    values, vectors = torch.linalg.eigh(images.T @ images / (count * deviation**2))  # noise has variance 1
    kept = values > 1.05 * (1 + math.sqrt(ratio)) ** 2
    values, vectors = values[kept], vectors[:, kept]
    shifted = values - 1 - ratio
    strength = (shifted + (shifted**2 - 4 * ratio).clamp_min(0).sqrt()) / 2  # noise also makes eigenvalues larger
    return images @ (vectors * (strength / (strength + 1))) @ vectors.T, int(kept.sum())
    # END SOLUTION


check("U23.6", pca_denoise)

# %% tags=["sharpen"]
found, kept = pca_denoise(pieces.images, pieces.deviation)
as_images = pieces.images.reshape(-1, LENGTH, LENGTH)
signal = ring_power(pieces.clean.reshape(-1, LENGTH, LENGTH)).clamp_min(1e-9)
ring_filter = wiener_filter(as_images, signal=signal, noise=torch.ones_like(signal)).reshape(len(as_images), -1)
for name, result in (
    ("noisy", pieces.images),
    ("Wiener by rings", ring_filter),
    ("components", found),
    ("oracle", oracle(pieces)),
):
    print(f"{name:16s} error {error(result, pieces.clean):.4f}")
assert error(oracle(pieces), pieces.clean) < error(found, pieces.clean) < error(ring_filter, pieces.clean)

# %% [markdown] tags=["sharpen"]
# For real particles two things come on top: every image has its own CTF, and every image may be turned. The first makes the covariance a least-squares problem, $\min_C \sum_i |y_iy_i^\mathsf{T} - H_i C H_i - \sigma^2|^2$; the second makes it fall into small blocks, one for each angular frequency, in a basis of Bessel functions (Bhamre, Zhang and Singer, 2016). `covariance_filter` does both; it made the fifth column of Figure U23.c, where it kept

# %% tags=["sharpen"]
functions = sum(len(values) * (2 if k else 1) for k, values in enumerate(statistics.eigenvalues))
print(f"{statistics.rank} of {functions} components")
assert 0 < statistics.rank < functions

# %% [markdown] tags=["sharpen"]
# ## A network that never saw a clean image
#
# Noise2Noise (Lehtinen and others, 2018): let a network guess one noisy half from the other. Noise cannot be guessed, so the best guess is the clean object, $\mathbb E[y_2 \mid y_1] = \mathbb E[x \mid y_1]$, without anybody ever having seen it. What it learns comes from your own data; what it has not seen there it still gets wrong. Here is a small one, trained for seconds. (Two networks, in fact: each learns from one half of the picture and is used on the other, so that the promise can be checked with noise that it never saw.)

# %% tags=["sharpen"]
wide = torch.cat([torch.cat([object_of(seed) for seed in row], dim=1) for row in ((7, 5), (9, 12))])
source = torch.Generator().manual_seed(4)
odd, even = ((wide + 0.8 * torch.randn(wide.shape, generator=source, dtype=torch.float64)).float() for _ in range(2))
settings = DenoisingSettings(method="noise2noise", steps=60, crop=32, channels=6)
learnt = next(iter(denoise_pairs([(odd, even)], settings, generator=torch.Generator().manual_seed(1))))
by_rings = next(iter(denoise_pairs([(odd, even)], DenoisingSettings(method="wiener"), generator=torch.Generator())))
mean_of_both = (odd + even) / 2
figure, axes = plt.subplots(1, 4, figsize=(13, 3.6))
for each, picture, title in zip(
    axes,
    (wide, mean_of_both, by_rings.array, learnt.array),
    ("clean (nobody has it)", "odd + even", "Wiener", "learnt"),
    strict=True,
):
    each.imshow(picture, cmap="gray", vmin=-1, vmax=2)
    each.set(xticks=[], yticks=[], title=title)
plt.show()
gained = fourier.shell_correlation(learnt.array.double(), wide) - fourier.shell_correlation(mean_of_both.double(), wide)
print(f"errors: {error(mean_of_both, wide):.4f}, {error(by_rings.array, wide):.4f}, {error(learnt.array, wide):.4f}")
print(f"change of the ring correlation: {float(gained[1:].min()):.3f} at worst, {float(gained[1:].mean()):.3f} on average")
assert error(learnt.array, wide) < error(by_rings.array, wide)
assert float(gained[1:].min()) > -0.02

# %% [markdown] tags=["sharpen"]
# *Figure U23.j. Learnt from two noisy pictures and nothing else. `cryowalk denoise` does it for odd and even sums of movies and for half maps.*
#
# ## What you have seen
#
# - Dividing by a transfer function amplifies noise; Wiener's constant is noise power over signal power, and his filter is the most probable object.
# - Images of several defoci fill each other's gaps: one numerator, one denominator.
# - A radial filter changes no shell's correlation. What does, has added knowledge, from place, from the set, or from elsewhere; ask from where.
# - $C_\mathrm{ref} = \sqrt{2\,\mathrm{FSC}/(1+\mathrm{FSC})}$; one half at 0.143.
# - Noise has large eigenvalues, too: count components beyond the edge of Marchenko and Pastur.
# - Every denoiser pays for its small error with bias. Measure both, and remember that denoised is not data.
