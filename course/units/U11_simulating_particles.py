# %% [markdown]
# # U11 Simulating particles
#
# **Question.** We want images of which we know everything: what was there, which way it lay, how the lens stood. How do we make them, how noisy must they be to be honest, and what do they
# tell us about pooling real data?
#
# **What you need.** U07 (the CTF), U08 (electrons and cameras), U19 (orientations). For *sharpen*: U21 helps, and a derivative.
#
# **What you will be able to do.**
#
# - build a particle image layer by layer, and say what each layer does to it;
# - draw orientations evenly, and recognise angles that stand in the wrong columns;
# - say which signal-to-noise ratio somebody means;
# - merge two data sets so that the second does no harm, and say why ten million particles do not give 1 Å.
#
# About seventy-five minutes.

# %%
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch

import cryowalk as cw
from cryowalk import fourier, geometry, microscope
from cryowalk.course import Choice, Slider, check, explain, exploration, parameters, predict, prediction
from cryowalk.data.optics import Defocus
from cryowalk.data.pose import Pose
from cryowalk.fourier import nufft
from cryowalk.microscope import exposure, ice, lens, limits, solvent
from cryowalk.microscope.settings import ParticleSimulationSettings
from cryowalk.microscope.simulate.particles import simulate_particles

# %% [markdown] tags=["blur"]
# <a id="H10"></a>
# ## Two roads to a simulated image
#
# One road **projects**: take a map, turn it, add it up along the beam, multiply its transform by the CTF, add noise. It is what reconstruction programs believe in, it costs two transforms an
# image, and whatever it leaves out cannot trouble you.
#
# The other road **models the imaging**: slice the specimen and its ice, send a wave through, let a real lens act on it, count electrons. It costs tens of times more, and
# shows what the first road cannot: thickness, multiple scattering, structured ice, a camera's own noise (U10 walks it).
#
# Which one do you need? To test whether an algorithm *works as meant*, the first: truth and model agree, so every failure is the algorithm's. To learn whether
# it *works on data*, the second, because there the model is wrong in the ways in which it is wrong for real. The most useful thing is to have both with the same molecule, the same orientations and
# the same seed, and to look at the difference.

# %% tags=["blur"]
optics = cw.Optics(pixel_size=1.5)
molecule = microscope.hinge()
thin = replace(molecule, positions=0.25 * molecule.positions, occupancies=0.002 * molecule.occupancies)
clean = ParticleSimulationSettings(
    count=1,
    box=100,
    dose=1e12,
    damage="none",
    ice_thickness=0.0,
    camera="ideal",
    solvent="vacuum",
    defocus_range=(0.0, 0.0),
    astigmatism=0.0,
    phase_shift_degrees=90.0,
    slice_thickness=6.0,
)


def both_roads(specimen):
    """The same particle by projection and by multislice, and their ring correlation."""
    images = [
        simulate_particles(specimen, optics, settings=clean, scattering=how, generator=cw.generator(4))[0].images.pixels
        for how in ("weak_phase", "multislice")
    ]
    return *images, fourier.shell_correlation(*images, dimensions=2).mean(dim=0)


projected, modelled, correlation = both_roads(molecule)
_, _, thin_correlation = both_roads(thin)
frequency = fourier.shell_frequency(100, pixel_size=1.5)
figure, axes = plt.subplots(1, 4, figsize=(12, 3), layout="constrained")
difference = modelled[0] - projected[0]
for panel, title, image in zip(
    axes, ("projected", "multislice", "difference"), (projected[0], modelled[0], difference - difference.median()), strict=False
):
    shown = panel.imshow(image, cmap="gray")
    panel.set(title=title, xticks=[], yticks=[])
    figure.colorbar(shown, ax=panel, location="bottom", label="V Å")
axes[3].plot(frequency[1:], correlation[1:], label="the molecule")
axes[3].plot(frequency[1:], thin_correlation[1:], label="small and weak")
axes[3].set(xlabel="frequency (1/Å)", title="ring correlation of both", ylim=(0.9, 1.005))
axes[3].legend()
assert thin_correlation[1:31].min() > 0.999  # to 5 Å

# %% [markdown] tags=["blur"]
# *Figure U11.a. One molecule of 155 kDa by both roads, in vacuum and without noise, in focus behind a phase plate (so that no ring is dark; an offset is taken off the difference). By multislice the densest parts are up to a fifth
# darker: the square of the phase, of which the projection knows nothing. The rings correlate to a per cent or so (the curves end at two thirds of Nyquist, beyond which multislice keeps nothing). A small and weak object is the same by both to better than a thousandth down to 5 Å.*
#
# <a id="H01"></a>
# ## The particle builder
#
# Now layer by layer. Choose how far to go: the bare projection; as it stands in ice; through the lens; with the ice's own structure, which the lens images too; and at last counted,
# electron by electron. Turn it, defocus it, spend electrons.

# %% tags=["blur"]
box = 72
builder_optics = cw.Optics(pixel_size=2.9)
vacuum = microscope.potential(molecule, box=box, voxel_size=2.9)
in_ice = solvent.displaced(molecule, vacuum)
LAYERS = ("projection", "+ displaced water", "+ lens", "+ ice", "+ counting")


def pose_of(rot, tilt, psi):
    """lab_from_particle for three ZYZ angles in degrees."""
    angles = torch.tensor([[rot, tilt, psi]], dtype=torch.float64).deg2rad()
    return geometry.matrix_from_euler(angles, order="ZYZ").mT


def built(rotation, *, layers, defocus=12000.0, dose=40.0, seed=1):
    """The image of the molecule with the first so many of the layers, V Å, protein bright."""
    volume = in_ice if layers >= 2 else vacuum
    image = nufft.project_exactly(volume, rotation)[0]
    source = cw.generator(seed)
    if layers >= 4:
        image = image + ice.projected_ice((box, box), pixel_size=2.9, thickness=300.0, generator=source)
    if layers >= 3:
        at = torch.tensor(float(defocus))
        transfer = lens.contrast_transfer(
            builder_optics, Defocus(major=at, minor=at, azimuth=0 * at, phase_shift=0 * at), size=(box, box)
        )
        image = fourier.to_real(fourier.to_fourier(image) * transfer, width=box)
    if layers >= 5:
        expected = exposure.expected_intensity(image, builder_optics, dose=dose).clamp_min(0)
        image = exposure.images_of_counts(torch.poisson(expected, generator=source), builder_optics, dose=dose)
    return image


def draw_builder(layers, rot, tilt, defocus, dose):
    """The image so far, and the spectrum of what is in it."""
    image = built(pose_of(rot, tilt, 0), layers=1 + LAYERS.index(layers), defocus=defocus, dose=dose)
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
    panels[0].imshow(image, cmap="gray")
    panels[0].set(title=layers, xticks=[], yticks=[])
    power = fourier.shell_average(fourier.to_fourier(image.double()).abs() ** 2, size=(box, box))
    panels[1].semilogy(fourier.shell_frequency(box, pixel_size=2.9)[1:], power[1:])
    panels[1].set(xlabel="frequency (1/Å)", title="power in rings", ylim=(1e1, 1e8))
    return figure


builder = exploration(
    draw_builder,
    layers=Choice(LAYERS[::-1], label="as far as"),
    rot=Slider(-180, 180, 30, label="rot (°)"),
    tilt=Slider(0, 180, 60, label="tilt (°)"),
    defocus=Slider(2000, 30000, 12000, label="underfocus (Å)"),
    dose=Slider(5, 200, 40, label="dose (e⁻/Å²)"),
)
builder

# %% tags=["blur"]
# With every layer off, nothing but the projection is left.
bare = microscope.project(vacuum, Pose(lab_from_particle=pose_of(30, 60, 0).float(), shift=torch.zeros(1, 2)))[0]
exact = built(pose_of(30, 60, 0), layers=1)
assert (exact - nufft.project_exactly(vacuum, pose_of(30, 60, 0))[0]).abs().max() < 1e-10
print(f"projected by interpolated slices instead: off by {100 * float((bare - exact).norm() / exact.norm()):.2f} %")
strength = {name: float(built(pose_of(30, 60, 0), layers=n).std()) for n, name in enumerate(LAYERS, start=1)}
print("standard deviation of the image (V Å):", {name: round(value, 1) for name, value in strength.items()})

# %% [markdown] tags=["blur"]
# *Figure U11.b. The builder. Watch the power at low frequency fall when the water is displaced (water is nearly as dense as protein) and when the lens acts (a defocused lens passes large
# features badly); watch the floor come up with the electrons. The ice stands still here; the beam of a real exposure stirs it, and of its fine detail little is left in the sum. What you see at the end is one real particle's worth of information.*
#
# ## Which way up?
#
# Orientations should be even: no direction favoured. Somebody draws the tilt angle evenly between 0° and 180°, and the other two evenly over the full turn. Where on the globe of directions do the views
# cluster?
#
# ### Exercise U11.1 · Even angles

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "at the poles"
# END SOLUTION
predict("U11.tilt", my_guess, options=("at the poles", "at the equator", "nowhere"))

# %% tags=["blur"]
my_guess = prediction("U11.tilt")


def draw_sphere(drawn, count):
    """View directions on the globe, and how many there are at each tilt."""
    source = cw.generator(3)
    if drawn == "evenly over orientations":
        views = geometry.view_direction(geometry.random_rotations(count, generator=source))
    else:
        turns = torch.rand(count, 2, generator=source, dtype=torch.float64) * torch.tensor([2 * math.pi, math.pi])
        views = torch.stack(
            [turns[:, 1].sin() * turns[:, 0].cos(), turns[:, 1].sin() * turns[:, 0].sin(), turns[:, 1].cos()], dim=1
        )
    figure = plt.figure(figsize=(9, 3.8), layout="constrained")
    globe = figure.add_subplot(1, 2, 1, projection="3d")
    globe.scatter(*views.T, s=4)
    globe.set(xticks=[], yticks=[], zticks=[], title=drawn)
    globe.set_box_aspect((1, 1, 1))
    tilts = torch.rad2deg(torch.arccos(views[:, 2].clamp(-1, 1)))
    near = float(((tilts < 30) | (tilts > 150)).double().mean())
    histogram = figure.add_subplot(1, 2, 2)
    histogram.hist(views[:, 2], bins=20)
    histogram.set(xlabel="height on the globe, cos(tilt)", ylabel="views", title=f"{100 * near:.1f} % within 30° of a pole")
    return figure


sphere = exploration(
    draw_sphere,
    drawn=Choice(("evenly in the angles", "evenly over orientations"), label="drawn"),
    count=Slider(100, 3000, 1500, label="views"),
)
sphere

# %% tags=["blur"]
# BEGIN SOLUTION
answer = "at the poles"
# END SOLUTION
check("U11.1", answer)

# %% [markdown] tags=["blur"]
# *Figure U11.c. Even tilts crowd at the poles: a third of them lie within 30° of one, where only 13.4 % of the globe's area is. The heights on the globe should be even, not the
# angles (Archimedes: belts of equal height have equal area).*

# %% tags=["blur"]
even = geometry.random_rotations(40000, generator=cw.generator(5))
height = geometry.view_direction(even)[:, 2].abs()
assert abs(height.mean().item() - 0.5) < 0.01  # even heights between 0 and 1
print(
    f"of even orientations {100 * float((height > math.cos(math.pi / 6)).double().mean()):.1f} % look along a pole; of even tilts {100 * 60 / 180:.0f} %"
)

# %% [markdown] tags=["sharpen"]
# ### Exercise U11.2 · Three angles in the wrong columns
#
# A published workflow draws even orientations, takes their Euler angles, and writes them into the coordinate file of a simulator. The simulator reads the columns as **ZXZ** angles, in
# degrees. Here is what stands in the file. Something is wrong; the images look like particles, and nothing complains.
#
# Draw a histogram of the middle column. What fraction of the views lies within 30° of a pole *as the simulator reads it*? Then find out what the columns really are, and give the
# ZXZ angles that should have been written.

# %% tags=["sharpen"]
angles = parameters("U11.2")["angles"]
figure, panels = plt.subplots(1, 3, figsize=(9, 2.4), layout="constrained")
for number, panel in enumerate(panels):
    panel.hist(angles[:, number], bins=36)
    panel.set(xlabel=f"column {number + 1} (°)", yticks=[])

# %% tags=["sharpen"]
# BEGIN SOLUTION
as_read = float((np.abs(np.cos(np.radians(angles[:, 1]))) > math.cos(math.radians(30))).mean())
matrices = geometry.matrix_from_euler(torch.from_numpy(angles).deg2rad(), order="XYZ")
repaired = geometry.euler_from_matrix(matrices, order="ZXZ").rad2deg().numpy()
answer = {"as read": as_read, "repaired": repaired}
print(f"as read {as_read:.3f}, repaired {(np.abs(np.cos(np.radians(repaired[:, 1]))) > math.cos(math.radians(30))).mean():.3f}")
# END SOLUTION
check("U11.2", answer)

# %% [markdown] tags=["sharpen", "solution"]
# The middle column runs from −90° to 90°, as a middle angle does whose three axes differ (XYZ, ZYX …); a ZXZ tilt runs from 0° to 180°. Its density is that of a latitude, $\cos\beta$, so
# $\int_{-30°}^{30°}\tfrac12\cos\beta\,d\beta = \tfrac12$ of the "tilts" are near the pole, where 13.4 % belong. The bug is in published notebooks, and no image looks wrong. Even
# views that turn out to be a belt or two caps are how you find it: **plot the views**.

# %% [markdown] tags=["sharpen"]
# ## A projection is a slice
#
# ### Exercise U11.3 · From the volume's transform
#
# Write `central_slice(volume, axis)`: the two-dimensional transform of the projection of a cube (an array) along an axis, without ever forming the projection: from `np.fft.fftn(volume)`. It should
# agree with `np.fft.fft2(volume.sum(axis))`.


# %% tags=["sharpen"]
def central_slice(volume, axis):
    # BEGIN SOLUTION
    return np.take(np.fft.fftn(volume), 0, axis=axis)
    # END SOLUTION


check("U11.3", central_slice)

# %% [markdown] tags=["sharpen", "solution"]
# $\sum_z$ is the transform at frequency zero along $z$: of $F(k_x,k_y,k_z)=\sum f\,e^{-2\pi i(k_xx+k_yy+k_zz)/n}$ the plane $k_z=0$ is $\sum_{xy}\left(\sum_z f\right)e^{\cdots}$. Nothing is approximated.
#
# For a view between the axes the plane passes between the samples, and has to be interpolated (U20, U21). How good is that?

# %% tags=["sharpen"]
cube = np.random.default_rng(1).normal(size=(32, 32, 32))
for axis in (0, 1, 2):
    error = (
        np.abs(central_slice(cube, axis) - np.fft.fft2(cube.sum(axis=axis))).max()
        / np.abs(np.fft.fft2(cube.sum(axis=axis))).max()
    )
    assert error < 1e-12
turned = geometry.random_rotations(20, generator=cw.generator(2))
still = torch.zeros(20, 2)
for padding in (1.5, 2.0, 3.0):
    sliced = microscope.project(vacuum, Pose(lab_from_particle=turned.float(), shift=still), padding=padding)
    exact = nufft.project_exactly(vacuum, turned)
    print(f"padding {padding}: interpolated slices are off by {100 * float((sliced - exact).norm() / exact.norm()):.2f} %")
    assert padding < 2 or (sliced - exact).norm() / exact.norm() < 0.02

# %% [markdown] tags=["blur"]
# ## How noisy is noisy?
#
# "SNR 0.1" is said in at least four ways: a ratio of **variances** or of **standard deviations**; over the **whole box** or within the particle's disk; of the image as it is, or after a filter; in all, or
# at one resolution. Each choice moves the number, together by factors of tens. In this course, and in `cryowalk`, it is the ratio of variances over the whole box.
#
# ### Exercise U11.4 · Which ratio?
#
# A paper means standard deviations when it says "SNR 0.1". Which ratio of variances is that?

# %% tags=["blur"]
# BEGIN SOLUTION
answer = 0.1**2
# END SOLUTION
check("U11.4", answer)

# %% [markdown] tags=["blur", "solution"]
# 0.01: the variance is the square. Ten times noisier than a reader who thinks in variances will believe.

# %% tags=["blur"]
wanted = 0.1
asked = {"count": 200, "box": 72, "b_factor": 0.0, "defocus_range": (5e3, 9e3)}
noisy, truth = simulate_particles(molecule, builder_optics, generator=cw.generator(6), snr=wanted, noise="white", **asked)
noiseless, _ = simulate_particles(molecule, builder_optics, generator=cw.generator(6), noise="none", **asked)
added = noisy.images.pixels - noiseless.images.pixels
measured = float(noiseless.images.pixels.var(dim=(1, 2)).mean() / added.var())
assert abs(measured / wanted - 1) < 0.05
x = torch.arange(72) - 36
inside = (x[:, None] ** 2 + x**2).sqrt() < 0.5 * 139 / 2.9  # the molecule is 139 Å long
in_disk = float(noiseless.images.pixels[:, inside].var(dim=1).mean() / added.var())
print(f"ratio of variances {measured:.3f}; of standard deviations {math.sqrt(measured):.3f}; within the disk {in_disk:.3f}")

# %% [markdown] tags=["blur"]
# <a id="H11"></a>
# ## The whole microscope in one call
#
# `simulate_particles` walks both roads: with an `snr` it draws the noise, without one it counts electrons, with the ice, the damage, the gun and the camera of U01 to U09. It takes one molecule or several with weights, bends
# those that bend, and can put junk among them, which it remembers. Everything random about image $i$ follows from the seed and $i$, so a run that was stopped goes on with the same bytes.
#
# On the command line it is `cryowalk simulate particles --o sim --n 2000`: a stack, a STAR file that RELION opens, and the truth beside them.

# %% tags=["blur"]
settings = ParticleSimulationSettings(count=48, box=72, defocus_range=(8e3, 12e3))
counted, counted_truth = simulate_particles([molecule], builder_optics, settings=settings, junk=0.3, generator=cw.generator(8))
figure, panels = plt.subplots(2, 6, figsize=(10, 3.8), layout="constrained")
kinds = {0: "particle", 1: "empty ice", 2: "contamination"}
chosen = [i for kind in (0, 1, 2) for i in torch.nonzero(counted_truth.junk == kind)[:4, 0].tolist()]
for panel, index in zip(panels.flat, chosen, strict=False):
    panel.imshow(counted.images.pixels[index], cmap="gray")
    panel.set_title(kinds[int(counted_truth.junk[index])], fontsize=9)
    panel.axis("off")
print(f"measured: {counted_truth.snr:.3f} over the whole box, from {counted_truth.dose:g} electrons per Å²")

# %% [markdown] tags=["blur"]
# *Figure U11.d. Counted images at 50 e⁻/Å². Could you have said which are particles? This is why rejecting images is scored on simulated data first.*
#
# <a id="Q-M08-2"></a>
# ## Two grids, one molecule
#
# *"If particles come from different types of grids (thin continuous carbon, single layer graphene) can they be combined into one large dataset to solve a structure?"*
#
# Carbon adds its own noise to every image. Say 1,000 images over holes have noise of variance 1, and 1,000 over carbon have variance 9 (where the signal's is 1). All in register, we average.
#
# ### Exercise U11.5 · One average of both
#
# What is the signal-to-noise ratio (of variances) of the average of all 2,000, if each image has the weight 1/variance? And if all count alike? Answer with the two numbers. (The 1,000
# clean ones alone have 1,000.)

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "worse than the clean ones alone"
# END SOLUTION
predict("U11.plain", my_guess, options=("better than the clean ones alone", "worse than the clean ones alone"))

# %% tags=["blur"]
my_guess = prediction("U11.plain")
# BEGIN SOLUTION
answer = (1000 / 1 + 1000 / 9, 2000**2 / (1000 * 1 + 1000 * 9))
# END SOLUTION
check("U11.5", answer)

# %% [markdown] tags=["blur", "solution"]
# Weighted, ratios add up: $1000/1+1000/9 = 1111$. Plain: the signal adds up 2,000 times, the variances to $1000+9000$, so $2000^2/10000 = 400$. **A plain average of all is worse than half of
# the data alone.** So: yes, they can be combined, if each grid is a group of its own with its own noise spectrum and scale. RELION does this by optics group or micrograph group, and so should you.


# %% tags=["blur"]
def draw_pool(variance, count):
    """How good the average is, as images of a second grid are added."""
    added = np.arange(0, count + 1, max(1, count // 60))
    weighted = 1000 + added / variance
    plain = (1000 + added) ** 2 / (1000 + added * variance)
    figure, panel = plt.subplots(figsize=(6, 3.4), layout="constrained")
    panel.plot(added, weighted, label="weighted by 1/variance")
    panel.plot(added, plain, label="all alike")
    panel.axhline(1000, color="0.6", ls=":", label="the first grid alone")
    panel.set(xlabel="images of the second grid", ylabel="signal-to-noise ratio", ylim=(0, None))
    panel.legend()
    return figure


pool = exploration(
    draw_pool, variance=Slider(1.0, 16.0, 9.0, label="its variance"), count=Slider(200, 20000, 4000, label="how many")
)
pool

# %% [markdown] tags=["blur"]
# *Figure U11.e. The pooling game. With weights the second grid never harms. Without them it must bring many images before it has made good the harm that its first ones did: plain averaging helps only once there are more than
# 1000 (variance − 2) of them.*

# %% [markdown] tags=["sharpen"]
# ### Exercise U11.6 · Merge them well
#
# Write `merge(first, second, var_first, var_second)`: two stacks of registered images and the variances of their noise go in, the best average comes out. Derive the weights first: which
# $w$ makes the variance of $w\,\bar a + (1-w)\,\bar b$ least?


# %% tags=["sharpen"]
def merge(first, second, var_first, var_second):
    # BEGIN SOLUTION
    a, b = len(first) / var_first, len(second) / var_second
    return (a * first.mean(axis=0) + b * second.mean(axis=0)) / (a + b)
    # END SOLUTION


check("U11.6", merge)

# %% [markdown] tags=["sharpen", "solution"]
# $w^2 v_a + (1-w)^2 v_b$ with $v_a=\sigma_a^2/N_a$ has its least value where $w\,v_a = (1-w)\,v_b$, that is $w\propto 1/v_a$. The variance is then $1/(N_a/\sigma_a^2+N_b/\sigma_b^2)$: nothing unbiased and linear does
# better (Gauss and Markov). In Fourier space the same holds for every ring with its own variance, and with the CTF in it is the Wiener filter's numerator and denominator.

# %% [markdown] tags=["blur"]
# <a id="Q-M08-3"></a>
# ## Tens of millions of particles
#
# *"Why don't researchers pool different datasets of the same particle (e.g. from different EMPIAR entries) to solve a high resolution structure with tens of millions of particles?"*
#
# First, what would it bring? Amplitudes of single images fall as $e^{-Bk^2/4}$, so the number of particles for a resolution $d$ grows as $e^{B/2d^2}$ (Rosenthal and Henderson). On a plot of $\ln N$ over $1/d^2$ that is a straight line with the
# slope $B/2$.
#
# ### Exercise U11.7 · A hundred times more
#
# A map reaches 3.0 Å, with $B = 100$ Å². What will a hundred times the particles give?

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = 2.0
# END SOLUTION
predict("U11.hundred", my_guess)

# %% tags=["blur"]
my_guess = prediction("U11.hundred")
# BEGIN SOLUTION
answer = 1 / math.sqrt(1 / 3.0**2 + 2 * math.log(100) / 100)
# END SOLUTION
check("U11.7", answer)

# %% [markdown] tags=["blur", "solution"]
# $1/d^2 = 1/9 + 2\ln(100)/100 = 0.203$, $d = 2.22$ Å. With $B=200$ Å² it would be 2.52 Å.


# %% tags=["blur"]
def draw_reslog(b_factor, reached, particles):
    """Particles over resolution: a straight line in 1/d²."""
    resolution = np.linspace(6.0, 1.5, 200)
    count = [particles * limits.particle_ratio(float(d), than=reached, b_factor=b_factor) for d in resolution]
    figure, panel = plt.subplots(figsize=(6, 3.6), layout="constrained")
    panel.semilogy(1 / resolution**2, count)
    panel.plot([1 / reached**2], [particles], "o")
    ticks = [6, 4, 3, 2.5, 2, 1.75, 1.5]
    panel.set_xticks([1 / d**2 for d in ticks], [f"{d:g}" for d in ticks])
    panel.axhspan(1e7, 1e8, color="C1", alpha=0.15, label="tens of millions")
    panel.set(xlabel="resolution (Å), on a scale of 1/d²", ylabel="particles", ylim=(1e3, 1e13))
    panel.legend()
    return figure


reslog = exploration(
    draw_reslog,
    b_factor=Slider(40, 250, 100, label="B (Å²)"),
    reached=Slider(2.0, 5.0, 3.0, label="now at (Å)"),
    particles=Slider(20000, 500000, 100000, label="with so many"),
)
reslog

# %% tags=["blur"]
more = limits.particle_ratio(2.5, than=3.0, b_factor=100.0)
assert abs(more - 11.5) < 0.1
print(
    f"from 3.0 to 2.5 Å at B = 100 Å²: {more:.1f} times the particles; at B = 200 Å²: {limits.particle_ratio(2.5, than=3.0, b_factor=200.0):.0f} times"
)

# %% [markdown] tags=["blur"]
# *Figure U11.f. ResLog. Logarithms do not reward patience: every step of resolution costs a factor. A better B (a better grid, less motion) tilts the whole line, and is worth more than any number of particles.*
#
# And second, pooling has a price of its own. Two microscopes never have quite the same **magnification**; nominal values are off by a per cent or two. Let half the particles be larger by $\varepsilon$. A point at distance
# $z$ from the middle is then displaced by $\varepsilon z$: nothing at the middle, $\varepsilon R$ at the rim.

# %% [markdown] tags=["sharpen"]
# ### Exercise U11.8 · One per cent
#
# By which factor does the mismatch multiply the transform of a ball of radius $R$ (all of it alike), at frequency $k$? Average $\cos(2\pi k\varepsilon z)$ over the ball. Write `envelope(frequency, radius, error)`.


# %% tags=["sharpen"]
def envelope(frequency, radius, error):
    # BEGIN SOLUTION
    a = 2 * math.pi * frequency * error * radius
    return 3 * (math.sin(a) - a * math.cos(a)) / a**3
    # END SOLUTION


check("U11.8", envelope)

# %% [markdown] tags=["sharpen", "solution"]
# A slice at $z$ has the area $\pi(R^2-z^2)$: $\frac{3}{4R^3}\int_{-R}^{R}(R^2-z^2)\cos(2\pi k\varepsilon z)\,dz = 3\,\dfrac{\sin a-a\cos a}{a^3}$ with $a=2\pi k\varepsilon R$. For $R=100$ Å at 3 Å: 0.625 for one per cent, 0.050 for two.


# %% tags=["blur"]
def ball_envelope(frequency, radius, error):
    """What a magnification error leaves of a ball's detail."""
    a = 2 * np.pi * np.maximum(frequency * error * radius, 1e-4)
    return 3 * (np.sin(a) - a * np.cos(a)) / a**3


figure, panel = plt.subplots(figsize=(6, 3.2), layout="constrained")
k = np.linspace(0, 0.5, 200)
for error in (0.0025, 0.005, 0.01, 0.02):
    panel.plot(k, ball_envelope(k, 100.0, error), label=f"{100 * error:g} %")
panel.axhline(0, color="0.7", lw=0.8)
panel.set(xlabel="frequency (1/Å)", ylabel="what is left", title="mismatch of magnification, particle of radius 100 Å")
panel.legend()
for error, left in ((0.01, 0.625), (0.02, 0.050)):
    assert abs(ball_envelope(1 / 3, 100.0, error) - left) < 0.002
    print(f"{100 * error:g} % at 3 Å: {ball_envelope(1 / 3, 100.0, error):.3f}")

# %% [markdown] tags=["blur"]
# *Figure U11.g. One per cent costs as much at 3 Å as a B-factor of 17 Å². It also shifts every fitted defocus by two per cent, since the CTF knows $\lambda\Delta f k^2$ only.*
#
# The remaining reasons are not physics. The samples differ: another construct, another ligand, another buffer, and with them the conformations; averaging different molecules is no longer averaging noise. Half of the images of an old data set were taken with a worse
# camera, in thicker ice; weighted rightly they count little. Calibration between sets costs work for every pair. And the gain is logarithmic. People do pool, within one laboratory, with magnifications refined against each other (RELION and cryoSPARC estimate them by optics
# group), and gain a little.

# %% tags=["blur"]
# BEGIN SOLUTION
my_words = "Each grid needs its own group, because the noise differs and every image should have the weight that its noise allows. Before merging, the magnification of the sets must be matched."
# END SOLUTION
explain("U11.words", my_words)

# %% [markdown]
# ## What to take with you
#
# - Know which road your simulation took. One tests the algorithm, the other the algorithm and the model.
# - Even angles are not even orientations. Plot the views, also of other people's files.
# - Say which SNR you mean: variances or deviations, box or disk. Measure it.
# - Weight by inverse variance, and no data harm you. Pool as if alike, and they may.
# - Resolution grows with the logarithm of the number of particles; calibration and sameness of the sample decide the rest.
#
# **Next.** U12 fills a whole micrograph, lets it drift, and tilts it.
#
# **Further reading (never needed for an exercise).** F. Sigworth's lecture on image formation in the NCCAT course of 2020. P. Rosenthal and R. Henderson, J. Mol. Biol. 333, 721 (2003). M. Vulović et al., J. Struct. Biol. 183, 19 (2013).
