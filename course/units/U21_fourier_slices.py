# %% [markdown]
# # U21 Fourier slices and direct inversion
#
# **Question.** The microscope gives shadows. How do shadows become a three-dimensional map, and what does the map look like when something is missing?
#
# **What you need.** U03 and U04 (transforms and grids), U19 (what `lab_from_particle` is), U20 (kernels, and scattering onto a grid).
#
# **What you will be able to do.**
#
# - state the slice theorem, and test it to the last digit;
# - insert slices into a transform, weight, invert and correct: a complete reconstruction program in thirty lines;
# - say how many views a resolution needs, and why the answer differs for one tilt axis and for tumbling particles;
# - look at a map and tell few views, wrong angles, preferred views, a wrong hand, a forgotten correction and noise from one another.
#
# About seventy-five minutes. *Blur*: shadows and slices, the number of views, the inverse problem, the diagnosis board. *Sharpen*: the proof, the program, and its fine print. Orientations are known in this unit; U22 finds them.

# %%
import math
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch

import cryowalk as cw
from cryowalk import fourier, geometry, microscope, reconstruction, validation
from cryowalk.course import Choice, Slider, check, explain, exploration, parameters, predict, prediction

torch.set_num_threads(1)

# %% [markdown]
# ## The toy
#
# The *hinge*, a procedural molecule of two unequal bodies, in a box of $48^3$ voxels of 4 Å, limited to 9 Å so that nothing lies beyond the Nyquist sphere. It fills the box well (its rim lies at 0.4 of the box), because a small object in a large box forgives too much.

# %%
box, voxel_size = 48, 4.0
potential = microscope.potential(microscope.hinge(), box=box, voxel_size=voxel_size)
toy = replace(potential, voxels=fourier.low_pass(potential.voxels, resolution=9.0, pixel_size=voxel_size, dimensions=3))
middle = box // 2


def spectrum_of(array):
    """The whole transform of a real array, orthonormal, with its origin in the middle (the library stores one half of it, unshifted)."""
    array = torch.as_tensor(array)
    half = fourier.to_fourier(array, dimensions=array.ndim)
    index = [(torch.arange(n) - n // 2) % n for n in array.shape]
    stored = index[-1] <= array.shape[-1] // 2
    direct = half[..., torch.where(stored, index[-1], array.shape[-1] - index[-1])]
    mates = direct.conj()  # Friedel: F(−k) is the conjugate of F(k)
    for axis, n in enumerate(array.shape[:-1]):
        mates = mates.index_select(axis, (-torch.arange(n)) % n)
    whole = torch.where(stored, direct, mates)
    for axis in range(array.ndim - 1):
        whole = whole.index_select(axis, index[axis])
    return whole.numpy()


def array_of(spectrum):
    """The real array whose centred, orthonormal transform this is."""
    unshifted = torch.as_tensor(spectrum)
    for axis, n in enumerate(spectrum.shape):
        unshifted = unshifted.index_select(axis, (torch.arange(n) + n // 2) % n)
    n = spectrum.shape[-1]
    return fourier.to_real(unshifted[..., : n // 2 + 1], width=n, dimensions=spectrum.ndim).numpy()


assert np.allclose(array_of(spectrum_of(toy.voxels)), toy.voxels, atol=1e-5)

# %% [markdown] tags=["blur"]
# ## A shadow is a slice
#
# Begin in the plane. A flat picture, seen along one direction, gives a line profile: each value is a sum along a ray. What does the transform of the profile have to do with the transform of the picture? Think of the waves that the picture is made of (U03, U04). A wave whose crests run *across* the rays is summed over hills and valleys: nothing is left. A wave whose crests run *along*
# the rays survives as it is.
#
# So which waves does the profile contain?

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "a line through the origin"
# END SOLUTION
predict(
    "U21.opening", my_guess, options=("a line through the origin", "half of the spectrum", "a ring", "everything, but weaker")
)


# %% tags=["blur"]
picture = toy.voxels.sum(0).numpy() * voxel_size
centred = np.arange(box) - middle
plane_y, plane_x = np.meshgrid(centred, centred, indexing="ij")
picture_spectrum = spectrum_of(picture)


def profile_of(angle):
    """The sums of the picture along rays, by the distance s of the ray from the origin: a shadow on a line turned by `angle` degrees."""
    s = plane_x * math.cos(math.radians(angle)) + plane_y * math.sin(math.radians(angle))
    shares = np.clip(1 - np.abs(centred[:, None] - s.ravel()), 0, None)
    return shares @ picture.ravel()


def line_of(angle, k):
    """The picture's transform along a line through the origin, summed directly."""
    s = plane_x * math.cos(math.radians(angle)) + plane_y * math.sin(math.radians(angle))
    return np.exp(-2j * np.pi * np.outer(k, s.ravel()) / box) @ picture.ravel()


def draw_slice_of_the_plane(angle):
    """The picture, its shadow, and the line of its transform."""
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.2), layout="constrained", width_ratios=(1, 1.2, 1, 1.2))
    direction = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    axes[0].imshow(picture, cmap="gray", origin="lower", extent=(-24.5, 23.5, -24.5, 23.5))
    axes[0].plot(*np.outer(direction, [-22, 22]), "C1")
    axes[0].set(title="picture", xticks=[], yticks=[])
    axes[1].plot(centred, profile_of(angle), "C1")
    axes[1].set(title="its shadow on the line", xlabel="place (pixels)", yticks=[])
    axes[2].imshow(np.log1p(np.abs(picture_spectrum)), cmap="magma", origin="lower", extent=(-24.5, 23.5, -24.5, 23.5))
    axes[2].plot(*np.outer(direction, [-22, 22]), "C0")
    axes[2].set(title="its transform (log |F|)", xticks=[], yticks=[])
    k = np.arange(0, 19)
    shadow = np.exp(-2j * np.pi * np.outer(k, centred) / box) @ profile_of(angle)
    shadow /= np.sinc(k / box) ** 2  # the rays were given a triangular width of one pixel: divide it out
    axes[3].semilogy(k, np.abs(line_of(angle, k)), "C0", lw=5, alpha=0.4, label="line of the transform")
    axes[3].semilogy(k, np.abs(shadow), "C1.-", label="transform of the shadow")
    axes[3].set(xlabel="frequency (1/box)")
    axes[3].legend(fontsize=8)
    return figure


prediction("U21.opening")
slice_player = exploration(draw_slice_of_the_plane, angle=Slider(-90, 90, 25, label="direction of the line (°)"))
slice_player

# %% [markdown] tags=["blur"]
# *Figure U21.a. A picture, its shadow on the orange line, its transform, and the values along the blue line of the transform compared with the transform of the shadow.*
#
# They are the same. **The transform of a projection is the slice through the origin of the object's transform, perpendicular to the rays.** One shadow measures one line of the plane; in space, one image measures one *plane*. Turn the particle, and the plane turns with it. All planes pass through the origin: everybody agrees about the mean density.
#
# De Rosier and Klug built three-dimensional reconstruction on this in 1968, and every program of the field still does.

# %% [markdown] tags=["blur"]
# <a id="L-M15-1"></a>
# ## From slices to a map
#
# A slice is an image's transform. Look at one: it has modulus and phase, it is mirrored about its centre (Friedel), it falls off quickly, and it is speckled. The speckles have the size of one over the diameter of the particle (U03), and that will decide how many slices we need.

# %% tags=["blur"]
rotations = geometry.random_rotations(300, generator=torch.Generator().manual_seed(1))
pose = cw.Pose(lab_from_particle=rotations, shift=torch.zeros(len(rotations), 2, dtype=torch.float64))
images = microscope.project(toy, pose)  # ∫ V dz in V Å, one image a pose
figure, axes = plt.subplots(1, 4, figsize=(13, 3.2), layout="constrained")
one = spectrum_of(images[4])
for panel, (title, pixels, colours) in zip(
    axes,
    (
        ("an image", images[4], "gray"),
        ("its slice: log modulus", np.log1p(np.abs(one)), "magma"),
        ("its slice: phase", np.angle(one), "twilight"),
        ("the phase's middle", np.angle(one)[14:35, 14:35], "twilight"),
    ),
    strict=True,
):
    panel.imshow(pixels, cmap=colours, origin="lower", interpolation="none")
    panel.set(title=title, xticks=[], yticks=[])
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U21.b. What a slice looks like. It carries no sign of where it belongs: that is the third row of its rotation matrix, the view direction, which is the normal of the plane.*
#
# Now drop slices into the empty cube of the map's transform. How much of it do they cover?


# %% tags=["blur"]
def coverage_of(views, radius, *, directions=4000):
    """The share of places on a shell (radius in steps of the grid) within half a step of some slice."""
    places = geometry.random_rotations(directions, generator=torch.Generator().manual_seed(9))[:, 2] * radius
    return float(((places @ views.T).abs() < 0.5).any(dim=1).double().mean())


shells = np.arange(1, 24)


def draw_cube(count, views):
    """Slices in the cube of Fourier space, and how much of each shell they cover."""
    if views == "all around":
        chosen = geometry.random_rotations(count, generator=torch.Generator().manual_seed(2))
    else:
        turns = torch.arange(count, dtype=torch.float64) * (math.pi / count)
        chosen = geometry.matrix_from_euler(torch.stack([turns * 0, turns, turns * 0], dim=-1), order="ZYZ")
    figure = plt.figure(figsize=(10, 4))
    space = figure.add_subplot(1, 2, 1, projection="3d")
    circle = np.linspace(0, 2 * np.pi, 60)
    disc = np.stack([np.cos(circle), np.sin(circle), 0 * circle], axis=-1)
    for number, matrix in enumerate(chosen[:40].numpy()):
        ring = disc @ matrix
        space.plot(*ring.T, color=f"C{number % 10}", lw=0.8)
        space.plot_trisurf(
            *np.vstack([ring[:-1], [[0, 0, 0]]]).T,
            triangles=[(i, (i + 1) % 59, 59) for i in range(59)],
            color=f"C{number % 10}",
            alpha=0.12,
        )
    space.set(
        xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1), xticks=[], yticks=[], zticks=[], title=f"{min(count, 40)} of {count} slices"
    )
    space.set_box_aspect((1, 1, 1), zoom=1.1)
    curve = figure.add_subplot(1, 2, 2)
    curve.plot(shells, [100 * coverage_of(chosen[:, 2], radius) for radius in shells], "o-", label="measured")
    if views == "all around":
        curve.plot(shells, 100 * (1 - (1 - 1 / (2 * shells)) ** count), "k--", label="1 − (1 − 1/2r)ᴺ")
    curve.set(xlabel="shell r (steps of the grid)", ylabel="covered (%)", ylim=(0, 104))
    curve.legend()
    return figure


cube = exploration(
    draw_cube, count=Slider(1, 120, 12, label="number of views"), views=Choice(("all around", "one tilt axis"), label="views")
)
cube

# %% [markdown] tags=["blur"]
# *Figure U21.c. Left: slices in Fourier space. Right: the share of each shell that lies within half a grid step of some slice. A slice covers a band of height 1 on a sphere of radius $r$, which is $1/2r$ of its area, whatever the direction; $N$ independent slices leave $(1-\frac1{2r})^N$ uncovered.*
#
# Near the origin even a few slices suffice, far out they thin out as $1/r$. That is why resolution costs views.
#
# ### Exercise U21.1 · How many views?
#
# For one tilt axis with evenly spaced views the question has a crisp answer. A particle of diameter $D=100$ Å; we want $d=10$ Å. How many views are needed? Guess first, then work it out: the transform of something of the size $D$ must be sampled in steps of $1/D$.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = 30
# END SOLUTION
predict("U21.1", my_guess)

# %% tags=["blur"]
# BEGIN SOLUTION
answer = math.pi * 100 / 10
# END SOLUTION
check("U21.1", answer)

# %% [markdown] tags=["blur", "solution"]
# At the frequency $1/d$ half a turn is an arc of length $\pi/d$ (the other half is the mirror image). Steps of $1/D$ along it: $N = \pi D/d = 31.4$. This is **Crowther's criterion** (1970), and the angular step is $d/D$ in radians. For a box of the same size as the particle, shell $r = D/d$ of the grid is the one with the resolution $d$.

# %% tags=["blur"]
prediction("U21.1")
diameter, resolution = 100.0, 10.0
radius = diameter / resolution
print(f"one axis, evenly spaced: π D / d = {math.pi * radius:.1f} views, one every {math.degrees(1 / radius):.1f}°")
for share in (0.9, 0.99, 0.999):
    print(
        f"random views, {100 * share:.1f} % of the shell covered: {math.log(1 - share) / math.log(1 - 1 / (2 * radius)):.0f} views"
    )
print(f"300 random views at the rim of our box (r = 23): {100 * (1 - (1 - 1 / 46) ** 300):.1f} % covered")

# %% [markdown] tags=["blur"]
# Random views are not evenly spaced, so one needs about three times as many for 99 % of the shell. In practice neither number limits a single-particle map: noise asks for thousands of images where geometry asks for a hundred. In tomography (U28) geometry is everything.
#
# ### Smearing back is not enough
#
# The oldest way back is to smear each image along its beam, and to add: **back-projection**. In Fourier space it adds the slices into the cube. But near the origin all slices overlap, so low frequencies are counted often and high ones seldom: the density of slices is proportional to $1/|k|$. The result is a blurred map. **Divide each coefficient by how often it was measured**, and
# the blur is gone. Insert, count, divide, invert: that is *direct Fourier inversion*.


# %% tags=["blur"]
def accumulated(slices, rotations, *, padding=1.5):
    """All slices in one accumulator, every coefficient with the weight 1."""
    accumulator = fourier.SliceAccumulator(box, voxel_size, padding=padding)
    accumulator.add(slices, torch.ones_like(slices.real), rotations)
    return accumulator


slices = fourier.to_fourier(images)
reconstructed = {}
figure, axes = plt.subplots(2, 5, figsize=(13, 5.4), layout="constrained")
for column, count in enumerate((1, 5, 25, 300)):
    smeared = fourier.back_project(slices[:count], rotations[:count], voxel_size=voxel_size).voxels
    reconstructed[count] = accumulated(slices[:count], rotations[:count]).to_volume()
    axes[0, column].imshow(smeared[middle], cmap="gray", origin="lower")
    axes[1, column].imshow(reconstructed[count].voxels[middle], cmap="gray", origin="lower", vmin=-2, vmax=9)
    axes[0, column].set_title(f"{count} view{'s' if count > 1 else ''}, smeared back")
    axes[1, column].set_title("divided by the counts")
for row in (0, 1):
    axes[row, 4].imshow(toy.voxels[middle], cmap="gray", origin="lower", vmin=-2, vmax=9)
    axes[row, 4].set_title("truth")
for panel in axes.flat:
    panel.set(xticks=[], yticks=[])
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U21.d. The central section of the map. Above: images smeared back and added. Below: direct Fourier inversion. One view knows nothing about depth; three hundred, divided by the counts, know everything up to 9 Å.*

# %% [markdown] tags=["blur"]
# <a id="H25"></a>
# ## Volume reconstruction
#
# Move the number of views, and watch the section, the power that has been filled in, and the Fourier shell correlation with the truth.


# %% tags=["blur"]
def power_section(voxels):
    """log |F| in the plane ky = 0 (rows kz, columns kx)."""
    return np.log10(np.abs(spectrum_of(voxels))[:, middle, :] + 1e-2)


def draw_views(count):
    """A map from so many views: two sections, a section of its transform, and its correlation with the truth."""
    volume = accumulated(slices[:count], rotations[:count]).to_volume()
    curve = validation.compare_maps(volume, toy)
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.2), layout="constrained", width_ratios=(1, 1, 1, 1.3))
    axes[0].imshow(volume.voxels[middle], cmap="gray", origin="lower", vmin=-2, vmax=9)
    axes[1].imshow(volume.voxels[:, middle], cmap="gray", origin="lower", vmin=-2, vmax=9)
    axes[2].imshow(power_section(volume.voxels), cmap="magma", origin="lower", vmin=-2, vmax=2)
    for panel, title in zip(axes, (f"{count} views: section z = 0", "section y = 0", "its transform, ky = 0"), strict=False):
        panel.set(title=title, xticks=[], yticks=[])
    axes[3].plot(curve.frequency, curve.correlation, "C0")
    axes[3].axvline(1 / 9.0, color="0.6", ls=":")
    axes[3].set(
        xlabel="frequency (1/Å)",
        ylabel="FSC with the truth",
        ylim=(-0.05, 1.05),
        title=f"0.5 at {curve.resolution(at=0.5):.1f} Å",
    )
    return figure


views_player = exploration(draw_views, count=Slider(2, 300, 20, label="number of views"))
views_player

# %% tags=["blur"]
final = validation.compare_maps(reconstructed[300], toy)
scale = float((reconstructed[300].voxels * toy.voxels).sum() / (toy.voxels**2).sum())
print("300 views, FSC with the truth in shells 1, 5, 10, 15, 20:", final.correlation[[1, 5, 10, 15, 20]].numpy().round(4))
print(f"scale of the map: {scale:.3f}")
assert float(final.correlation[:16].min()) > 0.99

# %% [markdown] tags=["blur"]
# *Figure U21.e. Reconstruction from few to many views; dotted: 9 Å, where the toy ends. With few views you see single planes in the transform, and streaks along the beams in the map.*

# %% [markdown] tags=["sharpen"]
# ### The theorem, in three lines
#
# With $x=(x,y,z)$, the beam along $z$, and $P(x,y)=\int V\,\mathrm dz$:
# $$ \hat P(k_x,k_y) = \iint\Big[\int V(x,y,z)\,\mathrm dz\Big] e^{-2\pi i(k_xx+k_yy)}\,\mathrm dx\,\mathrm dy = \iiint V(\mathbf x)\,e^{-2\pi i\,\mathbf k\cdot\mathbf x}\,\mathrm d^3x\Big|_{k_z=0} = \hat V(k_x,k_y,0). $$
# For a turned particle the image shows $V(R^\mathsf{T}\mathbf x)$. Substitute $\mathbf x = R\mathbf x'$; then $\mathbf k\cdot R\mathbf x' = (R^\mathsf{T}\mathbf k)\cdot\mathbf x'$, and
# $$ \hat P_R(k_x,k_y) = \hat V\big(R^\mathsf{T}(k_x,k_y,0)^\mathsf{T}\big). $$
# The coefficient at $(k_x, k_y)$ of the image belongs to the place $R^\mathsf{T}\mathbf k$, which is a row vector times $R$. Write the transposition wrongly, and every particle is turned the wrong way round.
#
# For the discrete transform the axis-aligned theorem holds exactly: a sum over one index *is* the zero-frequency term of the transform over it. With one factor to mind: our transforms are orthonormal.
#
# A symbolic check on an object without symmetry of its own, a tilted Gaussian in the plane:

# %% tags=["sharpen"]
import sympy

a, b, c = sympy.Rational(3, 2), sympy.Rational(1, 2), sympy.Integer(2)
x, y, k = sympy.symbols("x y k", real=True)
shadow = sympy.integrate(sympy.exp(-sympy.pi * (a * x**2 + 2 * b * x * y + c * y**2)), (y, -sympy.oo, sympy.oo))
transform_of_shadow = sympy.fourier_transform(sympy.simplify(shadow), x, k)
determinant = a * c - b**2
line_of_transform = sympy.exp(-sympy.pi * c * k**2 / determinant) / sympy.sqrt(determinant)  # the 2-D pair, at (k, 0)
print("transform of the shadow minus the line of the transform:", sympy.simplify(transform_of_shadow - line_of_transform))
assert sympy.simplify(transform_of_shadow - line_of_transform) == 0

# %% [markdown] tags=["sharpen"]
# ### Exercise U21.2 · The theorem to the last digit
#
# Write `both_ways(volume, axis)`, which returns two arrays: the central plane of the volume's spectrum that belongs to the projection along `axis` (0 is $z$), *scaled so that it is the projection's spectrum*, and the spectrum of the projection (the plain sum along the axis). Use `spectrum_of`. It must hold for odd, even and unequal sides.


# %% tags=["sharpen"]
def both_ways(volume, axis):
    # BEGIN SOLUTION
    plane = np.take(spectrum_of(volume), volume.shape[axis] // 2, axis=axis) * math.sqrt(volume.shape[axis])
    return plane, spectrum_of(volume.sum(axis=axis))
    # END SOLUTION


check("U21.2", both_ways)

# %% [markdown] tags=["sharpen", "solution"]
# An orthonormal transform divides by the root of the number of samples. The three-dimensional one has divided by $\sqrt n$ more than the two-dimensional one, so the slice gets it back. That is the line in cryowalk's conventions which says that a central slice carries the factor $\sqrt n\,\cdot$ voxel size (the voxel size, because the projection is an integral in Å, and not a sum).

# %% tags=["sharpen"]
for shape in ((48, 48, 48), (15, 15, 15), (12, 9, 14)):
    volume = np.random.default_rng(3).normal(size=shape)
    gaps = [np.abs(np.subtract(*both_ways(volume, axis))).max() for axis in range(3)]
    print(f"{shape}: largest difference {max(gaps):.1e}")
    assert max(gaps) < 1e-12

# %% [markdown] tags=["sharpen"]
# <a id="L-M16-1"></a>
# ## The program: weights, gridding correction, padding
#
# Off the axes the slices miss the grid, and U20 begins. The program has six steps:
#
# 1. where: $R^\mathsf{T}\mathbf k$ for all coefficients of all images, times the padding factor;
# 2. who: the eight corners of the cell, each with the share $\prod(d\text{ or }1-d)$: the trilinear kernel;
# 3. scatter: sum share × value, and share, with `np.bincount` (not with `+=`: trap T8 of U20);
# 4. divide, where there is a weight;
# 5. transform back, cut the box out of the padded one;
# 6. divide by what the kernel did to the map: the gridding correction.
#
# ### Exercise U21.3 · Insert, normalise, invert
#
# Write `invert(spectra, rotations, padding=2)` for steps 1 to 5. `spectra` are centred whole spectra `(n, box, box)` of projections (plain sums, voxel size 1), `rotations` are `lab_from_particle`. Leave out coefficients with $|k| >$ `box // 2 − 1`. The check has a phantom of its own: FSC at least 0.99 up to shell 7 of 12, and the right amplitude in each shell.


# %% tags=["sharpen"]
def invert(spectra, rotations, padding=2):
    # BEGIN SOLUTION
    box = spectra.shape[-1]
    side = padding * box
    axis = np.arange(box) - box // 2
    ky, kx = np.meshgrid(axis, axis, indexing="ij")
    keep = kx**2 + ky**2 <= (box // 2 - 1) ** 2
    in_plane = np.stack([kx[keep], ky[keep], np.zeros(keep.sum())], axis=-1)
    place = (in_plane @ rotations).reshape(-1, 3) * padding  # rows times R: each is Rᵀk
    base = np.floor(place).astype(int)
    part, values = place - base, spectra[:, keep].ravel()
    weights, total = np.zeros(side**3), np.zeros(side**3, dtype=complex)
    for corner in np.ndindex(2, 2, 2):
        share = np.where(corner, part, 1 - part).prod(axis=1)
        x, y, z = (base + corner + side // 2).T
        flat = (z * side + y) * side + x
        weights += np.bincount(flat, share, side**3)
        total.real += np.bincount(flat, share * values.real, side**3)
        total.imag += np.bincount(flat, share * values.imag, side**3)
    averaged = np.divide(total, weights, out=np.zeros_like(total), where=weights > 1e-6).reshape(side, side, side)
    cut = slice(side // 2 - box // 2, side // 2 - box // 2 + box)
    return array_of(averaged)[cut, cut, cut] / (math.sqrt(box) * padding**1.5)
    # END SOLUTION


check("U21.3", invert)

# %% [markdown] tags=["sharpen"]
# Now the toy with 300 views. To test the *program*, the images must be beyond doubt, so they come from the exact non-uniform transform.

# %% tags=["sharpen"]
start = time.perf_counter()
exact_images = fourier.project_exactly(replace(toy, voxels=toy.voxels.double()), rotations)
print(f"300 exact projections: {time.perf_counter() - start:.2f} s")
exact_spectra = np.stack([spectrum_of(image / voxel_size) for image in exact_images])
truth = toy.voxels.double().numpy()


def report(name, voxels):
    """One line: shell correlations, scale and error against the truth."""
    curve = fourier.shell_correlation(torch.as_tensor(voxels), torch.as_tensor(truth)).numpy()
    scale = float((voxels * truth).sum() / (truth**2).sum())
    error = float(np.linalg.norm(voxels - truth) / np.linalg.norm(truth))
    print(f"{name:34s} FSC, worst of shells 1–15: {curve[1:16].min():.4f}   scale {scale:.3f}   error {100 * error:.1f} %")
    return curve, scale, error


start = time.perf_counter()
by_hand = {padding: invert(exact_spectra, rotations.numpy(), padding) for padding in (1, 2)}
print(f"own program, both paddings: {time.perf_counter() - start:.2f} s")
curve, raw_scale, _ = report("own, padding 2", by_hand[2])
assert curve[1:16].min() >= 0.99
report("own, no padding", by_hand[1])
# %% [markdown] tags=["sharpen"]
# The correlation is fine, but the map is too weak. U20 has told us why: the average over a triangular neighbourhood multiplies the *map* by $\operatorname{sinc}^2$ along each axis.
#
# ### Exercise U21.6 · How much is lost at the face of the box?
#
# By what factor is density in the middle of a face of the box (half a box from the origin along one axis) damped, without padding and with twofold padding? Two numbers.

# %% tags=["sharpen"]
# BEGIN SOLUTION
answer = (np.sinc(1 / 2) ** 2, np.sinc(1 / 4) ** 2)
# END SOLUTION
check("U21.6", answer)

# %% [markdown] tags=["sharpen", "solution"]
# The transform of the triangle of width one grid step is $\operatorname{sinc}^2 u$, with $u=x/N$ and $N$ the side of the *padded* box. Half a box is $u=\frac12$ without padding, and $u=\frac14$ with it:
# $$ \operatorname{sinc}^2\tfrac12 = (2/\pi)^2 = 0.405, \qquad \operatorname{sinc}^2\tfrac14 = (2\sqrt2/\pi)^2 = 0.811. $$
# In a corner three such factors meet: $0.067$ and $0.53$. Corners are empty, one hopes.

# %% [markdown] tags=["sharpen"]
# ### Exercise U21.4 · The gridding correction
#
# Write `corrected(volume, padded)`: the map with the fall-off divided out, where `padded` is the side of the padded box that the spectrum was made for. On our map it should bring the scale from 0.97 to 1.00.


# %% tags=["sharpen"]
def corrected(volume, padded):
    # BEGIN SOLUTION
    n = volume.shape[0]
    fall = np.sinc((np.arange(n) - n // 2) / padded) ** 2
    return volume / (fall[:, None, None] * fall[:, None] * fall)
    # END SOLUTION


check("U21.4", corrected)

# %% tags=["sharpen"]
report("own, padding 2, not corrected", by_hand[2])
_, mended_scale, _ = report("own, padding 2, corrected", corrected(by_hand[2], 2 * box))
report("own, no padding, corrected", corrected(by_hand[1], box))
assert abs(mended_scale - 1) < 0.02
assert raw_scale < 0.98

# %% [markdown] tags=["sharpen"]
# Look at the last line: **the correction without padding makes the map worse.** Dividing by 0.4 brings back the density at the rim, but it also amplifies what the kernel's copies have left there, and that cannot be divided out. Padding moves the particle away from where the copies are strong. The two belong together.
#
# ### What the library does differently, and why
#
# `fourier.slices` and `fourier.accumulator` follow the same six steps with four changes.
#
# 1. **The kernel** has three taps an axis, and is optimal for the inner half of the padded field (U20, last part). So padding 1.5 is enough by default.
# 2. **The ramp.** Slices lie $1/|k|$ dense. Within the reach of one grid point the samples nearer to the origin are more numerous, and the average is drawn towards them. Multiplying numerator *and* weights by $|k|$ makes the samples evenly dense.
# 3. **The correction** depends on the direction: before slicing it is $\Phi/\sum\Phi^2$ (least squares), after an insertion with even density it is $1/\Phi$.
# 4. **The floor.** A coefficient that was hardly seen would be amplified without bound. Its weight is raised to a thousandth of the mean of its shell; with noise, a prior $1/\tau^2$ takes that role (Wiener, U23).
#
# Numbers for 1 and 2. First slicing, against the exact transform:


# %% tags=["sharpen"]
def trilinear_slices(volume, rotations, padding):
    """Slices by plain trilinear interpolation of the padded spectrum, sinc² divided out before: what U20 and step 6 suggest."""
    n, side = volume.shape[0], padding * volume.shape[0]
    padded = np.zeros((side,) * 3)
    cut = slice(side // 2 - n // 2, side // 2 - n // 2 + n)
    padded[cut, cut, cut] = corrected(volume, side)
    spectrum = spectrum_of(padded) * math.sqrt(n) * padding**1.5
    axis = np.arange(n) - n // 2
    ky, kx = np.meshgrid(axis, axis, indexing="ij")
    keep = kx**2 + ky**2 <= (n // 2 - 1) ** 2
    place = (np.stack([kx[keep], ky[keep], np.zeros(keep.sum())], axis=-1) @ rotations).reshape(-1, 3) * padding
    base = np.floor(place).astype(int)
    part, found = place - base, 0
    for corner in np.ndindex(2, 2, 2):
        x, y, z = (base + corner + side // 2).T
        found = found + np.where(corner, part, 1 - part).prod(axis=1) * spectrum[z, y, x]
    result = np.zeros((len(rotations), n, n), dtype=complex)
    result[:, keep] = found.reshape(len(rotations), -1)
    return result


few = rotations[:60]
inside = np.hypot(plane_x, plane_y) <= middle - 1
reference = exact_spectra[:60][:, inside]
for padding in (1, 2):
    guess = trilinear_slices(truth, few.numpy(), padding)[:, inside]
    print(
        f"trilinear, padding {padding}      : error of slices {100 * np.linalg.norm(guess - reference) / np.linalg.norm(reference):5.2f} %"
    )
prepared = {padding: fourier.prepare_volume(toy, padding=padding) for padding in (1.5, 2.0)}
for padding, volume in prepared.items():
    start = time.perf_counter()
    made = fourier.to_real(fourier.extract_slices(volume, few), width=box).numpy() / voxel_size
    seconds = time.perf_counter() - start
    guess = np.stack([spectrum_of(image) for image in made])[:, inside]
    print(
        f"cryowalk, padding {padding}     : error of slices {100 * np.linalg.norm(guess - reference) / np.linalg.norm(reference):5.2f} %   ({1e3 * seconds:.0f} ms for 60)"
    )
start = time.perf_counter()
fourier.project_exactly(toy, few)
print(f"non-uniform FFT             : 1e-10 asked                ({1e3 * (time.perf_counter() - start):.0f} ms for 60)")

# %% [markdown] tags=["sharpen"]
# Then insertion, with and without the ramp. The ramp is built in, so to see a map without it we hand in values and weights that were divided by $|k|$. The scale of each shell tells:

# %% tags=["sharpen"]
half = fourier.to_fourier(exact_images.float())
ramp = (fourier.frequency_radius((box, box), pixel_size=1.0) * box).clamp_min(1 / 3)


def shell_scales(voxels):
    """Regression of the map on the truth in each shell."""
    own, true = (fourier.to_fourier(torch.as_tensor(v, dtype=torch.float64), dimensions=3) for v in (voxels, truth))
    cross = fourier.shell_average((own * true.conj()).real, size=(box,) * 3)
    return (cross / fourier.shell_average(true.abs() ** 2, size=(box,) * 3)).numpy()


accumulators = {name: fourier.SliceAccumulator(box, voxel_size, padding=2.0) for name in ("with the ramp", "without")}
accumulators["with the ramp"].add(half, torch.ones_like(half.real), rotations)
flat_weights = (1 / ramp).float().expand_as(half.real).contiguous()
accumulators["without"].add(half * flat_weights, flat_weights, rotations)
figure, axes = plt.subplots(figsize=(7, 3.2))
for name, accumulator in accumulators.items():
    volume = accumulator.to_volume().voxels.double().numpy()
    axes.plot(shells[:20], shell_scales(volume)[shells[:20]], "o-", label=f"cryowalk {name}")
    report(f"cryowalk, padding 2, {name}", volume)
axes.plot(shells[:20], shell_scales(corrected(by_hand[2], 2 * box))[shells[:20]], "o-", label="own, trilinear")
axes.axhline(1, color="0.7")
axes.set(xlabel="shell", ylabel="amplitude / truth")
axes.legend()
plt.show()

# %% [markdown] tags=["sharpen"]
# *Figure U21.f. The amplitude of the map in each shell, relative to the truth. A correlation does not see such errors, but a difference map, or a comparison with an atomic model, does.*
#
# **Weights, once more.** With a contrast transfer function $c$ and noise of variance $\sigma^2$, each image adds $c\,y/\sigma^2$ to the numerator and $c^2/\sigma^2$ to the weights: the least-squares estimate of every Fourier coefficient, one by one. The zeros of one CTF are filled by other images. `reconstruction.reconstruct` does just that; it comes at the end.

# %% [markdown] tags=["blur"]
# <a id="H19"></a>
# ## An inverse problem
#
# Projecting is a linear map: pixels of the object in, pixels of the images out, $y = Ax$. Reconstruction asks for $x$. When is that possible? Take an object so small that we can look at the whole matrix: a disk of 149 pixels, and its projections in the plane. The **singular values** of $A$ say how loudly the data speak about each of 149 independent patterns. Where one is zero,
# the pattern casts no shadow: it lies in the **null space**. Where one is tiny, noise is louder than the pattern.


# %% tags=["blur"]
small = np.arange(16) - 8
small_y, small_x = np.meshgrid(small, small, indexing="ij")
in_disk = small_x**2 + small_y**2 <= 49


def operator(degrees):
    """The matrix of projection: each ray is a blurred line; rows are rays of all views, columns are pixels of the disk."""
    bins = np.arange(19) - 9
    blocks = []
    for angle in np.radians(degrees):
        s = (small_x * np.cos(angle) + small_y * np.sin(angle))[in_disk]
        blocks.append(np.exp(-((s[None, :] - bins[:, None]) ** 2) / (2 * 0.6**2)))
    return np.concatenate(blocks)


GEOMETRIES = {
    "60 views, all around": np.arange(-90, 90, 3),
    "wedge: within ±60°": np.arange(-60, 60, 3),
    "wedge: within ±30°": np.arange(-30, 30, 3),
    "6 views, all around": np.arange(-90, 90, 30),
}
decompositions = {name: np.linalg.svd(operator(degrees), full_matrices=True) for name, degrees in GEOMETRIES.items()}
figure, axes = plt.subplots(figsize=(7, 3.2))
for name, (_, values, _) in decompositions.items():
    axes.semilogy(np.maximum(values / values[0], 1e-12), label=name)
axes.set(xlabel="pattern, loudest first", ylabel="singular value / largest", ylim=(1e-7, 2))
axes.legend(fontsize=8)
plt.show()

# %% tags=["blur"]
print("geometry                 condition number   patterns above 5 %   null-space dimension")
for name, (_, values, vectors) in decompositions.items():
    lost = vectors.shape[0] - int((values > 1e-9 * values[0]).sum())
    condition = f"{values[0] / values[-1]:.1e}" if lost == 0 else "infinite"
    print(f"{name:25s}{condition:>15s} {int((values > 0.05 * values[0]).sum()):17d} {lost:20d}")
invisible = decompositions["6 views, all around"][2][-1]
print(
    f"an invisible object of length 1: its six projections are at most {np.abs(operator(GEOMETRIES['6 views, all around']) @ invisible).max():.1e}"
)
assert np.abs(operator(GEOMETRIES["6 views, all around"]) @ invisible).max() < 1e-8

# %% [markdown] tags=["blur"]
# *Figure U21.g. Singular values of the projection. Leaving a wedge out silences patterns one after the other; the table counts those that still speak above 5 % of the loudest.*
#
# Hadamard called a problem **well-posed** if a solution exists, is unique, and does not jump when the data change a little. Six views fail the second demand, the wedge fails the third. No algorithm can restore what $A$ has removed; it can only fill the gap with an assumption, called **regularisation** or **prior**. The simplest one prefers small objects: minimise $|Ax-y|^2 + \lambda|x|^2$. The matrix
# to be inverted, $A^\mathsf{T}A+\lambda$, then has a condition number of at most $(s_1^2+\lambda)/\lambda$, whatever the geometry. How much of it?


# %% tags=["blur"]
rng = np.random.default_rng(11)
true_object = np.exp(-((small_x - 2) ** 2 + (small_y + 1) ** 2) / 6) + 0.8 * np.exp(
    -((small_x + 3) ** 2 + (small_y - 3) ** 2) / 3
)
noise = rng.normal(size=(60 * 19,))


def regularised(name, exponent):
    """The estimate with λ = 10^exponent · s₁², from data with noise of 3 % of their maximum."""
    u, values, vectors = decompositions[name]
    data = operator(GEOMETRIES[name]) @ true_object[in_disk]
    data = data + 0.03 * data.max() * noise[: len(data)]
    penalty = 10.0**exponent * values[0] ** 2
    count = len(values)
    return vectors[:count].T @ (values / (values**2 + penalty) * (u[:, :count].T @ data))


print("condition number of   AᵀA        AᵀA + s₁²/300")
for name, (_, values, vectors) in decompositions.items():
    full = np.zeros(vectors.shape[0])
    full[: len(values)] = values
    lowest = full[-1] ** 2 if full[-1] > 1e-9 * full[0] else 0.0
    plain = f"{full[0] ** 2 / lowest:.1e}" if lowest else "infinite"
    print(f"{name:22s}{plain:>9s} {(full[0] ** 2 + full[0] ** 2 / 300) / (lowest + full[0] ** 2 / 300):12.0f}")


def draw_regularisation(geometry_name, exponent):
    """The truth, the estimate, and the error against the strength of the prior."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained", width_ratios=(1, 1, 1.5))
    for panel, values, title in (
        (axes[0], true_object[in_disk], "truth"),
        (axes[1], regularised(geometry_name, exponent), "estimate"),
    ):
        shown = np.full(in_disk.shape, np.nan)
        shown[in_disk] = values
        panel.imshow(shown, cmap="gray", vmin=-0.3, vmax=1.1, origin="lower")
        panel.set(title=title, xticks=[], yticks=[])
    exponents = np.linspace(-9, 1, 60)
    errors = [
        np.linalg.norm(regularised(geometry_name, e) - true_object[in_disk]) / np.linalg.norm(true_object[in_disk])
        for e in exponents
    ]
    axes[2].semilogy(exponents, errors)
    axes[2].axvline(exponent, color="C3")
    axes[2].set(xlabel="log₁₀ (λ / s₁²)", ylabel="relative error", title=f"best: {min(errors):.2f}", ylim=(0.02, 100))
    return figure


regularisation = exploration(
    draw_regularisation,
    geometry_name=Choice(tuple(GEOMETRIES), label="geometry"),
    exponent=Slider(-9.0, 1.0, -2.5, step=0.25, label="log λ"),
)
regularisation

# %% [markdown] tags=["blur"]
# *Figure U21.h. Regularised least squares. Too little: noise is amplified through the tiny singular values. Too much: the answer is the prior. The best value lies between, and even there a wedge costs what it costs.*
#
# Direct Fourier inversion is this very least-squares problem in a basis where $A^\mathsf{T}A$ is nearly diagonal: the weights that we divide by are its diagonal. That is why it needs no iteration, and why a weight near zero is the same thing as a tiny singular value.

# %% [markdown] tags=["blur"]
# <a id="L-M15-2"></a>
# ## Artefacts, and what they look like
#
# Six maps, each from images of the same molecule. One thing went wrong in each:
#
# - **few views**: eight instead of three hundred;
# - **angle error**: every orientation off by some degrees, at random;
# - **preferred view**: nearly all particles lie on the same side;
# - **wrong hand**: the mirror image (its poses are mirrored as well, so each image fits perfectly);
# - **no correction**: everything right, but the gridding correction was forgotten, without padding;
# - **low SNR**: noise of twenty times the variance of the signal.
#
# Beside the maps you see a section of their transforms, and two curves: the correlation of **half maps**, which you would have with real data, and the one with the **truth**, which you never have.


# %% tags=["blur"]
def halves_of(noisy, poses, *, padding=1.5):
    """Two half maps, from the even and the odd images."""
    spectra = fourier.to_fourier(noisy)
    first, second = (accumulated(spectra[part::2].contiguous(), poses[part::2], padding=padding).to_volume() for part in (0, 1))
    return cw.HalfMaps(first=first, second=second)


def projected(rotations):
    return microscope.project(
        toy, cw.Pose(lab_from_particle=rotations, shift=torch.zeros(len(rotations), 2, dtype=torch.float64))
    )


def simulated(*, count=300, angle=0.0, concentration=0.0, snr=None, seed=5):
    """Half maps of the toy from images with an angular error (degrees, per component), a preferred view and noise."""
    source = torch.Generator().manual_seed(seed)
    if concentration > 0:
        sides = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
        poses = geometry.preferred_orientations(count, directions=sides, concentration=concentration, generator=source)
    else:
        poses = geometry.random_rotations(count, generator=source)
    clean = projected(poses)
    if snr is not None:
        clean = clean + torch.randn(clean.shape, generator=source) * clean.std() / math.sqrt(snr)
    believed = geometry.perturb_rotations(poses, angle=math.radians(angle), generator=source) if angle > 0 else poses
    return halves_of(clean, believed)


def mapped(halves, change):
    return cw.HalfMaps(
        **{name: replace(getattr(halves, name), voxels=change(getattr(halves, name).voxels)) for name in ("first", "second")}
    )


def without_correction():
    """Half maps as they would be with no padding and no gridding correction: the library's own correction is taken back."""
    halves = halves_of(images, rotations, padding=1.0)
    factor = fourier.SliceAccumulator(box, voxel_size, padding=1.0).grid.correction(purpose="average", like=toy.voxels)
    return mapped(halves, lambda v: v / (factor[:, None, None] * factor[:, None] * factor))


CASES = {
    "few views": simulated(count=8),
    "angle error": simulated(angle=7.0),
    "preferred view": simulated(concentration=25.0),
    "wrong hand": mapped(halves_of(images, rotations), lambda v: v.flip(0).roll(1, 0)),
    "no correction": without_correction(),
    "low SNR": simulated(snr=1 / 20),
}


distance = torch.sqrt(sum(part**2 for part in fourier.coordinates((box,) * 3, pixel_size=1.0)))


def strength(volume, inner, outer):
    """Regression of the map on the truth between two distances (voxels) from the middle of the box."""
    part = (distance >= inner) & (distance < outer)
    return float((volume.voxels * toy.voxels)[part].sum() / (toy.voxels**2)[part].sum())


def draw_case(axes, halves, title):
    """One column of the board: two sections, a section of the transform, the curves, and the strength if there is a place for it."""
    volume = halves.average()
    top = float(volume.voxels.max())
    axes[0].imshow(volume.voxels[middle], cmap="gray", origin="lower", vmin=-0.2 * top, vmax=0.8 * top)
    axes[1].imshow(volume.voxels[:, middle], cmap="gray", origin="lower", vmin=-0.2 * top, vmax=0.8 * top)
    axes[2].imshow(power_section(volume.voxels), cmap="magma", origin="lower", vmin=-1.5, vmax=2)
    for panel in axes[:3]:
        panel.set(xticks=[], yticks=[])
    axes[0].set_title(title)
    halves_curve = validation.fourier_shell_correlation(halves)
    axes[3].plot(halves_curve.frequency, halves_curve.correlation, "C0", label="half maps")
    axes[3].plot(halves_curve.frequency, validation.compare_maps(volume, toy).correlation, "C3", label="with the truth")
    axes[3].set(ylim=(-0.2, 1.05), xlim=(0, 1 / 9.0), xlabel="1/Å")
    if len(axes) > 4:
        radii = np.arange(2, 18, 2)
        axes[4].plot(radii + 1, [strength(volume, r, r + 2) for r in radii], "C2.-", label="strength")
        axes[4].set(ylim=(-0.1, 1.3), xlabel="voxels from the middle")


# %% [markdown] tags=["blur"]
# ### Exercise U21.5 · The diagnosis board
#
# Your board is shuffled for you. The first column is a map without any fault. Rows: the section $z=0$; the section $y=0$ ($z$ upwards); the transform in the plane $k_y=0$ ($k_z$ upwards); blue: half maps, red: with the truth; green: how strong the density is, relative to the truth, at each distance from the middle of the box.

# %% tags=["blur"]
from cryowalk.course.checks.u21 import order_of

board = order_of(parameters("U21.5")["deck"])
figure, axes = plt.subplots(5, 7, figsize=(15, 11), layout="constrained")
draw_case(axes[:, 0], halves_of(images, rotations), "no fault")
for column, (letter, name) in enumerate(zip("ABCDEF", board, strict=True), start=1):
    draw_case(axes[:, column], CASES[name], letter)
for panel in axes[3:, 1:].flat:
    panel.set_yticklabels([])
for row in (3, 4):
    axes[row, 0].legend(fontsize=7, loc="lower left")
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U21.i. Your diagnosis board. Give a name to each letter.*

# %% tags=["blur"]
# BEGIN SOLUTION
diagnosis = dict(zip("ABCDEF", board, strict=True))
# END SOLUTION
check("U21.5", diagnosis)

# %% [markdown] tags=["blur", "solution"]
# - **Few views**: planes in the transform, with black between them; streaks and speckles outside the particle.
# - **Preferred view**: a double cone of the transform along $k_z$ is empty; a section that holds $z$ is smeared along it, while $z=0$ looks perfect. The half maps agree *in what they have*.
# - **Angle error**: both curves fall, and the truth lies hardly above the half maps; the middle is sharper (and stronger) than the rim, since a turn by $\alpha$ moves the density at radius $r$ by $\alpha r$.
# - **Low SNR**: everything is there, plus noise everywhere, also outside the particle; the strength is right, and the halves agree much less with each other than their mean does with the truth.
# - **Wrong hand**: half maps perfect, the transform perfect, the truth says no beyond the lowest shells.
# - **No correction**: both curves are as good as perfect; but the farther from the middle of the box, the weaker the density, smoothly. Nothing else looks wrong, which is what makes it dangerous.

# %% tags=["blur"]
print("                    half maps: 0.143 at    with the truth: 0.5 at    scale   rim / middle")
for name, halves in CASES.items():
    volume = halves.average()
    print(
        f"{name:16s} {validation.fourier_shell_correlation(halves).resolution(at=0.143):16.1f} Å {validation.compare_maps(volume, toy).resolution(at=0.5):20.1f} Å "
        f"{strength(volume, 0, 40):12.2f} {strength(volume, 14, 20) / strength(volume, 0, 8):10.2f}"
    )

# %% [markdown] tags=["blur"]
# <a id="L-M16-2"></a>
# ## Angular error, preferred views, or noise?
#
# These three are what one argues about in front of real maps, and all of them "lower the resolution". They can be told apart:
#
# | | half-map FSC | by direction | by place in the map | more images? | look at |
# |---|---|---|---|---|---|
# | **low SNR** | falls where noise wins | the same in all directions | the same everywhere | help: the SNR grows with $N$ | a plot of resolution against $\log N$ |
# | **angular error** | falls like a Gaussian, $e^{-2\pi^2k^2\alpha^2r^2}$ at radius $r$ | the same | worse at the rim | do not help much | local resolution, centre against rim |
# | **preferred views** | may look excellent | missing cone | smeared along the preferred view | of the same kind: no | distribution of views; FSC by direction; tilt the stage |
#
# Two of the faults of the board are *invisible* to half maps: hand and gridding. Half maps tell whether two halves of the data agree, never whether both are wrong in the same way. Mix the three yourself:


# %% tags=["blur"]
def draw_mixture(angle, concentration, log_snr):
    """A column of the board for your own mixture of faults."""
    halves = simulated(count=300, angle=angle, concentration=concentration, snr=10.0**log_snr)
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.2), layout="constrained", width_ratios=(1, 1, 1, 1.4))
    draw_case(axes, halves, f"angle {angle:.0f}°, SNR {10.0**log_snr:.3f}")
    axes[1].set_title("section y = 0")
    axes[2].set_title("transform, ky = 0")
    axes[3].legend(fontsize=8)
    axes[3].set_title(f"half maps: 0.143 at {validation.fourier_shell_correlation(halves).resolution(at=0.143):.1f} Å")
    return figure


mixture = exploration(
    draw_mixture,
    angle=Slider(0.0, 15.0, 3.0, step=1.0, label="angular error (°)"),
    concentration=Slider(0.0, 40.0, 10.0, step=1.0, label="preference κ"),
    log_snr=Slider(-2.5, 1.0, -1.0, step=0.25, label="log₁₀ SNR"),
)
mixture

# %% [markdown] tags=["blur"]
# *Figure U21.j. Angular error, preference and noise, mixed. Try to make two settings with the same half-map resolution, and to tell them apart by the other three panels.*

# %% [markdown] tags=["sharpen"]
# ### The envelope of angular errors
#
# The Gaussian in the table is a prediction, so let us test it. A particle of which only a small ball at radius $r$ is left is turned by random errors with standard deviation $\alpha$ per component. The ball moves by $\alpha r$ in the two directions perpendicular to $r$. The mean of many displaced copies is a convolution with a Gaussian, in Fourier space a factor $e^{-2\pi^2k_\perp^2\alpha^2r^2}$.

# %% tags=["sharpen"]
z, y, x = np.meshgrid(centred, centred, centred, indexing="ij")
offset, alpha_degrees = 14, 5.0
ball = replace(toy, voxels=torch.tensor(np.exp(-((x - offset) ** 2 + y**2 + z**2) / (2 * 1.2**2)), dtype=torch.float32))
many = geometry.random_rotations(1500, generator=torch.Generator().manual_seed(21))
ball_images = fourier.to_fourier(
    microscope.project(ball, cw.Pose(lab_from_particle=many, shift=torch.zeros(len(many), 2, dtype=torch.float64)))
)
spread = math.radians(alpha_degrees) * offset  # voxels
across = {}
for name, poses in (
    ("true", many),
    ("wrong", geometry.perturb_rotations(many, angle=math.radians(alpha_degrees), generator=torch.Generator().manual_seed(22))),
):
    volume = accumulated(ball_images, poses).to_volume().voxels.double().numpy()
    across[name] = spectrum_of(volume)[:, :, middle]  # kz and ky, the plane perpendicular to the radius
ring = np.rint(np.hypot(plane_x, plane_y)).astype(int)
print(" k (1/Å)   measured   exp(−2π²k²α²r²)")
for index in range(0, 13, 2):
    on_ring = ring == index
    measured = float(
        np.vdot(across["true"][on_ring], across["wrong"][on_ring]).real
        / np.vdot(across["true"][on_ring], across["true"][on_ring]).real
    )
    formula = math.exp(-2 * (math.pi * index / box * spread) ** 2)
    print(f"{index / box / voxel_size:8.4f} {measured:9.3f} {formula:12.3f}")
    assert abs(measured - formula) < 0.06
print(
    f"for α = 1° and r = 75 Å the displacement is {75 * math.radians(1):.2f} Å, and the envelope at 4 Å {math.exp(-2 * (math.pi * 75 * math.radians(1) / 4) ** 2):.2f}"
)

# %% [markdown] tags=["blur"]
# ## All of it at once
#
# Now as one would do it: simulated particles with contrast transfer functions, shifts and noise, reconstructed by the function that reconstructs real data, judged by half maps. Three lines.

# %% tags=["blur"]
optics = cw.Optics(pixel_size=voxel_size, voltage_kv=300, spherical_aberration_mm=2.7, amplitude_contrast=0.1)
particles, _ = microscope.simulate_particles(microscope.hinge(), optics, count=400, box=box, snr=0.1, generator=cw.generator(7))
halves = reconstruction.reconstruct(particles)

half_curve = validation.fourier_shell_correlation(halves)
truth_curve = validation.compare_maps(halves.average(), potential)
figure, axes = plt.subplots(1, 4, figsize=(13, 3.2), layout="constrained", width_ratios=(1, 1, 1, 1.5))
axes[0].imshow(particles.images.read([0])[0], cmap="gray", origin="lower")
axes[1].imshow(halves.average().voxels[middle], cmap="gray", origin="lower")
axes[2].imshow(potential.voxels[middle], cmap="gray", origin="lower")
for panel, title in zip(axes, ("one of 400 particles", "the map", "truth"), strict=False):
    panel.set(title=title, xticks=[], yticks=[])
axes[3].plot(half_curve.frequency, half_curve.correlation, label="half maps")
axes[3].plot(truth_curve.frequency, truth_curve.correlation, "C3", label="with the truth")
expected = (2 * half_curve.correlation.clamp_min(0) / (1 + half_curve.correlation.clamp_min(0))).sqrt()
axes[3].plot(half_curve.frequency, expected, "k:", label="√(2 FSC/(1 + FSC))")
axes[3].axhline(0.143, color="0.7", lw=0.8)
axes[3].set(xlabel="frequency (1/Å)", ylim=(-0.05, 1.05))
axes[3].legend(fontsize=8)
plt.show()
print(
    f"half maps: 0.143 at {half_curve.resolution(at=0.143):.1f} Å;  with the truth: 0.5 at {truth_curve.resolution(at=0.5):.1f} Å"
)

# %% [markdown] tags=["blur"]
# *Figure U21.k. From particles to a map. Dotted: what the half maps promise about the truth, if noise is the only fault (U24 derives it). Here it is, and the promise is kept.*
#
# In your own words (stored, not graded): a colleague's map has a half-map FSC of 3 Å, but looks smeared along one direction. How can both be true?

# %% tags=["blur"]
# BEGIN SOLUTION
my_words = "Preferred views: the same cone is missing from both half maps. They agree in every direction that was measured, and the shell average hides the others."
# END SOLUTION
explain("U21.words", my_words)

# %% [markdown]
# ## What to take with you
#
# - The transform of an image is the plane through the origin of the object's transform, perpendicular to the beam: $R^\mathsf{T}\mathbf k$.
# - Insert, weigh, divide, invert, correct. Padding and correction belong together; the weights are the diagonal of the least-squares problem.
# - $\pi D/d$ views about one axis; some three times as many at random; thousands because of noise.
# - What was not measured stays unknown. Half maps do not see a missing cone, a wrong hand or a wrong scale.
#
# **On your own data.** Look at one of your half maps in Fourier space: a section of $\log|F|$ through $k_z$ shows a missing cone better than any single number. Reconstruct with `cryowalk reconstruct` from your final poses, once with all particles and once with a random tenth of them: if the resolution hardly changes, noise is not your problem.
#
# **Next.** U22 finds the orientations. U23 replaces the floor by a Wiener filter, U24 asks how good the map is.
#
# **Further reading (never needed for an exercise).** D. J. De Rosier and A. Klug, *Reconstruction of three dimensional structures from electron micrographs*, Nature 217 (1968). R. A. Crowther, D. J. DeRosier and A. Klug, *The reconstruction of a three-dimensional structure from projections and its application to electron microscopy*, Proc. R. Soc. A 317 (1970). J. D. O'Sullivan, *A fast sinc function gridding algorithm for Fourier inversion in computer
# tomography*, IEEE Trans. Med. Imaging 4 (1985). P. A. Penczek, *Fundamentals of three-dimensional reconstruction from projections*, Methods Enzymol. 482 (2010). S. H. W. Scheres, *RELION: implementation of a Bayesian approach to cryo-EM structure determination*, J. Struct. Biol. 180 (2012). Y. Z. Tan et al., *Addressing preferred specimen orientation in single-particle cryo-EM through tilting*, Nat. Methods 14 (2017). F. Natterer, *The Mathematics of
# Computerized Tomography* (2001).
