# %% [markdown]
# # U06 Sampling, Nyquist and a first deconvolution
#
# **Question.** A camera keeps one number per pixel and throws the rest away. What is lost, what turns up in the wrong place, and how much of a blur can be undone afterwards?
#
# **What you need.** U03 and the blur part of U05. For *sharpen*: U05 whole.
#
# **What you will be able to do.**
#
# - recognise aliasing, and say where a wave that is too fast for the pixels will appear;
# - choose a pixel size for a reason, and defend the choice with numbers;
# - shrink an image without making things up (*sharpen*);
# - predict when a deconvolution explodes, explain why, and cure it.
#
# About 60 minutes.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import Optics, fourier
from cryowalk.course import Choice, Slider, check, explain, exploration, parameters, predict, prediction

# %% [markdown] tags=["blur"]
# ## A wheel in a film
#
# A wagon wheel has eight spokes. Between two frames of the film it turns forwards by 0.9 of the distance between two spokes. **What does the audience see?** (a) it rolls forwards, fast; (b) it rolls backwards, slowly; (c) it stands still.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "b"
# END SOLUTION
predict("U06.opening", my_guess, options=("a", "b", "c"))

# %% tags=["blur"]
my_guess = prediction("U06.opening")
figure, panels = plt.subplots(1, 5, figsize=(11, 2.4), subplot_kw={"aspect": "equal"})
for frame, axes in enumerate(panels):
    for spoke in range(8):
        angle = 2 * np.pi * (spoke - 0.9 * frame) / 8  # forwards means clockwise here: the wheel rolls to the right
        axes.plot([0, np.cos(angle)], [0, np.sin(angle)], "C3" if spoke == 0 else "0.6", lw=3 if spoke == 0 else 2)
    axes.add_patch(plt.Circle((0, 0), 1, fill=False, lw=2))
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), xticks=[], yticks=[], title=f"frame {frame}")
plt.show()
print(f"you said {my_guess}; 0.9 of a spoke forwards is {0.9 - 1:+.1f} of a spoke")

# %% [markdown] tags=["blur"]
# *Figure U06.a. Five frames of a rolling wheel. The red spoke shows the truth, which the audience does not have, since all spokes look alike. Cover the red with your thumb: the wheel creeps backwards.*
#
# The film is a set of samples in time. **Between samples anything may happen**, and we always believe the slowest story that fits. This is *aliasing*: the wrong name for the right numbers. A camera does the same in space.
#
# ## Waves that are too fast for the pixels
#
# A wave of $u$ cycles per pixel gains a phase of $2\pi u$ from pixel to pixel. Whole turns do not show, so the waves $u$, $u-1$, $u+1$, $u+2$, … have **identical samples**. Exactly one of them lies between $-\frac12$ and $\frac12$, and that is the one that every program will report. The limit, half a cycle per pixel, is the **Nyquist frequency**: in Å,
# its period is twice the pixel.


# %% tags=["blur"]
def draw_alias(u):
    """A wave, its samples, and the slowest wave with the same samples."""
    shown = u - round(u)
    x = np.linspace(0, 20, 2000)
    pixels = np.arange(21)
    figure, axes = plt.subplots(figsize=(10, 2.8))
    axes.plot(x, np.cos(2 * np.pi * u * x), "0.75", lw=1, label=f"truth: {u:.2f} cycles per pixel")
    axes.plot(x, np.cos(2 * np.pi * shown * x), "C3", label=f"appears as {abs(shown):.2f}")
    axes.plot(pixels, np.cos(2 * np.pi * u * pixels), "ko", label="pixels")
    axes.set(xlabel="x (pixels)", ylim=(-1.2, 1.7))
    axes.legend(ncols=3, loc="upper right", fontsize=9)
    return figure


aliasing = exploration(draw_alias, u=Slider(0.0, 2.5, 0.9, step=0.01, label="frequency (cycles per pixel)"))
aliasing

# %% [markdown] tags=["blur"]
# *Figure U06.b. A wave (grey), what the pixels record of it (dots), and the slowest wave that passes through all dots (red). Up to 0.5 the two are the same; beyond, the red one comes back towards zero.*
#
# ### Exercise U06.1 · Where does it appear?
#
# Give two apparent frequencies between 0 and ½: that of a wave of 0.7 cycles per pixel, and that of your own wave.

# %% tags=["blur"]
my_frequency = parameters("U06.1")["frequency"]
print(f"your wave has {my_frequency} cycles per pixel")
# BEGIN SOLUTION
answer = (abs(0.7 - round(0.7)), abs(my_frequency - round(my_frequency)))
# END SOLUTION
check("U06.1", answer)

# %% [markdown] tags=["solution", "blur"]
# $0.7 - 1 = -0.3$: it appears at 0.3, running backwards. The spectrum is folded at ½ like a sheet of paper, again at 1, at 1½, and so on.
#
# ## Moiré
#
# In two dimensions the fold makes pictures. The zone plate $\cos(\pi r^2/L)$ has a local frequency that grows with the radius, so every radius is another frequency. Let us keep every third pixel only: by simply leaving out the others, by averaging blocks of nine, or by cutting the spectrum.

# %% tags=["blur"]
size = 192
along = np.arange(size) - size // 2
plate = torch.tensor(np.cos(np.pi * (along[None, :] ** 2 + along[:, None] ** 2) / size))
dropped = plate[::3, ::3]
averaged = plate.reshape(size // 3, 3, size // 3, 3).mean((1, 3))
cut = fourier.resample(plate, size // 3)
figure, panels = plt.subplots(1, 4, figsize=(15, 4))
for axes, image, title in zip(
    panels,
    (plate, dropped, averaged, cut),
    ("zone plate, 192²", "every third pixel", "3 × 3 averages", "spectrum cut"),
    strict=True,
):
    axes.imshow(image, cmap="gray", origin="lower", vmin=-1, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[], title=title)
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U06.c. Three ways to shrink. Dropping pixels invents a lattice of ghost centres. Averaging keeps them, only weaker. Cutting the spectrum removes what the new pixels cannot carry: grey where there is nothing to be said.*
#
# Once the ghosts are there, nothing can remove them: a fold has put two numbers on one pile. So the rule is **remove before you sample**. Where this meets us:
#
# - noise beyond the physical Nyquist of the camera is folded back onto the image; a counting camera in super-resolution mode records finer than its pixels, so that one can cut the spectrum *afterwards*;
# - a strongly defocused CTF oscillates faster than the samples of a small box can follow, and its rings alias (U07);
# - binned micrographs should be binned by cutting the spectrum; `fourier.resample` does it.

# %% [markdown] tags=["blur"]
# <a id="Q-M05-5"></a>
# ## Choosing a pixel
#
# *How can we increase the Nyquist frequency during data collection to get higher-resolution information? What is the trade-off? What should guide the choice, given our microscope and our specimen?*
#
# Only one way: smaller pixels in units of the specimen, which means a higher magnification (or a camera that records finer than its pixels). You pay for it. The calculator keeps the dose per Å² constant, because that is what the specimen can bear, and shows what else follows from the pixel size.


# %% tags=["blur"]
PIXELS = 4096  # of the camera, a side


def dqe_curve(x, *, at_zero=0.9, fall=0.8):
    """A simple detective quantum efficiency: x is the frequency in units of Nyquist."""
    return at_zero * (1 - fall * x * x)


def draw_design(pixel_size, target, dose):
    """What follows from a pixel size: field, Nyquist, DQE at the target, dose per pixel, and the worth of an image."""
    x = 2 * pixel_size / target
    field = (PIXELS * pixel_size * 1e-4) ** 2
    reachable = x <= 1
    efficiency = dqe_curve(x) if reachable else 0.0
    sizes = np.linspace(0.3, 2.5, 400)
    curve = np.where(2 * sizes / target <= 1, sizes**2 * dqe_curve(2 * sizes / target), 0.0)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.5))
    axis = np.linspace(0, 1, 200)
    left.plot(axis / (2 * pixel_size), dqe_curve(axis), "C0")
    left.axvline(1 / target, color="C3", ls=":")
    if reachable:
        left.plot(1 / target, efficiency, "C3o")
    left.set(xlim=(0, 1.0), ylim=(0, 1), xlabel="frequency (1/Å)", ylabel="DQE")
    left.set_title(f"Nyquist {2 * pixel_size:.2f} Å; DQE at {target:.1f} Å: {efficiency:.2f}", fontsize=10)
    right.plot(sizes, curve / curve.max(), "k")
    right.plot(pixel_size, (pixel_size**2 * efficiency) / curve.max(), "C3o", ms=9)
    right.set(xlabel="pixel size (Å)", ylabel="worth of one image", ylim=(0, 1.1))
    right.set_title(f"field {field:.3f} µm², {dose * pixel_size**2:.1f} electrons per pixel", fontsize=10)
    return figure


calculator = exploration(
    draw_design,
    pixel_size=Slider(0.4, 2.4, 0.83, step=0.01, label="pixel size (Å)"),
    target=Slider(1.5, 8.0, 3.0, step=0.1, label="resolution you hope for (Å)"),
    dose=Slider(10.0, 80.0, 40.0, step=5.0, label="dose (e⁻/Å²)"),
)
calculator

# %% [markdown] tags=["blur"]
# *Figure U06.d. The design calculator. Left: the DQE of a camera (the share of the signal-to-noise ratio that it preserves, U08) against frequency; the red dot is the resolution hoped for. Right: the worth of one image, that is, its area (how many particles) times the DQE at the target (how much each is worth).*
#
# ### Exercise U06.2 · Half the pixel
#
# You halve the pixel size and keep camera and dose per Å². By which factors do (1) the area of the field and (2) the number of electrons per pixel change? A pair.

# %% tags=["blur"]
# BEGIN SOLUTION
factors = (0.5**2, 0.5**2)
# END SOLUTION
check("U06.2", factors)

# %% tags=["blur"]
optics = Optics(pixel_size=1.0, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.1)
wavelength = optics.wavelength
for pixel_size in (2.0, 1.0, 0.5):
    field = (PIXELS * pixel_size * 1e-4) ** 2
    print(
        f"{pixel_size:.1f} Å: field {field:.3f} µm², Nyquist {2 * pixel_size:.1f} Å, {40 * pixel_size**2:.0f} electrons per pixel at 40 e⁻/Å²"
    )


def zeros_before_nyquist(pixel_size, defocus):
    """The number of zeros of the CTF without spherical aberration: one whenever λ Δf k² is a whole number."""
    return math.floor(wavelength * defocus / (4 * pixel_size**2))


print(
    "zeros of the CTF before Nyquist at 1 µm, pixels of 1, 2, 4 Å:",
    [zeros_before_nyquist(pixel, 1e4) for pixel in (1.0, 2.0, 4.0)],
)
print(f"none at all for pixels larger than {math.sqrt(wavelength * 1e4) / 2:.2f} Å")

# %% [markdown] tags=["solution", "blur"]
# **A worked answer.** *How*: raise the magnification; or use super-resolution mode, which halves the pixel and doubles Nyquist without changing the field, although the DQE out there is poor. *Trade-off*: half the pixel shows a quarter of the field, hence a quarter of the particles per image, per hour and per gigabyte.
# The electrons per pixel fall to a quarter, which relaxes coincidence losses of a counting camera and lets one expose faster (U08). The DQE *at the resolution that you want* rises, because that resolution now lies at a smaller fraction of Nyquist.
#
# *What should guide us*: the resolution that **specimen and microscope will give**, not the wish. Flexible protein in thick ice ends at 4 Å whatever the pixel. Put the expected resolution at two thirds to three quarters of Nyquist. Below that you waste field. Above it the camera weakens the last shells, and interpolation, too, is worst near Nyquist (U20). For the box in pixels, remember that it must hold the particle *and* the rings that defocus spreads (U07). On a tilted or
# crowded specimen, or with rare particles, take the field; for 1.5 Å of apoferritin take the magnification.
#
# **Trap T9: magnification does not move the CTF.** In 1/Å the rings stay where they are; only Nyquist moves. With small pixels it lies far out: many rings fit in, and they sit at small fractions of Nyquist, where the camera is good. With large pixels few fit in (the counts are printed above, without spherical aberration), and beyond a certain pixel size none. This is one reason why the rings are easier to see at high magnification; U07 has the others.

# %% [markdown] tags=["blur"]
# <a id="H23"></a>
# ## Deconvolution: undoing a blur
#
# A blur multiplies the spectrum by $H(u)$ (U05). So divide by it! In exact arithmetic that is the end of the story. A first version of deconvolution (U23 has the mature one), from scratch: four lines. The signal is a single spike, the blur a Gaussian.
#
# <a id="Q-M05-1"></a>
# In the lecture, *the recovered signal blows up around the origin, where there is a delta function. From the math, why exactly did this happen? Is there a way to overcome it?* We shall do the same thing, with a knob for the blur.


# %% tags=["blur"]
def deconvolution(signal, sigma, *, constant=0.0, single=False):
    """Blur with a Gaussian of sigma pixels, then divide it out again; returns the blurred and the recovered signal."""
    real = torch.float32 if single else torch.float64
    u = torch.arange(len(signal) // 2 + 1, dtype=torch.float64) / len(signal)
    transfer = torch.exp(-2 * math.pi**2 * sigma**2 * u**2).to(real)
    blurred = fourier.to_real(
        fourier.to_fourier(torch.tensor(signal, dtype=real), dimensions=1) * transfer, width=len(signal), dimensions=1
    )
    if constant:
        recovering = (transfer.double() / (transfer.double() ** 2 + constant)).to(real)
    else:
        recovering = 1 / transfer.clamp_min(torch.finfo(real).tiny)
    recovered = fourier.to_real(fourier.to_fourier(blurred, dimensions=1) * recovering, width=len(signal), dimensions=1)
    return blurred.double().numpy(), recovered.double().numpy()


spike = np.zeros(128)
spike[64] = 1.0
for sigma in (0.5, 1.0, 1.5):
    _, recovered = deconvolution(spike, sigma)
    print(f"blur of {sigma} pixels: recovered to {np.abs(recovered - spike).max():.0e}")
    assert np.abs(recovered - spike).max() < 1e-10

# %% [markdown] tags=["blur"]
# Perfect, for a light blur. But look how the error grows.
#
# ### Exercise U06.4 · When does it explode?
#
# Double precision has 16 digits. **At which blur, in pixels, will the errors become as large as the signal?** Commit yourself to a number, by feeling or by pencil.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_blur = 2.7
# END SOLUTION
predict("U06.4", my_blur)


# %% tags=["blur"]
def draw_blow_up(sigma, precision, exponent):
    """The signal, its blurred and its recovered form, and the spectra on a logarithmic scale."""
    constant = 0.0 if exponent == "none" else 10.0 ** float(exponent)
    single = precision.startswith("single")
    blurred, recovered = deconvolution(spike, sigma, constant=constant, single=single)
    u = np.arange(65) / 128
    transfer = np.exp(-2 * np.pi**2 * sigma**2 * u**2)
    found = np.abs(np.fft.rfft(np.roll(blurred, -64)))
    epsilon = np.finfo(np.float32 if single else np.float64).eps
    figure, (real, reciprocal) = plt.subplots(1, 2, figsize=(12, 3.6))
    real.plot(spike, "0.7", lw=4, label="signal")
    real.plot(blurred, "C0", label="blurred")
    real.plot(recovered, "C3", lw=1, label="recovered")
    error = np.abs(recovered - spike).max()
    real.set(xlabel="x (pixels)", title=f"largest error {error:.1e}", ylim=(-1.5, 1.5) if error < 3 else None)
    real.legend(fontsize=8)
    reciprocal.semilogy(u, np.maximum(transfer, 1e-40), "k", label="H(u), as it should be")
    reciprocal.semilogy(u, np.maximum(found, 1e-40), "C0.", ms=4, label="blurred signal, as computed")
    reciprocal.axhline(epsilon, color="0.6", ls=":", label="one unit in the last place")
    reciprocal.set(xlabel="u (cycles per pixel)", ylim=(1e-24, 10))
    if constant:
        reciprocal.axhline(math.sqrt(constant), color="C2", ls="--", label="square root of the constant")
    reciprocal.legend(fontsize=8, loc="lower left")
    return figure


my_blur = prediction("U06.4")
blow_up = exploration(
    draw_blow_up,
    sigma=Slider(0.5, 4.0, 3.0, step=0.05, label="σ of the blur (pixels)"),
    precision=Choice(("double (16 digits)", "single (7 digits)"), label="precision"),
    exponent=Choice(("none", "-16", "-12", "-8", "-4"), label="constant: 10 to the power"),
)
blow_up

# %% [markdown] tags=["blur"]
# *Figure U06.e. Left: signal, blurred signal and what division brings back. Right: the spectrum. The transfer function (black) falls below the last digit (dotted); from there on the computed spectrum of the blurred signal (blue) is nothing but rounding, and division multiplies just that by an enormous number.*
#
# Read the picture on the right until it is obvious. Then check your prediction (change it above, if the picture has changed your mind):

# %% tags=["blur"]
check("U06.4", prediction("U06.4"))

# %% [markdown] tags=["solution", "blur"]
# **Why exactly.** The amplification is largest at Nyquist, where $1/H(\tfrac12) = e^{2\pi^2\sigma^2/4}$. Every number in the computer carries a relative error of $\varepsilon = 2^{-52}$, *relative to the largest numbers it was added to*. So the spectrum of the blurred signal has a floor of about $\varepsilon$, and the floor, too, is multiplied. It reaches the signal when
# $$ e^{\pi^2\sigma^2/2} = \frac1\varepsilon \quad\Longrightarrow\quad \sigma = \frac{\sqrt{2\ln(1/\varepsilon)}}{\pi}: $$
# 2.70 pixels in double and 1.80 in single precision (computed below). Nothing mysterious happens before or after: the error grows by a factor of almost a million between 2.5 and 3 pixels, because $\sigma$ stands squared in an exponent.
#
# **Not the delta's fault (trap T7).** The delta is the victim. It has all frequencies in equal strength, so its recovery *needs* those that are gone, and one notices. The errors come from $H$ and the rounding alone. A smooth signal with nothing at high frequencies blows up by the same amount, as the next cell shows.
#
# **The cure.** Do not divide where there is nothing left to divide: keep to a band (set everything to zero where $H<\varepsilon$), or replace $1/H$ by $\dfrac{H}{H^2+c}$, which is $1/H$ where $H^2\gg c$ and fades to zero where $H^2\ll c$. What has been rounded away does *not* come back; the recovered spike is lower and broader. But what comes back is true.

# %% tags=["blur"]
for name, epsilon in (("double", 2.0**-52), ("single", 2.0**-23)):
    print(f"{name} precision explodes at σ = {math.sqrt(2 * math.log(1 / epsilon)) / math.pi:.2f} pixels")
positions = np.arange(128) - 64
smooth = np.exp(-(positions**2) / 128) + 0.5 * np.exp(-((positions - 25) ** 2) / 50)  # nothing at high frequencies
print("\n σ     spike: error   smooth signal: error   spike with c = 1e-12")
for sigma in (1.0, 2.0, 2.5, 2.7, 3.0, 3.5):
    errors = [np.abs(deconvolution(signal, sigma)[1] - signal).max() for signal in (spike, smooth)]
    cured = np.abs(deconvolution(spike, sigma, constant=1e-12)[1] - spike).max()
    print(f"{sigma:.1f}      {errors[0]:.0e}            {errors[1]:.0e}                  {cured:.2f}")
assert np.abs(deconvolution(spike, 2.5)[1] - spike).max() < 1e-2
assert np.abs(deconvolution(spike, 3.2)[1] - spike).max() > 5
assert np.abs(deconvolution(smooth, 3.2)[1] - smooth).max() > 5

# %% [markdown] tags=["blur"]
# Now be honest about cryo-EM. Our floor is not at $10^{-16}$ but at the noise. In one particle image it lies *above* the signal; averages bring it down, slowly. Put it in place of $\varepsilon$, and a blur of about one pixel is beyond plain division, even for a million particles. The lens is worse: the CTF does not fall to $10^{-16}$, it
# passes through **zero**, again and again. This is why nobody divides by the CTF, and why U23 is about the best constant $c$: it turns out to be the power of the noise over the power of the signal, at each frequency, and the formula is then called the Wiener filter.

# %% tags=["blur"]
snr = 0.01  # of one particle image: a ratio of variances
for count in (1, 10_000, 1_000_000):
    floor = math.sqrt(1 / (snr * count))  # the noise in units of the signal
    limit = f"σ = {math.sqrt(2 * math.log(1 / floor)) / math.pi:.2f} pixels" if floor < 1 else "the start"
    print(f"{count:9,d} particles: noise is {floor:.2g} of the signal; plain division is lost from {limit}")

# %% [markdown] tags=["sharpen"]
# ## Sharpen: why spectra are copied
#
# Sampling with the spacing $\Delta$ multiplies by a comb, $\sum_j\delta(x-j\Delta)$. Its transform is again a comb, $\frac1\Delta\sum_m\delta(u-\frac m\Delta)$, and a product in real space is a convolution in Fourier space. Convolving with a comb makes copies:
# $$ F_\text{sampled}(u) = \frac1\Delta\sum_{m=-\infty}^{\infty} F\!\left(u-\frac m\Delta\right). $$
# If $F$ vanishes beyond $\frac1{2\Delta}$, the copies do not touch. Then cutting out the middle one (multiplying by a box) brings $f$ back *exactly*, and in real space this cut is a convolution with $\operatorname{sinc}(x/\Delta)$. That is the **sampling theorem** (Whittaker 1915, Kotelnikov 1933, Shannon 1949): a band-limited function *is* its samples.


# %% tags=["sharpen"]
def object_spectrum(u):
    """A made-up spectrum that ends at 0.2 1/Å, lopsided for the eye."""
    return np.where(np.abs(u) < 0.2, (1 - (u / 0.2) ** 2) * (1 + 0.5 * np.cos(14 * np.pi * u)), 0.0)


def draw_replicas(spacing):
    """The copies of a spectrum that a sampling of this spacing makes."""
    u = np.linspace(-0.8, 0.8, 1201)
    figure, axes = plt.subplots(figsize=(9, 3))
    total = np.zeros_like(u)
    for m in range(-8, 9):
        copy = object_spectrum(u - m / spacing)
        total += copy
        axes.fill_between(u, copy, color="C0" if m == 0 else "C1", alpha=0.35)
    axes.plot(u, total, "k", lw=1.2)
    axes.axvspan(-0.5 / spacing, 0.5 / spacing, color="C2", alpha=0.12)
    state = "copies apart: nothing is lost" if spacing <= 2.5 else "copies overlap: aliasing"
    axes.set(
        xlabel="u (1/Å)",
        xlim=(-0.8, 0.8),
        ylim=(0, 3.2),
        title=f"pixel {spacing:.2f} Å, Nyquist {0.5 / spacing:.3f} 1/Å; {state}",
    )
    return figure


replicas = exploration(draw_replicas, spacing=Slider(1.2, 5.0, 3.4, step=0.1, label="pixel size (Å)"))
replicas

# %% [markdown] tags=["sharpen"]
# *Figure U06.f. The spectrum of an object that ends at 5 Å (blue), its copies (orange) and their sum (black), which is what the computer transforms. Green: what lies within Nyquist. With pixels up to 2.5 Å the middle copy can be cut out unharmed.*
#
# Numbers, not only pictures. A band-limited function, sampled just fast enough, is computed *between* its samples by the sinc series and by the library; then with a wave beyond Nyquist in it.

# %% tags=["sharpen"]
random = np.random.default_rng(6)
n = 63
amplitudes = random.normal(size=20) + 1j * random.normal(size=20)


def band_limited(x):
    """A periodic function of period n with frequencies below 20/n cycles per pixel."""
    return sum((amplitude * np.exp(2j * np.pi * k * x / n)).real for k, amplitude in enumerate(amplitudes))


coarse = band_limited(np.arange(n) - n // 2)
fine = fourier.resample(torch.tensor(coarse), (5 * n,)).numpy()
between = band_limited((np.arange(5 * n) - (5 * n) // 2) / 5)
print(f"five times finer, from the samples alone: off by {np.abs(fine - between).max():.0e}")
assert np.abs(fine - between).max() < 1e-12


def by_sinc(x, samples):
    """Whittaker's series on a circle: the sinc copies from all turns add up to sin(πd) / (n sin(πd/n)) for odd n."""
    distance = x - (np.arange(n) - n // 2)
    distance = np.where(np.abs(distance) < 1e-12, 1e-12, distance)
    return (samples * np.sin(np.pi * distance) / (n * np.sin(np.pi * distance / n))).sum()


print(f"the sinc series at x = 3.37: off by {abs(by_sinc(3.37, coarse) - band_limited(3.37)):.0e}")
assert abs(by_sinc(3.37, coarse) - band_limited(3.37)) < 1e-12
too_fast = np.cos(2 * np.pi * 40 * (np.arange(n) - n // 2) / n)  # 40/63 cycles per pixel: beyond Nyquist
slow_twin = np.cos(2 * np.pi * 23 * (np.arange(n) - n // 2) / n)
print(f"samples of 40/63 and of 23/63 cycles per pixel differ by {np.abs(too_fast - slow_twin).max():.0e}")
assert np.abs(too_fast - slow_twin).max() < 1e-12

# %% [markdown] tags=["sharpen"]
# ### Exercise U06.6 · Two ways to bin
#
# Write `crop(image, new)`: a square image with `new` pixels a side over the same field, by cutting the spectrum. Frequencies below the new Nyquist must not change (to $10^{-12}$), and a constant image must stay the same constant. Even sizes will do.
#
# Then `factor(u, block)`: by what factor does averaging *blocks of pixels* (as a camera bins) weaken a wave of `u` cycles per **old** pixel along one axis? Its modulus is enough.


# %% tags=["sharpen"]
def crop(image, new):
    """The image on new × new pixels, by cutting its spectrum."""
    # BEGIN SOLUTION
    old = len(image)
    spectrum = np.fft.fftshift(np.fft.fft2(image))
    first = old // 2 - new // 2
    kept = spectrum[first : first + new, first : first + new]
    return np.fft.ifft2(np.fft.ifftshift(kept)).real * (new / old) ** 2
    # END SOLUTION


def factor(u, block):
    """The factor by which the average over a block of pixels weakens a wave."""
    # BEGIN SOLUTION
    return abs(np.exp(2j * np.pi * u * np.arange(block)).mean())
    # END SOLUTION


check("U06.6", (crop, factor))

# %% [markdown] tags=["solution", "sharpen"]
# The mean of a geometric series over a block of $m$ pixels is $\frac1m\left|\sum_{j<m}e^{2\pi iuj}\right| = \left|\frac{\sin(\pi m u)}{m\sin(\pi u)}\right|$; for $m=2$ it is $\cos\pi u$. (For many fine pixels in a block it becomes $\operatorname{sinc}(m\,u)$, the transfer function of one large pixel.) At the new Nyquist frequency a block of two leaves $1/\sqrt2$ of the amplitude, and what lies beyond is folded back with almost as much.
# Cropping does neither, which is why binning belongs into Fourier space. One blemish is left in our `crop`: the row and column *at* the new Nyquist frequency. Which of the two, $+$ or $-$? The library adds both, so that growing and shrinking back is the identity.

# %% tags=["sharpen"]
white = torch.tensor(random.normal(size=(60, 96, 96)))
signal = fourier.resample(
    fourier.resample(torch.tensor(random.normal(size=(60, 96, 96))), 48), 96
)  # nothing beyond the new Nyquist


def by_average(images):
    """Blocks of 2 × 2 pixels, averaged."""
    return images.reshape(-1, 48, 2, 48, 2).mean((2, 4))


def shell_power(images):
    """The mean power in each shell of a stack of 48 × 48 images."""
    return fourier.shell_average(fourier.to_fourier(images).abs() ** 2, size=(48, 48)).mean(0)


radius = fourier.shell_frequency(48, pixel_size=2.0).numpy()  # cycles per old pixel
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.4))
ratios = {}
for name, way, colour in (
    ("spectrum cut", lambda images: fourier.resample(images, 48), "C0"),
    ("2 × 2 averages", by_average, "C1"),
):
    signal_power, noise_power = shell_power(way(signal)), shell_power(way(white))
    left.plot(radius[1:-1], signal_power[1:-1] / shell_power(fourier.resample(signal, 48))[1:-1], colour, label=f"{name}: signal")
    left.plot(radius[1:-1], noise_power[1:-1] / 0.25, colour + ":", label=f"{name}: noise")
    ratios[name] = (signal_power / noise_power)[1:-1]
left.set(xlabel="frequency (cycles per old pixel)", ylabel="power, relative", ylim=(0, 1.3))
left.legend(fontsize=8, loc="lower left")
right.plot(radius[1:-1], ratios["2 × 2 averages"] / ratios["spectrum cut"], "k")
right.set(xlabel="frequency (cycles per old pixel)", ylabel="signal-to-noise ratio, relative", ylim=(0, 1.15))
plt.show()
print(
    f"at the new Nyquist, a block of two leaves {factor(0.25, 2):.3f} of a wave's amplitude; just beyond, at 0.3, {factor(0.3, 2):.3f} comes in folded"
)
assert 0.3 < float((ratios["2 × 2 averages"] / ratios["spectrum cut"])[-1]) < 0.7

# %% [markdown] tags=["sharpen"]
# *Figure U06.g. A signal that ends at the new Nyquist, with white noise, on half as many pixels. Left: the power of both, relative to what a cut leaves. The noise looks the same in both, which is the trap: after averaging, near Nyquist, half of it has been folded in from beyond, while the signal has become weaker. Right: what averaging leaves of the signal-to-noise ratio.*
#
# ### Exercise U06.3 · Design an experiment
#
# You want 3 Å. Your camera has $\mathrm{DQE}(x) = d_0\,(1-c\,x^2)$ with $x$ the frequency in units of Nyquist (your own $d_0$, $c$ below). The dose per Å² is fixed by damage, so a particle's signal does not depend on the pixel size, but the number of particles needed goes with $1/\mathrm{DQE}$ at the target, and the number you get per image with the area of the field. So an image is worth
# $$ W(p) = p^2\;\mathrm{DQE}\!\left(\frac{2p}{3\,\text{Å}}\right), \qquad p \le 1.5\ \text{Å}. $$
# Choose a pixel size $p$, in Å, that is worth at least 95 % of the best.

# %% tags=["sharpen"]
print(parameters("U06.3"))

# %% tags=["sharpen"]
mine = parameters("U06.3")
# BEGIN SOLUTION
sizes = np.linspace(0.2, mine["target"] / 2, 1000)
values = sizes**2 * mine["at_zero"] * (1 - mine["fall"] * (2 * sizes / mine["target"]) ** 2)
my_pixel = sizes[values.argmax()]
# END SOLUTION
check("U06.3", my_pixel)

# %% [markdown] tags=["solution", "sharpen"]
# With $x=2p/3$, $W\propto x^2(1-cx^2)$, so $W' = 0$ at $x^2 = \frac1{2c}$: the optimum puts the target at $1/\sqrt{2c}$ of Nyquist, whatever $d_0$. For the curves of good cameras ($c$ around 0.75 to 0.9) that is 0.75 to 0.82 of Nyquist, a pixel between 1.1 and 1.25 Å. And the maximum is *broad*: 5 % of worth is a wide range of magnifications. So do not agonise over the last notch; let the box size, the crowding and the
# facility's well-calibrated magnifications decide among them.

# %% tags=["sharpen"]
for fall in (0.75, 0.8, 0.85, 0.9):
    sizes = np.linspace(0.2, 1.5, 1301)
    values = sizes**2 * (1 - fall * (2 * sizes / 3) ** 2)
    good = sizes[values > 0.95 * values.max()]
    print(
        f"c = {fall}: best at {sizes[values.argmax()]:.2f} Å ({1 / math.sqrt(2 * fall):.2f} of Nyquist); within 5 % from {good[0]:.2f} to {good[-1]:.2f} Å"
    )
    assert math.isclose(2 * sizes[values.argmax()] / 3, 1 / math.sqrt(2 * fall), rel_tol=2e-3)

# %% [markdown] tags=["sharpen"]
# ## The cure, derived
#
# Blurred data $y = h*f$ + error; in Fourier space $Y = HF + E$. Least squares alone, $\min|Y-HF|^2$, is the division $Y/H$, and the errors come out as $E/H$. Tikhonov's idea: also ask that the answer be *small*, $\min\; |Y-HF|^2 + c\,|F|^2$. The derivative with respect to $\overline F$ gives
# $$ -\overline H\,(Y - HF) + cF = 0 \quad\Longrightarrow\quad \hat F = \frac{\overline H\,Y}{|H|^2 + c} . $$
# What remains of a true $F$ is $\frac{|H|^2}{|H|^2+c}F$ (a *bias*: too little), and what gets through of the error is $\frac{\overline H}{|H|^2+c}E$, at most $\frac{|E|}{2\sqrt c}$ (no blow-up: the bound is reached where $|H| = \sqrt c$). The bound tells how to choose $c$: **not smaller than the square of the error level**, here $\varepsilon$.

# %% tags=["sharpen"]
import sympy

h, c = sympy.symbols("h c", positive=True)
gain = h / (h**2 + c)
stationary = sympy.solve(sympy.diff(gain, h), h)
print("largest gain at |H| =", stationary, "where it is", sympy.simplify(gain.subs(h, stationary[0])))
assert stationary == [sympy.sqrt(c)]
assert sympy.simplify(gain.subs(h, sympy.sqrt(c)) - 1 / (2 * sympy.sqrt(c))) == 0

# %% [markdown] tags=["sharpen"]
# ### Exercise U06.5 · Cure it
#
# Write `deconvolve(blurred, transfer)`, with `transfer` the full unshifted spectrum of the blur (real, as `np.fft.fftfreq` orders it). It is tested with blurs of $\sigma=1$, 3 and 3.5 pixels: the light one must be undone to $10^{-3}$, and the strong ones must not blow up (largest error 0.5 and 0.6; you have seen what plain division does at 3.5). The choice of the constant is yours.


# %% tags=["sharpen"]
def deconvolve(blurred, transfer):
    """The signal before the blur, as far as it can be known."""
    # BEGIN SOLUTION
    constant = 1e-18
    return np.fft.ifft(np.fft.fft(blurred) * transfer / (transfer**2 + constant)).real
    # END SOLUTION


check("U06.5", deconvolve)

# %% tags=["sharpen"]
u = np.fft.fftfreq(128)
transfer = np.exp(-2 * np.pi**2 * 9 * u**2)  # σ = 3 pixels
blurred = np.fft.ifft(np.fft.fft(spike) * transfer).real
constants = np.geomspace(1e-44, 1e-2, 64)
figure, axes = plt.subplots(figsize=(7, 3.4))
for noise, colour in ((0.0, "C0"), (1e-8, "C1"), (1e-3, "C2")):
    data = blurred + noise * random.normal(size=128)
    errors = [np.abs(np.fft.ifft(np.fft.fft(data) * transfer / (transfer**2 + each)).real - spike).max() for each in constants]
    axes.loglog(constants, errors, colour, label=f"noise {noise:g}" if noise else "rounding only")
axes.axhline(1, color="0.8")
axes.set(xlabel="constant c", ylabel="largest error", ylim=(0.02, 1e4))
axes.legend()
plt.show()
plain = np.abs(np.fft.ifft(np.fft.fft(blurred) / transfer).real - spike).max()
cured = np.abs(np.fft.ifft(np.fft.fft(blurred) * transfer / (transfer**2 + 1e-12)).real - spike).max()
print(f"σ = 3: plain division {plain:.1f}, with c = 1e-12 {cured:.2f}")
assert cured < 0.5

# %% [markdown] tags=["sharpen"]
# *Figure U06.h. The largest error against the constant, for three levels of noise at a blur of 3 pixels. Too small: noise blows up. Too large: the signal is thrown away. The valley moves to the right as the noise grows, and its floor rises: noise takes information, and no formula brings it back.*

# %% [markdown]
# ## In your own words
#
# Your colleague wants to collect at the smallest pixel size that the microscope offers, "because more is better". What do you say?

# %%
# BEGIN SOLUTION
my_text = (
    "Half the pixel is a quarter of the field and of the particles. Nyquist moves out, but beyond the resolution that the specimen gives there "
    "is only noise. The DQE at our resolution improves a little. Put it at two thirds to three quarters of Nyquist."
)
# END SOLUTION
explain("U06.words", my_text)

# %% [markdown]
# ## What to try on your own data
#
# Where is your last map's resolution, in units of Nyquist? If it is below a half, bin the particles by cutting their spectra: same map, a quarter of the bytes, several times faster.
#
# ```python
# import cryowalk as cw
#
# particles = cw.read("particles.star")
# images = particles.images.read(range(100))
# box = images.shape[-1]
# smaller = cw.fourier.resample(images, box // 2)          # twice the pixel size, the same field of view
# print(particles.optics[0].pixel_size * 2, "Å is the new pixel; twice it is the best resolution that can be reached")
# ```
#
# And find out how your micrographs were binned: did the camera's software average pixels, or did somebody cut the spectrum? The noise will not tell you, as you have seen.
#
# ## Further reading
#
# - F. J. Sigworth, *Fourier transform: convolution, sampling and Nyquist*, lecture in *Cryo-EM Principles* (Yale). The blow-up of the question is near its middle.
# - C. E. Shannon, *Communication in the presence of noise*, Proceedings of the IRE 37, 10–21 (1949).
# - G. McMullan, A. R. Faruqi, D. Clare, R. Henderson, *Comparison of optimal performance at 300 keV of three direct electron detectors for use in low dose electron microscopy*, Ultramicroscopy 147, 156–163 (2014). Measured DQE curves.
# - R. S. Ruskin, Z. Yu, N. Grigorieff, *Quantitative characterization of electron detectors for transmission electron microscopy*, Journal of Structural Biology 184, 385–393 (2013). With super-resolution mode and aliasing.
# - A. N. Tikhonov, V. Y. Arsenin, *Solutions of Ill-Posed Problems*, Winston (1977); P. C. Hansen, *Discrete Inverse Problems*, SIAM (2010), for a friendly version.
#
# **Next:** U07, the transfer function of the lens, with its zeros.
