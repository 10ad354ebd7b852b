# %% [markdown]
# # U07 The contrast transfer function and B-factors
#
# **Question.** Between the specimen and the picture stands a lens. What does it do to each spacing of the specimen, and how much of it can be read back, or undone?
#
# **What you need.** U03 and the blur parts of U05 and U06. For *sharpen*: U02, where the CTF was derived.
#
# **What you will be able to do.**
#
# - draw a CTF from five numbers, and say where its zeros lie;
# - tell underfocus from overfocus, and say honestly when nobody can;
# - state a B-factor with its convention, measure one, and list what goes into it;
# - say how far the lens throws information, and how large a box, or how small a defocus, that asks for.
#
# About 90 minutes. *Blur*: the explorer, the star, magnification, the blind test, B-factors, delocalisation. *Sharpen*: zeros in closed form, a bug, B from data, aliasing, and why amplitude contrast is rarely fitted.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import Defocus, Optics, Pose, fourier, microscope
from cryowalk.course import Choice, Slider, check, explain, exploration, parameters, predict, prediction
from cryowalk.course.checks.u07 import star
from cryowalk.microscope import lens

torch.set_num_threads(1)


def defocus_of(mean, *, astigmatism=0.0, azimuth=0.0, phase_shift=0.0):
    """The defocus of one image: mean and major − minor in Å, azimuth and phase shift in rad."""
    values = (mean + astigmatism / 2, mean - astigmatism / 2, azimuth, phase_shift)
    major, minor, angle, shift = (torch.tensor([value], dtype=torch.float64) for value in values)
    return Defocus(major=major, minor=minor, azimuth=angle, phase_shift=shift)


# %% [markdown] tags=["blur"]
# ## One formula, five numbers
#
# U02 ended with a surprise: a specimen that only delays the electrons becomes visible when the lens is *out of* focus. How visible depends on the spacing $1/k$. The picture's spectrum is the specimen's, times
# $$ \mathrm{CTF}(k) = \sin\!\left(\chi(k) + \arcsin Q\right), \qquad \chi(k) = \pi\lambda\left(\Delta f\,k^2 - \tfrac12 C_s\lambda^2 k^4\right), $$
# and, since no instrument is perfectly coherent and nothing stands perfectly still, times an *envelope*, often written $e^{-Bk^2/4}$. Five numbers: the wavelength $\lambda$ (the voltage), the underfocus $\Delta f$, the spherical aberration $C_s$, the amplitude contrast $Q$ (the share of the contrast that is not phase), and $B$.
#
# Where it is **+1** a protein's detail is bright, at full strength. Where it is **−1** it is dark, at full strength: *contrast reversal*. Where it is **0** there is nothing at all.
#
# (The sign is that of particle images, protein bright. On the camera protein is dark, and every value has the other sign.)
#
# ### Before you play
#
# Image a thin film of amorphous carbon, which has all spacings in equal measure, and look at the power spectrum of the picture. **What will you see?** (a) a bright disc that fades outwards; (b) bright rings with dark gaps between them, wider inside; (c) bright rings with dark gaps, wider outside.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "b"
# END SOLUTION
predict("U07.opening", my_guess, options=("a", "b", "c"))

# %% tags=["blur"]
my_guess = prediction("U07.opening")
film = torch.randn(512, 512, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
film_optics = Optics(pixel_size=1.5, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
film_transfer = lens.contrast_transfer(film_optics, defocus_of(12000.0), size=(512, 512))[0]
picture = fourier.to_real(fourier.to_fourier(film) * film_transfer, width=512)


def power_picture(image, *, size=256):
    """The power spectrum of an image with its origin in the middle, averaged over overlapping tiles, for looking at."""
    window = torch.hann_window(size, periodic=False, dtype=torch.float64)
    tiles = image.unfold(0, size, size // 2).unfold(1, size, size // 2).reshape(-1, size, size)
    half = (fourier.to_fourier(tiles * window * window[:, None]).abs() ** 2).mean(0)
    mates = half[(-torch.arange(size)) % size].flip(-1)[:, 1:-1]  # Friedel: power at −k is power at k
    return torch.cat([half, mates], dim=1).roll((size // 2, size // 2), dims=(0, 1))


figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2))
left.imshow(picture[:200, :200], cmap="gray")
left.set(xticks=[], yticks=[], title="the picture")
right.imshow(power_picture(picture) ** 0.5, cmap="gray")
right.set(xticks=[], yticks=[], title="its power spectrum")
plt.show()
print(f"you said ({my_guess})")

# %% [markdown] tags=["blur"]
# *Figure U07.a. Amorphous carbon at 1.2 µm underfocus, without noise, and the power spectrum: Thon rings (Friedrich Thon, 1966). The gaps are zeros of the CTF. They crowd outwards because $\chi$ grows with the square of $k$.*
#
# <a id="H07"></a>
# ## The explorer
#
# Here is the CTF from scratch, in one line, and the library's beside it, which also knows astigmatism. They agree to rounding.

# %% tags=["blur"]
EXPLORED = Optics(pixel_size=1.0, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.1)


def aberration(k, defocus, *, wavelength=EXPLORED.wavelength, spherical_aberration=2.7e7):
    """χ in rad: k in 1/Å, all lengths in Å."""
    return np.pi * wavelength * (defocus * k**2 - 0.5 * spherical_aberration * wavelength**2 * k**4)


def transfer(k, defocus, *, amplitude_contrast=0.1, **microscope_values):
    """The contrast transfer function, protein bright, without an envelope."""
    return np.sin(aberration(k, defocus, **microscope_values) + np.arcsin(amplitude_contrast))


line = lens.contrast_transfer(EXPLORED, defocus_of(10000.0), size=(256, 256))[0, 0]  # the row ky = 0
by_hand = transfer(np.arange(129) / 256, 10000.0)
print(f"largest difference to the library: {np.abs(line.numpy() - by_hand).max():.0e}")
assert np.abs(line.numpy() - by_hand).max() < 1e-10


def draw_ctf(underfocus_um, cs_mm, amplitude_contrast, b_factor, pixel_size, voltage, astigmatism):
    """The CTF along a line, and in two dimensions out to Nyquist."""
    optics = Optics(
        pixel_size=pixel_size, voltage_kv=float(voltage), spherical_aberration_mm=cs_mm, amplitude_contrast=amplitude_contrast
    )
    k = np.linspace(0, 0.5 / pixel_size, 1500)
    curve = transfer(
        k,
        1e4 * underfocus_um,
        wavelength=optics.wavelength,
        spherical_aberration=1e7 * cs_mm,
        amplitude_contrast=amplitude_contrast,
    )
    envelope = np.exp(-b_factor / 4 * k**2)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.9), width_ratios=(2.2, 1))
    left.axhline(0, color="0.7", lw=0.8)
    left.plot(k, curve * envelope, "C0", lw=1.2)
    left.plot(k, envelope, "C3:", lw=1)
    left.plot(k, -envelope, "C3:", lw=1)
    left.set(xlabel="k (1/Å)", ylabel="CTF", ylim=(-1.05, 1.05), xlim=(0, k[-1]))
    zero = k[1:][np.diff(np.sign(curve)) != 0]
    left.set_title(f"first zero at {1 / zero[0]:.1f} Å" if len(zero) else "no zero below Nyquist", fontsize=10)
    plane = lens.contrast_transfer(
        optics, defocus_of(1e4 * underfocus_um, astigmatism=astigmatism, azimuth=math.pi / 6), size=(192, 192)
    )[0]
    ky = torch.arange(192)[:, None].add(96).remainder(192).sub(96) / (192 * pixel_size)
    kx = torch.arange(97) / (192 * pixel_size)
    plane = (plane * torch.exp(-b_factor / 4 * (kx**2 + ky**2))).roll(96, dims=0)
    mirror = plane.flip(0).roll(1, dims=0).flip(1)[:, 1:-1]
    right.imshow(torch.cat([mirror, plane[:, :-1]], dim=1), cmap="RdBu_r", vmin=-1, vmax=1, origin="lower")
    right.set(xticks=[], yticks=[], title="in two dimensions")
    return figure


explorer = exploration(
    draw_ctf,
    underfocus_um=Slider(-3.0, 4.0, 1.0, step=0.05, label="underfocus (µm)"),
    cs_mm=Slider(0.0, 4.0, 2.7, step=0.1, label="Cs (mm)"),
    amplitude_contrast=Slider(0.0, 1.0, 0.1, step=0.01, label="amplitude contrast"),
    b_factor=Slider(-50.0, 300.0, 0.0, step=5.0, label="B (Å²)"),
    pixel_size=Slider(0.5, 4.0, 1.5, step=0.1, label="pixel size (Å)"),
    voltage=Choice((300, 200, 100), label="voltage (kV)"),
    astigmatism=Slider(0.0, 6000.0, 0.0, step=100.0, label="astigmatism (Å)"),
)
explorer

# %% [markdown] tags=["blur"]
# *Figure U07.b. The CTF of a microscope of your choice. Red and dotted: the envelope. Right: blue is negative, red positive.*
#
# Try these five: (1) more defocus: the rings crowd, *and the low frequencies gain*, which is why small particles are imaged at high defocus. (2) $C_s$ does nothing at low $k$ and takes over at high $k$. (3) Amplitude contrast lifts the left end to $Q$. With $Q=1$, no phase at all, the CTF begins at 1: an ordinary photograph. (4) Negative underfocus, which is overfocus: the curve dives. (5) Half the voltage: the wavelength grows by two thirds, and so does everything else in $\chi$.
#
# <a id="Q-M06-1"></a>
# ## The star
#
# *What would a Siemens star look like with the CTF applied?* A star is the perfect object to ask: its spokes run together, so that every radius is another spacing. With $n$ spokes the spacing at radius $r$ is $2\pi r/n$.
#
# ### Exercise U07.1 · Where does it turn over?
#
# A star of 36 spokes, imaged at 1 µm underfocus, 300 kV, $C_s = 2.7$ mm and *no* amplitude contrast, is right inside out from outside to some radius. **At which radius, in Å, does the contrast first reverse?** Use the explorer for the spacing; commit yourself before you see the picture.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_radius = 36 * 14.0 / (2 * math.pi)
# END SOLUTION
predict("U07.1", my_radius)

# %% tags=["blur"]
my_radius = prediction("U07.1")
STAR_SPOKES, STAR_PIXEL, STAR_SIZE = 36, 1.0, 640
siemens = star(STAR_SIZE, spokes=STAR_SPOKES, pixel_size=STAR_PIXEL, outer=250.0, inner=30.0)


def through_lens(image, optics, defocus, *, b_factor=0.0):
    """The image behind the lens, formed on a canvas that is twice as wide so that nothing wraps round."""
    side = image.shape[-1]
    wide = fourier.resize(image, 2 * side)
    spectrum = fourier.to_fourier(wide) * lens.contrast_transfer(optics, defocus, size=(2 * side, 2 * side))[0]
    return fourier.resize(fourier.to_real(spectrum, width=2 * side), side)


def draw_star(underfocus_um, cs_mm, amplitude_contrast):
    """The star and its image, with the radii at which the CTF is zero."""
    optics = Optics(pixel_size=STAR_PIXEL, voltage_kv=300.0, spherical_aberration_mm=cs_mm, amplitude_contrast=amplitude_contrast)
    seen = through_lens(siemens, optics, defocus_of(1e4 * underfocus_um))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 5.2))
    half = STAR_SIZE * STAR_PIXEL / 2
    for axes, image, title in ((left, siemens, "the star"), (right, seen, "behind the lens")):
        axes.imshow(image, cmap="gray", vmin=-1, vmax=1, extent=(-half, half, -half, half), origin="lower")
        axes.set(xlim=(-270, 270), ylim=(-270, 270), xlabel="Å", title=title)
    k = np.linspace(1e-4, STAR_SPOKES / (2 * np.pi * 30.0), 6000)
    curve = transfer(k, 1e4 * underfocus_um, spherical_aberration=1e7 * cs_mm, amplitude_contrast=amplitude_contrast)
    for zero in k[1:][np.diff(np.sign(curve)) != 0]:
        radius = STAR_SPOKES / (2 * np.pi * zero)
        if radius < 250:
            right.add_patch(plt.Circle((0, 0), radius, fill=False, color="C3", ls=":", lw=1.2))
    return figure


star_explorer = exploration(
    draw_star,
    underfocus_um=Slider(-2.0, 3.0, 1.0, step=0.1, label="underfocus (µm)"),
    cs_mm=Slider(0.0, 4.0, 2.7, step=0.1, label="Cs (mm)"),
    amplitude_contrast=Slider(0.0, 1.0, 0.0, step=0.05, label="amplitude contrast"),
)
star_explorer

# %% [markdown] tags=["blur"]
# *Figure U07.c. A star of 36 spokes and its image. Red: the radii at which $2\pi r/36$ is a zero of the CTF. There the star turns grey; from ring to ring black and white change places. Nothing is blurred in between: what is lost is the sign, and whole rings.*

# %% tags=["blur"]
behind = through_lens(siemens, Optics(pixel_size=1.0, amplitude_contrast=0.0), defocus_of(10000.0))
line = torch.arange(STAR_SIZE) - STAR_SIZE // 2
y, x = torch.meshgrid(line, line, indexing="ij")
radius, pattern = torch.hypot(x.double(), y.double()), torch.cos(STAR_SPOKES * torch.atan2(y.double(), x.double()))
radii = np.arange(60, 200)
agreement = np.array([float((behind * pattern)[(radius - r).abs() < 1].mean()) for r in radii])
reversal = radii[:-1][(agreement[:-1] < 0) & (agreement[1:] >= 0)].max() + 0.5
print(f"measured on the image: right way round outside {reversal:.1f} Å; you said {my_radius:.1f} Å")
check("U07.1", my_radius)

# %% [markdown] tags=["solution", "blur"]
# The first zero lies at 14.01 Å (the explorer with $Q=0$, or the closed form below), and $2\pi r/36 = 14.01$ Å gives $r = 80.3$ Å. Mind that a ring is a spacing only along the circle: very near the middle, where the spokes bend the wave fronts, the argument gets loose.
#
# <a id="Q-M06-3"></a>
# ## Why the rings are easier to see at high magnification
#
# *In practice the CTF is easier to see in an FFT at high magnification. Why? Where is magnification in the equation?* It is not there. $\mathrm{CTF}(k)$ with $k$ in 1/Å does not know the camera. What moves is the camera's Nyquist frequency.
#
# ### Exercise U07.2 · Count the zeros
#
# At 1 µm, 300 kV, $Q=0$: how many zeros lie below Nyquist (beyond $k=0$) for pixels of 1, 2 and 4 Å, without spherical aberration? And with 2.7 mm? Six whole numbers, in this order. Count on the explorer, or calculate.

# %% tags=["blur"]
# BEGIN SOLUTION
counts = [
    math.floor(aberration(0.5 / pixel, 10000.0, spherical_aberration=cs) / math.pi)
    for cs in (0.0, 2.7e7)
    for pixel in (1.0, 2.0, 4.0)
]
# END SOLUTION
check("U07.2", counts)


# %% tags=["blur"]
def draw_magnification(pixel_size, underfocus_um):
    """The same carbon film and lens on three cameras' worth of pixels: rings in the power spectrum, and the curve against Nyquist."""
    optics = Optics(pixel_size=pixel_size, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
    values = lens.contrast_transfer(optics, defocus_of(1e4 * underfocus_um), size=(512, 512))[0]
    spectrum = power_picture(fourier.to_real(fourier.to_fourier(film) * values, width=512))
    k = np.linspace(0, 0.5, 3000)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.9), width_ratios=(2.2, 1))
    curve = transfer(k, 1e4 * underfocus_um, amplitude_contrast=0.07) ** 2
    nyquist = 0.5 / pixel_size
    left.plot(k[k <= nyquist], curve[k <= nyquist], "C0", lw=1)
    left.plot(k[k > nyquist], curve[k > nyquist], color="0.8", lw=1)
    left.axvline(nyquist, color="C3")
    left.set(xlim=(0, 0.5), xlabel="k (1/Å)", ylabel="CTF²", title=f"pixel {pixel_size:.1f} Å: Nyquist at {2 * pixel_size:.1f} Å")
    right.imshow(spectrum**0.5, cmap="gray")
    right.set(xticks=[], yticks=[], title="power spectrum, out to Nyquist")
    return figure


magnification = exploration(
    draw_magnification,
    pixel_size=Slider(1.0, 8.0, 2.0, step=0.1, label="pixel size (Å)"),
    underfocus_um=Slider(0.5, 3.0, 1.0, step=0.1, label="underfocus (µm)"),
)
magnification

# %% [markdown] tags=["blur"]
# *Figure U07.d. The CTF² in 1/Å stands still while the pixel size moves the red line. What lies beyond it is not recorded; if the film has detail there, it is folded back (U06).*

# %% [markdown] tags=["solution", "blur"]
# **A worked answer.** Without $C_s$, $\chi/\pi$ at Nyquist is $\lambda\Delta f/(4p^2)$: 49 zeros at 1 Å, 12 at 2 Å, 3 at 4 Å, and none once $p > \tfrac12\sqrt{\lambda\Delta f}$, which is 7.02 Å. With 2.7 mm it is 42, 11, 3, because $C_s$ works against the defocus. (Always say which: the counts are quoted both ways.)
#
# So at high magnification *more rings fit below Nyquist*. Three more reasons: the same ring lies at a smaller fraction of Nyquist, where the camera's DQE is higher (U08); the dose per pixel is lower but the number of pixels per ring is not, so each ring is averaged over as many pixels; and at low magnification detail from beyond Nyquist is folded on top. Magnification is not in the equation, it is in the axis.
#
# <a id="Q-M06-4"></a>
# ## Under or over? A blind test
#
# *Can you tell underfocus from overfocus by eye? What do you see, and why do they look different?* Twenty particles, half of them underfocused. Ten seconds for each. Write down twenty letters: `u` or `o`.

# %% tags=["blur"]
molecule = microscope.potential(microscope.hinge(), box=96, voxel_size=2.5)
TEST_OPTICS = Optics(pixel_size=2.5, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.1)
views = torch.linalg.qr(torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(20), dtype=torch.float64))[0]
views = views * torch.det(views)[:, None, None].sign()  # proper rotations
flat = microscope.project(molecule, Pose(lab_from_particle=views, shift=torch.zeros(20, 2))).double()


def on_camera(values, *, noise):
    """Images of the particles as a camera shows them (protein dark), one for each defocus, in units of their own contrast."""
    generator = torch.Generator().manual_seed(4)
    images = []
    for image, value in zip(flat, values, strict=True):
        seen = -through_lens(image, TEST_OPTICS, defocus_of(value))
        images.append(seen / seen.std() + noise * torch.randn(seen.shape, generator=generator, dtype=torch.float64))
    return images


def show_test(values, *, noise, title=""):
    """Twenty images in two rows."""
    figure, panels = plt.subplots(2, 10, figsize=(15, 3.4))
    for number, (axes, image) in enumerate(zip(panels.flat, on_camera(values, noise=noise), strict=True), start=1):
        axes.imshow(image, cmap="gray", vmin=-4, vmax=4)
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{number}{title[number - 1 : number]}", fontsize=9)
    return figure


blind_defocus = parameters("U07.3")["defocus"]  # no peeking
show_test(blind_defocus, noise=1.2)
plt.show()

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_letters = "".join("u" if value > 0 else "o" for value in blind_defocus)  # this solution peeks
# END SOLUTION
predict("U07.blind", my_letters)

# %% tags=["blur"]
my_letters = prediction("U07.blind")
truth = "".join("u" if value > 0 else "o" for value in blind_defocus)
score = sum(mine == right for mine, right in zip(my_letters.lower(), truth, strict=True))
print(f"your score: {score} of 20 (guessing gives 10, give or take 2)")
show_test(blind_defocus, noise=0.0, title=truth)
plt.show()
k = np.linspace(0, 0.1, 2000)
figure, axes = plt.subplots(figsize=(10, 3.2))
for value, colour, name in ((1e4, "C0", "underfocus, 1 µm"), (-1e4, "C1", "overfocus, 1 µm")):
    axes.plot(k, transfer(k, value), colour, label=name)
axes.axhline(0, color="0.7", lw=0.8)
axes.set(xlabel="k (1/Å)", ylabel="CTF (protein bright)")
axes.legend(loc="lower left")
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U07.e. Top: the test again, without noise, with the truth (u or o) above each image. Bottom: both curves at 1 µm. At 30 to 15 Å, where a particle has its shape, they are mirror images of each other.*
#
# **What there is to see.** Underfocused on the camera: a *dark* particle with a bright fringe. Overfocused: a *bright* particle with a dark fringe. In the middle band the CTF of the one is minus that of the other. Only at the lowest frequencies, where amplitude contrast rules, do both agree, so that the overfocused curve has to cross zero on the way down.
#
# And if only power spectra are shown? With $C_s=0$ and $Q=0$ the two CTFs are exact negatives, and **the power spectra are identical**. A power spectrum can tell them apart only by $C_s$ and by $Q$:

# %% tags=["blur"]
k = np.linspace(0, 0.25, 5000)
plain = transfer(k, 1e4, spherical_aberration=0.0, amplitude_contrast=0.0) ** 2
over = transfer(k, -1e4, spherical_aberration=0.0, amplitude_contrast=0.0) ** 2
print(f"Cs = 0, Q = 0: power spectra differ by {np.abs(plain - over).max():.0e}")
assert np.abs(plain - over).max() < 1e-12
zeros = {}
for name, value in (("under", 1e4), ("over", -1e4)):
    curve = transfer(k, value)
    zeros[name] = 1 / k[1:][np.diff(np.sign(curve)) != 0]
    print(f"{name}focus, Q = 0.1, Cs = 2.7 mm: first zeros at {', '.join(f'{zero:.2f}' for zero in zeros[name][:3])} Å")
assert abs(zeros["under"][0] - 14.24) < 0.05
assert abs(zeros["over"][1] - 13.83) < 0.05

# %% [markdown] tags=["blur"]
# ### Exercise U07.3 · What gives overfocus away?
#
# Give the pair of your twenty letters (any, they are not graded) and **the spacing, in Å, of the zero that overfocus has in addition** at 1 µm with $Q = 0.1$.

# %% tags=["blur"]
# BEGIN SOLUTION
extra_zero = math.sqrt(math.pi * EXPLORED.wavelength * 1e4 / math.asin(0.1))
# END SOLUTION
check("U07.3", (my_letters, extra_zero))

# %% [markdown] tags=["solution", "blur"]
# $\pi\lambda|\Delta f|k^2 = \arcsin Q$ gives $1/k = 78.6$ Å: the extra zero printed above. Where a micrograph has much power and little else at 79 Å (ice gradients, carbon edges), nobody sees it. That is why programs *assume* underfocus, and why you check the sign on a known particle.
#
# ## B-factors
#
# <a id="Q-M06-2"></a>
# *What happens when the B-factor is negative versus positive?* With the convention $e^{-Bk^2/4}$ on amplitudes: a positive $B$ damps, the more the finer the detail. A negative one amplifies: *sharpening*. It is the exact inverse, and it amplifies noise just as much.

# %% tags=["blur"]
sharp = fourier.low_pass(flat[2], resolution=6.0, pixel_size=2.5, dimensions=2)
sharp = sharp / sharp.std()


def draw_b_factor(b_factor, noise):
    """An image under a B-factor, and its amplitudes against k²: the Guinier plot."""
    generator = torch.Generator().manual_seed(1)
    noisy = sharp + noise * torch.randn(sharp.shape, generator=generator, dtype=torch.float64)
    changed = fourier.b_factor(noisy, b_factor=b_factor, pixel_size=2.5)
    k = fourier.shell_frequency(96, pixel_size=2.5).numpy()[1:-1]
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.8), width_ratios=(1, 1, 1.5))
    for axes, image, title in ((left, noisy, "before"), (middle, changed, f"B = {b_factor:.0f} Å²")):
        axes.imshow(image, cmap="gray", vmin=-3 * image.std(), vmax=4 * image.std())
        axes.set(xticks=[], yticks=[], title=title)
    for image, colour, label in ((noisy, "0.5", "before"), (changed, "C3", "after")):
        amplitude = fourier.shell_average(fourier.to_fourier(image).abs() ** 2, size=(96, 96)).sqrt().numpy()[1:-1]
        right.plot(k**2, np.log(amplitude), colour, label=label)
    right.set(xlabel="k² (1/Å²)", ylabel="ln amplitude", title=f"the slope changes by −B/4 = {-b_factor / 4:.0f} Å²")
    right.legend()
    return figure


b_explorer = exploration(
    draw_b_factor,
    b_factor=Slider(-300.0, 300.0, 100.0, step=10.0, label="B (Å²)"),
    noise=Slider(0.0, 1.0, 0.1, step=0.05, label="noise"),
)
b_explorer

# %% [markdown] tags=["blur"]
# *Figure U07.f. Left: an image of the molecule with a little noise. Middle: multiplied by $e^{-Bk^2/4}$. Right: the logarithm of its amplitudes against $k^2$ (Guinier plot), where every B-factor is a straight line of slope $-B/4$. At −300 Å² there is nothing but noise to be seen.*

# %% tags=["blur"]
there = fourier.b_factor(sharp, b_factor=100.0, pixel_size=2.5)
back = fourier.b_factor(there, b_factor=-100.0, pixel_size=2.5)
print(f"+100 then −100: back to {float((back - sharp).abs().max()):.0e}")
assert float((back - sharp).abs().max()) < 1e-10

# %% [markdown] tags=["blur"]
# <a id="Q-M06-5"></a>
# *What physics is in a B-factor, and why is everything called one?* The name comes from crystallography. Atoms that jitter with a standard deviation $u$ along each axis are seen smeared by a Gaussian. The transform of that Gaussian is $e^{-2\pi^2u^2k^2}$, and writing it as $e^{-Bk^2/4}$ defines
# $$ B = 8\pi^2 u^2 . $$
# Whatever smears by a random, roughly normal displacement therefore *is* a B-factor. The displacements are independent, their variances add, so **B's add**. The zoo:
#
# | cause | how large | is it Gaussian, $e^{-Bk^2/4}$? |
# |---|---|---|
# | atoms move in the crystal, or in the ensemble that froze | 10–100 Å² (the model's B column) | yes, by definition |
# | movement within a frame or left over after motion correction | 0.5 Å rms: 19.7 Å² | random jitter yes; a steady drift is a sinc (U12) |
# | errors of angles and shifts when particles are averaged | often the largest of all | shifts yes; angles more at the rim than in the middle |
# | flexible parts | large, and different from place to place | hardly: one molecule has several B's |
# | radiation damage | grows with dose | not quite: $e^{-N/2N_c(k)}$, with $N_c\propto k^{-1.66}$ plus a constant |
# | energy spread of the gun (temporal coherence) | small at 300 kV | **no**: $e^{-\mathrm{const}\cdot k^4}$ |
# | width of the source (spatial coherence) | small, grows with defocus | **no**: it depends on the slope of $\chi$ |
# | the camera's MTF | depends on the pixel | **no**, and it also weakens the noise |
# | interpolation in the processing | small | no (U20) |
#
# All of them are called B-factors because a straight line is what people fit to the Guinier plot. It measures the sum.
#
# <a id="Q-M06-6"></a>
# ### Exercise U07.4 · A statement to correct
#
# A well-known text says that *at B = 100 Å² spatial frequencies of 5 Å⁻¹ are attenuated to 1/e of their amplitude*. Three conventions are about: $e^{-Bk^2/4}$, $e^{-Bk^2/2}$ and $e^{-Bk^2}$. Set the record straight with a dictionary: the **resolution** (Å) at which the amplitude is $1/e$, and the **convention** (`"B/4"`, `"B/2"` or `"B"`) for which it is a five.


# %% tags=["blur"]
def draw_convention(b_factor):
    """The three envelopes that are all called B."""
    k = np.linspace(0, 0.5, 600)
    figure, axes = plt.subplots(figsize=(9, 3.4))
    for divisor, colour in ((4, "C0"), (2, "C1"), (1, "C2")):
        label = f"exp(−B k²/{divisor})" if divisor > 1 else "exp(−B k²)"
        axes.plot(k, np.exp(-b_factor / divisor * k**2), colour, label=label)
        axes.plot(math.sqrt(divisor / b_factor), math.exp(-1), colour, marker="o")
    axes.axhline(math.exp(-1), color="0.7", ls=":")
    axes.set(xlabel="k (1/Å)", ylabel="amplitude", xlim=(0, 0.5))
    above = axes.secondary_xaxis("top")
    above.set_xticks([1 / r for r in (20, 10, 7, 5, 4, 3, 2)], labels=["20", "10", "7", "5", "4", "3", "2"])
    above.set_xlabel("1/k (Å)")
    axes.legend()
    return figure


conventions = exploration(draw_convention, b_factor=Slider(20.0, 300.0, 100.0, step=5.0, label="B (Å²)"))
conventions

# %% [markdown] tags=["blur"]
# *Figure U07.g. One B, three conventions; the dots are at 1/e.*

# %% tags=["blur"]
# BEGIN SOLUTION
corrected = {"resolution": math.sqrt(100.0) / 2, "convention": "B/4"}
# END SOLUTION
check("U07.4", corrected)

# %% [markdown] tags=["solution", "blur"]
# Under $B/4$: $k = 2/\sqrt B = 0.2\ \text{Å}^{-1}$, that is **5.00 Å**. Under $B/2$ it is 7.07 Å, under $B$ 10.0 Å. So the statement holds for $e^{-Bk^2/4}$ if "5 Å⁻¹" is read as "5 Å": the *unit* was slipped. Taken by the letter, at $k=5$ Å⁻¹ the amplitude would be $e^{-625}\approx10^{-271}$, and the B with $1/e$ there would be 0.16 Å². (**Trap T1.**) Print the convention beside every B.

# %% tags=["blur"]
for divisor in (4, 2, 1):
    print(f"exp(−B k²/{divisor}): 1/e at {math.sqrt(100 / divisor):.2f} Å")
print(f"at k = 5 1/Å: 10^{-100 / 4 * 25 / math.log(10):.0f}; the B with 1/e there: {4 / 25:.2f} Å²")

# %% [markdown] tags=["blur"]
# <a id="Q-M06-8"></a>
# ## Where does the information go?
#
# *Can you see how information is delocalised as defocus increases? How far out can it get, and where does it go?* The lens does not destroy what it spreads: the ring of ripples around a point holds it. What has frequency $k$ is displaced by
# $$ R(k) = \left|\lambda\,\Delta f\,k - C_s\lambda^3k^3\right| $$
# to *both* sides. At 3 Å, 300 kV, $C_s=2.7$ mm: 58 Å for 1 µm, 124 Å for 2 µm, more than the particle itself.


# %% tags=["blur"]
def draw_delocalised(underfocus_um, box):
    """A particle behind the lens on a wide canvas, the box it will be cut with, and the share of its contrast outside."""
    optics = Optics(pixel_size=2.5, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.1)
    side = 320
    wide = fourier.resize(flat[2], side)
    spectrum = fourier.to_fourier(wide) * lens.contrast_transfer(optics, defocus_of(1e4 * underfocus_um), size=(side, side))[0]
    seen = fourier.to_real(spectrum, width=side)
    kept = fourier.resize(seen, box)
    lost = 1 - float((kept**2).sum() / (seen**2).sum())
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.8))
    half = side * 2.5 / 2
    limit = 0.35 * float(seen.abs().max())
    left.imshow(seen, cmap="gray", vmin=-limit, vmax=limit, extent=(-half, half, -half, half))
    left.add_patch(plt.Rectangle((-box * 1.25, -box * 1.25), box * 2.5, box * 2.5, fill=False, color="C3"))
    left.set(xlabel="Å", title=f"{100 * lost:.1f} % of the contrast's power is outside the box")
    k = np.linspace(0, 0.2, 300)
    far = np.abs(optics.wavelength * 1e4 * underfocus_um * k - 2.7e7 * (optics.wavelength * k) ** 3)
    right.plot(k, far)
    right.axhline(box * 1.25, color="C3", ls=":")
    right.set(xlabel="k (1/Å)", ylabel="displacement (Å)", title="red: half the box")
    return figure


delocalised = exploration(
    draw_delocalised,
    underfocus_um=Slider(0.0, 5.0, 3.0, step=0.1, label="underfocus (µm)"),
    box=Slider(48, 256, 64, step=8, label="box (pixels of 2.5 Å)"),
)
delocalised

# %% [markdown] tags=["blur"]
# *Figure U07.h. A particle imaged on a wide canvas. The red square is the box it will be cut out with. What lies outside is lost to that particle, finest detail first.*
#
# **On a real micrograph** the ripples leave the box *and* those of the neighbours come in, where they count as noise. In a computer that applies the CTF to an image no larger than the particle, they come back in at the other side: wrap-round. It looks as if nothing was lost, and is wrong. The library forms images on a canvas that is large enough and tells what the crop lost. The rule for a box: particle diameter plus twice $R$ at the resolution you hope for (U16).

# %% [markdown] tags=["blur"]
# <a id="Q-M06-7"></a>
# ## More amplitude contrast?
#
# *Do you want more or less of it? What if it is off: does it affect CTF fitting? Why do many programs not fit it?* Set $Q$ to 0.1 in the explorer and look at the left end: amplitude contrast is what we see of *low* frequencies, so more helps picking and aligning. But it comes from electrons that were removed from the coherent beam, so it is not something to wish for.
#
# In a fit it is nearly invisible. $\arcsin Q$ is a *constant* added to $\chi$. A wrong constant is made good, in the band that is fitted, by a slightly wrong defocus (exercise U07.8). And it is exactly the same as a phase shift: a phase plate's $\varphi$ and $\arcsin Q$ cannot be told apart at all. So one fixes it: 0.07 to 0.10 for protein in ice at 300 kV, the same in every program that touches the data. If you are unsure, take 0.1 and be consistent.

# %% tags=["blur"]
fit_k = np.linspace(1 / 30, 1 / 4, 3000)
measured = transfer(fit_k, 15000.0, amplitude_contrast=0.07) ** 2
grid_q, grid_z = np.linspace(0.0, 0.2, 61), np.linspace(14700.0, 15300.0, 121)
match = np.array([[np.corrcoef(measured, transfer(fit_k, z, amplitude_contrast=q) ** 2)[0, 1] for z in grid_z] for q in grid_q])
figure, axes = plt.subplots(figsize=(7.5, 4))
shown = axes.contourf(grid_z, grid_q, match, levels=[0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0], cmap="viridis")
axes.plot(15000, 0.07, "C3o")
axes.set(xlabel="defocus (Å)", ylabel="amplitude contrast")
figure.colorbar(shown, label="correlation with the data")
plt.show()
best = grid_z[match[np.argmin(np.abs(grid_q - 0.1))].argmax()]
print(
    f"Q taken as 0.10 instead of 0.07: the best defocus moves by {best - 15000:+.0f} Å, with a correlation of {match[np.argmin(np.abs(grid_q - 0.1))].max():.4f}"
)
assert -60 < best - 15000 < -5

# %% [markdown] tags=["blur"]
# *Figure U07.i. How well a CTF with a given defocus and amplitude contrast matches a noiseless one of 15,000 Å and 0.07 (red), from 30 to 4 Å. The ridge is long and slanted: the two hide behind each other.*

# %% [markdown] tags=["sharpen"]
# ## Zeros in closed form
#
# The CTF is zero where $\chi + \arcsin Q = n\pi$. With $s=k^2$ that is a quadratic equation,
# $$ \tfrac12 C_s\lambda^3 s^2 - \lambda\Delta f\,s + \left(n - \tfrac{\arcsin Q}{\pi}\right) = 0, $$
# whose smaller root is the zero on the way out. Without $C_s$ and $Q$ it is $k_n = \sqrt{n/(\lambda\Delta f)}$. Numbers that others can check:


# %% tags=["sharpen"]
def zeros_of(defocus, count, *, voltage_kv=300.0, cs=2.7e7, amplitude_contrast=0.1):
    """The first zeros, 1/Å, in closed form."""
    wavelength = Optics(pixel_size=1.0, voltage_kv=voltage_kv).wavelength
    rest = np.arange(1, count + 1) - np.arcsin(amplitude_contrast) / np.pi
    a, b = cs * wavelength**3 / 2, wavelength * defocus
    return np.sqrt(rest / b) if a == 0 else np.sqrt((b - np.sqrt(b * b - 4 * a * rest)) / (2 * a))


published = {
    (10000.0, 300.0, 2.7e7, 0.10): (0.0702149, 0.1002478, 0.1232761, 0.1427330, 0.1599287),
    (15000.0, 300.0, 2.7e7, 0.07): (0.0575723, 0.0819310, 0.1005929, 0.1163330, 0.1302152),
    (20000.0, 200.0, 2.0e7, 0.10): (0.0439463, 0.0626788, 0.0769968, 0.0890556, 0.0996787),
    (5000.0, 100.0, 1.6e7, 0.10): (0.0727491, 0.1043768, 0.1290154, 0.1501874, 0.1692414),
}
for (defocus, voltage, cs, contrast), expected in published.items():
    found = zeros_of(defocus, 5, voltage_kv=voltage, cs=cs, amplitude_contrast=contrast)
    print(f"{voltage:.0f} kV, {defocus:.0f} Å: " + ", ".join(f"{1 / k:.3f}" for k in found) + " Å")
    assert np.allclose(found, expected, rtol=1e-5)
print("1 µm, Q = 0:", ", ".join(f"{1 / k:.3f}" for k in zeros_of(1e4, 3, amplitude_contrast=0.0)), "Å")

# %% [markdown] tags=["sharpen"]
# ### Exercise U07.5 · Find the bug
#
# This envelope was written for a notebook whose pixels were 1 Å. It returns $e^{-Bk^2/4}$ for the frequencies 0 … Nyquist of `size` samples. At 2 Å per pixel somebody fits B and finds 1600 instead of 100. Repair it.


# %% tags=["sharpen"]
def envelope(size, pixel_size, b_factor):
    """exp(−B k²/4) at the frequencies 0 … size // 2."""
    cycles_per_pixel = np.arange(size // 2 + 1) / size
    # BEGIN SOLUTION
    k = cycles_per_pixel / pixel_size
    # END SOLUTION
    return np.exp(-b_factor / 4 * k**2)


check("U07.5", envelope)

# %% [markdown] tags=["solution", "sharpen"]
# The line was `k = cycles_per_pixel * pixel_size`. Cycles per pixel, *divided* by Å per pixel, are cycles per Å. Multiplying makes $k$ wrong by the square of the pixel size and the exponent by its fourth power: 16 at 2 Å, and **nothing at all at 1 Å**. This is the second half of the question about the practical (Q-M06-6): look at which pixel size a notebook assumes. Never test with a pixel size of 1.
#
# ### Exercise U07.6 · B from data
#
# Write two functions. `measured_b(before, after, pixel_size)`: two square images, the second is the first under some B-factor (or several); return B with its sign, to 1 %. `motion_b(rms)`: the B of a random displacement with this standard deviation (Å) *along each axis*.


# %% tags=["sharpen"]
def measured_b(before, after, pixel_size):
    """B in Å², from the slope of ln(amplitude ratio) against k²."""
    # BEGIN SOLUTION
    size = len(before)
    y, x = np.fft.fftfreq(size, pixel_size), np.fft.rfftfreq(size, pixel_size)
    squared = (y[:, None] ** 2 + x**2).ravel()[1:]
    ratio = np.abs(np.fft.rfft2(after)).ravel()[1:] / np.abs(np.fft.rfft2(before)).ravel()[1:]
    return -4 * np.polyfit(squared, np.log(ratio), 1)[0]
    # END SOLUTION


def motion_b(rms):
    """B in Å² of a random displacement."""
    # BEGIN SOLUTION
    return 8 * np.pi**2 * rms**2
    # END SOLUTION


check("U07.6", (measured_b, motion_b))

# %% tags=["sharpen"]
random = np.random.default_rng(7)
moves = random.normal(scale=0.5, size=400000)
for k in (0.1, 0.2, 1 / 3):
    print(
        f"1/k = {1 / k:4.1f} Å: mean of exp(2πi k u) over 0.5 Å rms is {np.exp(2j * np.pi * k * moves).mean().real:.4f}, exp(−B k²/4) = {math.exp(-19.739 / 4 * k * k):.4f}"
    )
    assert abs(np.exp(2j * np.pi * k * moves).mean().real - math.exp(-19.739 / 4 * k * k)) < 4e-3
print(f"0.5 Å rms is B = {8 * math.pi**2 * 0.25:.2f} Å²; B = 100 Å² is {math.sqrt(100 / (8 * math.pi**2)):.3f} Å rms")

# %% [markdown] tags=["sharpen"]
# ## Delocalisation and aliasing
#
# A phase ramp $e^{-2\pi i k x_0}$ moves a picture by $x_0$. Around some $k$ every smooth phase looks like a ramp whose slope is its derivative, so what has frequency $k$ moves by $\frac1{2\pi}\frac{d\chi}{dk}$. And since $\sin\chi$ holds both $e^{+i\chi}$ and $e^{-i\chi}$, it moves both ways.
#
# The same slope decides about *sampling*. A box of length $L$ samples its spectrum at steps of $1/L$. From one sample to the next $\chi$ changes by $\frac{d\chi}{dk}\frac1L = 2\pi R/L$. Half a swing of the sine needs one sample at least, so this must stay below $\pi$: $R \le L/2$, the information must stay within the box. **Aliasing of the CTF and loss from the box are one and the same.**
#
# ### Exercise U07.7 · Displacement and the largest defocus
#
# Write `displacement(defocus, k, wavelength, cs)` (Å, a distance without sign) and `largest_defocus(box, k, wavelength, cs)`: the largest underfocus whose CTF is still sampled at frequency `k` in a box of `box` Å. All lengths in Å. Your own microscope is among those it is tried on.

# %% tags=["sharpen"]
print(parameters("U07.7"))


# %% tags=["sharpen"]
def displacement(defocus, k, wavelength, cs):
    """How far detail of frequency k is displaced, Å."""
    # BEGIN SOLUTION
    return abs(wavelength * defocus * k - cs * (wavelength * k) ** 3)
    # END SOLUTION


def largest_defocus(box, k, wavelength, cs):
    """The largest underfocus whose CTF a box samples at frequency k, Å."""
    # BEGIN SOLUTION
    return (box / 2 + cs * (wavelength * k) ** 3) / (wavelength * k)
    # END SOLUTION


check("U07.7", (displacement, largest_defocus))

# %% tags=["sharpen"]
wavelength = EXPLORED.wavelength
for defocus in (1e4, 2e4):
    by_slope = abs(aberration(1 / 3 + 1e-6, defocus) - aberration(1 / 3 - 1e-6, defocus)) / 2e-6 / (2 * np.pi)
    from_library = float(lens.delocalisation(EXPLORED, defocus_of(defocus), frequency=1 / 3)[0])
    print(f"{defocus / 1e4:.0f} µm, 3 Å: {by_slope:.1f} Å from the slope of χ, {from_library:.1f} Å from the library")
    assert abs(by_slope / from_library - 1) < 1e-6
for cs in (0.0, 2.7e7):
    limit = (64 + cs * (wavelength * 0.5) ** 3) / (wavelength * 0.5)
    print(f"box of 128 Å, 1 Å pixels, Cs {cs / 1e7:.1f} mm: {limit / 1e4:.2f} µm")

# %% [markdown] tags=["solution", "sharpen"]
# 0.65 µm without and 0.91 µm with $C_s$, for a box of 128 Å at Nyquist of 2 Å pixels' edge. Data are collected at 1 to 2 µm, so boxes have to be larger than one thinks, or the resolution lower. (Where $C_s$ wins over defocus, at very high $k$, the bound grows again in this formula; $\chi$'s slope has its largest value in between, so look at the whole band.)
#
# ### Exercise U07.8 · What hides a wrong amplitude contrast?
#
# Somebody processes with $Q = 0.10$ what has $Q = 0.07$, at 300 kV. Which error of **defocus**, in Å, changes the phase by as much (a) at 10 Å, (b) at 4 Å? Two numbers.

# %% tags=["sharpen"]
# BEGIN SOLUTION
change = math.asin(0.10) - math.asin(0.07)
hidden = (change * 10**2 / (math.pi * wavelength), change * 4**2 / (math.pi * wavelength))
# END SOLUTION
check("U07.8", hidden)

# %% [markdown] tags=["solution", "sharpen"]
# $\arcsin 0.07 = 4.01°$, $\arcsin 0.10 = 5.74°$. The difference of 0.0301 rad is $\pi\lambda\,\delta\,k^2$ for $\delta = 48.7$ Å at 10 Å and 7.8 Å at 4 Å. A fit over a wide band settles somewhere between (the contour plot above), and the residue is far below what noise does. Compare with the defocus error that matters at 3 Å, 114 Å for a quarter of $\pi$ (U09).

# %% [markdown]
# ## In your own words
#
# A colleague says: "This micrograph has a B-factor of 80, that one of 150. The second is worthless." What do you ask back?

# %%
# BEGIN SOLUTION
my_text = (
    "Under which convention, and at which resolution will we use it? At 10 Å the difference is 16 % of the amplitude, at 3 Å 86 %. B's add: is it motion, ice, "
    "or the fit? And what about the noise?"
)
# END SOLUTION
explain("U07.words", my_text)

# %% [markdown]
# ## What to try on your own data
#
# Take one row of your micrographs' STAR file after CTF estimation and draw its CTF on top of the power spectrum. Do the rings sit on the gaps? Then compute where your box ends:
#
# ```python
# import cryowalk as cw
#
# particles = cw.read("particles.star")
# optics = particles.optics[0]
# for resolution in (10.0, 5.0, 3.0):
#     spread = cw.microscope.lens.delocalisation(optics, particles.defocus, frequency=1 / resolution)
#     print(f"{resolution} Å: detail lies up to {spread.max():.0f} Å away from its particle")
# ```
#
# ## Further reading
#
# - F. J. Sigworth, *Phase-contrast imaging in the EM* and *Principles of cryo-EM single-particle image processing*, Microscopy 65, 57–67 (2016).
# - A. Rohou, N. Grigorieff, *CTFFIND4: Fast and accurate defocus estimation from electron micrographs*, Journal of Structural Biology 192, 216–221 (2015). The CTF in the form used here.
# - F. Thon, *Zur Defokussierungsabhängigkeit des Phasenkontrastes bei der elektronenmikroskopischen Abbildung*, Zeitschrift für Naturforschung 21a, 476–478 (1966). The rings.
# - R. H. Wade, *A brief look at imaging and contrast transfer*, Ultramicroscopy 46, 145–156 (1992). Zeros, envelopes, and what each means.
# - P. A. Penczek, *Image restoration in cryo-electron microscopy*, Methods in Enzymology 482, 35–72 (2010). B-factors, among many other things.
# - A. Jakobi and others, the practicals of the *High-resolution imaging* course, TU Delft: more sliders of this kind.
#
# **Next:** U08, the camera that records all this, and where the noise comes from.
