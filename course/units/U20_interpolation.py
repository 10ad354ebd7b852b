# %% [markdown]
# # U20 Interpolation
#
# **Question.** The data lie where the experiment put them, the map wants them on a grid. What do we write between the samples, and what does it cost?
#
# **What you need.** U00 (arrows), U03 (the transform, Nyquist), a glance at U05 (convolution). U19 for the rotations that make the samples miss the grid.
#
# **What you will be able to do.**
#
# - see a kernel behind every interpolation, choose one, and name its error;
# - interpolate complex numbers without losing half of an off-centre particle;
# - find out what an unknown program does between the samples, without reading its source;
# - take `griddata` apart with a stopwatch, write your own, and know six ways in which either goes wrong (*sharpen*).
#
# About seventy-five minutes. Parts one to three and the closing are *blur*; the *sharpen* parts can be skipped without losing the thread.

# %%
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import fourier, geometry, microscope
from cryowalk.course import Choice, Slider, check, explain, exploration, predict, prediction
from cryowalk.numerics.interpolation import THREE_TAPS

torch.set_num_threads(1)

# %% [markdown] tags=["blur"]
# ## Between the pixels
#
# Enlarge a picture eight times. Seven of eight rows of the result were never measured: something has to be invented. Here is a projection of our toy molecule, the two-bodied *hinge* of
# this course, at 4 Å per pixel, and a flat letter F drawn on the same pixels.
#
# Four ways to invent, in order of effort. **Nearest**: copy the closest sample. **Linear**: join neighbours by straight lines. **Cubic**: smooth curves through four samples (Keys, 1981). **Fourier**: put zeros beyond Nyquist in the spectrum, and transform back onto
# finer pixels. Which is best? That depends on what was there before it was sampled.

# %% tags=["predict", "blur"]
# For the projection, which is limited to frequencies below Nyquist, which one comes closest to the truth? And for the letter, whose edges are sharp?
# BEGIN SOLUTION
my_guess = "Fourier for the projection, not Fourier for the letter"
# END SOLUTION
predict("U20.opening", my_guess)


# %% tags=["blur"]
def nearest(t):
    return ((t > -0.5) & (t <= 0.5)).astype(float)


def linear(t):
    return np.clip(1 - np.abs(t), 0, None)


def cubic(t):
    """The cubic convolution kernel of Keys: interpolates, and reproduces parabolas."""
    a = np.abs(t)
    return np.where(a <= 1, 1.5 * a**3 - 2.5 * a**2 + 1, np.where(a < 2, -0.5 * a**3 + 2.5 * a**2 - 4 * a + 2, 0.0))


KERNELS = {"nearest": nearest, "linear": linear, "cubic": cubic}


def zoom(image, factor, name):
    """The image on pixels that are `factor` times finer; pixel i of the old one is pixel factor · i of the new one."""
    size = len(image)
    if name == "Fourier":
        fine = fourier.resample(torch.tensor(image), (size * factor, size * factor)).numpy()
        return np.roll(fine, -(size * factor // 2 - size // 2 * factor), axis=(0, 1))
    places = np.arange(size * factor) / factor
    weights = KERNELS[name](places[:, None] - np.arange(size)[None, :])  # one row a new pixel, one column an old one
    return weights @ image @ weights.T


size, pixel_size, fine = 48, 4.0, 8  # pixels, Å, how many times finer the truth is
toy = microscope.potential(microscope.hinge(), box=size, voxel_size=pixel_size)
toy_projection = (
    fourier.low_pass(toy.voxels.double(), resolution=10.0, pixel_size=pixel_size, dimensions=3).sum(0) * pixel_size
).numpy()


def letter_at(positions):
    """The letter F as a function of continuous positions, in pixels."""
    y, x = np.meshgrid(positions, positions, indexing="ij")
    stem = (np.abs(x - 17) < 3.3) & (np.abs(y - 24) < 13.3)
    arms = (np.abs(x - 24) < 10.3) & ((np.abs(y - 13.4) < 2.7) | (np.abs(y - 23.6) < 2.7))
    return (stem | arms).astype(float)


TRUTH = {"projection": zoom(toy_projection, fine, "Fourier"), "letter": letter_at(np.arange(size * fine) / fine)}
SAMPLES = {"projection": toy_projection, "letter": letter_at(np.arange(size))}


def error_of(name, picture):
    """Root-mean-square error relative to the picture's standard deviation, inside the borders."""
    inside = slice(4 * fine, -4 * fine)
    difference = zoom(SAMPLES[picture], fine, name) - TRUTH[picture]
    return difference[inside, inside].std() / TRUTH[picture].std()


def draw_zoom(picture, kernel, width):
    """A detail of the samples, of the interpolated picture, and of what is wrong with it."""
    enlarged, truth = zoom(SAMPLES[picture], fine, kernel), TRUTH[picture]
    middle = (18, 20) if picture == "letter" else (24, 24)
    rows, columns = (slice(int(m - width / 2) * fine, int(m + width / 2) * fine) for m in middle)
    coarse = tuple(slice(s.start // fine, s.stop // fine) for s in (rows, columns))
    low, high = truth.min(), truth.max()
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.3))
    shown = (
        ("samples", SAMPLES[picture][coarse], low, high),
        (kernel, enlarged[rows, columns], low, high),
        ("truth", truth[rows, columns], low, high),
        (
            f"error ×3, rms {100 * error_of(kernel, picture):.1f} %",
            (enlarged - truth)[rows, columns],
            (low - high) / 3,
            (high - low) / 3,
        ),
    )
    for panel, (title, pixels, bottom, top) in zip(axes, shown, strict=True):
        panel.imshow(
            pixels,
            cmap="RdBu" if title.startswith("error") else "gray",
            vmin=bottom,
            vmax=top,
            origin="lower",
            interpolation="none",
        )
        panel.set(title=title, xticks=[], yticks=[])
    return figure


prediction("U20.opening")
zoom_player = exploration(
    draw_zoom,
    picture=Choice(("projection", "letter"), label="picture"),
    kernel=Choice(("linear", "nearest", "cubic", "Fourier"), label="kernel"),
    width=Slider(8, 32, 20, step=4, label="detail (pixels)"),
)
zoom_player

# %% [markdown] tags=["blur"]
# *Figure U20.a. A detail of the samples, what a kernel makes of them, the truth, and the difference (blue: too high, red: too low).*

# %% tags=["blur"]
print("error, % of the standard deviation    projection   letter")
for name in ("nearest", "linear", "cubic", "Fourier"):
    print(f"{name:38s}{100 * error_of(name, 'projection'):9.2f} {100 * error_of(name, 'letter'):9.2f}")
assert error_of("Fourier", "projection") < 1e-12
assert error_of("cubic", "letter") < error_of("Fourier", "letter")

# %% [markdown] tags=["blur"]
# For a band-limited picture the Fourier way is not an approximation, it is *the answer*: sampling lost nothing (U06), so nothing has to be invented. The letter was never band-limited. There the Fourier way rings at every edge, and the humbler linear and cubic kernels do better.
# Cryo-EM images are band-limited by the microscope, and that is why this field may hope for interpolation that is nearly exact.
#
# ## One idea behind all: a kernel
#
# Look at the code of `zoom` again. Each new value is a weighted sum of samples, and the weight depends on the distance only:
# $$ \hat f(x) = \sum_n f_n\, \varphi(x-n). $$
# That is a convolution of a comb of samples with the **kernel** $\varphi$. So in the other space it is a *product*. The comb's transform repeats forever, with period 1 per sample; the kernel's transform $\Phi$ should keep the first copy, and
# remove the others. Each kernel does two things wrong: it **damps** what should stay ($\Phi(u) < 1$ inside), and it lets **copies** through ($\Phi(u+m) \ne 0$).

# %% tags=["blur"]
node, weight = np.polynomial.legendre.leggauss(48)
t = (np.arange(-2, 2, 0.5)[:, None] + 0.25 + 0.25 * node).ravel()  # −2 … 2 in eight pieces, since the kernels have corners
weight = np.tile(0.25 * weight, 8)


def transform_of(kernel, u):
    return np.cos(2 * np.pi * np.multiply.outer(u, t)) @ (weight * kernel(t))


def three_taps(t):
    return np.where(np.abs(t) < 1.5, np.polynomial.polynomial.polyval(t * t, THREE_TAPS.coefficients), 0.0)


figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.4))
u = np.linspace(0, 2.5, 400)
for name, kernel in (*KERNELS.items(), ("cryowalk's three taps", three_taps)):
    line = np.linspace(-2.2, 2.2, 801)
    left.plot(line, kernel(line), label=name)
    right.plot(u, np.abs(transform_of(kernel, u)))
right.axvspan(0, 0.5, color="0.92")
left.set(xlabel="distance t (samples)", title="kernel φ(t)")
right.set(xlabel="u (1/samples)", title="|Φ(u)|; ideal: 1 in the grey band, 0 outside", yscale="log", ylim=(1e-4, 1.5))
left.legend(fontsize=8)
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U20.b. Four kernels and their transforms. Nearest is a box, its transform $\operatorname{sinc}u$; linear is a box convolved with itself, so $\operatorname{sinc}^2u$; with every further convolution the copies become weaker. The fourth is the kernel of cryowalk's own Fourier grid; it has
# three taps, and does not even interpolate: $\varphi(0)\neq1$. Wait for the last part to see why that is wise.*

# %% [markdown] tags=["blur"]
# <a id="Q-M13-1"></a>
# ## From images to a map: what is interpolated, and how much of it
#
# In reconstruction the roles of the two spaces are exchanged: samples lie in *Fourier space*. The transform of each image is a slice through the transform of the molecule (U21), tilted as the particle was. Its
# coefficients fall between the grid points of the three-dimensional transform that we want.
#
# A general tool takes the data wherever they are: `scipy.interpolate.griddata(points, values, xi)`. In our case,
#
# - `points` are **where the data are**: the place $(k_x, k_y, k_z)$ of every coefficient of every image, one row of three numbers each;
# - `values` are **the data**: one complex coefficient for each row;
# - `xi` are **where we want to know**: the grid points of the three-dimensional transform.
#
# ### Exercise U20.1 · How big?
#
# You have $10^4$ images of $128\times128$ pixels, and want a map of $128^3$ voxels. How many `points`, `values` and `xi` are there? (Use full transforms; three numbers.)

# %% tags=["blur"]
# BEGIN SOLUTION
answer = (10_000 * 128**2, 10_000 * 128**2, 128**3)
# END SOLUTION
check("U20.1", answer)

# %% tags=["blur"]
images, side = 10_000, 128
points_count = images * side**2
print(f"points ({points_count:.3g}, 3): {points_count * 24 / 1e9:.1f} GB in double precision")
print(f"values ({points_count:.3g},)  : {points_count * 16 / 1e9:.1f} GB as complex numbers")
print(f"xi     ({side**3:.3g}, 3): {side**3 * 24 / 1e9:.2f} GB")
print(
    f"tetrahedra between the points, 6.7 a point: {6.7 * points_count:.2g}; their corners alone take {6.7 * points_count * 16 / 1e9:.0f} GB"
)

# %% [markdown] tags=["blur", "solution"]
# $10^4\times128^2 = 1.64\cdot10^8$ points and as many values; $128^3 = 2.10\cdot10^6$ places to fill. There are **78 data for each grid point**: the problem is not to find a neighbour, but to average many. Since images are real, half of the coefficients are mirror images of
# the other half (Friedel), which saves a factor of two in all three.
#
# `griddata` first divides space into tetrahedra with the points as corners. In the plane there are 2 triangles per point, in space 6.7 tetrahedra: about $10^9$ here. The memory alone forbids it, and the cubic method exists in one and two dimensions only. And there is a subtler difficulty: all
# the slices meet in the origin, so $10^4$ points have the *same* place there, and linear interpolation uses only one of them. `griddata` believes that data are exact; ours are noisy, and want to be averaged.

# %% [markdown] tags=["blur"]
# The small version fits in a second: 40 images of $16\times16$, noise-free.

# %% tags=["blur"]
from scipy.interpolate import griddata
from scipy.spatial import Delaunay


def centred_places(side, dimensions):
    """Integer frequencies of a centred grid, the last axis x: (side^d, d) in the order (x, y, …)."""
    axis = np.arange(side) - side // 2
    return np.stack(np.meshgrid(*[axis] * dimensions, indexing="ij")[::-1], axis=-1).reshape(-1, dimensions)


def blob_spectrum(k, side=16):
    """The transform of three Gaussian blobs at any place k (n, 3) of Fourier space."""
    centres, heights = np.array([[1.5, -0.8, 0.4], [-1.2, 1.1, 1.0], [0.3, 0.9, -1.6]]), np.array([1.0, 0.8, 0.6])
    return np.exp(-((k / 5.0) ** 2).sum(-1)) * (np.exp(-2j * np.pi * k @ centres.T / side) @ heights)


rotations = geometry.random_rotations(40, generator=torch.Generator().manual_seed(3)).numpy()
in_plane = np.concatenate([centred_places(16, 2), np.zeros((256, 1))], axis=1)
points = (in_plane[None] @ rotations).reshape(-1, 3)  # rows times R: each is Rᵀk
values, xi = blob_spectrum(points), centred_places(16, 3)
start = time.perf_counter()
found = griddata(points, values, xi)
seconds = time.perf_counter() - start
outside = np.isnan(found.real)
error = np.linalg.norm((found - blob_spectrum(xi))[~outside]) / np.linalg.norm(blob_spectrum(xi))
print(
    f"points {points.shape}, values {values.shape} {values.dtype}, xi {xi.shape}: {seconds:.1f} s, relative error {100 * error:.1f} %"
)
print(
    f"{len(np.unique(points.round(9), axis=0))} different places among {len(points)} points; {outside.sum()} of {len(xi)} grid points are NaN: outside the hull of the data (the corners)"
)

# %% [markdown] tags=["blur"]
# <a id="Q-M13-2"></a>
# ## Complex numbers, chords and arcs
#
# Does anything go wrong because the values are complex? Linear interpolation of complex numbers is the linear interpolation of the real and of the imaginary parts, exactly; no new trouble there. Trouble comes from what the numbers *are*.
#
# Take a single point of density at a distance $t$ from the origin, in a box of $N$ pixels. Its transform is $e^{-2\pi i k t/N}$: an arrow of constant length that turns by $2\pi t/N$ from one coefficient to the next. Half-way between two coefficients the true arrow ends on the *circle*. Linear interpolation
# puts it on the *chord*. Move the particle away from the centre of the box, and see what is left.


# %% tags=["blur"]
def draw_dial(offset, fraction):
    """Two neighbouring coefficients of a point at `offset` · N, and what lies between them."""
    turn = 2 * np.pi * offset
    figure, (dial, curve) = plt.subplots(1, 2, figsize=(10, 4))
    circle = np.exp(1j * np.linspace(0, 2 * np.pi, 200))
    dial.plot(circle.real, circle.imag, "0.85")
    first, second = 1 + 0j, np.exp(1j * turn)
    arc = np.exp(1j * turn * fraction)
    chord = (1 - fraction) * first + fraction * second
    for end, colour, label in (
        (first, "0.3", "samples k and k + 1"),
        (second, "0.3", None),
        (arc, "C2", "truth: on the arc"),
        (chord, "C3", "linear: on the chord"),
    ):
        dial.annotate("", (end.real, end.imag), (0, 0), arrowprops={"arrowstyle": "->", "color": colour, "lw": 2})
        dial.plot([], [], color=colour, label=label)
    dial.plot([first.real, second.real], [first.imag, second.imag], "C3:", lw=1)
    dial.set(aspect="equal", xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), xlabel="real part", ylabel="imaginary part")
    dial.legend(fontsize=8, loc="lower left")
    where = np.linspace(0, 0.5, 200)
    gain = np.abs((1 - fraction) + fraction * np.exp(2j * np.pi * where))
    curve.plot(where, gain, "C3")
    curve.plot(offset, abs(chord), "C3o")
    curve.set(
        xlabel="distance of the point from the origin, t/N",
        ylabel="length of the arrow / truth",
        ylim=(0, 1.05),
        title=f"at {fraction:.2f} of the way",
    )
    return figure


dial = exploration(
    draw_dial,
    offset=Slider(0.0, 0.5, 0.2, step=0.01, label="t / N"),
    fraction=Slider(0.0, 1.0, 0.35, step=0.05, label="place between the samples"),
)
dial

# %% [markdown] tags=["blur"]
# *Figure U20.c. Left: the complex plane with two neighbouring coefficients (grey), the true value between them (green) and the linear one (red). Right: how long the red arrow is for points all over the box; 0.5 is the edge.*
#
# ### Exercise U20.2 · Half-way, for a point at a quarter of the box
#
# By what factor is the modulus too small, exactly half-way between two samples, for a point at $t = N/4$? Predict, then compute.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = 0.7
# END SOLUTION
predict("U20.2", my_guess)

# %% tags=["blur"]
# BEGIN SOLUTION
answer = math.cos(math.pi / 4)
# END SOLUTION
check("U20.2", answer)

# %% [markdown] tags=["blur", "solution"]
# The arrow turns by $2\pi t/N$, and the middle of a chord between two arrows that are $\alpha$ apart has the length $\cos\frac\alpha2$. So the gain is $\cos(\pi t/N)$: $1$ at the origin, $\cos45° = 0.7071$ at $N/4$, and **zero at the edge of the box**, where the arrow turns by half a circle and
# the chord goes through the centre.

# %% tags=["blur"]
prediction("U20.2")
line_box, k = 64, np.arange(-20, 20)
for place in (0, line_box // 8, line_box // 4, line_box // 2):
    series = np.exp(-2j * np.pi * k * place / line_box)
    middle = (series[:-1] + series[1:]) / 2
    padded = np.exp(-2j * np.pi * np.arange(-40, 40) * place / (2 * line_box))
    twice = (padded[:-1] + padded[1:]) / 2
    print(
        f"t = {place:2d} of {line_box}: gain half-way {np.abs(middle).mean():.4f};  in a box padded to {2 * line_box}: {np.abs(twice).mean():.4f}"
    )

# %% [markdown] tags=["blur"]
# So three pieces of advice for everyone who interpolates in Fourier space:
#
# 1. **Centre the object.** A particle about the origin has slow phases. An array whose origin is its first pixel puts the particle half a box away, and every coefficient next to a sign change.
# 2. **Pad.** A box twice as large, filled with zeros, samples the same transform twice as finely. The arrows turn half as much.
# 3. **Do not interpolate amplitude and phase.** It would follow the arc, which is tempting. But phases are only known up to whole turns, and where a jump from $\pi$ to $-\pi$ lies between two samples the result points the wrong way. In two and three dimensions unwrapping cannot help either: around every zero of a spectrum the phase turns by a full circle.
#
# And a fourth for programmers: keep **Friedel symmetry**. A program that stores half of the spectrum must fetch the neighbours that lie in the other half, as conjugates.

# %% [markdown] tags=["sharpen"]
# ### Exercise U20.3 · Amplitude and phase, or the parts?
#
# Write `both_ways(values, places)`. `values` are complex and belong to 0, 1, 2 …; `places` are real numbers between. Return two arrays: linear interpolation of the real and imaginary parts; and the interpolation of modulus and phase (`np.angle`, no unwrapping), put together again.


# %% tags=["sharpen"]
def both_ways(values, places):
    # BEGIN SOLUTION
    at = np.arange(len(values))
    parts = np.interp(places, at, values.real) + 1j * np.interp(places, at, values.imag)
    polar = np.interp(places, at, np.abs(values)) * np.exp(1j * np.interp(places, at, np.angle(values)))
    return parts, polar
    # END SOLUTION


check("U20.3", both_ways)

# %% [markdown] tags=["sharpen"]
# Now forty lines of six blobs each, within 12 pixels of the middle of a box of 64, interpolated half-way between the coefficients of their spectra.

# %% tags=["sharpen"]
from cryowalk.course.checks.u20 import spectrum_of_blobs

squared = np.zeros(3)
for seed in range(40):
    k, series, exact = spectrum_of_blobs(seed)
    halfway = np.arange(len(series) - 1) + 0.5
    truth = exact(k[0] + halfway)
    for row, estimate in enumerate(both_ways(series, halfway)):
        squared[row] += (np.abs(estimate - truth) ** 2).sum()
    squared[2] += (np.abs(truth) ** 2).sum()
parts_error, polar_error = np.sqrt(squared[:2] / squared[2])
print(
    f"relative error: by the parts {parts_error:.3f}, by amplitude and phase {polar_error:.3f}, {polar_error / parts_error:.1f} times as large"
)
assert parts_error < polar_error / 2

# %% [markdown] tags=["sharpen"]
# ### What linear interpolation does to the object, exactly
#
# Half-way is the worst place. Averaged over all places $d$ between two samples, the part of the interpolated arrow that points along the true one is
# $$ \int_0^1 \big[(1-d) + d\,e^{i\alpha}\big]e^{-i\alpha d}\,\mathrm dd = \frac{2-2\cos\alpha}{\alpha^2} = \operatorname{sinc}^2\frac{\alpha}{2\pi} = \operatorname{sinc}^2\frac tN . $$
# There it is again, the transform of the linear kernel: in real space, *interpolation in Fourier space multiplies the object by* $\operatorname{sinc}^2(t/N)$ along each axis. It is known and smooth, so it can be divided out: that is the **gridding correction** of U21. What cannot be divided out is the rest, the part that
# scatters: it comes from the copies.

# %% tags=["sharpen"]
import sympy

d, alpha = sympy.symbols("d alpha", positive=True)
integral = sympy.integrate(sympy.expand(((1 - d) + d * sympy.exp(sympy.I * alpha)) * sympy.exp(-sympy.I * alpha * d)), (d, 0, 1))
difference = sympy.simplify((integral - (2 - 2 * sympy.cos(alpha)) / alpha**2).rewrite(sympy.exp))
print("integral minus (2 − 2 cos α)/α²:", difference)
assert difference == 0
for turn in (0.3, 1.7, 3.1):
    between = (np.arange(2000) + 0.5) / 2000
    mean = np.mean(((1 - between) + between * np.exp(1j * turn)) * np.exp(-1j * turn * between))
    assert abs(mean - np.sinc(turn / 2 / np.pi) ** 2) < 1e-6

# %% [markdown] tags=["blur"]
# <a id="Q-M13-3"></a>
# ## Where do the programs interpolate?
#
# Nearly everywhere. Before you open somebody's source, list the places where a value *must* be taken off the grid:
#
# | step | from → to | what is common | where to look |
# |---|---|---|---|
# | forward model: slices of a 3-D transform | 3-D complex grid → tilted planes | trilinear on a padded transform (RELION), `map_coordinates` (cryojax), NUFFT (ASPIRE), a neural network evaluated at the place itself: nothing to interpolate (cryoDRGN) | RELION `src/projector.cpp`; here `fourier/slices.py` |
# | insertion before the inverse transform | tilted planes → 3-D grid | trilinear with summed weights (RELION); a choice of modes from nearest to Gaussian kernels (EMAN2); Kaiser-Bessel | RELION `src/backprojector.cpp`, EMAN2 `libEM/reconstructor.cpp`; here `fourier/accumulator.py` |
# | turning an image or a map in real space | 2-D or 3-D real | linear, cubic, splines | here `numerics/interpolation.py`, `rotate_volume` |
# | shifting an image | – | nothing: a phase ramp is exact | here `fourier/filters.py`, `shift_phases` |
# | changing the pixel size | – | nothing: cut or pad the spectrum | here `fourier/transform.py`, `resample` |
# | local motion of a movie | 2-D real, every frame | linear or cubic in the image; splines or polynomials for the motion itself | U14 |
#
# Dimension and kernel can be told from the source by a fingerprint: two nested corners in $z, y, x$ (eight products of $d$ and $1-d$) are trilinear; `floor(x + 0.5)` alone is nearest; four weights an axis are cubic; an exponential or a Bessel function is a gridding kernel. But sources are long, and some are closed.
# There is a better way: **probe it**.
#
# A linear interpolator is known completely by what it makes of a delta. Give it zeros and a single one, and ask for the values around. What comes back is the kernel.

# %% tags=["blur"]
from scipy.ndimage import map_coordinates

boxes = {
    "map_coordinates(order=0)": lambda values, places: map_coordinates(values, [places], order=0),
    "map_coordinates(order=1)": lambda values, places: map_coordinates(values, [places], order=1),
    "our cubic": lambda values, places: cubic(np.subtract.outer(places, np.arange(len(values)))) @ values,
    "map_coordinates(order=3)": lambda values, places: map_coordinates(values, [places], order=3),
}
figure, axes = plt.subplots(1, 4, figsize=(13, 2.6), sharey=True)
around = np.linspace(10, 22, 1201)
delta = np.zeros(33)
delta[16] = 1.0
for panel, (name, box) in zip(axes, boxes.items(), strict=True):
    panel.plot(around - 16, box(delta, around), "C0")
    panel.axhline(0, color="0.8", lw=0.8)
    panel.set(title=name, xlabel="distance from the delta")
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U20.d. Four interpolators answer to a delta. The last one, a cubic spline, solves a system of equations first, so every sample has a say everywhere (the wiggles fall by a constant factor from sample to sample; the next cell prints it).*

# %% tags=["blur"]
spline = np.abs(boxes["map_coordinates(order=3)"](delta, np.arange(16, 21) + 0.5))
print(
    "cubic spline: the answer half-way falls per sample by",
    (spline[1:-1] / spline[2:]).round(2),
    f"; 2 + √3 = {2 + math.sqrt(3):.2f}",
)

# %% [markdown] tags=["sharpen"]
# ### Exercise U20.4 · A probe
#
# Write `probe(interpolate)`, where `interpolate(values, places)` is unknown, linear in the values, and one-dimensional: `values` is an array of any length, its samples lie at 0, 1, 2 …. Return **how many samples have a say** in one interpolated value, in general: 1, 2, 4, … The check has black boxes of its own.


# %% tags=["sharpen"]
def probe(interpolate):
    # BEGIN SOLUTION
    counts = []
    for place in (15.37, 14.81, 16.23):
        responses = [float(np.real(interpolate(row, np.array([place]))[0])) for row in np.eye(32)]
        counts.append(int((np.abs(responses) > 1e-9).sum()))
    return max(counts)
    # END SOLUTION


check("U20.4", probe)

# %% tags=["sharpen"]
for name, box in boxes.items():
    print(f"{name:26s}: {probe(box)} samples")

# %% [markdown] tags=["sharpen"]
# And our own library? Its slices come from a `FourierVolume`, and they carry gradients. The derivative of one coefficient of a slice with respect to all coefficients of the volume *is* the row of weights, so one backward pass is a probe in three dimensions.

# %% tags=["sharpen"]
from dataclasses import replace

prepared = fourier.prepare_volume(replace(toy, voxels=toy.voxels.double()))
coefficients = prepared.coefficients.clone().requires_grad_()
turned = torch.as_tensor(rotations[:1], dtype=torch.float64)
coefficient = fourier.extract_slices(replace(prepared, coefficients=coefficients), turned)[0, 5, 3]
(row,) = torch.autograd.grad(coefficient.real, coefficients)
taps = row.abs() > 0
spans = [int(taps.any(dim=other).sum()) for other in ((1, 2), (0, 2), (0, 1))]
print(
    f"cryowalk's slices: {int(taps.sum())} coefficients have a say, {spans[0]} × {spans[1]} × {spans[2]}; sum of their weights {float(row.abs().sum()):.3f}"
)
assert int(taps.sum()) == 27

# %% [markdown] tags=["sharpen"]
# Three taps an axis, and the weights do not sum to exactly one: neither nearest, nor linear, nor cubic. We shall come back to it.

# %% [markdown] tags=["sharpen"]
# <a id="Q-M14-1"></a>
# ## `griddata` on the bench
#
# Linear `griddata` does four things, one after the other:
#
# 1. **triangulate**: the Delaunay tessellation of the points (Qhull);
# 2. **transforms**: for every simplex the small matrix that gives barycentric coordinates;
# 3. **locate**: for every query, the simplex that it lies in, by walking from simplex to simplex, starting where the last query ended;
# 4. **evaluate**: $d+1$ products.
#
# The second is hidden: it happens on first use, and appears as "locate" in a naive profile. Predict which of them is the bottleneck in three dimensions.

# %% tags=["predict", "sharpen"]
# BEGIN SOLUTION
my_guess = "triangulate"
# END SOLUTION
predict("U20.bottleneck", my_guess, options=("triangulate", "transforms", "locate", "evaluate"))

# %% [markdown] tags=["sharpen"]
# ### Exercise U20.5 · The stopwatch
#
# Write `profile(points, values, xi)` that does the interpolation in these four stages, and returns a dictionary with the seconds of each (`"triangulate"`, `"transforms"`, `"locate"`, `"evaluate"`), the `"total"` from start to end, the seconds of `"locate_sorted"` (the same queries in an order in which neighbours in
# the list are neighbours in space), and `"simplices_per_point"`. We give it a Gaussian bump at 8,000 points of a cube, and 30,000 queries in random order.


# %% tags=["sharpen"]
def snake(places, cells=16):
    """An order of places in the unit cube in which neighbours in the list are neighbours in space: cell by cell, turning at each end."""
    cell = np.clip((places * cells).astype(int), 0, cells - 1)
    key = cell[:, 0]
    for axis in range(1, places.shape[1]):
        key = key * cells + np.where(key % 2 == 1, cells - 1 - cell[:, axis], cell[:, axis])
    return np.argsort(key, kind="stable")


def profile(points, values, xi):
    # BEGIN SOLUTION
    d = points.shape[1]
    clock = [time.perf_counter()]
    triangulation = Delaunay(points)
    clock.append(time.perf_counter())
    transforms = triangulation.transform
    clock.append(time.perf_counter())
    simplex = triangulation.find_simplex(xi)
    clock.append(time.perf_counter())
    first = np.einsum("nij,nj->ni", transforms[simplex, :d], xi - transforms[simplex, d])
    barycentric = np.concatenate([first, 1 - first.sum(1, keepdims=True)], axis=1)
    result = np.where(simplex >= 0, (values[triangulation.simplices[simplex]] * barycentric).sum(1), np.nan)
    clock.append(time.perf_counter())
    assert np.isfinite(result).any()
    ordered = xi[snake(xi)]
    again = time.perf_counter()
    triangulation.find_simplex(ordered)
    sorted_seconds = time.perf_counter() - again
    table = dict(zip(("triangulate", "transforms", "locate", "evaluate"), np.diff(clock), strict=True))
    return table | {
        "total": clock[-1] - clock[0],
        "locate_sorted": sorted_seconds,
        "simplices_per_point": len(triangulation.simplices) / len(points),
    }
    # END SOLUTION


def bump(places):
    return np.exp(-8 * ((places - 0.5) ** 2).sum(-1))


source = np.random.default_rng(0)
cloud, queries = source.random((8000, 3)), 0.1 + 0.8 * source.random((30_000, 3))
table = profile(cloud, bump(cloud), queries)
check("U20.5", table)

# %% tags=["sharpen"]
for name, value in table.items():
    print(f"{name:20s} {value:7.3f}" + (" s" if name != "simplices_per_point" else ""))
print(f"sorting the queries makes locating {table['locate'] / table['locate_sorted']:.0f} times faster")
order = snake(queries)
in_order = griddata(cloud[:500], bump(cloud[:500]), queries[order])
assert np.allclose(
    in_order, griddata(cloud[:500], bump(cloud[:500]), queries)[order], equal_nan=True
)  # same answers, in another order

# %% [markdown] tags=["sharpen"]
# Now for several sizes, in the plane and in space.

# %% tags=["sharpen"]
prediction("U20.bottleneck")
measured = {}
query_count = {2: 30_000, 3: 10_000}
for dimensions in (2, 3):
    for count in (1000, 2000, 4000):
        cloud, queries = source.random((count, dimensions)), 0.1 + 0.8 * source.random((query_count[dimensions], dimensions))
        measured[dimensions, count] = profile(cloud, bump(cloud), queries)


def draw_bottleneck(dimensions, order):
    """Stacked bars of the four stages, for three numbers of points."""
    figure, axes = plt.subplots(figsize=(7, 3))
    counts = [count for d, count in measured if d == dimensions]
    left = np.zeros(len(counts))
    for colour, stage in zip(("C0", "C1", "C2", "C3"), ("triangulate", "transforms", "locate", "evaluate"), strict=True):
        key = "locate_sorted" if stage == "locate" and order == "sorted queries" else stage
        seconds = np.array([measured[dimensions, count][key] for count in counts])
        axes.barh([f"{count} points" for count in counts], seconds, left=left, color=colour, label=stage)
        left += seconds
    ratio = measured[dimensions, counts[-1]]["simplices_per_point"]
    axes.set(
        xlabel="seconds on this machine",
        title=f"{dimensions}-D, {query_count[dimensions]:,} {order}; {ratio:.1f} simplices a point",
    )
    axes.legend(fontsize=8)
    return figure


bottleneck = exploration(
    draw_bottleneck,
    dimensions=Choice((3, 2), label="dimensions"),
    order=Choice(("random queries", "sorted queries"), label="order"),
)
bottleneck

# %% [markdown] tags=["sharpen"]
# *Figure U20.e. Where the time goes.*
#
# **Trap: theory and stopwatch disagree, for good reasons (T16).** Evaluation is what the word "interpolation" means, and it is the cheapest of all. In space, with about as many queries as points, the triangulation takes the largest share. In the plane, with many queries in random order, *locating* wins (choose two dimensions above), because each walk crosses the whole cloud; in a good order it is one or two steps. And the
# hidden stage of small matrices goes through BLAS: when this course was planned, on a machine where other jobs ran and each of these tiny products was spread over all threads, it took 13.7 s instead of 0.16 s for $10^5$ points. Hence the rules of this house: benchmark with one thread first, compare ratios, and never put seconds into a test.

# %% [markdown] tags=["sharpen"]
# <a id="Q-M14-2"></a>
# ## Your own
#
# Most of the cost is bookkeeping that we do not need. Three designs, from easy to right:
#
# - **nearest neighbours with weights** (Shepard, 1968): $\hat f(x)=\sum w_jf_j/\sum w_j$ with weights that fall with the distance. A $k$-d tree finds the neighbours in $O(\log n)$;
# - **a local plane through them** (moving least squares): also exact for linear functions;
# - **scatter onto a grid** with a kernel, and divide by the scattered weights: $O(n)$, no tree, no triangles, and it *averages* noisy data. This is what reconstruction does.
#
# ### Exercise U20.6 · Scattered data, any dimension
#
# Write `scattered(points, values, xi)` → values at `xi`. Required: constants stay exactly constant, a smooth bump comes out better than with the nearest value, and a query on top of a data point does not fail.

# %% tags=["sharpen"]
from scipy.spatial import cKDTree


def scattered(points, values, xi):
    # BEGIN SOLUTION
    distance, neighbour = cKDTree(points).query(xi, k=8)
    weight = 1 / (distance**2 + 1e-20)
    return (values[neighbour] * weight).sum(1) / weight.sum(1)
    # END SOLUTION


check("U20.6", scattered)


# %% tags=["sharpen"]
def local_plane(points, values, xi, *, neighbours=12):
    """Moving least squares: a plane through the weighted neighbours of each place."""
    distance, index = cKDTree(points).query(xi, k=neighbours)
    scale = distance[:, -1:]
    weight = (1 - (distance / (1.01 * scale)) ** 2) ** 2
    terms = np.concatenate([np.ones((*index.shape, 1)), (points[index] - xi[:, None, :]) / scale[..., None]], axis=-1)
    normal = np.einsum("nki,nk,nkj->nij", terms, weight, terms) + 1e-12 * np.eye(terms.shape[-1])
    right_side = np.einsum("nki,nk,nk->ni", terms, weight, values[index])
    return np.linalg.solve(normal, right_side[..., None])[:, 0, 0]


cloud, queries = source.random((2000, 3)), 0.1 + 0.8 * source.random((2000, 3))
plane = 1 + cloud @ [1.0, -2.0, 0.5]
methods = {
    "nearest": lambda p, v, x: v[cKDTree(p).query(x)[1]],
    "yours": scattered,
    "local plane": local_plane,
    "linear griddata": griddata,
}
print("                    error on the bump   on a plane")
for name, method in methods.items():
    on_bump = np.sqrt(np.mean((method(cloud, bump(cloud), queries) - bump(queries)) ** 2))
    on_plane = np.abs(method(cloud, plane, queries) - (1 + queries @ [1.0, -2.0, 0.5])).max()
    print(f"{name:22s} {on_bump:12.4f} {on_plane:14.1e}")
assert np.abs(local_plane(cloud, plane, queries) - (1 + queries @ [1.0, -2.0, 0.5])).max() < 1e-9
seconds = []
for count in (4000, 16_000, 64_000):
    many = source.random((count, 3))
    start = time.perf_counter()
    scattered(many, bump(many), many[:, ::-1].copy())
    seconds.append(time.perf_counter() - start)
print(
    f"n and as many queries, 4,000 to 64,000: time grows as n^{np.log(seconds[-1] / seconds[0]) / np.log(16):.2f} (1 would be linear)"
)

# %% [markdown] tags=["sharpen"]
# **What is the bottleneck now, and how would you speed it up?** The search for neighbours, again a question of memory and not of arithmetic. So: sort the queries, as above; cut space into bins and look only into 27 of them; and best, choose the *grid* as the bins and let every datum write into its few neighbours, instead of letting every query look for data. Then there is nothing to search: the
# neighbours of a point are found by rounding its coordinates. One trap waits there.
#
# ### Exercise U20.7 · Where did the weight go?
#
# The function below adds each weight to the grid at its index. It looks innocent. **Trap: scatter-add with repeated indices (T8).** Run it, then repair it: total weight must be conserved, also for complex weights.


# %% tags=["sharpen"]
def broken(index, weight, size):
    grid = np.zeros(size, dtype=np.asarray(weight).dtype)
    grid[index] += weight
    return grid


print("two weights of 1 at the same place:", broken(np.array([3, 3]), np.array([1.0, 1.0]), 5))


# %% tags=["sharpen"]
def repaired(index, weight, size):
    # BEGIN SOLUTION
    grid = np.zeros(size, dtype=np.asarray(weight).dtype)
    np.add.at(grid, index, weight)
    return grid
    # END SOLUTION


check("U20.7", repaired)

# %% [markdown] tags=["sharpen", "solution"]
# `grid[index] += weight` is read as: fetch `grid[index]` into a new array, add, write back. Of two contributions to one place the second overwrites the first. `np.add.at` adds one after the other; `np.bincount(index, weights, minlength)` is faster for real numbers (call it twice for complex ones); in torch it is `index_add_`. On a graphics processor the additions are atomic, but come in any order, so the
# last digits differ from run to run. cryowalk's accumulator fixes the order of additions on a CPU for that reason.

# %% [markdown] tags=["sharpen"]
# How bad is it in practice? Turn a slice of $64\times64$ coefficients at random, and write each to the grid point at its lower corner.

# %% tags=["sharpen"]
losses = []
grid_places = np.concatenate([centred_places(64, 2), np.zeros((64**2, 1))], axis=1)
for rotation in geometry.random_rotations(60, generator=torch.Generator().manual_seed(4)).numpy():
    corner = np.floor(grid_places @ rotation).astype(int) + 50
    flat = np.ravel_multi_index(tuple(corner.T), (101, 101, 101))
    kept = broken(flat, np.ones(len(flat)), 101**3).sum()
    assert repaired(flat, np.ones(len(flat)), 101**3).sum() == len(flat)
    losses.append(1 - kept / len(flat))
print(
    f"lost on the way: {100 * np.mean(losses):.1f} % on average, {100 * np.max(losses):.1f} % at worst, and it depends on the orientation"
)
assert 0.05 < np.mean(losses) < 0.15

# %% [markdown] tags=["sharpen"]
# About a tenth, without an error message, and different for every view. The map would look plausible.

# %% [markdown] tags=["sharpen"]
# <a id="Q-M14-3"></a>
# ## Noise and pathologies
#
# How sensitive is it? Linear interpolation is a weighted mean with weights $1-d$ and $d$, so the variance of the noise is multiplied by $(1-d)^2+d^2$: one at the samples, one half between them, $\int_0^1 = \tfrac23$ on average. It cannot amplify noise, but it makes it **uneven**, and correlated. Cubic kernels have negative weights, so they may swing past the data.

# %% tags=["sharpen"]
between = np.linspace(0, 1, 1001)[:-1] + 0.0005
print(f"mean of (1 − d)² + d²: {np.mean((1 - between) ** 2 + between**2):.4f}")
noise = source.normal(size=20_001)
places = source.uniform(2, 19_998, size=200_000)


def along(kernel, values, places):
    """One-dimensional interpolation with a kernel of up to four taps."""
    base = np.floor(places).astype(int)
    return sum(kernel(places - (base + step)) * values[base + step] for step in range(-1, 3))


for name, kernel in KERNELS.items():
    print(f"variance of interpolated white noise, {name:8s}: {along(kernel, noise, places).var() / noise.var():.3f}")
assert abs(along(linear, noise, places).var() / noise.var() - 2 / 3) < 0.02

points = source.random((1200, 2))
xi = 0.05 + 0.9 * source.random((1500, 2))
print("\nnoise on the data    error of linear    error of cubic   (bump of height 1, 1,200 points in the plane)")
for level in (0.0, 0.01, 0.1, 0.3):
    noisy = bump(points) + level * source.normal(size=len(points))
    errors = [np.sqrt(np.nanmean((griddata(points, noisy, xi, method=method) - bump(xi)) ** 2)) for method in ("linear", "cubic")]
    print(f"{level:12.2f} {errors[0]:20.4f} {errors[1]:17.4f}")

# %% [markdown] tags=["sharpen"]
# With clean data the cubic wins; as soon as noise matters it loses. Interpolation *believes* its data: neither method averages neighbours to get rid of noise, however many there are.
#
# ### Exercise U20.8 · The hunt
#
# Construct three data sets on which `griddata` fails, and return them as a dictionary.
#
# - `"hull"`: `(points, xi)` in the plane, where linear `griddata` returns NaN although all `xi` lie between the smallest and the largest coordinates of the points;
# - `"sliver"`: 25 to 500 `points` in the unit square, with which $\sin3x\cos2y$ is interpolated at least ten times worse than with a square grid of as many points (tested between 0.25 and 0.75);
# - `"overshoot"`: `(points, values, xi)`, where the cubic method leaves the range of the values by more than 5 % of it.

# %% tags=["sharpen"]
# BEGIN SOLUTION
angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
disk = np.concatenate([r * np.stack([np.cos(angle), np.sin(angle)], axis=1) for r in (0.3, 0.6, 1.0)])
rows = np.stack(np.meshgrid(np.linspace(0, 1, 100), (0.0, 1.0), indexing="ij"), axis=-1).reshape(-1, 2)
cliff_points = source.random((150, 2))
hunt = {
    "hull": (disk, np.array([[0.9, 0.9]])),
    "sliver": rows,
    "overshoot": (cliff_points, (cliff_points[:, 0] > 0.5) * 1.0, 0.1 + 0.8 * source.random((500, 2))),
}
# END SOLUTION
check("U20.8", hunt)

# %% tags=["sharpen"]
points, values, xi = hunt["overshoot"]
steep = griddata(points, values, xi, method="cubic")
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6))
hull_points, hull_xi = hunt["hull"]
left.triplot(*hull_points.T, Delaunay(hull_points).simplices, lw=0.4)
left.plot(*hull_xi.T, "C3x", ms=9)
left.set(title="inside the bounding box,\noutside the hull: NaN", aspect="equal")
middle.triplot(*hunt["sliver"].T, Delaunay(hunt["sliver"]).simplices, lw=0.3)
middle.set(title="slivers: neighbours by name only", aspect="equal")
right.plot(xi[:, 0], steep, ".", ms=3)
right.plot(points[:, 0], values, "k.", ms=3)
right.set(xlabel="x", title=f"a cliff, cubic: from {np.nanmin(steep):.2f} to {np.nanmax(steep):.2f}")
plt.show()

# %% [markdown] tags=["sharpen"]
# *Figure U20.f. Three pathologies. Left: the cross gets no value. Middle: a triangle that spans the whole height joins samples that have nothing to do with each other. Right: black the data, blue what the cubic method makes of them.*
#
# Three more, to know by name. **Clusters**: many points where you do not need them, none where you do; slices crowd near the origin of Fourier space and are sparse far out (U21 is about that). **Nearly collinear points**: the triangulation depends on the last digit, and so may the result. **Wrapped phases**: neighbouring values of $3.1$ and $-3.1$ have the mean $0$, the opposite of both.

# %% [markdown] tags=["blur"]
# ## What a good kernel is
#
# We can now answer why cryowalk's kernel is none of the classical ones. Give up the idea that a kernel must pass *through* the samples: the smooth damping $\Phi$ can be divided out in the other space. Only the copies hurt. So ask for the kernel with few taps whose copies are weakest **where the particle is**, and forget about the rest of the field. For a point at $u=t/N$ from the
# origin of the (padded) box, the best that a kernel can do after the optimal correction leaves the relative error
# $$ \varepsilon^2(u) = 1 - \frac{\Phi(u)^2}{\sum_m \Phi(u+m)^2}. $$
# It depends on the place alone. So this one figure tells which kernel to use, and how much padding is needed.


# %% tags=["blur"]
def kernel_error(kernel, u):
    """The relative error at place u of the field, with the least-squares optimal correction."""
    total = sum(transform_of(kernel, u + m) ** 2 for m in range(-40, 41))
    return np.sqrt(np.clip(1 - transform_of(kernel, u) ** 2 / total, 0, None))


u = np.linspace(0.005, 0.5, 100)
COMPARED = {"nearest (1 tap)": nearest, "linear (2)": linear, "cryowalk (3)": three_taps, "cubic (4)": cubic}
errors = {name: kernel_error(kernel, u) for name, kernel in COMPARED.items()}


def draw_kernel_errors(radius, padding):
    """The error curves, with the part of the field that a particle fills."""
    figure, axes = plt.subplots(figsize=(7.5, 3.6))
    for name, curve in errors.items():
        axes.semilogy(u, curve, label=name)
    reach = radius / padding
    axes.axvspan(0, reach, color="0.92")
    axes.axvline(reach, color="0.5", ls=":")
    here = {name: 100 * float(np.interp(reach, u, curve)) for name, curve in errors.items()}
    axes.set(xlabel="place u in the padded box (0.5: its edge)", ylabel="relative error an axis", ylim=(1e-4, 1), xlim=(0, 0.5))
    axes.set_title(
        "at the particle's rim: " + ", ".join(f"{name.split()[0]} {value:.2g} %" for name, value in here.items()), fontsize=9
    )
    axes.legend(fontsize=8, loc="lower right")
    return figure


kernel_errors = exploration(
    draw_kernel_errors,
    radius=Slider(0.1, 0.5, 0.4, step=0.05, label="radius of the particle / box"),
    padding=Slider(1.0, 3.0, 2.0, step=0.25, label="padding"),
)
kernel_errors

# %% tags=["blur"]
print("error an axis (%)          u = 0.10     0.20     0.25     0.33")
for name, kernel in COMPARED.items():
    print(f"{name:24s}" + "".join(f"{100 * value:9.2f}" for value in kernel_error(kernel, np.array([0.1, 0.2, 0.25, 1 / 3]))))

# %% [markdown] tags=["blur"]
# *Figure U20.g. What is left after the best possible correction, by the place in the padded box; grey: where the particle is. The three-tap kernel is flat on the inner half of the field, since it was made for it (the idea is that of Fessler and Sutton, 2003). It gives up the very centre, where linear and cubic are excellent, to win on the rim, where it
# matters.*
#
# Twenty-seven products instead of eight per coefficient, but a box padded 1.5 times instead of twice, so $(2/1.5)^3 = 2.4$ times less memory, and fewer cache misses; this is the trade that `fourier.slices` makes. RELION's trade, two linear taps and padding 2, is as legitimate. What counts is that you can *say* what the error is: look at the particle's rim in this figure.

# %% [markdown] tags=["sharpen"]
# ### The exact way: a non-uniform FFT
#
# With six or more taps of a suitable kernel, padding 2 and the correction, the error can be made as small as you like: the **non-uniform FFT**. It evaluates $F(k)=\sum_x f_x e^{-2\pi ikx/N}$ at *any* places $k$ to a chosen tolerance in the time of an FFT plus that of the taps. It is our reference (`fourier.project_exactly`), and much slower than the three taps (U21 measures it).

# %% tags=["sharpen"]
import finufft

density = source.normal(size=256)
anywhere = source.uniform(-100, 100, size=3000)
start = time.perf_counter()
direct = np.exp(-2j * np.pi * np.outer(anywhere, np.arange(256) - 128) / 256) @ density
direct_seconds = time.perf_counter() - start
print("tolerance asked   relative error found")
for tolerance in (1e-2, 1e-4, 1e-8, 1e-12):
    quick = finufft.nufft1d2(2 * np.pi * anywhere / 256, density.astype(complex), eps=tolerance, isign=-1, nthreads=1)
    print(f"{tolerance:13.0e} {np.linalg.norm(quick - direct) / np.linalg.norm(direct):20.1e}")
assert np.linalg.norm(quick - direct) / np.linalg.norm(direct) < 1e-10

# %% [markdown] tags=["sharpen"]
# And the formula for $\varepsilon$ holds: take single points all over a padded line, interpolate their spectra with the three taps at random places, scale optimally, and measure.

# %% tags=["sharpen"]
places = source.uniform(0, 1, size=4000) + 100
base = np.arange(96, 106)
for u_here in (0.1, 0.25, 1 / 3):
    samples = np.exp(-2j * np.pi * base * u_here)
    truth = np.exp(-2j * np.pi * places * u_here)
    estimate = three_taps(places[:, None] - base) @ samples
    scale = np.vdot(estimate, truth) / np.vdot(estimate, estimate)
    error = np.linalg.norm(scale * estimate - truth) / np.linalg.norm(truth)
    predicted = float(kernel_error(three_taps, np.array([u_here]))[0])
    print(f"u = {u_here:.2f}: measured {100 * error:.2f} %, formula {100 * predicted:.2f} %")
    assert abs(error / predicted - 1) < 0.1

# %% [markdown] tags=["blur"]
# In your own words (stored, not graded): why does padding help the interpolation of a spectrum?

# %% tags=["blur"]
# BEGIN SOLUTION
my_words = "The grid is finer, so the arrows turn less between samples; the particle stays away from the edge of the box, the rest is empty."
# END SOLUTION
explain("U20.words", my_words)

# %% [markdown]
# ## What to take with you
#
# - Every interpolation is a kernel; a kernel damps and lets copies through. Damping can be divided out, copies cannot.
# - Interpolating complex numbers is harmless, the phase ramp of an off-centre object is not. Centre, pad, and stay with real and imaginary parts.
# - In reconstruction there are far more data than grid points. Scatter and average; never triangulate. Conserve the weight.
# - Do not ask an author which kernel the program has: send a delta.
#
# **On your own data.** Take a map of yours, turn it by 10° thirty-six times about one axis with your favourite program, and look at the Fourier shell correlation between the result and the map you began with: that curve is the transfer of its interpolation, to the 36th power. Then tell your program to pad, if it can, and repeat.
#
# **Next.** U21 inserts slices into a three-dimensional transform with what you have built here, and turns back to a map.
#
# **Further reading (never needed for an exercise).** R. G. Keys, *Cubic convolution interpolation for digital image processing*, IEEE Trans. Acoust. Speech Signal Process. 29 (1981). D. Shepard, *A two-dimensional interpolation function for irregularly-spaced data*, Proc. 23rd ACM Nat. Conf. (1968). J. I. Jackson et al., *Selection of a convolution function for Fourier inversion using gridding*,
# IEEE Trans. Med. Imaging 10 (1991). J. A. Fessler and B. P. Sutton, *Nonuniform fast Fourier transforms using min-max interpolation*, IEEE Trans. Signal Process. 51 (2003). A. H. Barnett, J. F. Magland and L. af Klinteberg, *A parallel nonuniform fast Fourier transform library*, SIAM J. Sci. Comput. 41 (2019). P. Thévenaz, T. Blu and M. Unser, *Interpolation revisited*, IEEE Trans. Med. Imaging 19 (2000).
# The pre-reading of the two meetings also had the Computerphile films on resizing images and on bicubic interpolation, and Wikipedia on interpolation.
