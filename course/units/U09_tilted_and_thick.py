# %% [markdown]
# # U09 Tilted and thick specimens
#
# **Question.** One image, one CTF: that holds for a thin and level specimen. What becomes of it when the support is tilted, and what when the specimen is thick?
#
# **What you need.** U07 (the CTF and its zeros). For *sharpen*: U02's derivation, and U05 (convolution).
#
# **What you will be able to do.**
#
# - map the defocus over a tilted field, and measure the tilt from the rings alone;
# - say how wide a strip may share one CTF, and correct a field whose CTF is different everywhere;
# - see the two side-bands of a CTF come apart, and compute a tilted image fast and right;
# - read the thickness of a sample from its Thon rings, and keep *thick*, *strong* and *tilted* apart;
# - add up everything that limits a resolution in one budget.
#
# About 60 minutes. *Blur*: the tilted field, strips, side-bands, nodes, the budget. *Sharpen*: the tilt from rings, the fast transform, a CTF that varies, two planes, depth of field.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import Defocus, Optics, fourier
from cryowalk.course import Slider, check, explain, exploration, parameters, predict, prediction
from cryowalk.course.checks.u09 import FIELD_OPTICS, tilted_micrograph
from cryowalk.microscope import lens, limits, tilted

torch.set_num_threads(1)


def defocus_of(mean):
    """The defocus of one image without astigmatism, Å."""
    value, zero = torch.tensor(float(mean)), torch.tensor(0.0)
    return Defocus(major=value, minor=value, azimuth=zero, phase_shift=zero)


def noise(*shape, seed=1):
    """Amorphous material: white noise."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whole(half, width):
    """A half spectrum of something even (a power) as a picture with its origin in the middle."""
    height = half.shape[0]
    mates = half[(-torch.arange(height)) % height][:, 1 : (width + 1) // 2].flip(-1)
    return torch.cat([half, mates], dim=1).roll((height // 2, width // 2), dims=(0, 1))


def ring_power(tiles):
    """The power spectrum of a stack of square tiles, averaged over the stack (half spectrum)."""
    window = torch.hann_window(tiles.shape[-1], periodic=False)
    return (fourier.to_fourier(tiles * window * window[:, None]).abs() ** 2).mean(0)


# %% [markdown] tags=["blur"]
# <a id="L-M07-1"></a>
# ## A support that is not level
#
# Tilt the stage, as one does for tomography (U28), or to fill in views of a particle that always lies on the same side. Now the near edge of the support lies higher in the column than the far edge. **What is it that changes over the picture?** (a) the magnification; (b) the defocus; (c) the brightness; (d) nothing, since electrons are waves of 0.02 Å and the support is microns away from the lens.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "b"
# END SOLUTION
predict("U09.opening", my_guess, options=("a", "b", "c", "d"))

# %% [markdown] tags=["blur"]
# A plane that lies $z$ farther along the beam has an underfocus larger by $z$, to the Å. On a support tilted by $\theta$ about an axis in the picture, a point at the distance $u$ from the axis lies at $z = u\tan\theta$:
# $$ \Delta f(u) = \Delta f_0 + u\tan\theta . $$

# %% tags=["blur"]
my_guess = prediction("U09.opening")
FIELD, PIXEL = 800, 5.0  # pixels, Å: 4000 Å across
wide = Optics(pixel_size=PIXEL, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
film = noise(FIELD, FIELD)


def draw_tilted_field(tilt):
    """A tilted film, and the power spectra at its lower edge, in its middle and at its upper edge."""
    image = tilted.apply_tilted_transfer(film, wide, defocus_of(30000.0), tilt_angle=math.radians(tilt))
    figure, panels = plt.subplots(1, 4, figsize=(14, 3.7), layout="constrained")
    panels[0].imshow(image[::2, ::2], cmap="gray", origin="lower", extent=(0, 4000, 0, 4000))
    panels[0].set(title=f"a film tilted by {tilt:.0f}°, axis along x", xlabel="x (Å)", ylabel="y (Å)")
    for panel, row in zip(panels[1:], (0, FIELD // 2 - 100, FIELD - 200), strict=True):
        tiles = image[row : row + 200].unfold(1, 200, 50).permute(1, 0, 2)
        picture = whole(ring_power(tiles), 200)
        panel.imshow(picture.sqrt(), cmap="gray", origin="lower", extent=(-0.1, 0.1, -0.1, 0.1))
        height = (row + 100 - FIELD // 2) * PIXEL * math.tan(math.radians(tilt))
        panels[0].axhspan(row * PIXEL, (row + 200) * PIXEL, color="C1", alpha=0.15)
        panel.set(title=f"y = {(row + 100) * PIXEL:.0f} Å: {(30000 + height) * 1e-4:.2f} μm", xticks=[-0.1, 0, 0.1], yticks=[])
    return figure


tilt_player = exploration(draw_tilted_field, tilt=Slider(-60.0, 60.0, 50.0, step=5.0, label="tilt (°)"))
tilt_player

# %% [markdown] tags=["blur"]
# *Figure U09.a. A film of amorphous carbon, 3 μm underfocus in its middle, and the power spectra of the three bands. Nothing in the picture itself betrays the tilt; the rings do. At high tilt they are blurred at the rim, because the band itself spans many defoci.*
#
# ### Exercise U09.1 · From edge to edge
#
# At 60°, by how many Å does the defocus change across these 4000 Å?

# %% tags=["blur"]
# BEGIN SOLUTION
change = 4000 * math.tan(math.radians(60))
# END SOLUTION
check("U09.1", change)

# %% [markdown] tags=["blur"]
# ## How wide is a strip?
#
# So one CTF for the whole field is wrong. But how wrong may it be? An error $\delta$ of the defocus turns the phase $\chi$ by $\pi\lambda\delta k^2$, most at the finest detail. An eighth of a turn, $\pi/4$, is a common tolerance: the CTF is then off by no more than 0.7, at its zeros, and hardly anywhere else.
#
# ### Exercise U09.2 · The tolerance
#
# For 3 Å detail at 300 kV: (1) which error of defocus gives $\pi/4$; (2) over which distance on a field tilted by 60° does the defocus change by that much? Two numbers, in Å.

# %% tags=["blur"]
# BEGIN SOLUTION
wavelength = wide.wavelength
tolerance = 3.0**2 / (4 * wavelength)
answer = (tolerance, tolerance / math.tan(math.radians(60)))
# END SOLUTION
check("U09.2", answer)

# %% [markdown] tags=["blur", "solution"]
# $\pi\lambda\delta/d^2=\pi/4$ gives $\delta = d^2/4\lambda$: 114 Å, and a strip of 66 Å, smaller than many a particle. `limits.defocus_tolerance(3.0, voltage_kv=300)` is the same number. At 20 Å, which tomography often has to be content with, it is 5079 Å, a strip of 2932 Å: most of the picture.

# %% [markdown] tags=["blur"]
# <a id="L-M07-4"></a>
# ## A correction that varies
#
# The simplest correction flips the phases: where the CTF is negative, turn the sign (U07). On a tilted field do it strip by strip: take a strip along the axis, correct it with the defocus of its centre line, keep the strip, go on. The slider sets the width.

# %% tags=["blur"]
SMALL, FINE = 512, 2.0
fine = Optics(pixel_size=FINE, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
object_film = noise(SMALL, SMALL, seed=2)
STRIP_TILT = math.radians(60)
strip_heights = tilted.tilted_heights((SMALL, SMALL), pixel_size=FINE, tilt_angle=STRIP_TILT)
seen = tilted.apply_transfer_over_heights(object_film, fine, defocus_of(15000.0), heights=strip_heights)
seen_spectrum = fourier.to_fourier(seen)


def flipped_in_strips(width):
    """The image, phase-flipped in strips of `width` Å along the axis, each with the CTF of its centre line."""
    rows = max(1, round(width / FINE))
    corrected = torch.empty_like(seen)
    for first in range(0, SMALL, rows):
        last = min(first + rows, SMALL)
        height = float(strip_heights[first:last, 0].mean())
        signs = lens.contrast_transfer(fine, defocus_of(15000.0 + height), size=(SMALL, SMALL)).sign()
        corrected[first:last] = fourier.to_real(seen_spectrum * signs, width=SMALL)[first:last]
    return corrected


def draw_strips(width):
    """How much of the object a correction in strips brings back, ring by ring."""
    k = fourier.shell_frequency(SMALL, pixel_size=FINE).numpy()
    figure, axes = plt.subplots(figsize=(8, 3.6))
    for each, colour in ((16.0, "C2"), (1024.0, "C7"), (width, "C3")):
        correlation = fourier.shell_correlation(flipped_in_strips(each), object_film, dimensions=2)
        smooth = np.convolve(correlation, np.ones(7) / 7, mode="same")
        label = "one CTF for the whole field" if each == 1024.0 else f"strips of {each:.0f} Å"
        axes.plot(k[3:-3], smooth[3:-3], colour, lw=2.5 if each == width else 1.2, label=label)
    limit = math.sqrt(4 * fine.wavelength * width * math.tan(STRIP_TILT))
    axes.axvline(1 / limit, color="C3", ls=":", label=f"d²/4λ is the change over a strip: d = {limit:.1f} Å")
    axes.set(xlabel="frequency (1/Å)", ylabel="correlation with the object", ylim=(-0.1, 1.02), xlim=(0, 0.25))
    axes.legend(fontsize=8, loc="lower left")
    return figure


strip_player = exploration(draw_strips, width=Slider(16.0, 512.0, 256.0, step=16.0, label="width of a strip (Å)"))
strip_player

# %% [markdown] tags=["blur"]
# *Figure U09.b. A film of 1024 Å tilted by 60°, corrected by phase flipping in strips: the correlation of the result with the film, ring by ring. One CTF for the whole field (grey) fails from the middle on, and at Nyquist nothing is left. Where the dotted line stands, the tolerance of the last exercise is used up: the red curve begins to leave the green one.*
#
# For single particles there is nothing to correct in strips: give **each particle the defocus of its own place**. Its own size is its strip, and a tilted particle needs no more than a level one. Tomograms are corrected in strips, or voxel by voxel (U28).

# %% [markdown] tags=["blur"]
# <a id="L-M07-2"></a>
# ## Two side-bands
#
# Look at the same thing in Fourier space. A sheet of parallel lines of all spacings, lines running up the picture (along $y$), has its transform on a single line: $k_y=0$. Level, it comes out multiplied by the CTF, on the same line. **Now turn it about the $x$ axis. Where in the transform will its signal be?** (a) on the same line; (b) on the line, turned; (c) on two curves, one above and one below the line.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "c"
# END SOLUTION
predict("U09.bands", my_guess, options=("a", "b", "c"))

# %% tags=["blur"]
my_guess = prediction("U09.bands")
BAND = 640
band_optics = Optics(pixel_size=1.6, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
sheet = noise(BAND, seed=3).expand(BAND, BAND) * torch.hann_window(BAND, periodic=False)[:, None]


def draw_side_bands(tilt):
    """The transform of the image of a tilted sheet of lines, stretched across, with the parabolas of the two side-bands."""
    image = tilted.apply_tilted_transfer(sheet, band_optics, defocus_of(12000.0), tilt_angle=math.radians(tilt))
    spectrum = fourier.to_fourier(fourier.resize(image, (4 * BAND, BAND))).abs()
    rows = 28
    middle = torch.cat([spectrum[-rows:], spectrum[: rows + 1]])
    step = 1 / (4 * BAND * 1.6)
    figure, axes = plt.subplots(figsize=(10, 3.6))
    axes.imshow(
        (middle / middle.max()) ** 0.6, cmap="magma", origin="lower", aspect="auto",
        extent=(0, 0.5 / 1.6, -(rows + 0.5) * step, (rows + 0.5) * step),
    )  # fmt: skip
    k = torch.linspace(0, 0.5 / 1.6, 100)
    bands = tilted.side_bands(k, torch.zeros_like(k), optics=band_optics, tilt_angle=math.radians(tilt))
    for sign in (1, -1):
        axes.plot(k, sign * bands.displacement_y, "C0--", lw=1.2)
    axes.set(xlabel="kx (1/Å)", ylabel="ky (1/Å)", title=f"tilt {tilt:.0f}°", ylim=(-rows * step, rows * step))
    return figure


band_player = exploration(draw_side_bands, tilt=Slider(0.0, 70.0, 70.0, step=5.0, label="tilt (°)"))
band_player

# %% [markdown] tags=["blur"]
# *Figure U09.c. The transform of the picture of a tilted sheet of lines (the vertical axis is stretched a good deal). Near the origin there is one band, with the zeros of the CTF in it. Farther out it parts into two, along the dashed parabolas $k_y=\pm\frac12\lambda k^2\tan\theta$. Once they are apart, the zeros are gone!*
#
# Why two? The CTF is a sine, and a sine is two exponentials: $\sin\chi = (e^{i\chi}-e^{-i\chi})/2i$. One belongs to the beam that was scattered towards $+k$, the other to the one towards $-k$. Level, they sit on the same spot of the transform and interfere, sometimes to nothing: that is what a zero is. On a tilted specimen the phase $\pi\lambda k^2 z$ grows evenly along $y$, up for the one and
# down for the other. A phase that grows evenly in real space is a *shift* in Fourier space. So the two come apart, and what does not overlap cannot cancel. Every line of the specimen then appears twice, with full strength, and the picture of a tilted crystal has no zeros at high resolution.

# %% [markdown] tags=["sharpen"]
# ## The tilt, from the rings
#
# ### Exercise U09.3 · Measure it
#
# Below is your own micrograph: 1024² pixels of 4 Å, amorphous support, the axis along $x$, 3 μm underfocus in the middle, and noise. How steep is the support? Measure the defocus at several $y$, and give the slope of defocus against $y$ (Å per Å, with its sign; rows count upwards in $y$). The tolerance is 3 %.

# %% tags=["sharpen"]
micrograph = torch.from_numpy(tilted_micrograph(parameters("U09.3")["number"]))
TILE = 192


def rings_at(row):
    """The power in each ring of the tiles whose first row is `row`, averaged along x, and the rings' frequencies."""
    tiles = micrograph[row : row + TILE].unfold(1, TILE, TILE // 4).permute(1, 0, 2)
    power = fourier.shell_average(ring_power(tiles), size=(TILE, TILE))
    return fourier.shell_frequency(TILE, pixel_size=4.0).numpy(), power.numpy()


k, power = rings_at(416)
figure, axes = plt.subplots(figsize=(8, 3))
axes.plot(k, power / np.median(power))
axes.set(xlabel="frequency (1/Å)", ylabel="power", ylim=(0, 4), title="rings in the middle of your micrograph")
plt.show()

# %% tags=["sharpen"]
# BEGIN SOLUTION
candidates = np.arange(20000.0, 40000.0, 10.0)


def local_defocus(row):
    k, power = rings_at(row)
    band = (k > 0.02) & (k < 0.085)
    k, power = k[band], power[band] - power[band].mean()
    wavelength = FIELD_OPTICS.wavelength
    chi = np.pi * wavelength * (candidates[:, None] * k**2 - 0.5 * 2.7e7 * wavelength**2 * k**4)
    model = np.sin(chi + np.arcsin(0.07)) ** 2
    model -= model.mean(axis=1, keepdims=True)
    return candidates[np.argmax(model @ power / np.linalg.norm(model, axis=1))]


rows = np.arange(0, 1024 - TILE + 1, 64)
centres = (rows + TILE / 2) * 4.0
local = np.array([local_defocus(row) for row in rows])
slope, start = np.polyfit(centres, local, 1)
# END SOLUTION
check("U09.3", slope)

# %% tags=["sharpen"]
print(
    f"tilt {math.degrees(math.atan(slope)):+.1f}°; the points scatter by {np.std(local - np.polyval([slope, start], centres)):.0f} Å about the line"
)
figure, axes = plt.subplots(figsize=(6, 3))
axes.plot(centres, local * 1e-4, "o")
axes.plot(centres, np.polyval([slope, start], centres) * 1e-4, "C1")
axes.set(xlabel="y (Å)", ylabel="defocus (μm)")
plt.show()

# %% [markdown] tags=["sharpen"]
# *Figure U09.d. Defocus against height in the picture. Every program that estimates "local" defocus does this, with patches in place of rows, and finds both the tilt and its axis. Note what it rests on: the support, not the particles. Particles lie above and below it.*

# %% [markdown] tags=["sharpen"]
# <a id="L-M07-3"></a>
# ## Fast and right
#
# How does one *compute* the picture of a tilted field? The definition: every point $x'$ of the specimen is spread by the lens with the CTF of its own height,
# $$ g(x) = \sum_{x'} f(x')\,h_{\Delta f+z(x')}(x-x'), \qquad \hat g(k)=\sum_{x'} f(x')\,\mathrm{CTF}_{\Delta f+z(x')}(k)\,e^{-2\pi i k\cdot x'} . $$
# No convolution, since $h$ changes from point to point; by brute force it costs a CTF for every pixel. For $1024^2$ pixels that takes hours.
#
# The way out: **as a function of $z$ the CTF is smooth.** Interpolate it between a few layers, $\mathrm{CTF}_{\Delta f+z} \approx \sum_l w_l(z)\,\mathrm{CTF}_{\Delta f+z_l}$, and the sum becomes
# $$ \hat g(k) \approx \sum_l \mathrm{CTF}_{\Delta f+z_l}(k)\;\mathcal F\big[w_l(z(x'))\,f(x')\big](k), $$
# one transform for each layer. Straight lines between layers work, but need many; polynomials through well-chosen points need few. (Nothing here asks for a plane: a bent support or particles at their own heights in thick ice are the same sum.)
#
# ### Exercise U09.4 · At most 32
#
# Write `fast_tilted(image, heights, ctf)`: `heights` holds $z$ of every pixel in Å, and `ctf(z)` gives the transfer function at height $z$ as a full spectrum in the order of `np.fft.fft2`. Call it at most 32 times. The result must be within $10^{-3}$ of brute force (relative, in the norm).


# %% tags=["sharpen"]
def fast_tilted(image, heights, ctf):
    """The image of points at different heights."""
    # BEGIN SOLUTION
    count, reach = 20, np.abs(heights).max()
    places = np.cos(np.pi * (2 * np.arange(count) + 1) / (2 * count)) * reach
    total = np.zeros(image.shape, dtype=complex)
    for number, place in enumerate(places):
        others = np.delete(places, number)
        weight = np.prod([(heights - other) / (place - other) for other in others], axis=0)  # Lagrange
        total += np.fft.fft2(image * weight) * ctf(place)
    return np.fft.ifft2(total).real
    # END SOLUTION


check("U09.4", fast_tilted)

# %% tags=["sharpen"]
side, tilt = 48, math.radians(70)
test_image = noise(side, side, seed=5).double()
test_optics, test_defocus = Optics(pixel_size=2.0), Defocus(**{n: v.double() for n, v in zip(("major", "minor", "azimuth", "phase_shift"), torch.tensor([12000.0, 12000.0, 0.0, 0.0]), strict=True)})  # fmt: skip
heights = 8 * tilted.tilted_heights((side, side), pixel_size=2.0, tilt_angle=tilt, like=test_image)  # as on a wider field
brute = tilted.apply_transfer_pixel_by_pixel(test_image, test_optics, test_defocus, heights=heights)
fast = tilted.apply_transfer_over_heights(test_image, test_optics, test_defocus, heights=heights)
phase = math.pi * test_optics.wavelength * 2 * 0.25**2 * float(heights.max())
print(f"library: {float((fast - brute).norm() / brute.norm()):.0e} from brute force")
print(f"phase over the heights ±{phase:.1f} rad: {tilted.layer_count(phase)} layers in place of {side * side} pixels")
assert (fast - brute).norm() < 1e-3 * brute.norm()

odd_image = noise(33, 33, seed=6).double()
by_layers = tilted.apply_tilted_transfer(odd_image, test_optics, test_defocus, tilt_angle=tilt)
by_bands = tilted.apply_tilted_transfer_by_side_bands(odd_image, test_optics, test_defocus, tilt_angle=tilt)
print(f"layers and side-bands, two ways to the same picture: {float((by_layers - by_bands).norm() / by_bands.norm()):.0e}")
assert (by_layers - by_bands).norm() < 1e-3 * by_bands.norm()

# %% [markdown] tags=["sharpen"]
# For a plane, $z=\nabla z\cdot x$, the sum can even be done in closed form. Put $\sin(\chi+\pi\lambda k^2\,\nabla z\cdot x')$ into $\hat g$, write it as two exponentials, and read off two transforms of $f$ at displaced frequencies:
# $$ \hat g(k) = \frac{1}{2i}\Big[e^{i\chi(k)}\hat f\big(k-q\big) - e^{-i\chi(k)}\hat f\big(k+q\big)\Big],\qquad q=\tfrac12\lambda k^2\,\nabla z . $$
# These are the two side-bands, and the dashed parabolas of Figure U09.c. The cell above computed one picture in both ways.
#
# **And back?** The layers are linear, so they have a transpose: filter the picture with each layer's CTF first, weigh afterwards. `spread_back_over_heights` does it. It is *not* the inverse, but it is what a correction needs: phase flipping, multiplying by the CTF, or the normal equations $A^\top A f = A^\top g$ of a least-squares correction, to be solved by conjugate gradients.

# %% tags=["sharpen"]
back = tilted.spread_back_over_heights(seen, fine, defocus_of(15000.0), heights=strip_heights)


def normal(image):
    """AᵀA with a little regularisation."""
    through = tilted.apply_transfer_over_heights(image, fine, defocus_of(15000.0), heights=strip_heights)
    return tilted.spread_back_over_heights(through, fine, defocus_of(15000.0), heights=strip_heights) + 0.03 * image


estimate, residual = torch.zeros_like(seen), back.clone()
direction = residual.clone()
for _ in range(3):
    spread = normal(direction)
    length = residual.square().sum() / (direction * spread).sum()
    estimate, previous = estimate + length * direction, residual.square().sum()
    residual = residual - length * spread
    direction = residual + residual.square().sum() / previous * direction
shells = fourier.shell_frequency(SMALL, pixel_size=FINE).numpy()
figure, axes = plt.subplots(figsize=(8, 3.2))
for image, label in ((flipped_in_strips(1024.0), "one CTF"), (flipped_in_strips(16.0), "narrow strips, flipped"), (back, "transpose"), (estimate, "least squares, 3 steps")):  # fmt: skip
    correlation = fourier.shell_correlation(image, object_film, dimensions=2).numpy()
    axes.plot(shells[3:-3], np.convolve(correlation, np.ones(7) / 7, mode="same")[3:-3], label=label)
axes.set(xlabel="frequency (1/Å)", ylabel="correlation with the object", ylim=(-0.1, 1.02))
axes.legend(fontsize=8)
plt.show()
flat, solved = (
    fourier.shell_correlation(image, object_film, dimensions=2)[64:250].mean() for image in (flipped_in_strips(1024.0), estimate)
)
print(f"mean correlation beyond 16 Å: one CTF {float(flat):.2f}, least squares {float(solved):.2f}")
assert solved > 0.85 > flat

# %% [markdown] tags=["sharpen"]
# *Figure U09.e. A noise-free tilted film, corrected in four ways. Least squares, with the CTF that varies, comes closest; what it cannot bring back lay in zeros.*

# %% [markdown] tags=["blur"]
# <a id="Q-M01S-2"></a>
# ## Thick and level
#
# *In weak-phase imaging the CTF seems to oscillate to zeros. Is this observed in practice?*
#
# Hardly. The zeros are in the *signal*. What one measures is a power spectrum, and it has a floor: shot noise, which no lens modulates, and inelastic electrons. Envelopes weaken the rings towards the rim. And there is thickness. A thick sample is a stack of thin ones, each with its own defocus. Their scatterers know nothing of one another, so *powers* add, and the mean over a slab $t$ thick is
# $$ \tfrac12\Big[1-\operatorname{sinc}(\lambda k^2 t)\,\cos 2\chi\Big],\qquad \operatorname{sinc}x=\frac{\sin\pi x}{\pi x} . $$
# The rings fade with $k$, vanish at a **node** where $\lambda k^2t=1$, and come back *inverted*: bright where they were dark.


# %% tags=["blur"]
def draw_thick(thickness, floor, amplitude_contrast):
    """The rings of a slab, with and without its thickness, over a floor of noise."""
    optics = Optics(pixel_size=1.0, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=amplitude_contrast)
    k = torch.linspace(0.0, 0.35, 3000, dtype=torch.float64)
    figure, axes = plt.subplots(figsize=(10, 3.4))
    for each, colour, width in ((0.0, "0.7", 1.0), (thickness, "C3", 1.5)):
        power = tilted.thickness_averaged_power(k, optics=optics, defocus=defocus_of(12000.0), thickness=each)
        axes.plot(k, floor + (1 - floor) * power, color=colour, lw=width, label=f"{each:.0f} Å thick")
    if thickness > 0:
        node = tilted.thickness_node(optics, thickness=thickness)
        axes.axvline(node, color="C0", ls=":", label=f"node at {1 / node:.2f} Å")
    axes.axhline(floor, color="0.4", lw=0.8)
    axes.set(xlabel="frequency (1/Å)", ylabel="power", xlim=(0, 0.35), ylim=(0, 1.02))
    axes.legend(fontsize=8, loc="upper right")
    return figure


thick_player = exploration(
    draw_thick,
    thickness=Slider(0.0, 3000.0, 1000.0, step=50.0, label="thickness (Å)"),
    floor=Slider(0.0, 0.8, 0.3, step=0.05, label="floor: noise"),
    amplitude_contrast=Slider(0.0, 0.3, 0.07, step=0.01, label="amplitude contrast"),
)
thick_player

# %% [markdown] tags=["blur"]
# *Figure U09.f. The power spectrum of a slab (red) and of a thin film (grey), 1.2 μm underfocus. Minima fill in, for two reasons: the floor lifts them all alike, thickness those at the rim. A slab of 1000 Å has its node at 4.44 Å.*
#
# ### Exercise U09.7 · A ruler
#
# The node measures the thickness of the ice, from one picture, without tilting anything (that is what CTFFIND5 does). In a first micrograph, rings vanish for the first time at 5.0 Å; in your own, at your own spacing. How thick are the two samples, in Å? The voltage is 300 kV.

# %% tags=["blur"]
my_spacing = parameters("U09.7")["spacing"]
print(f"your rings vanish first at {my_spacing} Å")
# BEGIN SOLUTION
thicknesses = (5.0**2 / 0.0196875, my_spacing**2 / 0.0196875)
# END SOLUTION
check("U09.7", thicknesses)

# %% [markdown] tags=["blur", "solution"]
# **A worked answer.** $\lambda k^2t=1$ with $k=1/d$: $t=d^2/\lambda$, 1270 Å for 5.0 Å. *Is it observed that the CTF oscillates to zeros?* In the signal of one thin particle, yes: at a zero there is nothing of it. In a power spectrum, no: noise lies under all of it, envelopes and thickness fill the minima, amplitude contrast only moves them. So do not expect a spectrum to reach zero, and do not take a minimum that does not for a fault of the microscope.

# %% [markdown] tags=["sharpen"]
# <a id="Q-M09-5"></a>
# ## Strong is not thick
#
# *What is the difference between the "weak approximation" and the "projection assumption"?*
#
# Two assumptions stand behind the CTF, and they are independent. **Weak**: $e^{i\varphi}\approx 1+i\varphi$, so that the picture is linear in the specimen. **Projection**: the specimen is so thin that all its planes have the same defocus. A gold atom is thin and strong; a vesicle is thick and weak. Let us break them one at a time, with the smallest thick specimen there is: two planes.
#
# ### Exercise U09.5 · Two planes
#
# Two equal, weak planes lie 500 Å apart along the beam (300 kV); the picture is focused with respect to their middle. By which factor is the picture's signal at 4 Å weaker than if both lay in one plane?

# %% tags=["sharpen"]
# BEGIN SOLUTION
factor = math.cos(math.pi * 0.0196875 / 4.0**2 * 250)
# END SOLUTION
check("U09.5", factor)


# %% tags=["sharpen"]
def draw_two_planes(distance):
    """What is left of the sum of two planes, against frequency, and their two CTFs at 4 Å as arrows."""
    k = np.linspace(0, 0.4, 1000)
    wavelength = fine.wavelength
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), width_ratios=(2, 1))
    left.plot(k, np.cos(np.pi * wavelength * k**2 * distance / 2), "C3")
    left.axhline(0, color="0.8")
    at_four = math.pi * wavelength / 16 * distance / 2
    left.plot(0.25, math.cos(at_four), "C0o")
    left.set(xlabel="frequency (1/Å)", ylabel="factor cos(πλk²Δz/2)", ylim=(-1.05, 1.05), title=f"planes {distance:.0f} Å apart")
    for sign, colour in ((1, "C1"), (-1, "C2")):
        angle = math.pi / 2 + sign * at_four
        right.annotate(
            "", xy=(math.cos(angle), math.sin(angle)), xytext=(0, 0), arrowprops={"arrowstyle": "->", "color": colour, "lw": 2}
        )
    right.annotate("", xy=(0, math.cos(at_four)), xytext=(0, 0), arrowprops={"arrowstyle": "->", "color": "C3", "lw": 3})
    right.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), aspect="equal", xticks=[], yticks=[], title=f"at 4 Å: {math.cos(at_four):+.3f}")
    return figure


plane_player = exploration(draw_two_planes, distance=Slider(0.0, 1500.0, 500.0, step=25.0, label="distance of the planes (Å)"))
plane_player

# %% [markdown] tags=["sharpen"]
# *Figure U09.g. Two planes: the factor on their sum, and at 4 Å the two waves (orange, green) with their mean (red). At 1000 Å the factor is negative: the pair is seen with the wrong sign.*
#
# Now the laboratory: weak or strong, thin or thick. For each of the four we compute the exact picture (transmit, propagate, transmit, focus, square) and two approximations: the *linear* picture of the two planes, each with its own CTF, which assumes weakness alone, and the picture of their *projection*, exact otherwise, which assumes thinness alone.

# %% tags=["sharpen"]
pixels, spacing = 256, 0.8
frequency = np.fft.fftfreq(pixels, spacing)
squared = frequency[:, None] ** 2 + frequency[None, :] ** 2
wavelength = fine.wavelength
random = np.random.default_rng(4)
soft = np.exp(-2 * np.pi**2 * 1.0**2 * squared)  # atoms are blurred by 1 Å
planes = [np.fft.ifft2(np.fft.fft2(random.normal(size=(pixels, pixels))) * soft).real for _ in range(2)]
planes = [plane / plane.std() for plane in planes]


def propagator(distance):
    return np.exp(-1j * np.pi * wavelength * distance * squared)


def focus(wave, defocus):
    return np.fft.ifft2(np.fft.fft2(wave) * np.exp(1j * np.pi * wavelength * defocus * squared))


def correlation_of(first, second):
    """The correlation of two pictures in the band from 5 to 3 Å."""
    band = (squared > 1 / 25) & (squared < 1 / 9)
    a, b = np.fft.fft2(first)[band], np.fft.fft2(second)[band]
    return (a * b.conj()).sum().real / np.sqrt((abs(a) ** 2).sum() * (abs(b) ** 2).sum())


def experiment(strength, distance, defocus=8000.0):
    """Correlations with the exact picture: of the linear one, and of the one of the projection."""
    first, second = (strength / math.sqrt(2) * plane for plane in planes)
    passed = np.fft.ifft2(np.fft.fft2(np.exp(1j * first)) * propagator(distance)) * np.exp(1j * second)
    exact = abs(focus(passed, defocus + distance / 2)) ** 2  # referred to the middle
    transfers = [np.sin(np.pi * wavelength * (defocus + sign * distance / 2) * squared) for sign in (-1, 1)]
    linear = 1 - 2 * sum(
        np.fft.ifft2(np.fft.fft2(plane) * transfer).real for plane, transfer in zip((first, second), transfers, strict=True)
    )
    projected = abs(focus(np.exp(1j * (first + second)), defocus)) ** 2
    return correlation_of(exact, linear), correlation_of(exact, projected)


print("                                   linear    projection")
results = {}
for strength, how in ((0.05, "weak (0.05 rad)"), (0.4, "strong (0.4 rad)")):
    for distance, what in ((10.0, "thin (10 Å)"), (500.0, "thick (500 Å)")):
        results[how[0], what[1]] = experiment(strength, distance)
        print(f"{how:>18}, {what:<14} {results[how[0], what[1]][0]:8.3f} {results[how[0], what[1]][1]:10.3f}")
assert results["w", "h"][0] > 0.99

# %% [markdown] tags=["sharpen"]
# Read it by columns. The linear picture suffers from *strength*, whatever the thickness. The projection suffers from *thickness*, whatever the strength. (U10 repeats this with atoms and many slices.)
#
# ### Exercise U09.6 · Depth of field
#
# A usual criterion says that a specimen of thickness $t$ is a projection down to $d=\sqrt{\lambda t/(2\cdot 0.7)}$. Which thickness (Å) is the limit for 3 Å at 300 kV?

# %% tags=["sharpen"]
# BEGIN SOLUTION
thickness = 2 * 0.7 * 3.0**2 / 0.0196875
# END SOLUTION
check("U09.6", thickness)

# %% [markdown] tags=["sharpen", "solution"]
# **A worked answer.** $t=2\cdot0.7\,d^2/\lambda=640$ Å. The *weak approximation* is about the size of the phase (0.4 rad costs 12 % whatever the thickness), the *projection assumption* about depth: two planes $\Delta z$ apart are multiplied by $\cos(\pi\lambda k^2\Delta z/2)$, which is 0.568 for 500 Å and 4 Å, however weak they are. What counts as thickness for a particle is the *particle's* diameter, not the ice's: a virus of 640 Å in thin ice is worse off than a ribosome in thick ice.
# In Fourier space the projection assumption says that the Ewald sphere is flat. It can be lifted: curvature is known, and reconstruction programs correct for it.

# %% [markdown] tags=["blur"]
# <a id="H06"></a>
# ## Everything that limits
#
# Now collect what limits a resolution. Hard limits first: beyond them there is nothing at all. Then factors, each of which leaves a part of the signal.

# %% tags=["blur"]
optics = Optics(pixel_size=1.0, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
print(f"Nyquist, for pixels of 1 Å:                       {limits.nyquist_resolution(optics):5.2f} Å")
print(f"depth of field of a particle of 300 Å:            {limits.depth_of_field_resolution(300.0, voltage_kv=300):5.2f} Å")
print(f"Crowther, one axis, 300 Å, a view every 1°:       {limits.crowther_resolution(math.radians(1), diameter=300.0):5.2f} Å")
print(f"a CTF of 1.5 μm is sampled to Nyquist in a box of {lens.box_for_defocus(optics, defocus_of(15000.0)):5d} pixels")
print(f"the dose that shows 3 Å best:                     {limits.damage_limited_dose(3.0, voltage_kv=300):5.1f} e⁻/Å²")
print(
    f"particles for 3 Å in place of 4 Å at B = 100 Å²:  {limits.particle_ratio(3.0, than=4.0, b_factor=100.0):5.1f} times as many"
)


def draw_budget(resolution, underfocus, diameter, jitter, dose):
    """What each cause leaves of the signal at a resolution, and their product against frequency."""
    conditions = limits.Conditions(
        defocus=1e4 * underfocus, diameter=diameter, box=320, jitter=jitter, dose=dose, thickness=400.0
    )
    shares = limits.budget(resolution, optics=optics, conditions=conditions)
    figure, (bars, curve) = plt.subplots(1, 2, figsize=(12, 3.6), layout="constrained")
    names = [name.replace("_", " ") for name in shares._fields] + ["product"]
    values = [*shares, shares.total]
    bars.barh(names[::-1], values[::-1], color=["C3", *["C0"] * len(shares)])
    bars.set(xlim=(0, 1), xlabel=f"what is left at {resolution:.1f} Å")
    k = np.linspace(0.04, 0.5, 120)
    curve.plot(k, [limits.budget(1 / f, optics=optics, conditions=conditions).total for f in k], "C3")
    curve.axvline(1 / resolution, color="0.7", ls=":")
    curve.set(xlabel="frequency (1/Å)", ylabel="product", ylim=(0, 1))
    return figure


budget_player = exploration(
    draw_budget,
    resolution=Slider(2.0, 10.0, 3.0, step=0.1, label="resolution (Å)"),
    underfocus=Slider(0.3, 3.0, 1.5, step=0.1, label="underfocus (μm)"),
    diameter=Slider(60.0, 900.0, 200.0, step=20.0, label="diameter of the particle (Å)"),
    jitter=Slider(0.0, 1.0, 0.3, step=0.05, label="motion left (Å, one axis)"),
    dose=Slider(1.0, 80.0, 40.0, step=1.0, label="dose (e⁻/Å²)"),
)
budget_player

# %% [markdown] tags=["blur"]
# *Figure U09.h. A budget: what each cause leaves of the amplitude relative to the noise (an ideal camera is assumed), and the product against frequency. Play until another bar is the shortest. With the usual settings it is the dose: most of the electrons that made the picture met a molecule that was damaged already. That is why frames are weighted by dose (U12).*
#
# May one simply multiply? Only if the causes are independent and each works on amplitudes. We test it: a hundred thousand electrons, each with a focus, a direction, a depth in the particle, a displacement and a dose of its own, all at once.

# %% tags=["blur"]
from cryowalk.microscope.damage import critical_exposure
from cryowalk.microscope.gun import focus_spread

case = limits.Conditions(defocus=15000.0, diameter=250.0, box=4000, jitter=0.3, dose=20.0)
shares = limits.budget(3.0, optics=optics, conditions=case)
random, count, k = np.random.default_rng(9), 200_000, 1 / 3.0
ball = random.normal(size=(count, 3))
ball *= (random.uniform(size=count) ** (1 / 3) / np.linalg.norm(ball, axis=1))[:, None] * 125.0
heights = random.normal(size=count) * focus_spread(optics, case.gun, case.lens) + ball[:, 2]
directions = random.normal(size=count) * case.gun.convergence / math.sqrt(2)
displacement = optics.wavelength * 15000.0 * k - 2.7e7 * (optics.wavelength * k) ** 3
places = random.normal(size=count) * 0.3
phases = math.pi * optics.wavelength * heights * k**2 + 2 * math.pi * (directions / optics.wavelength * displacement + places * k)
faded = np.exp(-random.uniform(0, 20.0, count) / (2 * float(critical_exposure(torch.tensor(k), voltage_kv=300))))
together = abs((np.exp(1j * phases) * faded).mean())
product = shares.temporal_coherence * shares.spatial_coherence * shares.curvature * shares.motion * shares.dose
print(f"all causes at once {together:.4f}, product of the bars {product:.4f}")
assert abs(together / product - 1) < 0.02

# %% [markdown]
# ## In your own words
#
# A colleague says: "The ice is 1000 Å thick, so my 3 Å map is hopeless, it is no longer a projection." Another says: "No, it is the tilt." What would you ask them, and what would you tell them?

# %%
# BEGIN SOLUTION
my_text = (
    "How large is the particle? Depth of field is about the particle: 150 Å are a projection at 3 Å in any ice, once each particle has its own defocus. "
    "The thickness of the ice costs electrons. A tilt is harmless if the defocus of every place is known. And being thick is not being strong: the weak "
    "approximation is about phases."
)
# END SOLUTION
explain("U09.words", my_text)

# %% [markdown]
# ## What to try on your own data
#
# Plot the defocus of your particles over a micrograph. Is it a plane? Then the support was tilted, even if nobody tilted the stage: two or three degrees are common, and 3° over 4000 Å are 210 Å, twice the tolerance for 3 Å.
#
# ```python
# import cryowalk as cw
# import numpy as np
#
# particles = cw.read("particles.star")
# names = np.array(particles.micrograph_names)
# optics = particles.optics[0]
# for name in np.unique(names)[:20]:
#     chosen = particles[np.flatnonzero(names == name).tolist()]
#     x, y = chosen.coordinates.T.numpy() * (optics.micrograph_pixel_size or optics.pixel_size)
#     defocus = (chosen.defocus.major + chosen.defocus.minor).numpy() / 2
#     slope, *_ = np.linalg.lstsq(np.stack([x, y, np.ones_like(x)], axis=1), defocus, rcond=None)
#     print(name, "tilt of the support:", np.degrees(np.arctan(np.hypot(*slope[:2]))), "°")
# ```
#
# ## Further reading
#
# - A. Philippsen, H.-A. Engel, A. Engel, *The contrast-imaging function for tilted specimens*, Ultramicroscopy 107, 202–212 (2007). The side-bands.
# - L. M. Voortman, S. Stallinga, R. H. M. Schoenmakers, L. J. van Vliet, B. Rieger, *A fast algorithm for computing and correcting the CTF for tilted, thick specimens in TEM*, Ultramicroscopy 111, 1029–1036 (2011). The fast transform of this unit's meeting.
# - L. M. Voortman, E. M. Franken, L. J. van Vliet, B. Rieger, *Fast, spatially varying CTF correction in TEM*, Ultramicroscopy 118, 26–34 (2012).
# - G. McMullan, K. R. Vinothkumar, R. Henderson, *Thon rings from amorphous ice and implications of beam-induced Brownian motion in single particle electron cryo-microscopy*, Ultramicroscopy 158, 26–32 (2015).
# - J. Elferich, L. Kong, X. Zottig, N. Grigorieff, *CTFFIND5 provides improved insight into quality, tilt, and thickness of TEM samples*, eLife 13, RP97227 (2024). Tilt and thickness from rings.
# - D. J. DeRosier, *Correction of high-resolution data for curvature of the Ewald sphere*, Ultramicroscopy 81, 83–98 (2000).
#
# **Next:** U10, where the thick specimen is taken apart slice by slice.
