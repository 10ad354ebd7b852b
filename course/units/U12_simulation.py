# %% [markdown]
# # U12 Simulating micrographs, movies and tilt series
#
# **Question.** What has to be in a simulated micrograph so that it is difficult in the way a real one is?
#
# **What you need.** U07 (the CTF) and the blur part of U08 (counting). U01 said how the sample comes into the ice.
#
# **What you will be able to do.**
#
# - turn a dose and a pixel size into counts, and say what a Poisson count is;
# - build a micrograph from molecules, ice, lens and camera, in this order, and explain why the order matters;
# - add motion, damage, carbon and tilt, and say what each of them costs;
# - keep the truth apart from the data, and use it to score a program.
#
# About 75 minutes. *Blur*: counts, the micrograph factory, the motion player, the dose clock, tilt schemes, the truth. *Sharpen*: noise before and after the lens, frames, the geometry of a tilt, two routes to one picture.

# %%
import math
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import Defocus, Optics, Pose, fourier, geometry, microscope
from cryowalk.core.constants import interaction_constant
from cryowalk.course import Choice, Slider, check, explain, exploration, parameters, predict, prediction
from cryowalk.course.checks.u12 import SIDE, STRENGTH, transfer_at
from cryowalk.io.micrograph_truth import read_micrograph_truth, write_micrograph_truth
from cryowalk.io.tilt_series_truth import write_tilt_series_truth
from cryowalk.microscope import absorption, beam_motion, damage, delivery, ice, lens, solvent
from cryowalk.microscope.camera import CAMERAS
from cryowalk.microscope.delivery_settings import MotionSettings
from cryowalk.microscope.simulate.micrographs import simulate_micrograph
from cryowalk.microscope.simulate.movies import simulate_movie
from cryowalk.microscope.simulate.specimens import Source, prepare_specimens
from cryowalk.microscope.simulate.tilt_scheme import tilt_angles
from cryowalk.microscope.simulate.tilt_series import draw_series, tilt_image
from cryowalk.microscope.tilt_settings import TiltSeriesSimulationSettings

torch.set_num_threads(1)
OPTICS = Optics(pixel_size=2.0, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
SIGMA = interaction_constant(OPTICS.voltage_kv)  # rad / (V Å)


def dice(seed):
    """Random numbers that are the same in every run."""
    return torch.Generator().manual_seed(seed)


def power_picture(image, *, tile=128):
    """The power spectrum with its origin in the middle, averaged over overlapping tiles, for looking at."""
    window = torch.hann_window(tile, periodic=False, dtype=image.dtype)
    tiles = (image - image.mean()).unfold(0, tile, tile // 2).unfold(1, tile, tile // 2).reshape(-1, tile, tile)
    half = (fourier.to_fourier(tiles * window * window[:, None]).abs() ** 2).mean(0)
    half = half / (window * window[:, None]).square().mean()
    mates = half[(-torch.arange(tile)) % tile].flip(-1)[:, 1:-1]
    return torch.cat([half, mates], dim=1).roll((tile // 2, tile // 2), dims=(0, 1))


def profile(image):
    """The power spectrum averaged over rings: frequency in 1/Å (at OPTICS' pixels) and power."""
    size = tuple(image.shape)
    ring = fourier.shell_average(fourier.to_fourier(image - image.mean()).abs() ** 2, size=size)
    return fourier.shell_frequency(size[0], pixel_size=OPTICS.pixel_size), ring


# %% [markdown] tags=["blur"]
# ## What a camera counts
#
# Everything that follows ends in electrons that arrive in pixels, one by one. The beam does not know when the next one comes: it only has a *rate*. The **dose** is the mean number per square Å, so a pixel of size $p$ expects
# $$ \bar n = \text{dose}\cdot p^2 $$
# electrons, times what the specimen makes of them. What it counts is a whole number, sometimes more and sometimes less. Counts of independent events with a mean $\bar n$ follow **Poisson's law**, and that law has no second number: *its variance is its mean.*

# %% tags=["blur"]
even = torch.full((400, 400), 6.0, dtype=torch.float64)
counted = torch.poisson(even, generator=dice(1))
numbers = np.arange(0, 20)
law = np.exp(-6.0) * 6.0**numbers / np.array([math.factorial(n) for n in numbers])
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
shown = left.imshow(counted[:40, :40], cmap="gray", vmin=0, vmax=14)
figure.colorbar(shown, ax=left, label="electrons")
left.set(xticks=[], yticks=[], title="an even beam, counted")
right.bar(numbers, [(counted == n).double().mean() for n in numbers], color="0.7", label="counted")
right.plot(numbers, law, "C3.", label="Poisson's law")
right.set(xlabel="electrons in a pixel", ylabel="part of the pixels")
right.legend()
plt.show()
print(f"mean {counted.mean():.3f}, variance {counted.var():.3f}, largest count {counted.max():.0f}")
assert abs(counted.var() / counted.mean() - 1) < 0.02

# %% [markdown] tags=["blur"]
# *Figure U12.a. A beam that expects 6 electrons in every pixel, and what 160 000 pixels count. The grain is not in the beam and not in the camera: it is in the counting.*
#
# ### Exercise U12.1 · Counts per pixel
#
# A dose of 40 e⁻/Å², pixels of 1.2 Å, nothing in the way. How many electrons does a pixel count, on average?

# %% tags=["blur"]
# BEGIN SOLUTION
counts_per_pixel = 40 * 1.2**2
# END SOLUTION
check("U12.1", counts_per_pixel)

# %% [markdown] tags=["solution", "blur"]
# A pixel of 1.2 Å has an area of 1.44 Å², so 57.6 electrons. The standard deviation is $\sqrt{57.6}=7.6$: 13 % of the mean. The contrast of a protein is a few per cent.
#
# ## A micrograph in five steps
#
# The order of the steps is the way of the electrons. (1) Molecules lie somewhere, turned somehow. (2) Around them lies ice, which has structure of its own. (3) The beam takes up the projected potential $v$ of all of it. (4) The lens makes of it the intensity $I = 1 - 2\sigma_e\,(v * \mathrm{CTF})$. (5) The camera counts. Here it is from scratch.

# %% tags=["blur"]
atoms = microscope.hinge()
specimens = prepare_specimens([Source(structure=atoms)], OPTICS, dress=solvent.displaced)
molecule, radius, mass = specimens.volumes[0], specimens.states[0].radius, specimens.states[0].mass
FIELD, DOSE, THICKNESS, UNDERFOCUS = 512, 40.0, 300.0, 15000.0
box = molecule.voxels.shape[-1]
print(f"the molecule: radius {radius:.0f} Å, {mass / 1000:.0f} kDa, in a box of {box} pixels")

# 1. Places: darts, thrown until each keeps its distance to all before it. Orientations: any.
random = np.random.default_rng(12)
places = []
while len(places) < 16:
    dart = random.uniform(box / 2, FIELD - box / 2, 2)
    if all(np.hypot(*(dart - other)) * OPTICS.pixel_size > 2 * radius for other in places):
        places.append(dart)
corners = (np.array(places) - box / 2).round().astype(int)  # x, y of each box's first pixel
turned = geometry.random_rotations(len(places), generator=dice(2))
views = microscope.project(molecule, Pose(lab_from_particle=turned, shift=torch.zeros(len(places), 2))).double()
particles = torch.zeros(FIELD, FIELD, dtype=torch.float64)
for (x, y), view in zip(corners, views, strict=True):
    particles[y : y + box, x : x + box] += view

# 2. Ice: random numbers with the published spectrum of its projected potential.
k = fourier.frequency_radius((FIELD, FIELD), pixel_size=OPTICS.pixel_size)
white = torch.randn(FIELD, FIELD, generator=dice(3), dtype=torch.float64)
colour = ice.power(k, thickness=THICKNESS).sqrt() / OPTICS.pixel_size
colour[0, 0] = 0  # the fluctuation about the mean
icy = fourier.to_real(fourier.to_fourier(white) * colour, width=FIELD)

# 3. and 4. The lens acts on both, and makes an intensity.
lens_values = transfer_at(UNDERFOCUS, side=FIELD)
seen = fourier.to_real(fourier.to_fourier(particles + icy) * lens_values, width=FIELD)
passed = absorption.transmitted_fraction(THICKNESS, voltage_kv=300.0)
expected = DOSE * OPTICS.pixel_size**2 * passed * (1 - 2 * SIGMA * seen)

# 5. The camera counts.
counts = torch.poisson(expected, generator=dice(4))

figure, panels = plt.subplots(1, 4, figsize=(16, 4.4))
for axes, image, title in zip(
    panels,
    (particles, particles + icy, expected, counts),
    ("1  molecules (V Å)", "2, 3  and ice (V Å)", "4  expected electrons", "5  counted electrons"),
    strict=True,
):
    axes.imshow(image, cmap="gray", vmin=image.mean() - 3 * image.std(), vmax=image.mean() + 3 * image.std())
    axes.set(xticks=[], yticks=[], title=title)
plt.show()
nearest = min(np.hypot(*(a - b)) for i, a in enumerate(places) for b in places[:i]) * OPTICS.pixel_size
library_ice = ice.projected_ice((FIELD, FIELD), pixel_size=OPTICS.pixel_size, thickness=THICKNESS, generator=dice(5))
print(f"nearest neighbours: {nearest:.0f} Å apart, at least {2 * radius:.0f} Å were asked for")
print(f"standard deviation of the ice: {icy.std():.1f} V Å, the library's {library_ice.std():.1f} V Å")
print(f"counts: {counts.mean():.2f} per pixel; dose · pixel area · part that passes = {DOSE * 4 * passed:.2f}")
print(
    f"contrast of the expected image: {100 * expected.std() / expected.mean():.1f} %, counting adds {100 / expected.mean().sqrt():.1f} %"
)
assert abs(counts.mean() / (DOSE * OPTICS.pixel_size**2 * passed) - 1) < 0.005
assert nearest > 2 * radius
assert abs(icy.std() / library_ice.std() - 1) < 0.02

# %% [markdown] tags=["blur"]
# *Figure U12.b. Sixteen molecules, step by step; each panel has its own grey scale. Potential is bright, so molecules are bright in the first two panels and dark for the camera.*
#
# ### Before you go on
#
# Take the molecules away. Only ice remains, in focus nowhere, counted as before. **What will the power spectrum of that empty picture look like?** (a) flat: there is nothing in it but noise; (b) rings, like those of carbon, all the way out, dark gaps down to nothing; (c) rings on top of an even floor.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "c"
# END SOLUTION
predict("U12.opening", my_guess, options=("a", "b", "c"))

# %% tags=["blur"]
my_guess = prediction("U12.opening")
icy_seen = fourier.to_real(fourier.to_fourier(icy) * lens_values, width=FIELD)
even_rate = DOSE * OPTICS.pixel_size**2 * passed
empty = torch.poisson(even_rate * (1 - 2 * SIGMA * icy_seen), generator=dice(6))
frequency, measured = profile(empty)
line_values = transfer_at(UNDERFOCUS, side=FIELD)[0].double()
ice_curve = (2 * SIGMA * even_rate * line_values) ** 2 * ice.power(frequency.double(), thickness=THICKNESS) / OPTICS.pixel_size**2
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.2), width_ratios=(1, 2.2))
left.imshow(power_picture(empty) ** 0.5, cmap="gray", vmax=float(power_picture(empty).max() ** 0.5) * 0.9)
left.set(xticks=[], yticks=[], title="power spectrum")
right.plot(frequency[3:], measured[3:], "0.6", label="counted: ice through the lens")
right.plot(frequency[3:], (ice_curve + even_rate)[3:], "C3", lw=1, label="what the formulas say")
right.axhline(even_rate, color="C0", ls=":", label="shot noise: the mean count")
right.set(xlabel="k (1/Å)", ylabel="power", ylim=(0, None))
right.legend()
plt.show()
print(f"you said ({my_guess})")
deviation = (measured / (ice_curve + even_rate))[40:250]
print(f"measured over predicted, averaged: {deviation.mean():.3f}")
assert abs(float(deviation.mean()) - 1) < 0.02

# %% [markdown] tags=["blur"]
# *Figure U12.c. Ice without molecules. The rings are the CTF, the floor is counting, and both are "noise".*
#
# That is the first lesson of simulation. **There are two noises.** One is structure nobody asked for: ice, carbon, other molecules. It is in front of the lens, carries the CTF and does not go away with more electrons. The other is shot noise. It is behind the lens, white, and its weight falls with the dose. If you add white noise to a CTF-filtered projection "until the SNR is 0.1", you have only the second, and a program that relies on it will be disappointed by a real micrograph.
#
# <a id="H12"></a>
# ## The micrograph factory
#
# The library does the same with more care: every particle has the defocus of its own height, the ice fills the slab, beam, lens and camera have their envelopes, damage fades the detail, and nothing wraps round the border. Each call gives two things: the picture, and the **truth**.
#
# <a id="H04"></a>
# How many molecules there are is a matter of *sample delivery* (U01). The solution brings $c\,N_A\,A\,t/M$ of them; the ice lets through $e^{-t/\Lambda}$ of the electrons.

# %% tags=["blur"]
brought = delivery.particles_in_ice(1.0, mass=450e3, thickness=300.0, area=4096.0**2)
print(f"1 mg/mL of 450 kDa in 300 Å of ice, 4096 × 4096 Å²: {brought:.1f} particles")
print(f"500 Å of ice: {absorption.transmitted_fraction(500.0, voltage_kv=300.0):.3f} of the electrons pass without loss")
assert abs(brought - 6.7) < 0.05
assert abs(absorption.transmitted_fraction(500.0, voltage_kv=300.0) - 0.881) < 1e-3


def draw_micrograph(thickness, concentration, dose, underfocus_um, support, shown):
    """A simulated micrograph of 384 pixels, with its truth on top where asked for."""
    micrograph, truth = simulate_micrograph(
        specimens,
        OPTICS,
        generator=dice(8),
        camera=CAMERAS["k3"],
        size=(384, 384),
        ice_thickness=thickness,
        concentration=concentration,
        dose=dose,
        defocus_range=(1e4 * underfocus_um, 1e4 * underfocus_um),
        support=support,
        hole_radius=3000.0,
        separation="volume",
    )
    pixels = micrograph.pixels
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5.2), width_ratios=(1.3, 1))
    low, high = torch.quantile(pixels.reshape(-1)[::7], torch.tensor([0.005, 0.995])).tolist()
    left.imshow(pixels, cmap="gray", vmin=low, vmax=high)
    if shown == "picture and truth":
        for (x, y), reach in zip(truth.coordinates.tolist(), truth.radius.tolist(), strict=True):
            left.add_patch(plt.Circle((x, y), reach / OPTICS.pixel_size, fill=False, color="C1", lw=1))
    left.set(xticks=[], yticks=[], title=f"{len(truth)} particles, {float(pixels.mean()):.0f} electrons per pixel")
    spectrum = power_picture(pixels) ** 0.3
    right.imshow(spectrum, cmap="gray", vmax=float(spectrum.reshape(-1).quantile(0.995)))
    through = absorption.transmitted_fraction(thickness, voltage_kv=300.0)
    right.set(xticks=[], yticks=[], title=f"power spectrum; {100 * through:.0f} % pass without loss")
    figure.tight_layout()
    return figure


factory = exploration(
    draw_micrograph,
    thickness=Slider(150.0, 800.0, 300.0, step=25.0, label="ice (Å)"),
    concentration=Slider(0.0, 16.0, 8.0, step=0.5, label="concentration (mg/mL)"),
    dose=Slider(2.0, 100.0, 40.0, step=2.0, label="dose (e⁻/Å²)"),
    underfocus_um=Slider(0.2, 4.0, 1.5, step=0.1, label="underfocus (µm)"),
    support=Choice(("none", "carbon"), label="support"),
    shown=Choice(("picture", "picture and truth"), label="show"),
)
factory

# %% [markdown] tags=["blur"]
# *Figure U12.d. A micrograph of 768 Å, and its power spectrum. All that you can change is what an operator can change, or has to suffer.*
#
# Try: (1) find the particles *before* you switch the truth on. (2) 0.3 µm underfocus: sharp and invisible. (3) A dose of 4: only shot noise is left of the spectrum; at 100 the rings of the ice. (4) Carbon: its edge throws a bright fringe, its grain adds to the rings, and no particle has its middle on it (here). (5) 700 Å of ice: fewer electrons, the rings wash out, because the ice at the top and at the bottom have defoci of their own (U09).
#
# The closed forms hold for the library, too, to better than half a per cent:

# %% tags=["blur"]
plain, plain_truth = simulate_micrograph(
    specimens, OPTICS, generator=dice(9), camera=CAMERAS["ideal"], size=(512, 512), dose=40.0, ice_thickness=300.0, particles=12
)
predicted = 40.0 * OPTICS.pixel_size**2 * passed
gaps = torch.cdist(plain_truth.positions[:, :2], plain_truth.positions[:, :2]).fill_diagonal_(math.inf)
print(f"mean count {float(plain.pixels.mean()):.2f}, dose · pixel area · part that passes {predicted:.2f}")
print(f"nearest neighbours {float(gaps.min()):.0f} Å apart, no less than {2 * radius:.0f} Å")
assert abs(float(plain.pixels.mean()) / predicted - 1) < 0.005
assert float(gaps.min()) > 2 * radius

# %% [markdown] tags=["blur"]
# <a id="H09"></a>
# ## The motion player
#
# Under the beam nothing stands still. The stage **drifts**. The first electrons release stress: within a few e⁻/Å² the specimen jumps by several Å, and the film **domes**, like a drum skin, so that the middle moves differently from the border. A movie of many short frames is taken so that all of this can be undone (U14). To test that, one needs movies whose motion is known.

# %% tags=["blur"]
FRAMES, HOLE = 40, (4000.0, 4000.0)


def draw_motion_player(frame, drift, early_motion, doming, local_motion):
    """The displacement field up to a frame, arrows 80 times too long, and the tracks of three places."""
    motion = beam_motion.draw_motion(
        MotionSettings(drift=drift, early_motion=early_motion, doming=doming, local_motion=local_motion),
        frames=FRAMES,
        dose_per_frame=1.0,
        field=HOLE,
        generator=dice(14),
    )
    at = int(frame)
    line = torch.linspace(200, 3800, 10, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)
    moved = beam_motion.displacement(motion, grid)[at]
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.6))
    size = moved.norm(dim=-1)
    arrows = left.quiver(
        grid[..., 0],
        grid[..., 1],
        moved[..., 0],
        moved[..., 1],
        size,
        angles="xy",
        scale_units="xy",
        scale=1 / 80,
        cmap="viridis",
    )
    figure.colorbar(arrows, ax=left, label="Å since frame 0")
    left.set(xlim=(0, 4000), ylim=(0, 4000), aspect="equal", xlabel="x (Å)", ylabel="y (Å)", title=f"frame {at}")
    marks = torch.tensor([[2000.0, 2000.0], [200.0, 200.0], [3800.0, 3800.0]], dtype=torch.float64)
    tracks = beam_motion.displacement(motion, marks)
    for place, colour, name in zip(range(3), ("C0", "C1", "C2"), ("middle", "one corner", "the other"), strict=True):
        middle.plot(tracks[:, place, 0], tracks[:, place, 1], colour, lw=1, label=name)
        middle.plot(*tracks[at, place].tolist(), colour, marker="o")
    middle.set(xlabel="displacement x (Å)", ylabel="displacement y (Å)", aspect="equal", title="tracks")
    middle.legend(fontsize=8)
    way = beam_motion.displacement_within(motion, marks[:1])[:, 0].norm(dim=-1)
    right.plot(way, "C0")
    right.plot(at, way[at], "C0o")
    left_at_3 = beam_motion.motion_envelope(torch.tensor(1 / 3, dtype=torch.float64), drift=float(way[at]))
    right.set(xlabel="frame (= dose in e⁻/Å²)", ylabel="way within the frame (Å)", ylim=(0, None))
    right.set_title(f"in frame {at}: {100 * float(left_at_3):.0f} % left at 3 Å")
    figure.tight_layout()
    return figure


player = exploration(
    draw_motion_player,
    frame=Slider(0, FRAMES - 1, 3, step=1, label="frame"),
    drift=Slider(0.0, 0.5, 0.05, step=0.05, label="drift (Å per e⁻/Å²)"),
    early_motion=Slider(0.0, 20.0, 5.0, step=1.0, label="early motion (Å)"),
    doming=Slider(0.0, 300.0, 100.0, step=20.0, label="doming (Å)"),
    local_motion=Slider(0.0, 6.0, 1.0, step=0.5, label="local motion (Å)"),
)
player

# %% [markdown] tags=["blur"]
# *Figure U12.e. How far every place of a hole has moved since the first frame; arrows are drawn 80 times too long. Middle: tracks of three places. Right: the way that the middle goes within each frame, which no alignment of frames can undo.*
#
# ### What does motion within a frame cost?
#
# A picture of something that moves is the average of pictures at all its places. Take a grating of 3 Å. **How far (in Å) must it drift evenly during a frame to be gone altogether?**

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_drift = 3.0
# END SOLUTION
predict("U12.drift", my_drift)

# %% tags=["blur"]
my_drift = prediction("U12.drift")
x = np.linspace(0, 12, 601)
drifts = np.linspace(0, 8, 161)
averaged = [
    np.mean([np.cos(2 * np.pi * (x - d * share) / 3) for share in (np.arange(200) + 0.5) / 200 - 0.5], axis=0) for d in drifts
]
amplitude = np.array([2 * np.mean(picture[:-1] * np.cos(2 * np.pi * x[:-1] / 3)) for picture in averaged])
library_envelope = beam_motion.motion_envelope(torch.tensor(1 / 3, dtype=torch.float64), drift=1.0)
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.6))
for d in (0, 2, 4):
    left.plot(x, averaged[int(d * 20)], label=f"drift {d} Å")
left.set(xlabel="x (Å)", title="a grating of 3 Å, averaged")
left.legend(loc="lower right")
right.axhline(0, color="0.7", lw=0.8)
right.plot(drifts, amplitude, label="averaged by hand")
right.plot(drifts, np.sinc(drifts / 3), "C3:", label="sin(πkd)/(πkd)")
right.set(xlabel="drift within the frame (Å)", ylabel="amplitude at 3 Å")
right.legend()
plt.show()
gone = drifts[np.argmax(amplitude < 1e-3)]
print(f"gone at {gone:.2f} Å, you said {my_drift:g} Å; at 2 Å {amplitude[40]:.4f} is left")
print(f"jitter of 0.5 Å instead: B = {beam_motion.jitter_b_factor(0.5):.2f} Å²")
assert np.abs(amplitude - np.sinc(drifts / 3)).max() < 1e-3
assert abs(amplitude[40] - 0.4135) < 1e-3
assert abs(beam_motion.jitter_b_factor(0.5) - 19.74) < 0.01

# %% [markdown] tags=["blur"]
# *Figure U12.f. Left: the grating fades, and beyond a drift of one whole period comes back with black and white exchanged. Right: its amplitude.*
#
# ### Exercise U12.2 · One ångström
#
# The specimen drifts evenly by 1 Å during a frame. Which part of the amplitude is left at 3 Å, along the drift?

# %% tags=["blur"]
# BEGIN SOLUTION
left_at_three = math.sin(math.pi / 3) / (math.pi / 3)
# END SOLUTION
check("U12.2", left_at_three)

# %% [markdown] tags=["solution", "blur"]
# $\int_{-1/2}^{1/2}\cos(2\pi k d s)\,ds = \sin(\pi kd)/(\pi kd)$, which is 0.827 for $kd=1/3$. Across the drift nothing is lost: the envelope of drift has a direction. Random jitter of standard deviation $u$ has none, and is a B-factor of $8\pi^2u^2$.
#
# ## The dose clock
#
# Electrons that make the picture destroy what it shows, the finest detail first. Grant and Grigorieff measured the *critical exposure* $N_c(k)$ after which the intensity at frequency $k$ has fallen to $1/e$; amplitudes fall as $e^{-N/2N_c}$:
# $$ N_c(k) = 0.245\,k^{-1.665} + 2.81 \quad \text{e⁻/Å² at 300 kV.} $$
# So the dose is a clock: every spacing has its hour.

# %% tags=["blur"]
SPACINGS = (20.0, 10.0, 7.0, 5.0, 4.0, 3.0)
by_hand = torch.tensor([0.24499 * spacing**1.6649 + 2.8141 for spacing in SPACINGS], dtype=torch.float64)
inverse = 1 / torch.tensor(SPACINGS, dtype=torch.float64)
assert torch.allclose(by_hand, damage.critical_exposure(inverse, voltage_kv=300.0))
hours = damage.optimal_dose(inverse, voltage_kv=300.0)
for spacing, critical, hour in zip(SPACINGS, by_hand.tolist(), hours.tolist(), strict=True):
    print(f"{spacing:4.0f} Å: critical exposure {critical:5.1f}, best total dose of a plain sum {hour:5.1f} e⁻/Å²")
portrait = views[0]
FULL_TURN = 60.0  # e⁻/Å²


def draw_clock(dose, voltage):
    """The clock's face, what is left of each spacing, and the molecule after so much dose."""
    best = damage.optimal_dose(inverse, voltage_kv=float(voltage)).tolist()
    kept = damage.exposure_filter(inverse, dose=dose, voltage_kv=float(voltage))
    grid = fourier.frequency_radius((box, box), pixel_size=OPTICS.pixel_size)
    faded = fourier.to_real(
        fourier.to_fourier(portrait) * damage.exposure_filter(grid, dose=dose, voltage_kv=float(voltage)), width=box
    )
    figure = plt.figure(figsize=(13, 4.2))
    face = figure.add_subplot(1, 3, 1, projection="polar")
    face.set_theta_zero_location("N")
    face.set_theta_direction(-1)
    face.plot([0, 2 * np.pi * dose / FULL_TURN], [0, 0.9], "k", lw=3)
    for spacing, hour in zip(SPACINGS, best, strict=True):
        if hour < FULL_TURN:
            face.plot(2 * np.pi * hour / FULL_TURN, 0.78, "C3o" if hour < dose else "C2o")
            face.text(2 * np.pi * hour / FULL_TURN, 0.62, f"{spacing:.0f} Å", ha="center", va="center", fontsize=8)
    ticks = np.arange(0, FULL_TURN, 5)
    face.set_xticks(2 * np.pi * ticks / FULL_TURN, [f"{tick:.0f}" for tick in ticks])
    face.set(ylim=(0, 1), yticks=[], title=f"{dose:.0f} e⁻/Å²")
    face.grid(visible=False)
    bars = figure.add_subplot(1, 3, 2)
    bars.bar([f"{spacing:.0f} Å" for spacing in SPACINGS], kept, color="C0")
    bars.set(ylim=(0, 1), ylabel="amplitude left in the frame at this hour")
    picture = figure.add_subplot(1, 3, 3)
    picture.imshow(faded, cmap="gray", vmin=float(portrait.min()), vmax=float(portrait.max()))
    picture.set(xticks=[], yticks=[], title="the molecule, as it is then")
    figure.tight_layout()
    return figure


clock = exploration(
    draw_clock,
    dose=Slider(0.0, 60.0, 20.0, step=1.0, label="dose so far (e⁻/Å²)"),
    voltage=Choice((300, 200, 100), label="voltage (kV)"),
)
clock

# %% [markdown] tags=["blur"]
# *Figure U12.g. One turn is 60 e⁻/Å². A dot marks the total dose at which a plain sum of frames has its best signal-to-noise ratio for that spacing (green: still ahead, red: passed). Bars: amplitude left. Right: the molecule, without noise; it does not move, it blurs.*
#
# A simulator has to do this *to the molecules and not to the noise*: shot noise does not age. Ice does not fade, either, but the beam stirs it: its molecules wander by about 1 Å for each e⁻/Å², so every frame shows other ice.
#
# <a id="H13"></a>
# ## Tilt series: where to spend the dose
#
# For tomography (U28) one specimen is seen at many tilts, with a few electrons each. Three things get worse with the tilt: the path through the slab is longer, so fewer electrons pass and more of the picture is out of focus; and whatever is taken late is damaged. Hence the **order**.
#
# ### Exercise U12.5 · A longer way
#
# A slab of ice is tilted by 60°. How many times as thick is it, along the beam?

# %% tags=["blur"]
# BEGIN SOLUTION
times_as_thick = 1 / math.cos(math.radians(60))
# END SOLUTION
check("U12.5", times_as_thick)

# %% [markdown] tags=["solution", "blur"]
# $t/\cos 60^\circ = 2t$: twice as thick, so the transmission is squared. At 70° it is 2.9 times.
#
# ### Before you look at the table
#
# A dose-symmetric series to ±60° in steps of 3° has 41 tilts. Each gets 3 e⁻/Å². Of all the signal (power, at 10 Å) that these 41 pictures hold together, **which share, in per cent, is in the first ten?** (Ten of 41 is 24 %.)

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_share = 65.0
# END SOLUTION
predict("U12.share", my_share)

# %% tags=["blur"]
my_share = prediction("U12.share")


def draw_scheme(scheme, step, dose, thickness, spacing):
    """A tilt scheme: its order, what each tilt is worth, and a table."""
    angles = tilt_angles(scheme, largest=math.radians(60), step=math.radians(step))
    before = dose * torch.arange(len(angles), dtype=torch.float64)
    path = 1 / torch.cos(angles)
    through = absorption.transmitted_fraction(thickness * path, voltage_kv=300.0)
    where = torch.tensor(1 / spacing, dtype=torch.float64)
    kept = damage.attenuation(where, dose_before=before, dose=torch.tensor(dose, dtype=torch.float64), voltage_kv=300.0)
    worth = kept**2 * through
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.6), width_ratios=(1, 1, 1.35))
    degrees = torch.rad2deg(angles)
    left.plot(range(1, len(angles) + 1), degrees, "o-", ms=4, lw=0.7)
    left.set(xlabel="number in the series", ylabel="tilt (°)", title=scheme.replace("_", "-"))
    middle.bar(degrees, worth, width=0.8 * step)
    middle.set(xlabel="tilt (°)", ylabel=f"signal at {spacing:.0f} Å", ylim=(0, 1))
    middle.set_title(
        f"first quarter of the images: {100 * float(worth[: len(worth) // 4].sum() / worth.sum()):.0f} % of the signal",
        fontsize=10,
    )
    rows = [*range(6), *range(len(angles) - 3, len(angles))]
    cells = [
        [
            f"{row + 1}",
            f"{float(degrees[row]):+.0f}",
            f"{float(before[row]):.0f}",
            f"{float(path[row]):.2f}×",
            f"{100 * float(through[row]):.0f} %",
            f"{100 * float(kept[row]):.0f} %",
        ]
        for row in rows
    ]
    cells.insert(6, ["…"] * 6)
    right.axis("off")
    table = right.table(
        cellText=cells, colLabels=("number", "tilt (°)", "dose before", "path", "pass", "amplitude"), loc="center"
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(1, 1.5)
    figure.tight_layout()
    return figure


scheme_table = exploration(
    draw_scheme,
    scheme=Choice(("dose_symmetric", "bidirectional", "continuous"), label="scheme"),
    step=Slider(1.0, 6.0, 3.0, step=1.0, label="step (°)"),
    dose=Slider(0.5, 6.0, 3.0, step=0.5, label="dose of a tilt (e⁻/Å²)"),
    thickness=Slider(500.0, 4000.0, 1500.0, step=250.0, label="slab (Å)"),
    spacing=Slider(4.0, 30.0, 10.0, step=1.0, label="spacing (Å)"),
)
order = tilt_angles("dose_symmetric", largest=math.radians(60), step=math.radians(3))
aged = damage.attenuation(
    torch.tensor(0.1, dtype=torch.float64),
    dose_before=3.0 * torch.arange(len(order), dtype=torch.float64),
    dose=torch.tensor(3.0, dtype=torch.float64),
    voltage_kv=300.0,
)
signal = aged**2 * absorption.transmitted_fraction(1500.0 / torch.cos(order), voltage_kv=300.0)
share = 100 * float(signal[:10].sum() / signal.sum())
print(f"{len(order)} tilts; the first ten hold {share:.0f} % of the signal at 10 Å, you said {my_share:.0f} %")
scheme_table

# %% [markdown] tags=["blur"]
# *Figure U12.h. Left: the order. Middle: what each tilt's picture holds of the signal at the chosen spacing, relative to an undamaged, untilted and infinitely thin one: (amplitude left)² times the part of the electrons that pass. Right: the table. "Dose before" is in e⁻/Å².*
#
# Change to the bidirectional scheme: the same tilts and the same dose, but the good pictures lie on one side, and between 0° and −3° there is half of the dose. Dose-symmetric (Hagen, Wan and Briggs) spends the young specimen on low tilts, where the slab is thin.
#
# <a id="H10"></a>
# ## Truth here, data there
#
# A simulation is worth something only because one knows the answer; and only if no program can see the answer by accident. So the picture is one file, the truth another, in a folder of its own, and nothing in the first names the second. The command does it for you:
#
# ```console
# $ cryowalk simulate micrographs --o simulated --n 10 --seed 1
# ```
#
# writes `micrographs/*.mrc` and `micrographs.star` (what a program may see), and `truth/` with one file for each micrograph (what only the score may see). `particles.star` is the truth once more, as a perfect picker and a perfect refinement would have written it: keep it away from the program under test. `simulate movies` adds the motion, `simulate tilt-series` the geometry. This is such a truth file, of the micrograph above:

# %% tags=["blur"]
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "truth.star"
    write_micrograph_truth(plain_truth, file)
    text = file.read_text()
    again = read_micrograph_truth(file)
for row in text.splitlines()[:24]:
    print(row if len(row) < 100 else row[:100] + " …")
print("…")
print("blocks:", ", ".join(row for row in text.splitlines() if row.startswith("data_")))
assert torch.equal(again.positions[:, :2].round(decimals=6), plain_truth.positions[:, :2].round(decimals=6))
assert len(again) == len(plain_truth)

# %% [markdown] tags=["blur"]
# The first table is one that RELION reads as coordinates: places in pixels, three angles, the defocus of each particle at its own height. Then the micrograph's own defocus and dose, and the thickness of the ice on a grid.
#
# With the truth a score is two lines. A "picker" that throws darts at the micrograph, for example:

# %% tags=["blur"]
guesses = torch.rand(40, 2, generator=dice(15), dtype=torch.float64) * 512
distance = torch.cdist(guesses, plain_truth.coordinates) * OPTICS.pixel_size
found = (distance.min(dim=0).values < 0.5 * radius).double().mean()
right = (distance.min(dim=1).values < 0.5 * radius).double().mean()
print(
    f"40 darts: {100 * float(found):.0f} % of the {len(plain_truth)} particles found, {100 * float(right):.0f} % of the darts right"
)

# %% [markdown] tags=["sharpen"]
# ## Two noises, in code
#
# ### Exercise U12.3 · Before the lens, behind the lens
#
# Write two functions.
#
# `expose(ice, transfer, electrons, generator)` images a field of projected potential `ice` (V Å) and returns the pair `(expected, counts)`: the expected electrons per pixel, $\text{electrons}\cdot(1-2\sigma_e\,v*\mathrm{CTF})$, and the counted ones. `transfer` is the CTF on the half spectrum; `STRENGTH` is $2\sigma_e$.
#
# `origin(noise, transfer)` looks at a picture of nothing but noise, of any strength, and says whether it is from the `"specimen"` (before the lens) or from `"counting"` (behind it).

# %% tags=["sharpen"]
mine = parameters("U12.3")
print(mine)


def expose(ice, transfer, electrons, generator):
    """Expected and counted electrons of a field of ice behind a lens."""
    # BEGIN SOLUTION
    seen = fourier.to_real(fourier.to_fourier(ice) * transfer, width=ice.shape[-1])
    expected = electrons * (1 - STRENGTH * seen)
    return expected, torch.poisson(expected.clamp_min(0), generator=generator)
    # END SOLUTION


def origin(noise, transfer):
    """Where a noise comes from: "specimen" or "counting"."""
    # BEGIN SOLUTION
    spectrum = fourier.to_fourier(noise - noise.mean()).abs() ** 2
    return "specimen" if spectrum[transfer**2 < 0.02].mean() < 0.3 * spectrum[transfer**2 > 0.9].mean() else "counting"
    # END SOLUTION


check("U12.3", (expose, origin))

# %% [markdown] tags=["sharpen"]
# Here are the two spectra, with the numbers that the check looks at.

# %% tags=["sharpen"]
my_lens = transfer_at(mine["underfocus"])
white_ice = 40.0 * torch.randn(SIDE, SIDE, generator=dice(20), dtype=torch.float64)
icy_image = fourier.to_real(fourier.to_fourier(white_ice) * my_lens, width=SIDE)
my_expected = mine["electrons"] * (1 - STRENGTH * icy_image)
my_shot = torch.poisson(my_expected, generator=dice(21)) - my_expected
figure, axes = plt.subplots(figsize=(11, 3.6))
for noise, colour, name in ((my_expected, "C0", "ice, through the lens"), (my_shot, "C1", "counted − expected")):
    rings, ring_power = profile(noise)
    axes.semilogy(rings[4:], ring_power[4:], colour, label=name)
axes.axhline(mine["electrons"], color="C1", ls=":", lw=1, label="mean count")
axes.set(
    xlabel="k (1/Å)", ylabel="power", title=f"{mine['underfocus'] / 1e4:.1f} µm, {mine['electrons']:.0f} electrons per pixel"
)
axes.legend(loc="lower right")
plt.show()
squared = my_lens**2
ratios = {}
for name, noise in (("ice", my_expected - my_expected.mean()), ("shot", my_shot)):
    spectrum = fourier.to_fourier(noise).abs() ** 2
    ratios[name] = float(spectrum[squared > 0.9].mean() / spectrum[squared < 0.02].mean())
    print(f"{name}: power between the zeros / at the zeros = {ratios[name]:.2f}")
assert ratios["ice"] > 5
assert abs(ratios["shot"] - 1) < 0.05

# %% [markdown] tags=["sharpen"]
# *Figure U12.i. The plainest ice (white before the lens) as the lens shows it, and what counting adds. The one has zeros, the other a level: the mean count.*
#
# Averaging 100 times the dose makes the orange curve 100 times weaker, relative to the signal; the blue one stays. That is why an ideal camera does not make ideal micrographs, and why thin ice is worth so much. Baxter and colleagues measured both in real micrographs.
#
# ## From an exposure to a movie
#
# ### Exercise U12.4 · Share the dose
#
# A movie is the same exposure, told in frames. Write `fractionate(expected, frames, generator)`: from the electrons that the whole exposure expects in each pixel, return the counted frames as a tensor `[frames, height, width]`. The sum of the frames has to count like one exposure (variance = mean), and so has each frame.

# %% tags=["sharpen"]


def fractionate(expected, frames, generator):
    """Counted frames that share an exposure."""
    # BEGIN SOLUTION
    return torch.stack([torch.poisson(expected / frames, generator=generator) for _ in range(frames)])
    # END SOLUTION


check("U12.4", fractionate)

# %% [markdown] tags=["solution", "sharpen"]
# The sum of independent Poisson numbers is a Poisson number with the sum of the means. The other way round works, too: count the whole exposure once, then give every electron a frame by lot (*thinning*). That is what an EER file is: a list of electrons, and whoever reads it chooses the frames.
#
# **A common mistake** is to copy one noisy frame. Then the sum has a variance of `frames` times its mean, and averaging does not help at all: the reason why gain references must be right (U08).

# %% [markdown] tags=["sharpen"]
# Now a movie by the library: 24 frames, with drift and a fast beginning. Frames go to a *sink*, one at a time; a list is one, a file writer another. We ask for expected frames, without noise, and count them ourselves.

# %% tags=["sharpen"]


class Frames(list):
    """A sink that keeps all frames."""

    def write(self, images):
        """Append these images."""
        self.extend(images.double())


MOVIE = {
    "size": (384, 384),
    "dose": 48.0,
    "particles": 8,
    "defocus_range": (15000.0, 15000.0),
    "noise": "none",
    "camera": "ideal",
}
MOTION = {"early_motion": 8.0, "early_dose": 6.0, "drift": 0.3}
frames = Frames()
movie_truth = simulate_movie(specimens, OPTICS, generator=dice(31), sink=frames, frames=24, **MOVIE, **MOTION)
expected_frames = torch.stack(list(frames))
moved = movie_truth.motion.global_displacement
aligned_frames = fourier.shift_images(expected_frames, -moved, pixel_size=OPTICS.pixel_size)
counted_frame = torch.poisson(expected_frames[0], generator=dice(32))
figure, panels = plt.subplots(1, 4, figsize=(17, 4.4))
panels[0].plot(moved[:, 0], moved[:, 1], "o-", ms=3, lw=0.8)
panels[0].set(xlabel="x (Å)", ylabel="y (Å)", aspect="equal", title="the true motion")
panels[1].imshow(counted_frame, cmap="gray", vmax=16)
panels[1].set_title(f"one frame: {float(counted_frame.mean()):.1f} electrons per pixel")
for axes, image, name in ((panels[2], expected_frames, "plain"), (panels[3], aligned_frames, "aligned")):
    total = image.sum(0)[96:288, 96:288]
    axes.imshow(total, cmap="gray", vmin=total.mean() - 3 * total.std(), vmax=total.mean() + 3 * total.std())
    axes.set_title(f"sum, {name} (a quarter)")
for axes in panels[1:]:
    axes.set(xticks=[], yticks=[])
plt.show()
print(
    f"by the end the middle has moved by {float(moved[-1].norm()):.1f} Å; the sum has {float(expected_frames.sum(0).mean()):.1f} electrons per pixel"
)
assert abs(float(expected_frames.sum(0).mean()) / (48.0 * OPTICS.pixel_size**2 * passed) - 1) < 0.01

# %% [markdown] tags=["sharpen"]
# *Figure U12.j. A movie of 24 frames. From one frame nobody can tell anything. The plain sum is blurred along the motion; aligned frames make the picture of a specimen at rest, but for the motion within frames, and for what differs from place to place. Both sums are shown before counting; their grain is ice.*
#
# **Predict.** How much of the molecules' *power* at 8 Å is left in the plain sum, relative to the aligned one? (a) nearly all; (b) about half; (c) less than a quarter.

# %% tags=["predict", "sharpen"]
# BEGIN SOLUTION
my_guess = "c"
# END SOLUTION
predict("U12.movie", my_guess, options=("a", "b", "c"))

# %% [markdown] tags=["sharpen"]
# The spectrum of the sum is $F(k)\sum_f e^{-2\pi i\,k\cdot d_f}$, so a motion that no one corrects has an envelope of its own, $\left|\frac1n\sum_f e^{-2\pi i\,k\cdot d_f}\right|$. To measure it on the frames, these have to differ in nothing else: no damage, no stirred ice, no local motion.

# %% tags=["sharpen"]
my_guess = prediction("U12.movie")
still = Frames()
nothing_else = {"damage": "none", "ice": "smooth", "doming": 0.0, "local_motion": 0.0}
pure_truth = simulate_movie(specimens, OPTICS, generator=dice(31), sink=still, frames=12, **MOVIE, **MOTION, **nothing_else)
pure = torch.stack(list(still))
way = pure_truth.motion.global_displacement
whole, back = pure.sum(0), fourier.shift_images(pure, -way, pixel_size=OPTICS.pixel_size).sum(0)
kx, ky = fourier.frequency_grid((384, 384), pixel_size=OPTICS.pixel_size, dtype=torch.float64)
phase = 2 * math.pi * (kx * way[:, 0, None, None] + ky * way[:, 1, None, None])
envelope = torch.polar(torch.ones_like(phase), -phase).mean(0).abs()
window = torch.hann_window(384, periodic=False, dtype=torch.float64)
reference = fourier.to_fourier((back - back.mean()) * window * window[:, None]).abs()
rings = fourier.shell_frequency(384, pixel_size=OPTICS.pixel_size)
measured = (
    profile((whole - whole.mean()) * window * window[:, None])[1] / profile((back - back.mean()) * window * window[:, None])[1]
).sqrt()
formula = (
    fourier.shell_average((envelope * reference) ** 2, size=(384, 384)) / fourier.shell_average(reference**2, size=(384, 384))
).sqrt()
figure, axes = plt.subplots(figsize=(9, 3.4))
axes.plot(rings[3:120], measured[3:120], "C0", label="plain sum over aligned sum")
axes.plot(rings[3:120], formula[3:120], "C3:", label="|mean of exp(−2πi k·d)|, averaged over the ring")
axes.set(xlabel="k (1/Å)", ylabel="amplitude", ylim=(0, 1.02))
axes.legend()
plt.show()
at_eight = int((rings - 1 / 8).abs().argmin())
print(
    f"power at 8 Å, plain sum over aligned sum: {float(measured[at_eight - 3 : at_eight + 4].square().mean()):.2f}; you said ({my_guess})"
)
print(f"largest difference between both curves: {float((measured - formula)[3:120].abs().max()):.3f}")
assert float((measured - formula)[3:120].abs().max()) < 0.05

# %% [markdown] tags=["sharpen"]
# *Figure U12.k. The envelope of a motion that no one corrects: measured on the frames, and from their true displacements.*
#
# ## The geometry of a tilt
#
# ### Exercise U12.6 · The order of a dose-symmetric series
#
# Write `dose_symmetric(largest, step, dose)`: the pair of two lists, the tilts in degrees in the order in which they are taken (0, step, −step, 2·step, …, no tilt beyond ±largest), and the dose that the specimen has met at the *end* of each.

# %% tags=["sharpen"]


def dose_symmetric(largest, step, dose):
    """Tilts (degrees) in their order, and the dose at the end of each."""
    # BEGIN SOLUTION
    angles = [0]
    for number in range(1, largest // step + 1):
        angles += [number * step, -number * step]
    return angles, [dose * (number + 1) for number in range(len(angles))]
    # END SOLUTION


check("U12.6", dose_symmetric)

# %% [markdown] tags=["sharpen"]
# Tilt the specimen by $\theta$ about the $y$ axis. A point $(x,y,z)$ of the specimen goes to
# $$ x' = x\cos\theta + z\sin\theta, \qquad y' = y, \qquad z' = -x\sin\theta + z\cos\theta. $$
# The picture shows $x'$ and $y'$; $z'$ is in the picture as well, as defocus. Four things follow. The slab's path is $t/\cos\theta$. The field of the camera shows $1/\cos\theta$ as much of the specimen. In the plane of the slab, $z=0$, the defocus changes as $z' = -x'\tan\theta$: **the slope is $\tan\theta$**. And a point off that plane wanders along $x'$ as $z\sin\theta$: that wandering *is* the third dimension.
#
# The library, with everything that is not ideal about a stage: the axis does not lie along an image axis, each tilt is shifted, the tilt is not quite what the display says.

# %% tags=["sharpen"]
COARSE = Optics(pixel_size=4.0, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
series_settings = TiltSeriesSimulationSettings(
    size=(384, 384), particles=24, beads=8, thickness=1200.0, tilt_step_degrees=15.0, dose=8.0, tilt_axis_degrees=84.0
)
coarse_specimens = prepare_specimens([Source(structure=atoms)], COARSE, dress=solvent.displaced)
series = draw_series(coarse_specimens, COARSE, series_settings, seed=5)
tilts = [tilt_image(series, number).double() for number in range(len(series.truth.tilt_angle))]
geometry_truth = series.truth
seen_beads = geometry_truth.seen(geometry_truth.bead_positions)
figure, panels = plt.subplots(2, 5, figsize=(16, 6.8))
for axes, number in zip(panels.flat, range(len(tilts)), strict=False):
    image = tilts[number]
    axes.imshow(image, cmap="gray", vmin=image.mean() - 4 * image.std(), vmax=image.mean() + 3 * image.std())
    for column, row, _ in seen_beads[number].tolist():
        if 0 < column < 383 and 0 < row < 383:
            axes.add_patch(plt.Circle((column, row), 20, fill=False, color="C1", lw=0.8))
    angle, taken = math.degrees(float(geometry_truth.tilt_angle[number])), int(geometry_truth.order[number]) + 1
    axes.set(xticks=[], yticks=[])
    axes.set_title(f"{angle:+.0f}°, taken as number {taken}", fontsize=9)
for axes in panels.flat[len(tilts) :]:
    axes.axis("off")
figure.tight_layout()
plt.show()

# %% [markdown] tags=["sharpen"]
# *Figure U12.l. A coarse tilt series (in steps of 15°, for speed) of molecules in 1200 Å of ice with gold beads on both surfaces, sorted by tilt. Circles: where the truth says that a bead is. They go in opposite directions when they lie on opposite surfaces. Steep tilts have fewer electrons; late ones have damaged molecules.*
#
# Do the pictures obey the formulas? Counts against $e^{-t/(\Lambda\cos\theta)}$; beads against the truth; the defocus of points in the slab's middle against $\tan\theta$; and the geometry from scratch against the library's matrices.

# %% tags=["sharpen"]
true_angle = geometry_truth.true_tilt_angle
path = geometry_truth.thickness / torch.cos(true_angle)
through = absorption.transmitted_fraction(path, voltage_kv=300.0)
mean_counts = torch.stack([image.median() for image in tilts])  # the median: gold takes electrons away
level = mean_counts / through
print("counts / transmission, relative to the mean over the tilts:", " ".join(f"{value:.3f}" for value in level / level.mean()))
assert float((level / level.mean() - 1).abs().max()) < 0.03

flat_points = torch.zeros(200, 3, dtype=torch.float64)
flat_points[:, :2] = (torch.rand(200, 2, generator=dice(40), dtype=torch.float64) - 0.5) * 1400
slopes = []
axis = torch.tensor([math.cos(geometry_truth.tilt_axis), math.sin(geometry_truth.tilt_axis)], dtype=torch.float64)
across = torch.stack([axis[1], -axis[0]])  # at right angles to the tilt axis, in the image
for number, theta in enumerate(true_angle.tolist()):
    there = (geometry_truth.lab_from_specimen[number] @ flat_points.T).T
    along = there[:, :2] @ across
    slopes.append(float((along * there[:, 2]).sum() / (along * along).sum()))
    x_tilted = flat_points[:, 0] * math.cos(theta) + flat_points[:, 2] * math.sin(theta)
    z_tilted = -flat_points[:, 0] * math.sin(theta) + flat_points[:, 2] * math.cos(theta)
    assert torch.allclose(along, x_tilted, atol=1e-9)
    assert torch.allclose(there[:, 2], z_tilted, atol=1e-9)
print(
    "slope of the defocus / tan θ:",
    " ".join(f"{a / math.tan(b):.4f}" for a, b in zip(slopes, true_angle.tolist(), strict=True) if abs(b) > 0.1),
)
assert np.allclose(slopes, -torch.tan(true_angle).numpy(), atol=1e-9)

dark = []
for number, image in enumerate(tilts):
    column, row = seen_beads[number, :, 0].round().long(), seen_beads[number, :, 1].round().long()
    inside = (column > 8) & (column < 375) & (row > 8) & (row < 375)
    dark += [
        float(image[r - 4 : r + 5, c - 4 : c + 5].mean() / image.median())
        for c, r in zip(column[inside], row[inside], strict=True)
    ]
print(
    f"{len(dark)} beads in {len(tilts)} tilts: at the true places the picture has {np.mean(dark):.2f} of the counts around, at most {max(dark):.2f}"
)
assert max(dark) < 0.95

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "TS_001.star"
    write_tilt_series_truth(geometry_truth, file)
    rows = file.read_text().splitlines()
print(f"the truth of the series: {len(rows)} lines, blocks {', '.join(row for row in rows if row.startswith('data_'))}")

# %% [markdown] tags=["sharpen"]
# ## Two routes to one picture
#
# The factory projects, and multiplies by a CTF. The physical route follows the wave through the specimen, slice by slice (*multislice*, U10), and squares. Same molecules, same places, same seed: do the pictures agree? It depends on the object. A crumb of the molecule, 12 Å across, is thin and weak. The whole molecule is not. In which respect? All is compared to 5 Å, since multislice passes nothing beyond two thirds of Nyquist, and both molecules lie in the middle of thin ice.

# %% tags=["sharpen"]
FINE = Optics(pixel_size=1.25, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.07)
middle = atoms.positions.mean(dim=0)
near = (atoms.positions - atoms.positions[(atoms.positions - middle).norm(dim=1).argmin()]).norm(dim=1) < 6.0
crumb = type(atoms)(
    positions=atoms.positions[near],
    atomic_numbers=atoms.atomic_numbers[near],
    occupancies=atoms.occupancies[near],
    b_factors=atoms.b_factors[near],
)
ROUTES = ("projection", "phase_grating", "multislice")


def by_route(prepared, method):
    """An expected micrograph of two molecules without noise or damage, by one model of scattering; the same seed each time."""
    micrograph, _ = simulate_micrograph(
        prepared,
        FINE,
        generator=dice(50),
        camera=CAMERAS["ideal"],
        size=(256, 256),
        particles=2,
        scattering=method,
        noise="none",
        ice="smooth",
        damage="none",
        ice_thickness=2 * prepared.states[0].radius + 4.0,
        defocus_range=(8000.0, 8000.0),
        astigmatism=0.0,
        slice_thickness=20.0,
    )
    return fourier.low_pass(micrograph.pixels.double(), resolution=5.0, pixel_size=FINE.pixel_size, dimensions=2)


rings = fourier.shell_frequency(256, pixel_size=FINE.pixel_size)
to_five = (rings > 0.01) & (rings < 1 / 5)
middle_value, zero = torch.tensor([8000.0], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
fine_defocus = Defocus(major=middle_value, minor=middle_value, azimuth=zero, phase_shift=zero)
lens_there = lens.contrast_transfer(FINE, fine_defocus, size=(256, 256))[0, 0] ** 2  # along kx
figure, panels = plt.subplots(2, 4, figsize=(15, 7))
agreement = {}
for row, (name, structure) in enumerate((("crumb", crumb), ("molecule", atoms))):
    prepared = prepare_specimens([Source(structure=structure)], FINE)
    pictures = {route: by_route(prepared, route) for route in ROUTES}
    contrast = {route: picture / picture.mean() - 1 for route, picture in pictures.items()}
    agreement[name] = fourier.shell_correlation(contrast["projection"], contrast["multislice"])
    scale = 6 * float(contrast["multislice"].std())
    differences = {
        "strong: grating − projection": contrast["phase_grating"] - contrast["projection"],
        "thick: multislice − grating": contrast["multislice"] - contrast["phase_grating"],
    }
    panels[row, 0].imshow(contrast["multislice"], cmap="gray", vmin=-scale, vmax=scale)
    panels[row, 0].set_title(f"{name}, by multislice")
    for axes, (cause, difference) in zip(panels[row, 1:3], differences.items(), strict=True):
        axes.imshow(5 * difference, cmap="gray", vmin=-scale, vmax=scale)
        part = float(difference.std() / contrast["multislice"].std())
        axes.set_title(f"{cause} (× 5): {100 * part:.1f} %", fontsize=9)
        print(f"{name}, {cause}: {100 * part:.1f} % of the contrast")
    panels[row, 3].plot(rings[to_five], agreement[name][to_five])
    panels[row, 3].plot(rings[to_five], lens_there[to_five], "0.7", lw=0.8, label="CTF²")
    panels[row, 3].legend(loc="lower left", fontsize=8)
    panels[row, 3].set(ylim=(0, 1.02), xlabel="k (1/Å)", title="correlation of the two routes")
    for axes in panels[row, :3]:
        axes.set(xticks=[], yticks=[])
figure.tight_layout()
plt.show()
between = to_five & (lens_there > 0.2)
for name, curve in agreement.items():
    low, low_between = float(curve[to_five].min()), float(curve[between].min())
    print(
        f"{name}: correlation of the two routes to 5 Å at least {low_between:.4f} away from the zeros of the CTF, {low:.4f} at them"
    )
half_turn = math.pi * FINE.wavelength * prepared.states[0].radius / 5.0**2
print(f"what lies at the molecule's surface is out of the middle's phase by at most {half_turn:.2f} rad at 5 Å")
assert float(agreement["crumb"][between].min()) > 0.999

# %% [markdown] tags=["sharpen"]
# *Figure U12.m. Two routes, one seed. Top: a crumb. Bottom: the molecule. The differences, five times enhanced, by cause: what the exact phase does to a strong object, and what the propagation of the wave does to a thick one. Right: ring correlation of projection and multislice. It dips at the zeros of the CTF, where neither picture has a signal and small terms are all there is: those of second order, and that central slices are interpolated.*
#
# Where the object is weak and thin the two routes are the same picture, and projection is far cheaper. The molecule is strong rather than thick: to 5 Å the exact phase matters more than the way through it, which turns phases by little. (Thickness grows with $k^2$: see U10 for 2 Å.) Where they differ, the difference is a property of the specimen and not a defect of either: choose the route by the question. To train a picker, projection with honest ice is the better use of your time. To ask what a thick specimen does to 2 Å detail, it is the wrong tool.
#
# **What this microscope leaves out.** Damage here blurs; real molecules also break and move. Ice is a random field, independent from slice to slice, not frozen water that knows about the protein. Charging, crystalline patches of ice, bent films and a gain reference that went stale are on you.

# %% [markdown]
# ## In your own words
#
# A picker finds 99 % of the particles in your simulated micrographs and 60 % in real ones. What would you change in the simulation, and why?

# %%
# BEGIN SOLUTION
my_text = (
    "The simulated ones are too easy. I would give the ice its own grain and let its thickness vary, add carbon edges, contamination and broken "
    "particles, crowding, motion and damage, and then take them out one by one to see what the picker fell for."
)
# END SOLUTION
explain("U12.words", my_text)

# %% [markdown]
# ## What to try on your own data
#
# Simulate *your* session before you collect it, and hide the truth from yourself. Take a model of your molecule, the pixel size, dose and defocus of the session, and the thickness that your last grids had. Then compare power spectra of real and simulated micrographs, ring by ring: where they differ, something is missing from the simulation, or something is wrong with the microscope.
#
# ```console
# $ cryowalk simulate micrographs --structure model.cif --pixel-size 1.06 --dose 40 --ice-thickness 400 --support carbon --n 20 --seed 1 --o simulated
# $ cryowalk simulate movies --structure model.cif --pixel-size 1.06 --frames 40 --n 5 --seed 1 --o simulated_movies
# $ cryowalk simulate tilt-series --structure model.cif --pixel-size 2.1 --n 1 --seed 1 --o simulated_series
# ```
#
# ```python
# import cryowalk as cw
# from cryowalk import fourier
#
# for name in ("real.mrc", "simulated/micrographs/micrograph_00001.mrc"):
#     picture = cw.read(name).pixels.double()
#     rings = fourier.shell_average(fourier.to_fourier(picture - picture.mean()).abs() ** 2, size=tuple(picture.shape))
#     print(name, "mean / variance:", float(picture.mean() / picture.var()), rings[::100].tolist())
# ```
#
# ## Further reading
#
# - H. Rullgård, L.-G. Öfverstedt, S. Masich, B. Daneholt, O. Öktem, *Simulation of transmission electron microscope images of biological specimens*, Journal of Microscopy 243, 234–256 (2011). TEM-simulator; its parameter files run here.
# - M. Vulović, R. B. G. Ravelli, L. J. van Vliet, A. J. Koster, I. Lazić, U. Lücken, H. Rullgård, O. Öktem, B. Rieger, *Image formation modeling in cryo-electron microscopy*, Journal of Structural Biology 183, 19–32 (2013).
# - B. Himes, N. Grigorieff, *Cryo-TEM simulations of amorphous radiation-sensitive samples using multislice wave propagation*, IUCrJ 8, 943–953 (2021).
# - J. M. Parkhurst and others, *Computational models of amorphous ice for accurate simulation of cryo-EM images of biological samples*, Ultramicroscopy 256, 113882 (2024). The spectrum of ice used here.
# - W. T. Baxter, R. A. Grassucci, H. Gao, J. Frank, *Determination of signal-to-noise ratios and spectral SNRs in cryo-EM low-dose imaging of molecules*, Journal of Structural Biology 166, 126–132 (2009). Structural noise against shot noise.
# - G. McMullan, K. R. Vinothkumar, R. Henderson, *Thon rings from amorphous ice and implications of beam-induced Brownian motion in single particle electron cryo-microscopy*, Ultramicroscopy 158, 26–32 (2015). How the beam stirs the ice.
# - A. F. Brilot and others, *Beam-induced motion of vitrified specimen on holey carbon film*, Journal of Structural Biology 177, 630–637 (2012). Doming.
# - T. Grant, N. Grigorieff, *Measuring the optimal exposure for single particle cryo-EM using a 2.6 Å reconstruction of rotavirus VP6*, eLife 4, e06980 (2015). The dose clock.
# - W. J. H. Hagen, W. Wan, J. A. G. Briggs, *Implementation of a cryo-electron tomography tilt-scheme optimized for high resolution subtomogram averaging*, Journal of Structural Biology 197, 191–198 (2017).
#
# **Next:** U13, the files that all of this is written to.
