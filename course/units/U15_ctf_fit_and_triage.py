# %% [markdown]
# # U15 Estimating the CTF and triaging micrographs
#
# **Question.** Nobody reads the defocus off the microscope's knob to within 50 Å. The picture itself tells it. How, how well, and when is the answer not to be believed?
#
# **What you need.** U07. For *sharpen*: U04, and U05's *sharpen* part for windows.
#
# **What you will be able to do.**
#
# - measure a defocus by hand on a power spectrum, and by a fit, with astigmatism;
# - say why single spectra are noise, and what averaging buys;
# - name what a fit cannot tell apart: amplitude contrast, phase shift and a little defocus; and other defoci that fit nearly as well;
# - keep or reject a micrograph for a reason.
#
# About 60 minutes. *Blur*: drag rings, and the triage board. *Sharpen*: averaged periodograms, the fit, its error bars, its degeneracies.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import fourier
from cryowalk.course import Slider, check, explain, exploration, parameters, predict, prediction
from cryowalk.course.checks.u15 import OPTICS, board, micrograph
from cryowalk.ctf_estimation import estimate_ctf, power_spectrum

torch.set_num_threads(1)

# %% [markdown] tags=["blur"]
# <a id="H07"></a>
# ## Rings on a micrograph
#
# Here is a micrograph: 300 Å of ice, nothing else, 40 electrons per Å², 1.5 Å per pixel. You see grain, nearly all of it shot noise.
#
# **Before you go on.** The power spectrum of *one* tile of 256 pixels: will you see the Thon rings of U07 in it? (a) clearly; (b) barely, every point is noise; (c) not at all, since the dose is too low.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "b"
# END SOLUTION
predict("U15.opening", my_guess, options=("a", "b", "c"))

# %% tags=["blur"]
my_guess = prediction("U15.opening")
image = micrograph()
BOX = 256
LENGTH = BOX * OPTICS.pixel_size  # Å


def whole(half):
    """A half spectrum as a picture with k = 0 in the middle."""
    side = len(half)
    mates = half[(-torch.arange(side)) % side].flip(-1)[:, 1:-1]  # power at −k is power at k
    return torch.cat([half, mates], dim=1).roll((side // 2, side // 2), dims=(0, 1))


def show_power(axes, half, *, title=""):
    """A power spectrum on a scale that leaves out the few brightest points."""
    picture = whole(half).clamp_min(1e-9).log()
    ring = picture[BOX // 2 + 20 : BOX // 2 + 90, BOX // 2 - 90 : BOX // 2 + 90]
    low, high = (float(ring.quantile(share)) for share in (0.02, 0.995))
    edge = 0.5 / OPTICS.pixel_size
    axes.imshow(picture, cmap="gray", vmin=low, vmax=high, origin="lower", extent=(-edge, edge, -edge, edge))
    axes.set(xticks=[], yticks=[], title=title)


def tapered(tile):
    """A tile without its mean, under a Hann window of mean square 1 (U05: edges are discontinuities too)."""
    window = torch.hann_window(BOX, periodic=False, dtype=torch.float64)
    window = window[:, None] * window
    return (tile - tile.mean()) * window / window.square().mean().sqrt()


one = fourier.to_fourier(tapered(image[:BOX, :BOX].double())).abs() ** 2
averaged = power_spectrum(image, pixel_size=OPTICS.pixel_size, box=BOX).power
figure, panels = plt.subplots(1, 3, figsize=(13, 4.3))
panels[0].imshow(image[:400, :400], cmap="gray")
panels[0].set(xticks=[], yticks=[], title="a part of the micrograph")
show_power(panels[1], one, title="one tile's periodogram")
show_power(panels[2], averaged, title="mean of all 49 tiles")
plt.show()
print(f"you said ({my_guess})")

# %% [markdown] tags=["blur"]
# *Figure U15.a. Logarithms. A single periodogram is speckle: each point's standard deviation is as large as its mean. Averaged over tiles that overlap by a half, the rings stand out.*
#
# ## Drag the rings
#
# The slider moves the *dark* rings of a CTF of one defocus (the zeros) over the picture. A wrong defocus can place one ring right. Only the right one places all.

# %% tags=["blur"]
ky = ((torch.arange(BOX) + BOX // 2) % BOX - BOX // 2)[:, None].double() / LENGTH
kx = torch.arange(BOX // 2 + 1)[None].double() / LENGTH
FREQUENCY, AZIMUTH = torch.hypot(kx, ky), torch.atan2(ky, kx)


def phase(frequency, defocus, *, amplitude_contrast=OPTICS.amplitude_contrast):
    """χ + arcsin Q in rad, as in U07; works on arrays and tensors."""
    chi = (
        math.pi
        * OPTICS.wavelength
        * (defocus * frequency**2 - 0.5 * OPTICS.spherical_aberration * OPTICS.wavelength**2 * frequency**4)
    )
    return chi + math.asin(amplitude_contrast)


def radial_mean(half):
    """The mean over each ring one Fourier pixel wide, and the rings' frequencies."""
    number = (FREQUENCY * LENGTH).round().long().flatten()
    total = torch.bincount(number, weights=half.double().flatten())
    mean = total / torch.bincount(number)
    return torch.arange(BOX // 2) / LENGTH, mean[: BOX // 2]


def draw_rings(defocus_um):
    """The spectrum with the zeros of one defocus, and the radial profile with the same zeros."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12.5, 5), width_ratios=(1, 1.5))
    show_power(left, averaged, title=f"{defocus_um:.2f} µm")
    line = np.linspace(0.02, 0.26, 6000)
    turns = phase(line, 1e4 * defocus_um) / math.pi
    zeros = line[1:][np.diff(np.floor(turns)) != 0]
    for zero in zeros:
        left.add_patch(plt.Circle((0, 0), zero, fill=False, color="C1", ls=":", lw=1))
        right.axvline(zero, color="C1", ls=":", lw=1)
    rings, profile = radial_mean(averaged)
    right.plot(rings, profile, "C0")
    shown = profile[(rings > 0.04) & (rings < 0.26)]
    right.set(xlim=(0.03, 0.26), ylim=(float(shown.min()) * 0.97, float(shown.max()) * 1.02), xlabel="k (1/Å)", ylabel="power")
    right.set_title("its mean over all directions, and the zeros")
    return figure


dragger = exploration(draw_rings, defocus_um=Slider(0.6, 3.0, 1.0, step=0.01, label="defocus (µm)"))
dragger

# %% [markdown] tags=["blur"]
# *Figure U15.b. Dotted: zeros of the CTF at the slider's defocus. Left on the spectrum, right on its radial mean.*
#
# ### Exercise U15.1 · Defocus by hand
#
# What is the mean defocus, in µm?

# %% tags=["blur"]
# BEGIN SOLUTION
by_hand = 1.41
# END SOLUTION
check("U15.1", by_hand)

# %% [markdown] tags=["blur"]
# Look again at the outer rings: no circle fits everywhere. They are ellipses: the lens has *astigmatism*, one defocus along one axis and another across it. Where the two differ by half a ring, the radial mean has no rings left, and a one-dimensional fit sees less than there is.
#
# ## Why average?
#
# A transform of noise is noise: real and imaginary part of each coefficient are normal, so that the power is distributed exponentially. Its standard deviation equals its mean, *however large the tile*. A larger tile has more points, not better ones. The cure is to average many.

# %% [markdown] tags=["sharpen"]
# ### Exercise U15.2 · An averaged periodogram
#
# Write `averaged_periodogram(image, size, count)`: the mean of $|F|^2$ (orthonormal transform, no window) over the first `count` tiles of `size` pixels that do not overlap, row by row, each without its own mean; a half spectrum of `size` × `size // 2 + 1`.


# %% tags=["sharpen"]
def averaged_periodogram(image, size, count):
    # BEGIN SOLUTION
    tiles = image.unfold(0, size, size).unfold(1, size, size).reshape(-1, size, size)[:count]
    tiles = tiles - tiles.mean(dim=(-2, -1), keepdim=True)
    return (fourier.to_fourier(tiles).abs() ** 2).mean(dim=0)
    # END SOLUTION


check("U15.2", averaged_periodogram)

# %% tags=["sharpen"]
noise = torch.randn(1024, 1024, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
counts = [1, 2, 4, 8, 16, 32, 64, 128, 256]
spread = [float(averaged_periodogram(noise, 64, count)[2:-2, 2:-2].var()) for count in counts]
slope = np.polyfit(np.log(counts), np.log(spread), 1)[0]
figure, axes = plt.subplots(figsize=(6, 3.6))
axes.loglog(counts, spread, "o", label=f"measured, slope {slope:.2f}")
axes.loglog(counts, [1 / count for count in counts], "k:", label="1/M")
axes.set(xlabel="tiles M", ylabel="variance of the spectrum")
axes.legend()
plt.show()
assert abs(slope + 1) < 0.15

# %% [markdown] tags=["sharpen"]
# *Figure U15.c. The variance of the averaged periodogram of white noise of variance 1.*
#
# Tiles that overlap by a half under a Hann window are nearly independent still (their powers correlate by 1/36), so overlapping gives almost four times as many tiles for nothing. Smaller tiles give more of them, but a coarser grid of frequencies; where rings are closer than two grid points they blur. That is the compromise behind every program's *box* of 512 pixels.
#
# ## The fit
#
# The rings are $\mathrm{CTF}^2 = \tfrac12\left(1 - \cos 2(\chi + \arcsin Q)\right)$ times something smooth, on top of something smooth. So: take the smooth part off, and look for the $\chi$ whose $-\cos 2(\chi+\arcsin Q)$ correlates best with what is left. Astigmatism enters as
# $$ \Delta f(\theta) = \tfrac{U+V}{2} + \tfrac{U-V}{2}\cos 2(\theta-\alpha) = m + c\cos 2\theta + s\sin 2\theta . $$
# The three numbers on the right have no jumps: no 180° to wrap around, nothing undefined where $U=V$.
#
# <a id="Q-M06-7"></a>
# ### Exercise U15.3 · Fit U, V and the angle
#
# `flat` below is the spectrum between 25 and 4 Å without its smooth background. Write `correlation(mean, cosine, sine, amplitude_contrast)`, and find the best three numbers; `scipy.optimize.minimize` with Nelder–Mead will do, started at your defocus of U15.1. Give $U$ and $V$ in Å, and α in degrees from +x towards +y (`AZIMUTH` is that angle, in rad).

# %% tags=["sharpen"]
from scipy.optimize import minimize

full = power_spectrum(image, pixel_size=OPTICS.pixel_size, box=BOX).power
BAND = (FREQUENCY > 1 / 25) & (FREQUENCY < 1 / 4) & (kx > 0)
rings, profile = radial_mean(full)
inside = (rings > 1 / 27) & (rings < 1 / 3.8)
smooth = np.polynomial.Polynomial.fit(rings[inside].numpy(), profile[inside].log().numpy(), 5)
flat = full[BAND].log() - torch.from_numpy(smooth(FREQUENCY[BAND].numpy()))


# BEGIN SOLUTION
def correlation(mean, cosine, sine, amplitude_contrast=0.07):
    """How well −cos 2(χ + arcsin Q) of this astigmatic defocus follows the flattened spectrum."""
    local = mean + cosine * torch.cos(2 * AZIMUTH[BAND]) + sine * torch.sin(2 * AZIMUTH[BAND])
    wave = -torch.cos(2 * phase(FREQUENCY[BAND], local, amplitude_contrast=amplitude_contrast))
    return float(torch.corrcoef(torch.stack([wave, flat]))[0, 1])


def best_fit(start, amplitude_contrast=0.07):
    """(mean, c, s) of the highest correlation near a start."""
    simplex = np.array(start) + np.array([[0, 0, 0], [300, 0, 0], [0, 200, 0], [0, 0, 200]])
    found = minimize(
        lambda values: -correlation(*values, amplitude_contrast),
        start,
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": 0.5, "fatol": 1e-7},
    )
    return found.x


mean, cosine, sine = best_fit((1e4 * by_hand, 0.0, 0.0))
half = math.hypot(cosine, sine)
fitted = (mean + half, mean - half, math.degrees(math.atan2(sine, cosine) / 2) % 180)
# END SOLUTION
print("U {:.0f} Å, V {:.0f} Å, angle {:.1f}°".format(*fitted))
check("U15.3", fitted)

# %% tags=["sharpen"]
estimate = estimate_ctf(power_spectrum(image, pixel_size=OPTICS.pixel_size), OPTICS)
values = (float(estimate.defocus.major), float(estimate.defocus.minor), math.degrees(float(estimate.defocus.azimuth)))
print("the library: U {:.0f} Å, V {:.0f} Å, angle {:.1f}°".format(*values))
print(
    f"standard error of the mean {estimate.deviation:.0f} Å; rings followed to {estimate.resolution:.1f} Å; figure of merit {estimate.figure_of_merit:.2f}"
)
assert abs(estimate.mean_defocus - 14000) < 30
average = estimate.average
figure, axes = plt.subplots(figsize=(10, 3.4))
axes.plot(average.frequency, average.measured / 2**1.5 + 0.5, lw=1, label="measured, along lines of equal phase")
axes.plot(average.frequency, average.model, lw=1, label="CTF² of the fit")
axes.plot(average.frequency, average.agreement, lw=1, label="their correlation nearby")
axes.set(xlabel="k (1/Å)", xlim=(0.03, 0.33), ylim=(-0.6, 1.7))
axes.legend(ncols=3, loc="upper center", fontsize=8)
plt.show()

# %% [markdown] tags=["sharpen"]
# *Figure U15.d. The library's fit of the same micrograph. Averaging along lines of equal phase, not along circles, keeps the outer rings, which astigmatism would smear.*
#
# ## What the fit cannot tell
#
# **Other defoci.** Here is the correlation over a wide range. The right peak is narrow and stands out. But look at the others: a fit that starts 1000 Å away climbs the wrong hill. So programs search everything first.

# %% tags=["sharpen"]
trials = np.arange(5000.0, 30000.0, 50.0)
heights = [correlation(trial, cosine, sine) for trial in trials]
figure, axes = plt.subplots(figsize=(10, 3))
axes.plot(trials / 1e4, heights)
axes.axvline(1.4, color="C1", ls=":")
axes.set(xlabel="mean defocus (µm)", ylabel="correlation")
plt.show()
assert abs(trials[int(np.argmax(heights))] - 14000) < 100

# %% [markdown] tags=["sharpen"]
# *Figure U15.e. The correlation against defocus. Dotted: the truth.*
#
# **Amplitude contrast.** *Will this affect CTF fitting?* was the question when amplitude contrast came up. $Q$ enters as a constant angle, $\arcsin Q$, exactly as a phase plate's shift does; a small change of it looks like a small change of defocus.
#
# ### Exercise U15.4 · Refit with the wrong Q
#
# The micrograph was made with $Q = 0.07$. Fit it with 0.10. **By how much does the mean defocus change (new minus old)?**

# %% tags=["sharpen"]
# BEGIN SOLUTION
wrong = best_fit((mean, cosine, sine), amplitude_contrast=0.10)
bias = wrong[0] - mean
# END SOLUTION
print(f"bias {bias:.0f} Å")
check("U15.4", bias)

# %% tags=["sharpen"]
contrasts = np.linspace(-0.1, 0.3, 17)
shifts = np.linspace(-250, 250, 41)
surface = np.array([[correlation(mean + shift, cosine, sine, q) for shift in shifts] for q in contrasts])
figure, axes = plt.subplots(figsize=(7, 4))
picture = axes.contourf(shifts, contrasts, surface, levels=24, cmap="viridis")
axes.contour(shifts, contrasts, surface, levels=[surface.max() - 0.01, surface.max() - 0.003], colors="w", linewidths=1)
axes.plot(0, 0.07, "C1o", label="the truth")
axes.set(xlabel="change of defocus (Å)", ylabel="amplitude contrast Q assumed")
axes.legend(loc="lower left")
figure.colorbar(picture, label="correlation")
plt.show()
ridge = shifts[surface.argmax(axis=1)]
assert np.polyfit(contrasts, ridge, 1)[0] < 0

# %% [markdown] tags=["sharpen"]
# *Figure U15.f. The fit's landscape: a ridge, not a peak. Along it a larger Q is paid for with a smaller defocus. White: where the correlation is 0.003 and 0.01 below the best.*
#
# **A worked answer.** A larger $\arcsin Q$ (4.01° for 0.07, 5.74° for 0.10) moves all rings inwards, a smaller defocus moves them out again. At 10 Å the exchange would be 48.7 Å, at 4 Å 7.8 Å (U07.8); the fit settles for something between, nearer to the finest rings, since there are more of them. So: the answer is *yes, a little, and always in the same direction*. The rings hardly fit worse, and therefore $Q$ is fixed (0.07 to 0.10) and not fitted, unless the very low frequencies can be trusted, which background, ice and the edges of the field seldom allow. What matters later is the *phase* at the frequencies one uses, and that is right, whichever pair one takes.
#
# ## Triage
#
# A fit always returns numbers. Whether to believe them, and whether to keep the micrograph, is another question. Here are eight.

# %% tags=["blur"]
places = parameters("U15.5")["order"]
exposures = board(places)
spectra = [power_spectrum(each, pixel_size=OPTICS.pixel_size, box=BOX) for each in exposures]
figure, panels = plt.subplots(2, 4, figsize=(14, 7.4))
for number, (axes, spectrum) in enumerate(zip(panels.flat, spectra, strict=True), start=1):
    show_power(axes, spectrum.power, title=str(number))
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U15.g. The triage board: power spectra of eight micrographs, out to 3 Å at the edges.*
#
# ### Exercise U15.5 · Keep or reject
#
# For each number one of `"good"`, `"drift"` (the specimen moved during the exposure), `"ice"` (crystals), `"astigmatism"` (thousands of Å) or `"empty"` (no rings). Seven of eight, please.

# %% tags=["blur"]
verdicts = {1: "good"}  # … to 8
# BEGIN SOLUTION
from cryowalk.course.checks.u15 import SCENES

verdicts = {number: SCENES[place].reason for number, place in enumerate(places, start=1)}
# END SOLUTION
check("U15.5", verdicts)

# %% tags=["blur"]
print("   defocus  astigmatism  rings to  merit  doubts of the library")
for number, spectrum in enumerate(spectra, start=1):
    found = estimate_ctf(spectrum, OPTICS)
    limit = f"{found.resolution:5.1f} Å" if math.isfinite(found.resolution) else "   none"
    print(
        f"{number}  {found.mean_defocus:6.0f} Å  {found.astigmatism:6.0f} Å   {limit}   {found.figure_of_merit:5.2f}  {'; '.join(found.doubts) or '–'}"
    )

# %% [markdown] tags=["blur"]
# Compare the table with your verdicts. The numbers find what has no rings, and what is too astigmatic for the search. Drift may slip through: along one direction the rings are as strong as ever, and the fit is content with those. And crystals of ice leave hardly a trace: their spots lie beyond most rings, and the defocus is right. A picture of every micrograph and thresholds on its figures are both needed; `cryowalk ctf` writes both.

# %% tags=["blur"]
# BEGIN SOLUTION
my_words = "Rings that end early: drift, thick ice, noise. I would look at the picture and keep its particles for later."
# END SOLUTION
explain("U15.words", my_words)
