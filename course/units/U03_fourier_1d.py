# %% [markdown]
# # U03 The Fourier transform in one dimension
#
# **Question.** Why do people in this field talk about "the 3 Å shell" and "low frequencies" when all they have is pictures?
#
# **What you need.** U00: a complex number as an arrow. One integral, and patience with one page of algebra if you take the sharpen stream.
#
# **What you will be able to do.**
#
# - take a line profile apart into waves, and read amplitude, phase and frequency of each;
# - say what becomes narrow when something else becomes broad, and find five places in cryo-EM where that happens;
# - translate between Fourier bins, 1/Å and Å, without falling into the trap that bins are not samples;
# - prove the four laws of the transform, test them on a computer, and know which one does not survive sampling (*sharpen*).

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import fourier
from cryowalk.course import Choice, Slider, check, explain, exploration, parameters, predict, prediction

# %% [markdown] tags=["blur"]
# ## Before we begin: a guess
#
# You put a molecule into a box of 128 Å, sampled with 1 Å pixels, and Fourier transform it. The finest detail that such a picture can hold has a length of
# 2 Å. **Which part of Fourier space describes the details between 2 and 4 Å?** Commit yourself; the answer comes with the ruler below.
#
# (a) the inner quarter, close to the centre; (b) the outer half; (c) they are spread evenly over all of it.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "b"
# END SOLUTION
predict("U03.opening", my_guess, options=("a", "b", "c"))

# %% [markdown] tags=["blur"]
# ## A picture is a sum of waves
#
# Take a single wave along a line,
# $$ a\cos(2\pi u x - \varphi). $$
# It has three numbers. Its **amplitude** $a$ says how strong it is. Its **frequency** $u$ says how many periods fit into one Å; its **period** $1/u$ is the length
# that people quote as "resolution". Its **phase** $\varphi$ says where the crests are: the wave is moved by $\varphi/2\pi$ of a period towards $+x$.
#
# The mixer adds two such waves to a constant. Try these before you move on:
#
# - Make the second frequency three times the first, and play with its phase only. How different can the sum look with the same two amplitudes?
# - Make both frequencies almost equal. Where does the slow beat come from?


# %% tags=["blur"]
def draw_mixer(period, second_period, second_amplitude, second_phase):
    """Two waves and their sum along 60 Å."""
    x = np.linspace(0, 60, 800)
    first = np.cos(2 * np.pi * x / period)
    second = second_amplitude * np.cos(2 * np.pi * x / second_period - second_phase * np.pi)
    figure, (parts, total) = plt.subplots(2, 1, figsize=(8, 4), sharex=True)
    parts.plot(x, first, "C0", label=f"period {period:.1f} Å, frequency {1 / period:.3f} 1/Å")
    parts.plot(x, second, "C1", label=f"period {second_period:.1f} Å, frequency {1 / second_period:.3f} 1/Å")
    parts.set(ylim=(-1.7, 2.6))
    parts.legend(loc="upper right", fontsize=8, ncols=2)
    total.plot(x, first + second, "k")
    total.set(xlabel="x (Å)", ylabel="sum", ylim=(-2.8, 2.8))
    return figure


mixer = exploration(
    draw_mixer,
    period=Slider(6.0, 30.0, 18.0, step=0.5, label="first period (Å)"),
    second_period=Slider(2.0, 30.0, 6.0, step=0.5, label="second period (Å)"),
    second_amplitude=Slider(0.0, 1.5, 0.6, step=0.1, label="second amplitude"),
    second_phase=Slider(-1.0, 1.0, 0.5, step=0.05, label="second phase / π"),
)
mixer

# %% [markdown] tags=["blur"]
# *Figure U03.a. The harmonic mixer. Above: two waves. Below: their sum, which is what a camera would record.*
#
# A cosine is the shadow of a phasor (U00), so it is convenient to keep the phasor: $e^{2\pi i u x}$. A cosine is half of one turning counter-clockwise and half of one
# turning clockwise, $\cos(2\pi ux) = \tfrac12 e^{2\pi iux} + \tfrac12 e^{-2\pi iux}$. That is the only reason why *negative* frequencies appear; for a real
# function they hold nothing new.
#
# ## The winding machine: how much of a wave is in it?
#
# Given a function $f(x)$, how much of the wave of frequency $u$ does it contain? Wind it around a circle. Turn a phasor backwards, $e^{-2\pi iux}$, let $f(x)$
# be its length while you walk along $x$, and add up all the arrows:
# $$ F(u) = \int_{-\infty}^{\infty} f(x)\, e^{-2\pi i u x}\, dx. $$
# If $f$ has no preference for the period $1/u$, the arrows point everywhere and cancel. If $f$ repeats with that period, they all pile up on one side. The sum is a complex number:
# its modulus is the amplitude of the wave, its phase tells where the crests are. This is the **Fourier transform**. The minus sign and the place of the $2\pi$ are
# conventions, and these are ours; with them no further factors are needed to come back:
# $$ f(x) = \int_{-\infty}^{\infty} F(u)\, e^{+2\pi i u x}\, du. $$
#
# We need something to transform. Here is a toy molecule as a line profile: a few blobs of density, different in size and not symmetric, as the
# shadow of a real one would be.

# %% tags=["blur"]
box, pixel_size = 128, 1.0  # pixels, Å
x = (np.arange(box) - box // 2) * pixel_size  # the origin is the pixel n // 2, as everywhere in cryowalk
centres = np.array([-21.0, -12.5, -7.0, 2.0, 6.5, 13.0, 24.0])  # Å
heights = np.array([0.7, 1.3, 0.9, 1.6, 0.8, 1.1, 0.5])
sigmas = np.array([3.0, 1.6, 2.2, 1.3, 1.6, 2.6, 1.9])  # Å


def profile_at(positions):
    """The line profile of the toy molecule."""
    blobs = heights * np.exp(-((positions[:, None] - centres) ** 2) / (2 * sigmas**2))
    return blobs.sum(axis=1)


profile = profile_at(x)


def draw_winding(frequency):
    """The profile wound around the origin with one turn per period, and the transform up to this frequency."""
    wound = profile * np.exp(-2j * np.pi * frequency * x)
    all_frequencies = np.linspace(0, 0.25, 400)
    spectrum = np.array([(profile * np.exp(-2j * np.pi * u * x)).sum() * pixel_size for u in all_frequencies])
    here = wound.sum() * pixel_size
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.5), width_ratios=(1.2, 1, 1.3))
    left.plot(x, profile, "k")
    left.plot(x, 0.9 * np.cos(2 * np.pi * frequency * x), "C0", lw=0.8)
    left.set(xlabel="x (Å)", title=f"profile and wave, period {1 / frequency:.1f} Å")
    middle.plot(wound.real, wound.imag, "C0", lw=0.9)
    centre = 1.7 * here / (profile.sum() * pixel_size)  # at frequency zero the arrow just fits
    middle.plot([0, centre.real], [0, centre.imag], "C3", lw=2)
    middle.plot(centre.real, centre.imag, "C3o")
    middle.set(aspect="equal", xlim=(-1.8, 1.8), ylim=(-1.8, 1.8), title="wound; red: the sum of all arrows")
    right.plot(all_frequencies, np.abs(spectrum), "C3")
    right.plot(frequency, abs(here), "C3o")
    right.set(xlabel="frequency u (1/Å)", title=f"|F(u)| = {abs(here):.2f}, phase {np.angle(here):+.2f} rad")
    return figure


winding = exploration(draw_winding, frequency=Slider(0.004, 0.25, 0.085, step=0.001, label="frequency u (1/Å)"))
winding

# %% [markdown] tags=["blur"]
# *Figure U03.b. The winding machine. Left: the profile with a wave of the chosen frequency. Middle: the profile wound around the origin, one turn per period; the red
# arrow is the sum of all its points, scaled to fit: that is the transform. Right: its length for every frequency, that is, the amplitude spectrum.*
#
# At which frequency does the red arrow make its last real effort? Its period is about the size of the finest detail in the profile.
#
# ## From scratch, then with the library
#
# The integral over samples is a sum, and the sum is one line. We can trust it because a Gaussian has a known transform:
# $f(x) = e^{-\pi x^2/w^2}$ gives $F(u) = |w|\,e^{-\pi w^2u^2}$, again a Gaussian.


# %% tags=["blur"]
def transform(samples, positions, frequencies):
    """∫ f(x) exp(−2πi u x) dx as a sum over evenly spaced samples, for each frequency."""
    step = positions[1] - positions[0]
    return np.exp(-2j * np.pi * np.outer(frequencies, positions)) @ samples * step


u = np.arange(box // 2 + 1) / (box * pixel_size)  # 0, 1/128, 2/128, ... 1/2
width = 9.0
error = np.abs(transform(np.exp(-np.pi * x**2 / width**2), x, u) - width * np.exp(-np.pi * width**2 * u**2)).max()
print(f"largest error of the sum for a Gaussian: {error:.1e}")
assert error < 1e-12

# %% [markdown] tags=["blur"]
# The sum over a grid that is as fine and as wide as this one is exact to the last digits. (Why a *sum* can be that good, and when it is not, is the subject of
# U04.) The library does the same for all the frequencies $k/(n\,\cdot$ pixel size$)$ at once, and much faster. Its transform is *orthonormal*: it is
# divided by $\sqrt n$ so that it keeps lengths, and it leaves out the pixel size. Phases count from the origin pixel. It returns only the frequencies from zero up to Nyquist, because for a real
# function the negative ones are mirror images: $F(-u)$ is the complex conjugate of $F(u)$.

# %% tags=["blur"]
spectrum = fourier.to_fourier(torch.tensor(profile), dimensions=1)
by_hand = transform(profile, x, u)
difference = np.abs(spectrum.numpy() * math.sqrt(box) * pixel_size - by_hand).max()
mirror = np.abs(transform(profile, x, -u) - by_hand.conj()).max()
back = fourier.to_real(spectrum, width=box, dimensions=1).numpy()
print(
    f"{box} samples give {len(spectrum)} frequencies; library against the sum: {difference:.1e}; F(-u) against conj F(u): {mirror:.1e}"
)
assert difference < 1e-11
assert mirror < 1e-11
assert np.allclose(back, profile, atol=1e-12)
assert math.isclose(
    float((spectrum.abs() ** 2)[1:-1].sum() * 2 + spectrum[0].abs() ** 2 + spectrum[-1].abs() ** 2), (profile**2).sum()
)

# %% [markdown] tags=["blur"]
# The last line checks that nothing is lost: the sum of squares is the same on both sides (Parseval's theorem). An amplitude spectrum is a budget.
#
# Now add the waves up again, the slow ones first. How many does it take until you recognise the profile?


# %% tags=["blur"]
def draw_partial_sum(finest):
    """The profile from the waves whose period is at least `finest` Å."""
    kept = spectrum.clone()
    kept[torch.tensor(u) > 1 / finest + 1e-9] = 0
    rebuilt = fourier.to_real(kept, width=box, dimensions=1).numpy()
    count = int((u <= 1 / finest + 1e-9).sum()) - 1
    figure, (real, reciprocal) = plt.subplots(1, 2, figsize=(11, 3.4), width_ratios=(1.5, 1))
    real.plot(x, profile, "0.7", lw=3, label="profile")
    real.plot(x, rebuilt, "C0", label=f"{count} waves and a constant")
    real.set(xlabel="x (Å)", xlim=(-45, 45), ylim=(-0.6, 2.1), title=f"down to a period of {finest:.1f} Å")
    real.legend(loc="upper right")
    reciprocal.bar(u, spectrum.abs().numpy(), width=0.8 / box, color=np.where(u <= 1 / finest + 1e-9, "C0", "0.8"))
    reciprocal.set(xlabel="frequency (1/Å)", ylabel="amplitude", xlim=(-0.01, 0.4))
    return figure


partial_sum = exploration(draw_partial_sum, finest=Slider(2.0, 60.0, 14.0, step=0.5, label="finest period kept (Å)"))
partial_sum

# %% [markdown] tags=["blur"]
# *Figure U03.c. Left: the profile (grey) and the sum of its waves down to a shortest period (blue). Right: the amplitudes of all waves; the blue ones are in the sum.
# This is what a low-pass filter does, and what "a map at 14 Å resolution" means.*

# %% [markdown] tags=["blur"]
# <a id="Q-M02-2"></a>
# ## Narrow here, broad there
#
# A short click contains all tones; a pure tone has to last. Squeeze a function by a factor, and its transform stretches by the same factor: if
# $f(x)$ has the transform $F(u)$, then $f(ax)$ has
# $$ \frac{1}{|a|}\,F\!\left(\frac{u}{a}\right). $$
# The product of the two widths therefore does not depend on the size of the thing, only on its *shape*. Change the width and look at the product in the title.


# %% tags=["blur"]
def full_width(positions, values):
    """The full width at half maximum of a curve with one peak, by linear interpolation."""
    half = values.max() / 2
    above = np.flatnonzero(values >= half)
    left, right = above[0], above[-1]
    start = np.interp(half, values[left - 1 : left + 1], positions[left - 1 : left + 1])
    end = np.interp(half, values[right + 1 : right - 1 : -1], positions[right + 1 : right - 1 : -1])
    return end - start


SHAPES = {
    "Gaussian": lambda t: np.exp(-4 * np.log(2) * t**2),
    "box": lambda t: (np.abs(t) <= 0.5) * 1.0,
    "two-sided exponential": lambda t: np.exp(-2 * np.log(2) * np.abs(t)),
}
fine_x = np.linspace(-60, 60, 6001)
fine_u = np.linspace(-0.8, 0.8, 801)


def pair_of(shape, full_width_x):
    """A function with this full width at half maximum, and its transform."""
    values = SHAPES[shape](fine_x / full_width_x)
    return values, transform(values, fine_x, fine_u).real


def draw_pair(full_width_x, shape):
    """A function and its transform side by side, with both widths."""
    values, transformed = pair_of(shape, full_width_x)
    width_u = full_width(fine_u, transformed)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2))
    left.plot(fine_x, values, "C0")
    left.axhline(values.max() / 2, color="0.8")
    left.set(xlabel="x (Å)", xlim=(-12, 12), ylim=(-0.3, 1.1), title=f"full width {full_width_x:.2f} Å")
    right.plot(fine_u, transformed, "C3")
    right.axhline(transformed.max() / 2, color="0.8")
    right.set(xlabel="u (1/Å)", ylim=(-2.5, 10.5), title=f"full width {width_u:.3f} 1/Å;  product {full_width_x * width_u:.3f}")
    return figure


width_pair = exploration(
    draw_pair, full_width_x=Slider(1.5, 8.0, 3.0, step=0.25, label="full width (Å)"), shape=Choice(tuple(SHAPES), label="shape")
)
width_pair

# %% [markdown] tags=["blur"]
# *Figure U03.d. A function (left) and its transform (right), with their full widths at half maximum. Narrower on the left is broader, and lower, on the right. The
# height changes too: $F(0)$ is the area under $f$.*
#
# ### Exercise U03.5 · Twice the magnification
#
# You record the same molecule again at twice the magnification, with the same camera. The pixel now is half as large. **Counted in pixels of the
# recorded picture, what happens to the spectrum of the molecule?** First predict:
#
# - (a) it becomes twice as broad in cycles per pixel;
# - (b) it becomes twice as narrow in cycles per pixel, and stays the same in 1/Å;
# - (c) it stays the same in cycles per pixel;
# - (d) it becomes twice as narrow both in cycles per pixel and in 1/Å.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_letter = "b"
# END SOLUTION
predict("U03.5", my_letter, options=("a", "b", "c", "d"))

# %% [markdown] tags=["blur"]
# Now run it: the toy molecule with 1 Å pixels and with 0.5 Å pixels, the same number of pixels. The left panel has the axis that the computer knows, the right one
# the axis that the molecule knows.

# %% tags=["blur"]
my_letter = prediction("U03.5")
figure, (per_pixel, per_length) = plt.subplots(1, 2, figsize=(10, 3.2))
for size, colour in ((1.0, "C0"), (0.5, "C1")):
    samples = torch.tensor(profile_at((np.arange(box) - box // 2) * size))
    amplitude = (fourier.to_fourier(samples, dimensions=1).abs() * math.sqrt(box) * size).numpy()
    frequencies = fourier.shell_frequency(box, pixel_size=size).numpy()
    per_pixel.plot(frequencies * size, amplitude, colour, marker=".", label=f"pixel {size} Å")
    per_length.plot(
        frequencies,
        amplitude,
        colour,
        marker=".",
        label=f"pixel {size} Å: spacing {frequencies[1]:.4f}, Nyquist {frequencies[-1]:.2f} 1/Å",
    )
per_pixel.set(xlabel="frequency (cycles per pixel)", ylabel="|F|", xlim=(0, 0.5))
per_length.set(xlabel="frequency (1/Å)", xlim=(0, 0.5))
per_pixel.legend()
per_length.legend(fontsize=8)
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U03.e. The same molecule at two magnifications. In 1/Å its spectrum is where it was; what changed is how far the camera can see (Nyquist, twice as far) and how densely
# it samples (the field of view is half as large, so the frequencies lie twice as far apart).*
#
# To finish the exercise, measure the product of the widths for a Gaussian of *your own* full width at half maximum, with the functions above or your own, and check
# your letter together with the product.

# %% tags=["blur"]
my_width = parameters("U03.5")["width"]  # Å, full width at half maximum
print(f"your Gaussian is {my_width} Å wide")
# BEGIN SOLUTION
values, transformed = pair_of("Gaussian", my_width)
product = my_width * full_width(fine_u, transformed)
# END SOLUTION
check("U03.5", (my_letter, product))

# %% [markdown] tags=["solution", "blur"]
# **The number.** For $f(x) = e^{-\pi x^2/w^2}$ the half maximum is where $\pi x^2/w^2 = \ln 2$, so the full width is $2w\sqrt{\ln2/\pi}$. The transform is
# $|w|\,e^{-\pi w^2u^2}$ with the full width $\frac{2}{w}\sqrt{\ln 2/\pi}$. The product is $\frac{4\ln2}{\pi} \approx 0.8825$, whatever $w$ is.
#
# **Where you meet it.** Each line is one sentence: *narrower in one space, broader in the other.*
#
# | in real space | in Fourier space |
# |---|---|
# | magnification up: the molecule covers more pixels | its spectrum covers fewer cycles per pixel |
# | a molecule of diameter $D$ | the spectrum changes over distances of about $1/D$: these are the "speckles" that a slice must hit (U21) |
# | smaller pixels | Nyquist, $1/(2\cdot$pixel size$)$, lies farther out |
# | a larger box (more empty space around) | a finer grid of frequencies, without new information |
# | a tight mask around the molecule | neighbouring shells are mixed, so the FSC of a masked map is smooth, and too optimistic (U24) |
# | atoms that vibrate more: a broader blob per atom | the spectrum falls off sooner: the B-factor (U07) |
# | a broader point spread of the image | a smaller objective aperture in the diffraction plane |

# %% tags=["blur"]
values, transformed = pair_of("Gaussian", 3.0)
assert math.isclose(3.0 * full_width(fine_u, transformed), 4 * math.log(2) / math.pi, rel_tol=1e-3)
power_x, power_u = values**2, transformed**2
spread_x = math.sqrt((fine_x**2 * power_x).sum() / power_x.sum())
spread_u = math.sqrt((fine_u**2 * power_u).sum() / power_u.sum())
print(
    f"root-mean-square widths of |f|² and |F|²: {spread_x:.3f} Å, {spread_u:.4f} 1/Å, product {spread_x * spread_u:.4f} = 1/(4π)"
)
assert math.isclose(spread_x * spread_u, 1 / (4 * math.pi), rel_tol=1e-6)

# %% [markdown] tags=["blur"]
# The last number is worth remembering. For *every* function the product of the root-mean-square widths of $|f|^2$ and $|F|^2$ is at least $1/4\pi$, and only the Gaussian
# reaches it. With $p = hu$ this is Heisenberg's uncertainty relation. It is a fact about waves before it is a fact about quantum mechanics.

# %% [markdown] tags=["blur"]
# <a id="Q-M02-3"></a>
# ## The ruler: bins, frequencies, Å
#
# Now the arithmetic that everybody gets wrong once. A box of 128 Å, pixels of 1 Å. Think of the frequency axis as divided into 64 **bins** on the
# positive side, and 64 on the negative side,
# $$ \ldots,\ [0, \Delta),\ [\Delta, 2\Delta),\ \ldots,\ [63\Delta, 64\Delta). $$
#
# ### Exercise U03.1 · The spacing
#
# How wide is one bin, $\Delta$, in 1/Å?

# %% tags=["blur"]
# BEGIN SOLUTION
spacing = 1 / (box * pixel_size)
# END SOLUTION
check("U03.1", spacing)

# %% [markdown] tags=["blur"]
# ### Exercise U03.2 · What lengths does a bin stand for?
#
# A bin is a range of frequencies; $1/u$ turns it into a range of lengths. Which lengths, in Å, belong to bin 0, to bin 1 and to bin 63 (the
# last one)? Write each as `(longest, shortest)`. Infinity is `np.inf`.

# %% tags=["blur"]
# BEGIN SOLUTION
ranges = [(np.inf, 128.0), (128.0, 64.0), (128 / 63, 128 / 64)]
# END SOLUTION
check("U03.2", ranges)

# %% [markdown] tags=["blur"]
# ### Exercise U03.3 · Between 10 and 5, between 5 and 2.5
#
# Both ranges go down by a factor of two. How many bins lie between 10 and 5 Å, and how many between 5 and 2.5 Å? Predict first, from the feeling for it; a pair of numbers.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_bins = (12.8, 25.6)
# END SOLUTION
predict("U03.3", my_bins)

# %% [markdown] tags=["blur"]
# Then use the ruler. It shows the bins at equal steps in frequency (above), and the same bins on an axis of lengths (below). Choose a bin and read its range. The third control
# counts how many Fourier pixels the bin holds if the picture is a line, an image or a volume.


# %% tags=["blur"]
def pixels_per_bin(dimensions):
    """How many Fourier pixels of the full transform lie in each of the 64 bins of |k|, in a box of 128 pixels."""
    index = np.arange(-box // 2, box // 2)
    squared = sum(np.meshgrid(*[index**2] * dimensions, indexing="ij", sparse=True))
    return np.bincount(np.sqrt(squared).astype(int).ravel())[: box // 2]


COUNTS = {name: pixels_per_bin(dimensions) for dimensions, name in enumerate(("line (1-D)", "image (2-D)", "volume (3-D)"), 1)}


def draw_ruler(k, kind):
    """The bins in frequency and in length, with bin k in colour."""
    spacing = 1 / (box * pixel_size)
    longest = math.inf if k == 0 else 1 / (k * spacing)
    shortest = 1 / ((k + 1) * spacing)
    figure, (above, below) = plt.subplots(2, 1, figsize=(10, 3.8))
    edges = np.arange(box // 2 + 1) * spacing
    above.vlines(edges, 0, 1, color="0.6", lw=0.6)
    above.axvspan(0.1, 0.2, color="C0", alpha=0.25, label="10 to 5 Å")
    above.axvspan(0.2, 0.4, color="C1", alpha=0.25, label="5 to 2.5 Å")
    above.axvspan(k * spacing, (k + 1) * spacing, color="C3")
    above.set(xlim=(0, 0.5), yticks=[], xlabel="frequency (1/Å)")
    above.set_title(f"bin {k}: {shortest:.3f} to {longest:.2f} Å, {COUNTS[kind][k]} Fourier pixels of the {kind}", fontsize=11)
    above.legend(loc="upper right", fontsize=8)
    below.vlines(1 / edges[1:], 0, 1, color="0.6", lw=0.6)
    below.axvspan(5, 10, color="C0", alpha=0.25)
    below.axvspan(2.5, 5, color="C1", alpha=0.25)
    below.axvspan(shortest, min(longest, 140.0), color="C3")
    below.set(xlim=(140, 0), yticks=[], xlabel="length (Å)")
    figure.tight_layout()
    return figure


my_bins = prediction("U03.3")
ruler = exploration(draw_ruler, k=Slider(0, 63, 5, label="bin"), kind=Choice(tuple(COUNTS), label="picture"))
ruler

# %% [markdown] tags=["blur"]
# *Figure U03.f. The bin ruler. Above, in frequency, all bins are equally wide. Below, the same bins as lengths: the first ones are tens of Å wide and the last ones a few hundredths.*
#
# Change your prediction above if the ruler changed your mind, and check it:

# %% tags=["blur"]
check("U03.3", prediction("U03.3"))

# %% [markdown] tags=["blur"]
# ### Trap: bins are not samples
#
# This is the trap called T4 in the list of traps that this course keeps. The question speaks of 64 bins on the negative side and 64 on the positive, and that counts *intervals* between edges. A transform of 128
# samples does not return intervals. It returns values *at points* $k/(128\,\text{Å})$: one at zero, 63 at positive frequencies, and 64 at negative ones. The Nyquist frequency,
# $\pm64/128$, is one point and not two, because on the grid a wave of period two pixels looks the same whichever way it runs. The half spectrum of a real picture therefore has
# 65 values: zero, 63, and Nyquist. The next cell lets the library say so, for an odd box too, which has no Nyquist point at all.

# %% tags=["blur"]
for n in (128, 127):
    # The y axis of an image keeps both signs; the x axis of the half spectrum keeps zero and up.
    half, full = fourier.frequency_grid((n, n), pixel_size=1.0, dtype=torch.float64)
    print(
        f"{n} samples: {int((full < 0).sum())} negative, {int((full == 0).sum())} zero, {int((full > 0).sum())} positive; half spectrum {half.numel()}"
    )
negative, positive = (
    int((fourier.frequency_grid((128, 128), pixel_size=1.0)[1] < 0).sum()),
    int((fourier.frequency_grid((128, 128), pixel_size=1.0)[1] > 0).sum()),
)
assert (negative, positive) == (64, 63)

# %% [markdown] tags=["solution", "blur"]
# **Worked answer to the question of the bins.** The spacing is $\Delta = 1/128\,$Å$\,= 0.0078125$ 1/Å. It depends on the length of the box alone. Bin $k$ holds the frequencies from
# $k\Delta$ up to, but without, $(k+1)\Delta$, that is, the lengths $\left(\frac{128}{k+1}, \frac{128}{k}\right]$: from $(128, \infty)$ for bin 0, $(64, 128]$ for bin 1 and $(42.67, 64]$ for
# bin 2, down to $(2.065, 2.098]$, $(2.032, 2.065]$ and $(2.000, 2.032]$ for bins 61 to 63. (The question writes its intervals closed at the low frequency, so they are closed at the *long* end.) In
# length, bin 1 is 64 Å wide and bin 63 about 0.03 Å.
#
# Between 10 and 5 Å lie the frequencies 0.1 to 0.2, which are $0.1/\Delta = 12.8$ bins; between 5 and 2.5 Å lie $0.2/\Delta = 25.6$: twice as many. Whole numbers depend on what you count. The
# transform has samples at $k = 13, \dots, 25$ (13 of them) in the first range and at $k = 26, \dots, 51$ (26) in the second. Bins that lie *whole* inside are 12 and 25. All three are right if you say which.
#
# And the guess at the beginning: 2 to 4 Å are the frequencies from 0.25 to 0.5, the outer *half* of the axis. In an image it is three quarters of the area, in a map seven eighths of the volume.

# %% tags=["blur"]
spacing = 1 / 128
edges = np.arange(65) * spacing
print("bin 61, 62, 63:", [f"({1 / edges[k + 1]:.3f}, {1 / edges[k]:.3f}]" for k in (61, 62, 63)])
samples = np.arange(65) / 128
for coarse, fine in ((10, 5), (5, 2.5)):
    inside = int(((samples >= 1 / coarse) & (samples < 1 / fine)).sum())
    whole = int(((edges[:-1] >= 1 / coarse) & (edges[1:] <= 1 / fine)).sum())
    print(f"{coarse} to {fine} Å: {(1 / fine - 1 / coarse) / spacing:.1f} widths of a bin, {inside} samples, {whole} whole bins")
print("your opening guess was", prediction("U03.opening"))

# %% [markdown] tags=["sharpen"]
# ## Sharpen: the same question in two and three dimensions
#
# ### Exercise U03.4 · Where the numbers are
#
# In an image the bin is a ring, in a map a shell. Write `count(dimensions, coarse, fine)`: the number of Fourier pixels of the full transform (all signs of all components) of
# a box of 128 Å with 1 Å pixels whose length lies between `coarse` and `fine`, for 1, 2 and 3 dimensions.


# %% tags=["sharpen"]
def count(dimensions, coarse, fine):
    """The number of Fourier pixels with 1/coarse ≤ |k| < 1/fine."""
    # BEGIN SOLUTION
    one_axis = np.arange(-64, 64) / 128
    components = np.meshgrid(*[one_axis] * dimensions, indexing="ij", sparse=True)
    radius = np.sqrt(sum(component**2 for component in components))
    return int(((radius >= 1 / coarse) & (radius < 1 / fine)).sum())
    # END SOLUTION


check("U03.4", count)

# %% tags=["sharpen"]
from itertools import product as every_combination

k_squared = np.bincount([i * i + j * j for i, j in every_combination(range(-64, 64), repeat=2)])


def ring(coarse, fine):
    """The same count in two dimensions, from how often each |k|² occurs."""
    radius = np.sqrt(np.arange(len(k_squared)))
    return int(k_squared[(radius >= 128 / coarse) & (radius < 128 / fine)].sum())


bands = ring(10, 5), ring(5, 2.5)
print(
    f"image: {bands[0]} and {bands[1]} Fourier pixels, ratio {bands[1] / bands[0]:.2f}; areas of the rings: {math.pi * (25.6**2 - 12.8**2):.0f} and {math.pi * (51.2**2 - 25.6**2):.0f}"
)
assert abs(bands[1] / bands[0] - 4) < 0.05

# %% [markdown] tags=["sharpen"]
# So in a map there are *eight* times as many numbers between 5 and 2.5 Å as between 10 and 5 Å. Each of them has to be measured from the same number of electrons, and the signal there is weaker. That is one
# half of why resolution is expensive. (The other half is U07.)

# %% [markdown] tags=["sharpen"]
# <a id="Q-M02-1"></a>
# ## Four laws, four proofs
#
# Write $\mathcal F\{f\}(u) = F(u)$ for the transform. All four laws follow from the definition. They need nothing but that the integrals exist and that we may change the order of two of them (Fubini's theorem: enough
# if $|f|$ and $|g|$ have finite integrals, as every density that ends somewhere has).
#
# **Linearity.** $\mathcal F\{\alpha f + \beta g\} = \int (\alpha f + \beta g)\,e^{-2\pi iux}dx = \alpha F(u) + \beta G(u)$, because integrals are linear. Its use: the transform of a
# picture with noise is the transform of the picture plus that of the noise.
#
# **Shift.** $\mathcal F\{f(x - a)\}(u) = e^{-2\pi iua}F(u)$. Moving a thing does not change the amplitude of any wave, only the phases, and those by a *ramp*. Its use: particles are centred by
# multiplying their transforms.
#
# **Scale.** $\mathcal F\{f(ax)\}(u) = \frac{1}{|a|}F(u/a)$ for real $a \ne 0$. Its use: all of the section on widths.
#
# **Convolution.** With $(f*g)(x) = \int f(t)\,g(x-t)\,dt$,
# $$ \mathcal F\{f*g\}(u) = \int\!\!\int f(t)\,g(x-t)\,dt\;e^{-2\pi iux}\,dx = \int f(t)\left[\int g(x-t)\,e^{-2\pi iux}\,dx\right]dt = \int f(t)\,e^{-2\pi iut}\,G(u)\,dt = F(u)\,G(u). $$
# The order of integration was exchanged at the second sign, and the shift law was used at the third. Its use: all of U05.
#
# ### Exercise U03.6 · Your turn: shift and scale
#
# The two proofs in the middle are yours. Substitute $t$ for the argument of $f$, and write each line as a formula in `u`, `t`, `a`, with `i` for the
# imaginary unit, `pi`, `exp(...)`, `abs(...)` and `F(...)` for the transform of $f$. Take $a$ to be any real number but zero. For the shift law, $t = x - a$; for the scale law, $t = ax$.
#
# - `"shift: the exponential"`: $e^{-2\pi iux}$ in terms of $t$;
# - `"shift: the result"`: $\mathcal F\{f(x-a)\}$;
# - `"scale: the exponential"`: $e^{-2\pi iux}$ in terms of $t$;
# - `"scale: the factor"`: what replaces $dx$ in front of $dt$, once the integral runs from $-\infty$ to $\infty$ again;
# - `"scale: the result"`: $\mathcal F\{f(ax)\}$.
#
# For example, `"exp(-2*pi*i*u*t) * F(u) / 2"` is a formula. A wrong line gets a point at which it fails, and by what factor.

# %% tags=["sharpen"]
proof = {
    "shift: the exponential": "",
    "shift: the result": "",
    "scale: the exponential": "",
    "scale: the factor": "",
    "scale: the result": "",
}
# BEGIN SOLUTION
proof["shift: the exponential"] = "exp(-2*pi*i*u*(t + a))"
proof["shift: the result"] = "exp(-2*pi*i*u*a) * F(u)"
proof["scale: the exponential"] = "exp(-2*pi*i*u*t/a)"
proof["scale: the factor"] = "1/abs(a)"
proof["scale: the result"] = "F(u/a)/abs(a)"
# END SOLUTION
check("U03.6", proof)

# %% [markdown] tags=["solution", "sharpen"]
# **Shift.** With $t = x - a$, $dx = dt$ and the bounds stay: $\int f(x-a)e^{-2\pi iux}dx = \int f(t)\,e^{-2\pi iu(t+a)}dt = e^{-2\pi iua}\int f(t)e^{-2\pi iut}dt$.
#
# **Scale.** With $t = ax$, $dx = dt/a$. For $a > 0$ the bounds stay; for $a < 0$ they change places, and turning the integral round gives another minus sign. Both cases are $dt/|a|$. Then $\int f(ax)e^{-2\pi iux}dx =
# \frac1{|a|}\int f(t)\,e^{-2\pi i(u/a)t}dt$. The factor is easy to remember: $F(0)$ is the area under $f$, and squeezing by $a$ makes the area $|a|$ times smaller.

# %% [markdown] tags=["sharpen"]
# A computer algebra system can confirm the one integral that we have taken on trust, that a Gaussian transforms into a Gaussian, and with it the scale law on the pair $e^{-\pi a^2x^2}$, $|a|^{-1}e^{-\pi u^2/a^2}$. Then numbers:

# %% tags=["sharpen"]
import sympy

position, frequency = sympy.symbols("x u", real=True)
unit_gaussian = sympy.fourier_transform(sympy.exp(-sympy.pi * position**2), position, frequency)
print("transform of exp(-π x²):", unit_gaussian)
assert sympy.simplify(unit_gaussian - sympy.exp(-sympy.pi * frequency**2)) == 0

for a in (0.35, -1.4):
    squeezed = transform(np.exp(-np.pi * (a * fine_x) ** 2), fine_x, fine_u)
    expected = np.exp(-np.pi * (fine_u / a) ** 2) / abs(a)
    assert np.abs(squeezed - expected).max() < 1e-10, a
moved = transform(profile_at(fine_x - 4.3), fine_x, fine_u)
assert np.abs(moved - np.exp(-2j * np.pi * fine_u * 4.3) * transform(profile_at(fine_x), fine_x, fine_u)).max() < 1e-10

# %% [markdown] tags=["sharpen"]
# ### Exercise U03.7 · Which laws survive sampling?
#
# On a computer there are $n$ samples and the sum $F_k = \sum_j f_j\,e^{-2\pi ijk/n}$, here with the first sample as origin. Write a function that *tests* three of the laws on two vectors of random complex numbers, for
# any transform that it is handed, and returns the three largest errors:
#
# - linearity, with two factors of your choice;
# - shift by a few samples (what leaves at the end returns at the beginning: `np.roll`);
# - convolution, circular in the same sense: $h_j = \sum_m f_m\,g_{(j-m) \bmod n}$ has the transform $F_k G_k$.
#
# The check gives your tests the right transform, where they must find errors below $10^{-12}$ (per squared sample), and three transforms that each break one law, which they must notice. *A test that cannot fail tests nothing.*


# %% tags=["sharpen"]
def dft(samples):
    """The discrete Fourier transform as a sum, origin at the first sample, not normalised."""
    index = np.arange(len(samples))
    return np.exp(-2j * np.pi * np.outer(index, index) / len(samples)) @ samples


def law_errors(transform, f, g):
    """The largest errors of linearity, shift and convolution."""
    # BEGIN SOLUTION
    n = len(f)
    k = np.arange(n)
    linearity = transform(2.0 * f - 0.7j * g) - (2.0 * transform(f) - 0.7j * transform(g))
    shift = transform(np.roll(f, 2)) - np.exp(-2j * np.pi * k * 2 / n) * transform(f)
    h = np.array([sum(f[m] * g[(j - m) % n] for m in range(n)) for j in range(n)])
    convolution = transform(h) - transform(f) * transform(g)
    return tuple(np.abs(error).max() for error in (linearity, shift, convolution))
    # END SOLUTION


check("U03.7", law_errors)

# %% [markdown] tags=["sharpen"]
# Linearity, shift and convolution survive exactly, as long as everything goes round in a circle. The **scale law does not**. "$f(2x)$" on a grid would be every second sample, and half the samples are not there to
# fill the other half. Look what happens when you try:

# %% tags=["sharpen"]
random = np.random.default_rng(3)
n = 24
f = random.normal(size=n)
spectrum_f = dft(f)

kept = f[::2]  # the naive f(2x): every second sample, n/2 of them
wished = spectrum_f[: n // 2] / 2  # what (1/2) F(u/2) would be if the law held
folded = (
    spectrum_f[: n // 2] + spectrum_f[n // 2 :]
) / 2  # what really comes out: two parts of the spectrum on top of each other
print(
    f"scale law on random samples: off by {np.abs(dft(kept) - wished).max():.2f}; folded spectrum: off by {np.abs(dft(kept) - folded).max():.1e}"
)
assert np.abs(dft(kept) - wished).max() > 0.1
assert np.abs(dft(kept) - folded).max() < 1e-12

stuffed = np.zeros(2 * n)  # the naive f(x/2): a zero after every sample
stuffed[::2] = f
assert np.allclose(dft(stuffed), np.tile(spectrum_f, 2), atol=1e-12)
print("zeros between the samples: the spectrum is repeated, not squeezed")

# %% [markdown] tags=["sharpen"]
# Taking every second sample *folds* the spectrum: what lay beyond the new Nyquist frequency comes down on top of what lay below. That is aliasing (U06). Putting zeros between the samples makes *periodic copies*. These two are the only exact
# relatives of the scale law on a grid. For a function without power beyond the new Nyquist frequency the fold adds nothing, and then the law holds again. So pictures are shrunk by
# cutting their spectrum, not by leaving out pixels: `fourier.resample`.

# %% tags=["sharpen"]
smooth = torch.tensor(profile_at(x / 2))  # the toy molecule, twice as large: next to nothing beyond 0.25 1/Å
shrunk = fourier.resample(smooth, (box // 2,))
print(f"large toy molecule, every second sample against resampled: {float((smooth[::2] - shrunk).abs().max()):.4f}")
noise = torch.tensor(random.normal(size=box))
print(
    f"white noise, every second sample against resampled: {float((noise[::2] - fourier.resample(noise, (box // 2,))).abs().max()):.2f}"
)
assert float((smooth[::2] - shrunk).abs().max()) < 0.02

# %% [markdown]
# ## In your own words
#
# A colleague asks why fine detail is found far out in Fourier space, and why a small molecule has a smooth spectrum. What do you say?

# %%
# BEGIN SOLUTION
my_text = (
    "Every picture is a sum of waves, and fine detail needs waves with a short period, that is, a high frequency, far from the centre. "
    "A small molecule is narrow in real space, so everything in its spectrum is broad."
)
# END SOLUTION
explain("U03.words", my_text)

# %% [markdown]
# ## What to try on your own data
#
# Take a map of your own and look at its shadow on one axis. What is the finest period that stands out of the noise? How wide is the molecule, and how far apart are the speckles in its spectrum?
#
# ```python
# import cryowalk as cw
#
# volume = cw.read("run_class001.mrc")
# shadow = volume.voxels.sum((0, 1)) * volume.voxel_size**2          # the shadow on the x axis
# amplitude = cw.fourier.to_fourier(shadow, dimensions=1).abs()
# frequency = cw.fourier.shell_frequency(len(shadow), pixel_size=volume.voxel_size)   # 1/Å
# ```
#
# And for the next data set that you collect, before you choose the magnification: what is Nyquist, in Å? How many shells lie between 10 and 5 Å in your box, and how many beyond 3 Å?
#
# ## Further reading
#
# - F. J. Sigworth, *The 1D Fourier transform*, notes to the lectures *Cryo-EM Principles* (Yale). The pre-reading of the study group's meeting on this subject.
# - R. N. Bracewell, *The Fourier Transform and Its Applications*, 3rd ed., McGraw-Hill (2000). Chapter 6 has the laws, and the rest of the book pictures of them.
# - W. L. Briggs, V. E. Henson, *The DFT: An Owner's Manual for the Discrete Fourier Transform*, SIAM (1995). What sampling does to each law.
# - C. E. Shannon, *Communication in the presence of noise*, Proceedings of the IRE 37, 10–21 (1949). Why the pixel size decides.
# - R. A. Crowther, D. J. DeRosier, A. Klug, *The reconstruction of a three-dimensional structure from projections and its application to electron microscopy*, Proceedings of the Royal Society A 317, 319–340 (1970). Where "a particle of
#   diameter $D$ has independent Fourier coefficients at distances of $1/D$" was first put to use.
#
# **Next:** U04, the discrete transform in more dimensions, and what can go wrong with it.
