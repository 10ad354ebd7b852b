# %% [markdown]
# # U04 DFT, FFT and more dimensions
#
# **Question.** The computer transforms a list of numbers; the theory transforms a function. How far apart are the two, and what does the list cost?
#
# **What you need.** U03. For *sharpen*: sums of geometric series, and a feeling for logarithms.
#
# **What you will be able to do.**
#
# - read the spectrum of an image: which pixel is which wave, what turning, moving and magnifying do to it, and why phases matter more than amplitudes;
# - say which of three errors you are looking at: round-off, aliasing or truncation (*sharpen*);
# - write a discrete transform and a fast one yourself, and know what each of them costs, against a disk and against interpolation (*sharpen*);
# - walk around seven traps that have cost other people weeks (*sharpen*).
#
# About 75 minutes.

# %%
import math
import os
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import fourier, microscope
from cryowalk.course import Choice, Slider, check, explain, exploration, parameters, predict, prediction

# %% [markdown] tags=["blur"]
# ## Two pictures
#
# This unit has two heroes. One is a projection of the **hinge**, the made-up protein of two bodies that comes with cryowalk. The other is a **ring** seen from above, of the kind that
# many machines of the cell form. They look nothing like each other, which is what we need.

# %% tags=["blur"]
box, pixel_size = 96, 2.0  # pixels, Å
volume = microscope.specimen.potential(microscope.hinge(), box=box, voxel_size=pixel_size)
hinge_image = volume.voxels.sum(0).double().numpy()
hinge_image /= hinge_image.max()

y, x = np.mgrid[:box, :box] - box // 2  # pixels from the origin, which is the pixel n // 2
scatter = np.random.default_rng(11)
places = np.concatenate(
    [(21, 0) + 4.2 * scatter.normal(size=(45, 2)), (11, 2) + 1.8 * scatter.normal(size=(16, 2))]
)  # one subunit: its "atoms"
ring_image = np.zeros((box, box))
for index in range(7):
    for place in (places[:, 0] + 1j * places[:, 1]) * np.exp(1j * (2 * math.pi * index / 7 + 0.2)):
        ring_image += np.exp(-((x - place.real) ** 2 + (y - place.imag) ** 2) / 2)
ring_image /= ring_image.max()


def amplitude_of(image):
    """The amplitude spectrum of an image, all frequencies, zero in the middle, for looking at."""
    return np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image))))


def show(axes, image, title, *, spectrum=False):
    """One image or spectrum, with y upwards."""
    shown = np.log10(image + 1e-3 * image.max()) if spectrum else image
    half = 0.5 / pixel_size
    extent = (-half, half, -half, half) if spectrum else None
    axes.imshow(shown, cmap="magma" if spectrum else "gray", origin="lower", extent=extent)
    axes.set_title(title, fontsize=10)
    axes.set(xticks=[], yticks=[])


figure, panels = plt.subplots(1, 4, figsize=(12, 3.2))
for place, (name, image) in enumerate((("hinge", hinge_image), ("ring", ring_image))):
    show(panels[2 * place], image, f"{name}")
    show(panels[2 * place + 1], amplitude_of(image), f"{name}: amplitudes", spectrum=True)
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U04.a. The two pictures and their amplitude spectra (logarithmic; zero frequency in the middle, Nyquist at the edges). Both spectra are a bright spot with a speckled halo: hard to tell
# apart, and harder to read.*
#
# ### Exercise U04.1 · Amplitudes or phases?
#
# Each Fourier coefficient has an amplitude and a phase (U00). Take the *amplitudes of one* picture and the *phases of the other*, and transform back. **Which picture will you recognise:
# the one that gave the amplitudes, or the one that gave the phases?** Write `"amplitudes"` or `"phases"`. Crystallographers, who can measure only one of the two, have strong feelings about this.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_word = "phases"
# END SOLUTION
predict("U04.1", my_word, options=("amplitudes", "phases"))

# %% [markdown] tags=["blur"]
# ## More dimensions: every pixel of the spectrum is a wave
#
# In two dimensions a wave has a direction. With $\mathbf k = (k_x, k_y)$ and $\mathbf x = (x, y)$,
# $$ F(\mathbf k) = \int\!\!\int f(\mathbf x)\,e^{-2\pi i\,\mathbf k\cdot\mathbf x}\,dx\,dy, \qquad \mathbf k\cdot\mathbf x = k_xx + k_yy. $$
# The crests are perpendicular to $\mathbf k$ and lie $1/|\mathbf k|$ apart. The exponential is a product, $e^{-2\pi ik_xx}\,e^{-2\pi ik_yy}$, so there is nothing new to learn: transform
# all rows, then all columns of the result. In three dimensions do it once more along $z$. Every program does just that.
#
# Place one coefficient (and its mirror image, without which the picture would not be real). Where does the wave run? What does the phase do?


# %% tags=["blur"]
def draw_wave(kx, ky, phase):
    """A wave in the plane and its two points in Fourier space."""
    n = 64
    image = np.cos(
        2 * np.pi * (kx * (np.arange(n) - n // 2)[None, :] + ky * (np.arange(n) - n // 2)[:, None]) / n + phase * np.pi
    )
    length = math.hypot(kx, ky)
    period = math.inf if length == 0 else n / length
    figure, (real, reciprocal) = plt.subplots(1, 2, figsize=(9, 3.8))
    real.imshow(image, cmap="gray", origin="lower", vmin=-1, vmax=1, extent=(-n // 2, n // 2, -n // 2, n // 2))
    real.set(xlabel="x (pixels)", ylabel="y (pixels)", title=f"period {period:.1f} pixels")
    reciprocal.axhline(0, color="0.8")
    reciprocal.axvline(0, color="0.8")
    reciprocal.plot([kx], [ky], "C3o", ms=9, label=f"({kx}, {ky}), phase {phase:+.2f} π")
    reciprocal.plot([-kx], [-ky], "C0o", ms=6, label=f"({-kx}, {-ky}), phase {-phase:+.2f} π")
    reciprocal.set(xlim=(-n / 2, n / 2), ylim=(-n / 2, n / 2), aspect="equal", xlabel="$k_x$ (periods per box)", ylabel="$k_y$")
    reciprocal.legend(loc="upper left", fontsize=8)
    return figure


composer = exploration(
    draw_wave,
    kx=Slider(-31, 31, 4, label="k_x"),
    ky=Slider(-31, 31, 2, label="k_y"),
    phase=Slider(-1.0, 1.0, 0.0, step=0.05, label="phase / π"),
)
composer

# %% [markdown] tags=["blur"]
# *Figure U04.b. One wave. Left: the picture. Right: the two Fourier coefficients that make it, mirror images through the origin with opposite phases (Friedel mates). The
# direction of the wave is the direction of the point; the period is the size of the box divided by the distance of the point from the middle.*
#
# Now do something to the whole picture. Before you turn each knob, say what the spectrum will do.


# %% tags=["blur"]
def quarter_turn(image):
    """The picture turned by 90° about the origin pixel (an even side has no middle, so turning alone would move it by a pixel)."""
    return np.roll(np.rot90(image), 1, axis=0)


def draw_moved(picture, change):
    """A picture after a change, with its amplitudes, and its phases relative to those before the change."""
    original = {"hinge": hinge_image, "ring": ring_image}[picture]
    image = torch.tensor(original)
    if change == "turned by 90°":
        image = torch.tensor(quarter_turn(original))
    elif change == "moved by (14, 9) Å":
        spectrum = fourier.to_fourier(image) * fourier.shift_phases(
            (box, box), torch.tensor([14.0, 9.0], dtype=torch.float64), pixel_size=pixel_size
        )
        image = fourier.to_real(spectrum, width=box)
    elif change == "magnified twice":
        image = fourier.resize(fourier.resample(image, 2 * box), box)
    full, before = (np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(each))) for each in (image.numpy(), original))
    figure, (real, amplitudes, phases) = plt.subplots(1, 3, figsize=(11, 3.7))
    show(real, image.numpy(), f"{picture}, {change}")
    show(amplitudes, np.abs(full), "amplitudes (logarithmic)", spectrum=True)
    middle = slice(box // 2 - 16, box // 2 + 17)
    difference = np.angle((full * before.conj())[middle, middle])
    phases.imshow(difference, cmap="twilight", origin="lower", vmin=-np.pi, vmax=np.pi)
    phases.set(xticks=[], yticks=[])
    phases.set_title("phases minus those before (inner part)", fontsize=10)
    return figure


changes = exploration(
    draw_moved,
    picture=Choice(("hinge", "ring"), label="picture"),
    change=Choice(("moved by (14, 9) Å", "as it is", "turned by 90°", "magnified twice"), label="change"),
)
changes

# %% [markdown] tags=["blur"]
# *Figure U04.c. A picture after a change (left), its amplitudes (middle), and by how much the phases of the inner part of the spectrum have changed (right; the colours go round once in $2\pi$).*
#
# | change of the picture | its spectrum |
# |---|---|
# | turn it | turns by the same angle |
# | move it | same amplitudes; the phases gain a ramp, steeper for a larger shift |
# | magnify it | shrinks, and becomes stronger |
# | turn it by 180° | every coefficient becomes its complex conjugate |
#
# The first two lines are why alignment works at all: for a rotation one compares amplitudes without knowing the centre, for a shift one measures the slope of a ramp. Let numbers confirm them:

# %% tags=["blur"]
hinge_tensor = torch.tensor(hinge_image)
moved = fourier.to_real(
    fourier.to_fourier(hinge_tensor)
    * fourier.shift_phases((box, box), torch.tensor([14.0, -8.0], dtype=torch.float64), pixel_size=pixel_size),
    width=box,
)
same_amplitudes = (fourier.to_fourier(moved).abs() - fourier.to_fourier(hinge_tensor).abs()).abs().max()
rolled = torch.roll(hinge_tensor, (-4, 7), (0, 1))  # -8 Å along y and 14 Å along x, in pixels of 2 Å
turned_spectrum = np.abs(amplitude_of(quarter_turn(hinge_image)) - quarter_turn(amplitude_of(hinge_image))).max()
print(
    f"moved: amplitudes change by at most {float(same_amplitudes):.0e}; ramp against rolled pixels: {float((moved - rolled).abs().max()):.0e}"
)
print(f"spectrum of the turned picture against the turned spectrum: {turned_spectrum:.0e}")
assert turned_spectrum < 1e-10
assert float(same_amplitudes) < 1e-10
assert float((moved - rolled).abs().max()) < 1e-12

# %% [markdown] tags=["blur"]
# ## The swap
#
# Now the outcome of the bet. `hybrid(a, b)` takes the amplitudes of `a` and the phases of `b`.


# %% tags=["blur"]
def hybrid(amplitudes_of, phases_of):
    """The picture with the amplitudes of one and the phases of another."""
    first = fourier.to_fourier(torch.tensor(amplitudes_of))
    second = fourier.to_fourier(torch.tensor(phases_of))
    return fourier.to_real(first.abs() * torch.exp(1j * second.angle()), width=box).numpy()


def draw_swap(amplitudes, phases):
    """The hybrid of two pictures between its parents."""
    pictures = {"hinge": hinge_image, "ring": ring_image}
    figure, panels = plt.subplots(1, 3, figsize=(10, 3.5))
    show(panels[0], pictures[amplitudes], f"gives the amplitudes: {amplitudes}")
    show(panels[1], hybrid(pictures[amplitudes], pictures[phases]), "hybrid")
    show(panels[2], pictures[phases], f"gives the phases: {phases}")
    return figure


my_word = prediction("U04.1")
print("you said:", my_word)
swap = exploration(
    draw_swap,
    amplitudes=Choice(("hinge", "ring"), label="amplitudes from"),
    phases=Choice(("ring", "hinge"), label="phases from"),
)
swap

# %% [markdown] tags=["blur"]
# *Figure U04.d. A picture with the amplitudes of one parent (left) and the phases of the other (right).*
#
# Looking is not measuring. Take the hybrid with the **amplitudes of the hinge and the phases of the ring**. How well does it correlate with the ring, and how well with the hinge? One thing first: both
# pictures are a bright something in the middle of nothing, and *that* alone correlates. `detail` removes everything coarser than 40 Å, so that only what distinguishes them counts.
# Compute the correlation of the details (`np.corrcoef(detail(a).ravel(), detail(b).ravel())[0, 1]`). Answer with the word, the correlation with the donor of the phases, and that with the donor of the amplitudes.


# %% tags=["blur"]
def detail(image):
    """The picture without what is coarser than 40 Å."""
    return fourier.high_pass(torch.tensor(image), resolution=40, pixel_size=pixel_size).numpy()


def correlation(first, second):
    """The correlation coefficient of the details of two pictures."""
    return np.corrcoef(detail(first).ravel(), detail(second).ravel())[0, 1]


mixed = hybrid(hinge_image, ring_image)
# BEGIN SOLUTION
answer = (my_word, correlation(mixed, ring_image), correlation(mixed, hinge_image))
# END SOLUTION
check("U04.1", answer)

# %% [markdown] tags=["solution", "blur"]
# **Why phases win.** The amplitudes of most pictures are alike: large in the middle, falling outwards. They say *how much* of each wave there is. Where an edge stands is decided by where the crests
# of many waves meet, and that is the phases' business. It is also why a starting map biases a reconstruction: a wrong map hands wrong phases to every particle that is compared with it.

# %% tags=["blur"]
other = hybrid(ring_image, hinge_image)
for name, picture, giver, other_parent in (("ring", mixed, ring_image, hinge_image), ("hinge", other, hinge_image, ring_image)):
    with_phases, with_amplitudes = correlation(picture, giver), correlation(picture, other_parent)
    print(f"phases of the {name}: correlation {with_phases:.2f} with it, {with_amplitudes:.2f} with the donor of the amplitudes")
    assert with_phases > 2 * abs(with_amplitudes)

# %% [markdown] tags=["blur"]
# ## Half of it is enough
#
# A picture of real numbers has a spectrum with mirror symmetry, so programs keep only one half. The half is always taken of the *last* axis (the one whose numbers lie next to each other in
# memory), with zero and, for an even side, Nyquist.
#
# ### Exercise U04.6 · How many numbers?
#
# A map has 256 voxels a side. How many complex numbers does its half spectrum have?

# %% tags=["blur"]
# BEGIN SOLUTION
numbers_in_half = 256 * 256 * (256 // 2 + 1)
# END SOLUTION
check("U04.6", numbers_in_half)

# %% tags=["blur"]
small = 16
half = fourier.to_fourier(torch.zeros(small, small, small), dimensions=3)
print(f"{small}³ real numbers become {tuple(half.shape)} = {half.numel()} complex ones")
for n in (256, 512, 1024):
    count = n * n * (n // 2 + 1)
    print(
        f"{n}³: {count:,} complex numbers, {count * 8 / 2**20:.0f} MiB in single precision, and as much again for the map itself"
    )

# %% [markdown] tags=["blur"]
# Count again: 256³ real numbers went in, and *twice* 8.5 million came out, slightly more than 256³. Nothing was created. The planes $k_x=0$ and $k_x=$ Nyquist are their own mirror
# images and hold each number twice. A program that sums over a half spectrum must count the other columns double and these two once; forgetting it is a classic of home-made FSC code.

# %% tags=["blur"]
weights = torch.full((small // 2 + 1,), 2.0, dtype=torch.float64)
weights[0] = weights[-1] = 1.0
noise = torch.tensor(np.random.default_rng(2).normal(size=(small, small, small)))
power = fourier.to_fourier(noise, dimensions=3).abs() ** 2
print(
    f"sum of squares of the voxels {float((noise**2).sum()):.6f}, of the half spectrum with its weights {float((power * weights).sum()):.6f}, without {float(2 * power.sum()):.1f}"
)
assert math.isclose(float((noise**2).sum()), float((power * weights).sum()), rel_tol=1e-12)

# %% [markdown] tags=["sharpen"]
# <a id="Q-M03-1"></a>
# ## Sharpen: own it
#
# The study group's question: *sample a simple function; compute the FFT with a library, and the DFT with your own code. How close are they? What is the answer of the continuous case, and how does it differ?
# What is the typical floating-point error? What was the speed-up, and what is the theoretical limit?* We take it in that order.
#
# The **discrete Fourier transform** of $n$ numbers is
# $$ F_k = \sum_{j=0}^{n-1} f_j\, e^{-2\pi i jk/n}, \qquad k = 0, \dots, n-1, $$
# a matrix times a vector: $n^2$ multiplications.
#
# ### Exercise U04.2 · Your own transform
#
# Write it, any way you like, for any $n$. It must agree with the truth to $10^{-10}$ at $n = 1024$.


# %% tags=["sharpen"]
def dft(samples):
    """The discrete Fourier transform, the first sample at the origin, not normalised."""
    # BEGIN SOLUTION
    n = len(samples)
    index = np.arange(n)
    return np.exp(-2j * np.pi * (np.outer(index, index) % n) / n) @ samples
    # END SOLUTION


check("U04.2", dft)

# %% [markdown] tags=["sharpen"]
# **How close?** Three versions: a double loop, the matrix, and the matrix with one more thought. The product $jk$ reaches a million, so the angle $2\pi jk/n$ reaches thousands of turns, of which the sine needs only
# the fraction; the digits spent on whole turns are lost. Reducing $jk$ modulo $n$ *as whole numbers* keeps them.

# %% tags=["sharpen"]
random = np.random.default_rng(4)


def dft_loop(samples):
    """The definition, word for word."""
    n = len(samples)
    return np.array([sum(samples[j] * np.exp(-2j * np.pi * j * k / n) for j in range(n)) for k in range(n)])


def dft_matrix(samples):
    """The matrix, angles as they come."""
    index = np.arange(len(samples))
    return np.exp(-2j * np.pi * np.outer(index, index) / len(samples)) @ samples


def dft_reduced(samples):
    """The matrix, whole turns taken off before they cost digits."""
    index = np.arange(len(samples))
    return np.exp(-2j * np.pi * (np.outer(index, index) % len(samples)) / len(samples)) @ samples


samples = random.normal(size=1024) + 1j * random.normal(size=1024)
library = np.fft.fft(samples)
for name, own in (("matrix", dft_matrix), ("matrix, whole turns removed", dft_reduced)):
    print(f"{name:28s} against the library: {np.abs(own(samples) - library).max():.0e}")
print(f"{'loop, 128 samples':28s} against the library: {np.abs(dft_loop(samples[:128]) - np.fft.fft(samples[:128])).max():.0e}")
assert np.abs(dft_matrix(samples) - library).max() < 1e-10
assert np.abs(dft_reduced(samples) - library).max() < 1e-12

# %% [markdown] tags=["sharpen"]
# So the disagreement of "the DFT and the FFT" is a matter of the last digits. They are the same sum, and the *fast* one is the more accurate, because it adds fewer numbers.
#
# **From scratch: why it can be fast.** Split the sum into even and odd samples:
# $$ F_k = \sum_m f_{2m}\,e^{-2\pi i mk/(n/2)} + e^{-2\pi ik/n}\sum_m f_{2m+1}\,e^{-2\pi imk/(n/2)}. $$
# Both are transforms of length $n/2$, and they repeat for $k \ge n/2$, where only the factor in front changes its sign. Two half problems and $n$ operations to join them; halve again and again, $\log_2 n$ times:
# $n\log_2n$ in place of $n^2$. Cooley and Tukey published it in 1965. Gauss had it in a notebook of 1805.


# %% tags=["sharpen"]
def own_fft(samples):
    """The fast Fourier transform of a power of two of samples, by halving."""
    n = len(samples)
    if n == 1:
        return samples.astype(complex)
    even, odd = own_fft(samples[::2]), own_fft(samples[1::2])
    twisted = np.exp(-2j * np.pi * np.arange(n // 2) / n) * odd
    return np.concatenate([even + twisted, even - twisted])


print(f"eight lines against the library: {np.abs(own_fft(samples) - library).max():.0e}")
assert np.abs(own_fft(samples) - library).max() < 1e-12

# %% [markdown] tags=["sharpen"]
# ### The continuous answer, and three ways to miss it
#
# Now sample a function. For $f(x)=e^{-\pi x^2}$ the continuous answer is $F(u) = e^{-\pi u^2}$. The sum times the step, $\sum_j f(x_j)\,e^{-2\pi iux_j}\,\Delta x$, should approach it. It can fail in three ways:
#
# - **round-off**: numbers have 16 digits (or 7);
# - **truncation**: the sum ends where the box ends, and the function may not;
# - **aliasing**: between the samples we know nothing.
#
# The last has an exact description. Sampling multiplies $f$ by a comb of spikes; its transform is a comb with the spacing $1/\Delta x$; a product becomes a convolution (U05). Hence **Poisson's formula**,
# $$ \Delta x\sum_{j=-\infty}^{\infty} f(j\Delta x)\,e^{-2\pi iuj\Delta x} = \sum_{m=-\infty}^{\infty} F\!\left(u - \frac{m}{\Delta x}\right): $$
# the sum is the right answer *plus all its copies*. Look at a few points:

# %% tags=["sharpen"]
n, step = 32, 0.25
positions = (np.arange(n) - n // 2) * step
frequencies = np.arange(n // 2 + 1) / (n * step)
gaussian = np.exp(-np.pi * positions**2)
by_library = fourier.to_fourier(torch.tensor(gaussian), dimensions=1).numpy() * math.sqrt(n) * step
with_copies = sum(np.exp(-np.pi * (frequencies - m / step) ** 2) for m in range(-3, 4))
print("   u     continuous    library·step  difference   with copies")
for index in (0, 4, 8, 12, 15, 16):
    u, exact = frequencies[index], math.exp(-math.pi * frequencies[index] ** 2)
    print(
        f"{u:5.3f}  {exact:.6e}  {by_library[index].real:.6e}  {by_library[index].real - exact:+.1e}     {by_library[index].real - with_copies[index]:+.1e}"
    )
assert np.abs(by_library - with_copies).max() < 1e-14
assert math.isclose(by_library[-1].real, 2 * math.exp(-math.pi * frequencies[-1] ** 2), rel_tol=1e-3)

# %% [markdown] tags=["sharpen"]
# At low frequencies all digits agree. At Nyquist the library's answer is *twice* the continuous one, because the first copy is there exactly as strong as the original. With the copies added the difference is round-off. So nothing is wrong with the FFT; it
# answers another question.
#
# ### Exercise U04.3 · One sum
#
# Take the coarsest grid, $\Delta x = 1$, and the frequency zero. The integral $\int e^{-\pi x^2}dx$ is exactly 1. What is $\sum_{n=-\infty}^{\infty} e^{-\pi n^2}$ (to seven digits), and where does the excess come from: `"round-off"`, `"aliasing"` or `"truncation"`?

# %% tags=["sharpen"]
# BEGIN SOLUTION
answer = (sum(math.exp(-math.pi * n * n) for n in range(-6, 7)), "aliasing")
# END SOLUTION
check("U04.3", answer)

# %% tags=["sharpen", "solution"]
theta = sum(math.exp(-math.pi * n * n) for n in range(-6, 7))
closed_form = math.pi**0.25 / math.gamma(0.75)
finer = 0.5 * sum(math.exp(-math.pi * (n / 2) ** 2) for n in range(-12, 13))
print(f"sum {theta:.10f}, closed form π^(1/4)/Γ(3/4) = {closed_form:.10f}")
print(f"copies at ±1 and ±2: {2 * math.exp(-math.pi) + 2 * math.exp(-4 * math.pi):.10f}")
print(f"with half the step the excess is {finer - 1:.3e}; the copies at ±2 are {2 * math.exp(-4 * math.pi):.3e}")
assert math.isclose(theta, closed_form, rel_tol=1e-14)
assert math.isclose(finer - 1, 2 * math.exp(-4 * math.pi), rel_tol=1e-8)

# %% [markdown] tags=["sharpen", "solution"]
# Poisson's formula at $u=0$, $\Delta x=1$ reads $\sum_n e^{-\pi n^2} = \sum_m e^{-\pi m^2}$, which looks empty, but read it from right to left: the term $m=0$ is the integral, and all the others are copies. **The excess is
# aliasing.** Halve the step and the copies move out to $\pm2$, where a Gaussian is $e^{-4\pi}$: the excess falls from $9\cdot10^{-2}$ to $7\cdot10^{-6}$. Once more, and it is below the last digit.

# %% [markdown] tags=["sharpen"]
# ### Exercise U04.4 · A corner costs
#
# A Gaussian is forgiving. Take $f(x) = e^{-|x|}$, which has a corner; its transform $\frac{2}{1+4\pi^2u^2}$ falls off slowly, so its copies reach far. Write `sum_at_zero(step)`, the sum over *all* samples
# times the step, for $u=0$ (the integral is 2). Compute the error for each of your own steps, and fit the slope of log(error) against log(step).

# %% tags=["sharpen"]
my_steps = parameters("U04.4")["steps"]
print("your steps:", my_steps)


def sum_at_zero(step):
    """The sum of exp(-|n step|) over all n, times the step."""
    # BEGIN SOLUTION
    n = np.arange(-int(50 / step), int(50 / step) + 1)
    return float(np.exp(-np.abs(n * step)).sum() * step)
    # END SOLUTION


# BEGIN SOLUTION
errors = [abs(sum_at_zero(step) - 2) for step in my_steps]
slope = np.polyfit(np.log(my_steps), np.log(errors), 1)[0]
# END SOLUTION
check("U04.4", (sum_at_zero, slope))

# %% [markdown] tags=["sharpen", "solution"]
# A geometric series gives the sum in closed form, $\Delta x\,\coth(\Delta x/2) = 2 + \frac{\Delta x^2}{6} - \dots$, so the error is of second order. (At $\Delta x=0.5$ the sum is 2.041494.) The copies tell the same story: $2\sum_{m\ge1}\frac{2}{1+4\pi^2m^2/\Delta x^2}
# \approx \frac{\Delta x^2}{\pi^2}\sum\frac1{m^2} = \frac{\Delta x^2}{6}$. A function with a *jump* would have an error of first order. Each order of smoothness buys one power of the step, and a Gaussian, which is smooth to all orders, beats every power.

# %% tags=["sharpen", "solution"]
print(
    f"at a step of 0.5: {sum_at_zero(0.5):.6f}, closed form {0.5 / math.tanh(0.25):.6f}; at 0.05 the error is {sum_at_zero(0.05) - 2:.3e} and step²/6 is {0.05**2 / 6:.3e}"
)


# %% tags=["sharpen"]
def draw_convergence(half_width):
    """The error of the sum at u = 0 against the step, for three functions summed up to ± half_width."""
    steps = np.geomspace(0.02, 2.0, 60)
    functions = {
        "Gaussian (smooth)": (lambda t: np.exp(-np.pi * t**2), 1.0, "C0"),
        "two-sided exponential (corner)": (lambda t: np.exp(-np.abs(t)), 2.0, "C1"),
        "box (jump)": (lambda t: (np.abs(t) < 0.777) * 1.0, 2 * 0.777, "C2"),
    }
    figure, axes = plt.subplots(figsize=(7, 4))
    for name, (function, integral, colour) in functions.items():
        errors = []
        for step in steps:
            count = int(half_width / step)
            errors.append(abs(function(np.arange(-count, count + 1) * step).sum() * step - integral))
        axes.loglog(steps, np.maximum(errors, 1e-17), colour + ".-", label=name)
    axes.axhline(np.finfo(float).eps, color="0.6", ls=":")
    axes.text(0.02, 4e-16, "one unit in the last place", fontsize=8, color="0.4")
    axes.set(xlabel="step", ylabel="error", ylim=(1e-17, 10), title=f"summed from −{half_width:.1f} to {half_width:.1f}")
    axes.legend(loc="lower right", fontsize=8)
    return figure


convergence = exploration(draw_convergence, half_width=Slider(1.0, 45.0, 6.0, step=0.5, label="the sum ends at ±"))
convergence

# %% [markdown] tags=["sharpen"]
# *Figure U04.e. All three errors in one picture. Slanted parts are **aliasing**: the smoother the function, the steeper. Plateaus are **truncation**: they do not care about the step, and sink when the sum runs further (move the slider). The floor is **round-off**.*
#
# **The typical floating-point error** of an FFT grows only like $\sqrt{\log n}$, since every sample passes through $\log_2n$ additions whose errors are random. Measure it against the same transform in higher precision:

# %% tags=["sharpen"]
print("       n   single precision   double precision (there and back)")
for exponent in (6, 10, 14, 18):
    values = random.normal(size=2**exponent)
    exact = np.fft.rfft(values.astype(np.float32).astype(np.float64))
    single = torch.fft.rfft(torch.tensor(values, dtype=torch.float32)).numpy()
    relative = np.linalg.norm(single - exact) / np.linalg.norm(exact)
    there_and_back = np.linalg.norm(np.fft.irfft(np.fft.rfft(values), n=len(values)) - values) / np.linalg.norm(values)
    print(f"{2**exponent:8d}   {relative:.1e}            {there_and_back:.1e}")
    assert 1e-8 < relative < 1e-5
    assert there_and_back < 1e-14

# %% [markdown] tags=["sharpen"]
# A few units of the seventh digit. The noise of a micrograph is millions of times larger, so single precision is plenty for images. It is *not* plenty for a sum over a million images, or a division by something small (U06).
#
# **The speed-up.** Operations say $n^2/(n\log_2n) = n/\log_2n$: 102 at $n=1024$. The stopwatch disagrees, and that is trap T16 of this course:

# %% tags=["sharpen"]


def best_time(task, *, repeats=5):
    """The shortest of several times of a call, s, after one call that does not count."""
    task()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return min(times)


from threadpoolctl import threadpool_limits

sizes = [64, 128, 256, 512, 1024]
measured = {"loop": [], "matrix": [], "own FFT": [], "library": []}
for n in sizes:
    values = random.normal(size=n) + 0j
    index = np.arange(n)
    matrix = np.exp(-2j * np.pi * (np.outer(index, index) % n) / n)  # made beforehand: the kindest case for the matrix
    measured["loop"].append(best_time(lambda v=values: dft_loop(v), repeats=1) if n <= 128 else math.nan)
    with threadpool_limits(1):  # one thread: several would wait for each other longer than they work
        measured["matrix"].append(best_time(lambda m=matrix, v=values: m @ v, repeats=20))
    measured["own FFT"].append(best_time(lambda v=values: own_fft(v), repeats=2))
    measured["library"].append(best_time(lambda v=values: np.fft.fft(v), repeats=20))
figure, axes = plt.subplots(figsize=(7, 4))
for name, times in measured.items():
    axes.loglog(sizes, times, "o-", label=name)
axes.loglog(sizes, 1e-9 * np.square(sizes, dtype=float), "0.7", ls="--", label="n²")
axes.loglog(sizes, 1e-9 * np.array(sizes) * np.log2(sizes), "0.7", ls=":", label="n log n")
axes.set(xlabel="samples", ylabel="time (s)")
axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
plt.show()
print(
    f"at {sizes[-1]}: matrix / library = {measured['matrix'][-1] / measured['library'][-1]:.0f}; operations say {1024 / math.log2(1024):.0f}"
)
print(
    f"at {sizes[1]}: loop / library = {measured['loop'][1] / measured['library'][1]:.0f}; operations say {128 / math.log2(128):.0f}"
)

# %% [markdown] tags=["sharpen"]
# *Figure U04.f. Time against length on the machine that ran this page. Grey: what counting operations predicts, up to a factor.*
#
# The matrix product is usually *less* slow than the count of operations says, because it is done by a library that keeps every part of one core busy (and, unless you stop it as we did, several cores), while a short FFT spends its time on being called. The Python loop
# is far slower than any count says. And the eight-line FFT has the right slope but the wrong height: it loses to the matrix for every length that you would try. *The exponent is mathematics, the factor is engineering.*
#
# In more dimensions the gap becomes an abyss. With $N$ numbers in all, the ratio of operations is $N/\log_2N$:

# %% tags=["sharpen"]
for dimensions, n in ((1, 1024), (2, 512), (3, 256)):
    total = n**dimensions
    print(
        f"{dimensions}-D, {n} a side: {total:,} numbers; direct sum {total**2:.1e} products, FFT about {total * math.log2(total):.1e}; ratio {total / math.log2(total):.1e}"
    )
print(f"at 10¹⁰ products a second, the last direct sum takes {(256**3) ** 2 / 1e10 / 3600:.0f} hours")

# %% [markdown] tags=["sharpen"]
# A working day for one transform of one map, and a refinement needs hundreds. (Transforming axis by axis, each as a direct sum, would already help a lot: can you see by how much?) Cryo-EM in its present form could not exist without the FFT.

# %% [markdown] tags=["sharpen"]
# <a id="Q-M03-2"></a>
# ## How long in practice? Your machine, your table
#
# *How long do FFTs take in two and three dimensions, and how does that compare with disk and interpolation?* There is no number that is true everywhere, so this is a table for you to fill. The rules of an honest stopwatch: call once before you time (the
# first call makes plans and touches memory); take the *best* of several runs (other programs can only slow you down); say how many threads ran; and know where the data were.
#
# First a bar chart of four jobs of real life, measured here and now.

# %% tags=["sharpen"]
from scipy import ndimage

threads_before = torch.get_num_threads()
torch.set_num_threads(1)
cube = torch.tensor(random.normal(size=(128, 128, 128)), dtype=torch.float32)
micrograph = torch.tensor(random.normal(size=(2048, 2048)), dtype=torch.float32)
stack = torch.tensor(random.normal(size=(64, 128, 128)), dtype=torch.float32)
turn = np.array([[math.cos(0.5), -math.sin(0.5), 0], [math.sin(0.5), math.cos(0.5), 0], [0, 0, 1]])
folder = Path(tempfile.mkdtemp())
path = folder / "cube.raw"


def write_through():
    """Write the cube and wait until the disk says that it is there."""
    with path.open("wb") as file:
        file.write(cube.numpy().tobytes())
        file.flush()
        os.fsync(file.fileno())


jobs = {
    "FFT, 64 images of 128²": best_time(lambda: fourier.to_fourier(stack), repeats=5),
    "FFT, one image of 2048²": best_time(lambda: fourier.to_fourier(micrograph), repeats=3),
    "FFT, one map of 128³": best_time(lambda: fourier.to_fourier(cube, dimensions=3), repeats=3),
    "turn a map of 128³ (linear interpolation)": best_time(
        lambda: ndimage.affine_transform(cube.numpy(), turn, order=1), repeats=1
    ),
    "write a map of 128³ to disk (8 MiB)": best_time(write_through, repeats=2),
    "read it back (from the system's memory)": best_time(path.read_bytes, repeats=3),
}
torch.set_num_threads(threads_before)
path.unlink()
folder.rmdir()
figure, axes = plt.subplots(figsize=(8, 3))
axes.barh(list(jobs), [1e3 * seconds for seconds in jobs.values()], color=["C0"] * 3 + ["C1"] + ["C2"] * 2)
axes.invert_yaxis()
axes.set(xscale="log", xlabel="milliseconds, one thread")
plt.show()

# %% [markdown] tags=["sharpen"]
# *Figure U04.g. Transforms (blue), interpolation (orange) and files (green), on the machine that made this page.*
#
# Turning a map in real space costs much more than transforming it. This is not because interpolation is complicated: its reads are scattered, while an FFT walks through memory in order. U20 looks into that. As for the disk, the
# bytes that you have just written still lie in the system's memory, and reading them back measures memory. For the truth use a file larger than your memory, or one from yesterday on the cluster's network disk; there, reading a movie of a few hundred megabytes
# takes longer than all its transforms, and *that* is the bottleneck of motion correction.
#
# ### Exercise U04.5 · Fill in your table
#
# Time the transform of a real box of 64³, 128³ and 256³ and the reading of a file that holds the largest (64 MiB in single precision; write it first). Submit `{64: s, 128: s, 256: s, "disk": s}` in seconds. The check looks at your
# table, not at your machine: it asks whether the times *scale* as they should. Counting operations, what is the ratio of 256³ to 128³?


# %% tags=["sharpen"]
def measure_table():
    """Seconds for the transforms of three boxes and for reading 64 MiB from a file."""
    table = {}
    for side in (64, 128, 256):
        values = torch.zeros((side, side, side))
        table[side] = best_time(lambda v=values: fourier.to_fourier(v, dimensions=3), repeats=3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "box.raw"
        path.write_bytes(bytes(4 * 256**3))
        start = time.perf_counter()
        path.read_bytes()
        table["disk"] = time.perf_counter() - start
    return table


# %% tags=["sharpen"]
# BEGIN SOLUTION
# my_table = measure_table()   # on your machine. Below is what it gave on one core of a rented AMD EPYC server.
my_table = {64: 5.4e-4, 128: 9.1e-3, 256: 1.73e-1, "disk": 7.3e-2}
# END SOLUTION
check("U04.5", my_table)

# %% [markdown] tags=["sharpen", "solution"]
# Eight times the voxels, and $\log_2$ of their number grows from 21 to 24: $8\cdot24/21 = 9.1$. Measured ratios differ. They are larger where the 128³ box (8 MiB) fits into a cache of the processor and the 256³ box (64 MiB)
# does not: then you are timing the memory (the table above is such a case). They are smaller where several threads help the large box more than the middle one.

# %% [markdown] tags=["sharpen"]
# <a id="Q-M03-3"></a>
# ## Seven traps
#
# *What numerical issues and bottlenecks come with an FFT in practice, and how does one get round them?* A gallery; each trap is demonstrated, then defused.

# %% tags=["sharpen"]
print("1. Lengths with large prime factors")
for n in (4096, 4099, 4100):
    values = random.normal(size=n)
    print(f"   {n}: {1e6 * best_time(lambda v=values: np.fft.fft(v), repeats=30):7.1f} µs")
print(
    "   4096 = 2^12, 4099 is a prime, 4100 = 2·2·5·5·41. Choose boxes with small factors: 96, 100, 108, 120, 128, 144, 160, ...\n"
)

print("2. Which pixel is the origin?")
image = np.zeros(8)
image[4] = 1  # a single 1 in the middle
print(f"   transform with the origin at the first pixel: {np.round(np.fft.fft(image).real, 1)}: a checkerboard of signs")
print(
    f"   cryowalk, origin at n // 2:                   {np.round(fourier.to_fourier(torch.tensor(image), dimensions=1).real.numpy() * math.sqrt(8), 1)}\n"
)

print("3. Odd sizes")
odd = np.arange(7)
print(f"   fftshift twice:           {np.fft.fftshift(np.fft.fftshift(odd))}")
print(f"   ifftshift after fftshift: {np.fft.ifftshift(np.fft.fftshift(odd))}\n")
assert not np.array_equal(np.fft.fftshift(np.fft.fftshift(odd)), odd)
assert np.array_equal(np.fft.ifftshift(np.fft.fftshift(odd)), odd)

print("4. Single precision loses small things beside large ones")
faint = np.zeros(256, dtype=np.float32)
faint[:] = 3e4  # a large constant, as an uncorrected background would be
faint += 1e-3 * np.cos(2 * np.pi * 9 * np.arange(256) / 256).astype(np.float32)
seen = torch.fft.rfft(torch.tensor(faint))[9].abs() / 128
print(f"   a wave of amplitude 1e-3 on a background of 3e4 reads {float(seen):.1e}; subtract the mean first\n")

print("5. Normalisation: where does 1/n go?")
ones = np.ones(16)
for rule in ("backward", "ortho", "forward"):
    print(f"   {rule:9s} forward transform of 16 ones at zero: {np.fft.fft(ones, norm=rule)[0].real:.0f}")
print("   cryowalk uses the orthonormal one both ways, so that squared sums (noise!) are the same in both spaces\n")

print("6. Wrap-around")
block = np.zeros(32)
block[26:31] = 1
smear = np.zeros(32)
smear[:6] = 1 / 6
wrapped = np.fft.irfft(np.fft.rfft(block) * np.fft.rfft(smear), n=32)
print(f"   something at the right edge, blurred: {wrapped[:3].round(2)} appears at the left edge. Pad first (U05)\n")
assert wrapped[0] > 0.5

print("7. Threads")
pictures = torch.tensor(random.normal(size=(32, 256, 256)), dtype=torch.float32)
threads_before = torch.get_num_threads()
for count in (1, os.cpu_count() or 1, 4 * (os.cpu_count() or 1)):
    torch.set_num_threads(count)
    print(f"   {count:3d} thread(s): {1e3 * best_time(lambda: torch.fft.rfft2(pictures), repeats=3):6.1f} ms")
torch.set_num_threads(threads_before)
print(
    f"   this machine has {os.cpu_count()} cores; more threads than cores, or as many in each of several jobs, get in each other's way"
)

# %% [markdown] tags=["sharpen"]
# | trap | what you see | way out |
# |---|---|---|
# | 1 prime lengths | one box size is several times slower than its neighbour | pad or crop to small factors |
# | 2 origin | a checkerboard of signs, phase ramps, maps shifted by half a box | one convention, one place in the code: `fourier.to_fourier` |
# | 3 odd sizes | off by one pixel, only for odd boxes | `ifftshift` going in, `fftshift` coming out |
# | 4 precision | faint detail vanishes beside a large mean | subtract the mean; double precision for long sums |
# | 5 normalisation | factors of $n$ or $\sqrt n$ between two programs | write down the convention; test with a delta and a constant |
# | 6 wrap-around | things leave on the right and return on the left | pad with zeros or soften the edges |
# | 7 threads | more cores, less speed | one thread per process when you run many processes (`OMP_NUM_THREADS=1`) |
#
# Memory is the eighth, the quiet one: a transform needs the box, the spectrum and often a work space of the same size at once. For 1024³ you have seen above what one of them takes.
#
# ### Exercise U04.7 · The bug that sleeps until somebody has an odd box
#
# This pair is found in many scripts. It passes all tests at $n=64$. Find what is wrong, and return a pair for which even and odd sizes work: the origin of *both* spaces at pixel $n//2$.


# %% tags=["sharpen"]
def broken_forward(samples):
    """A centred transform, as found in the wild."""
    return np.fft.fftshift(np.fft.fft(np.fft.fftshift(samples)))


def broken_inverse(spectrum):
    """Its inverse, as found in the wild."""
    return np.fft.fftshift(np.fft.ifft(np.fft.fftshift(spectrum)))


for n in (64, 63):
    values = random.normal(size=n)
    print(f"n = {n}: the round trip is off by {np.abs(broken_inverse(broken_forward(values)) - values).max():.1e}")


# BEGIN SOLUTION
def forward(samples):
    return np.fft.fftshift(np.fft.fft(np.fft.ifftshift(samples)))


def inverse(spectrum):
    return np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(spectrum)))


# END SOLUTION
check("U04.7", (forward, inverse))

# %% [markdown] tags=["sharpen", "solution"]
# Before the transform the pixel $n//2$ has to come to the front: that is `ifftshift`. After it, the front has to go to $n//2$: `fftshift`. For even $n$ both move by $n/2$, so confusing them has no effect; for odd $n$ they differ by one pixel. The
# lesson is about testing: *an even box, a round trip and a symmetric object together prove nothing.* Tests in cryowalk use odd and even sides, sides that differ, and objects without symmetry.

# %% [markdown]
# ## In your own words
#
# A colleague samples a mask with a hard edge and transforms it. Near the centre of Fourier space the result agrees with the formula, near the edge it does not, by tens of percent. "The FFT is inaccurate", they say. What do you tell them?

# %%
# BEGIN SOLUTION
my_text = (
    "The FFT is exact to round-off. What you see is aliasing: the hard edge has a spectrum that falls off slowly, and its copies overlap "
    "at the edge of Fourier space. Take a smooth edge or smaller pixels."
)
# END SOLUTION
explain("U04.words", my_text)

# %% [markdown]
# ## What to try on your own data
#
# Swap the phases of two of your 2D class averages and look: does the class follow the phases? Then time your own box. Some boxes that people use are unlucky.
#
# ```python
# import cryowalk as cw, time, torch
#
# for box in (254, 256, 257, 264, 270):
#     image = torch.randn(200, box, box)
#     start = time.perf_counter()
#     cw.fourier.to_fourier(image)
#     print(box, time.perf_counter() - start)
# ```
#
# ## Further reading
#
# - F. J. Sigworth, *2D and 3D Fourier transforms*, notes to the lectures *Cryo-EM Principles* (Yale). The pre-reading of the study group's meeting on this subject.
# - J. W. Cooley, J. W. Tukey, *An algorithm for the machine calculation of complex Fourier series*, Mathematics of Computation 19, 297–301 (1965); M. T. Heideman, D. H. Johnson, C. S. Burrus, *Gauss and the history of the fast Fourier transform*,
#   Archive for History of Exact Sciences 34, 265–277 (1985).
# - M. Frigo, S. G. Johnson, *The design and implementation of FFTW3*, Proceedings of the IEEE 93, 216–231 (2005), and the collection of tutorials at fftw.org. Why the factor is engineering.
# - L. N. Trefethen, J. A. C. Weideman, *The exponentially convergent trapezoidal rule*, SIAM Review 56, 385–458 (2014). Why sums over a smooth function are so good.
# - A. V. Oppenheim, J. S. Lim, *The importance of phase in signals*, Proceedings of the IEEE 69, 529–541 (1981). The swap.
# - W. L. Briggs, V. E. Henson, *The DFT: An Owner's Manual*, SIAM (1995).
#
# **Next:** U05, what multiplication in one space does in the other.
