# %% [markdown]
# # U01 From gun to sample: electrons, coherence, shot noise, ice
#
# **Question.** What is it that flies down the column of a microscope, and what happens to it in a film of ice as thin as a soap bubble?
#
# **What you need.** School physics. For *sharpen*: energy and momentum in special relativity, the exponential function, and a look at U00 (phasors).
#
# **What you will be able to do.**
#
# - name the parts of the column, and say which parameter of the picture each of them owns;
# - compute the wavelength, the speed and the distance of beam electrons;
# - keep temporal and spatial coherence apart, and say what each costs;
# - say how many particles there will be in an image before you freeze a grid;
# - say what happens to an electron in ice, and why its angle alone does not tell.
#
# About 60 minutes. *Blur*: the column, the gun, the sample, fates. *Sharpen*: the wavelength derived, the envelope, a mean free path from data, and how hard an electron can hit.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import Defocus, Optics, fourier, generator, microscope
from cryowalk.core import constants
from cryowalk.course import Choice, Slider, check, explain, exploration, parameters, predict, prediction
from cryowalk.course.checks.u01 import column_board
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.microscope import absorption, camera, delivery, exposure, fates, gun
from cryowalk.microscope.delivery_settings import DeliverySettings

torch.set_num_threads(1)

# %% [markdown] tags=["blur"]
# ## A guess to begin with
#
# In a microscope at 300 kV the beam carries 1 nA. **How far apart are its electrons, along the beam?** (a) closer than atoms in a crystal; (b) about a wavelength of light; (c) centimetres.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "c"
# END SOLUTION
predict("U01.opening", my_guess, options=("a", "b", "c"))

# %% [markdown] tags=["blur"]
# <a id="H02"></a>
# ## The column
#
# A microscope is a tall evacuated pipe with a source at the top, lenses in between, and a camera at the bottom. Choose a part: the schematic shows where it is, the text what it does, and **which parameter of your picture it owns**.

# %% tags=["blur"]
PARTS = {
    "gun": (
        "a sharp tip in a strong field",
        r"brightness $\beta$, energy spread $\Delta E$",
        r"dose rate $=\beta\,\pi\alpha^2/e$",
    ),
    "accelerator": (
        "up to 300 000 volts",
        r"voltage $V$, and so the wavelength $\lambda$",
        r"$\lambda = h/\sqrt{2meV(1+eV/2mc^2)}$",
    ),
    "condenser": (
        "two or three lenses and an aperture",
        r"illumination half-angle $\alpha$, dose rate",
        r"$E_s = \exp\left[-(\pi\alpha R/\lambda)^2\right]$",
    ),
    "specimen": (
        "ice in holes of a film, at 90 K",
        r"thickness $t$, orientation, drift",
        r"$\psi = e^{i\sigma_e\int V dz}$,   $e^{-t/\Lambda}$",
    ),
    "objective lens": (
        "the lens that makes the image",
        r"defocus $\Delta f$, $C_s$, $C_c$",
        r"$\chi = \pi\lambda(\Delta f\,k^2 - \frac{1}{2}C_s\lambda^2k^4)$",
    ),
    "objective aperture": (
        "a hole in the back focal plane",
        "the largest scattering angle that passes",
        r"$\theta < \theta_{max}$,   $k < \theta_{max}/\lambda$",
    ),
    "projector": ("three or four lenses", "magnification, and so the pixel size", r"pixel size = camera pixel / magnification"),
    "camera": ("counts electrons", "pixels, MTF, DQE", r"DQE $= g^2N\,$MTF$^2/$NPS   (U08)"),
}
HEIGHTS = dict(zip(PARTS, (9.4, 8.4, 7.1, 5.7, 5.0, 4.0, 2.4, 0.5), strict=True))


def draw_part(axes, name, z, *, colour, edge):
    """One part of the column at height z."""
    sides = (-1, 1)
    if name in {"condenser", "objective lens", "projector"}:  # coils, and the plane of the lens
        for side in sides:
            axes.add_patch(plt.Rectangle((side * 1.15 - 0.25, z - 0.28), 0.5, 0.56, fc="0.9", ec=colour, lw=edge))
        axes.plot([-0.9, 0.9], [z, z], color=colour, lw=0.8, ls=":")
    elif name == "gun":
        axes.fill([-0.15, 0.15, 0.02, -0.02], [10.0, 10.0, 9.4, 9.4], fc="0.9", ec=colour, lw=edge)
    elif name == "accelerator":
        for side, step in ((side, step) for side in sides for step in range(4)):
            axes.plot([side * 0.4, side * 1.0], [8.9 - 0.3 * step] * 2, color=colour, lw=edge + 1)
    elif name == "objective aperture":
        for side in sides:
            axes.plot([side * 0.32, side * 1.1], [z, z], color=colour, lw=edge + 2)
    else:  # specimen and camera
        thickness = 0.06 if name == "specimen" else 0.14
        axes.add_patch(plt.Rectangle((-1.0, z - thickness), 2.0, 2 * thickness, fc="0.8", ec=colour, lw=edge))


def draw_column(part):
    """The column with one part picked out, and what it owns."""
    figure, (axes, text) = plt.subplots(1, 2, figsize=(10, 6), width_ratios=(1, 1.3))
    # The beam: half its width at some heights, from the tip to the camera. The image is made by the scattered beam (orange).
    beam = [
        (9.4, 0.02),
        (8.4, 0.12),
        (7.1, 0.75),
        (6.3, 0.35),
        (5.7, 0.35),
        (5.0, 0.35),
        (4.0, 0.02),
        (2.9, 0.3),
        (2.4, 0.34),
        (0.5, 0.9),
    ]
    height, half_width = (np.array(column) for column in zip(*beam, strict=True))
    axes.fill_betweenx(height, -half_width, half_width, color="gold", alpha=0.5, lw=0)
    for side in (-1, 1):
        axes.plot([0, side * 0.42, side * 0.25, 0, side * 0.9], [5.7, 5.0, 4.0, 3.1, 0.5], color="darkorange", lw=1)
    for name, z in HEIGHTS.items():
        chosen = name == part
        draw_part(axes, name, z, colour="C3" if chosen else "0.35", edge=2.5 if chosen else 1.0)
        axes.text(1.6, z, name, va="center", color="C3" if chosen else "0.35", fontweight="bold" if chosen else "normal")
    axes.set(xlim=(-1.6, 3.6), ylim=(0, 10.2), xticks=[], yticks=[])
    axes.axis("off")
    what, owns, formula = PARTS[part]
    text.axis("off")
    text.text(0, 0.85, part, fontsize=18, fontweight="bold", color="C3")
    for place, label, content in ((0.68, "is", what), (0.48, "owns", owns), (0.24, "because", formula)):
        text.text(0, place, label, color="0.5")
        text.text(0, place - 0.08, content, fontsize=13)
    return figure


column = exploration(draw_column, part=Choice(tuple(PARTS), label="part"))
column

# %% [markdown] tags=["blur"]
# *Figure U01.a. The column, not to scale: 2 m from gun to camera, of which the specimen is the thinnest 30 nanometres. Yellow: the beam. Orange: electrons that the specimen scattered; the objective lens gathers them again, and where they cross, below the aperture, is the first image. (The beam's widths are exaggerated some thousand times.)*
#
# ### Who owns what?
#
# Eight parts, eight cards. (Not graded.) A: the wavelength. B: brightness and energy spread. C: the angle of the illumination. D: thickness and drift. E: defocus, spherical and chromatic aberration. F: the largest scattering angle. G: the pixel size. H: the DQE.

# %% tags=["predict", "blur"]
board = dict.fromkeys(PARTS, "")
# BEGIN SOLUTION
board = dict(zip(PARTS, "BACDEFGH", strict=True))
# END SOLUTION
predict("U01.column", board)

# %% tags=["blur"]
column_board(prediction("U01.column"))

# %% [markdown] tags=["blur"]
# <a id="H01"></a>
# ## The image formation model, from above
#
# Everything that this course will do rests on a chain of simple steps from a molecule to numbers in a file:
#
# | step | what happens | unit |
# |---|---|---|
# | potential | atoms attract electrons: a map $V(\mathbf r)$ in volts | U02 |
# | scattering | the wave collects a phase $\sigma_e\int V\,dz$: a projection | U02, U10 |
# | lens | each spatial frequency is multiplied by the CTF | U02, U07 |
# | counting | electrons come one by one: shot noise | here, U08 |
# | camera | MTF and DQE | U08 |
#
# Here is one molecule at four of these places. (U02 lets you switch each layer on and off.)

# %% tags=["blur"]
box, pixel_size, dose = 96, 2.0, 40.0
optics = Optics(pixel_size=pixel_size, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.1)
one = torch.ones(1, dtype=torch.float64)
defocus = Defocus(major=15000.0 * one, minor=15000.0 * one, azimuth=0 * one, phase_shift=0 * one)
molecule = microscope.potential(microscope.hinge(), box=box, voxel_size=pixel_size)
projection = molecule.voxels.sum(0).double() * pixel_size  # V Å


def stages(*, lens, counting, sensor):
    """The picture of the molecule, protein bright, in V Å, after the stages that are on; `sensor` is a camera or None."""
    picture = projection
    if lens:
        wide = fourier.resize(picture, 192)
        wide = fourier.to_real(
            fourier.to_fourier(wide) * microscope.contrast_transfer(optics, defocus, size=(192, 192))[0], width=192
        )
        picture = fourier.resize(wide, box)
    if counting or sensor:
        electrons = exposure.expected_intensity(picture, optics, dose=dose).float()
        if counting:
            electrons = camera.record(electrons, sensor or camera.CAMERAS["ideal"], generator=generator(4))
        else:
            electrons = camera.expected_image(electrons, sensor)
        picture = exposure.images_of_counts(electrons.double(), optics, dose=dose)
    return picture


shown = {
    "projected potential": stages(lens=False, counting=False, sensor=None),
    "behind the lens": stages(lens=True, counting=False, sensor=None),
    "counted": stages(lens=True, counting=True, sensor=None),
    "by a real camera": stages(lens=True, counting=True, sensor=camera.CAMERAS["k3"]),
}
assert (shown["projected potential"] - projection).abs().max() < 1e-10  # every stage off: the bare projection
figure, panels = plt.subplots(1, 4, figsize=(13, 3.4))
for axes, (title, picture) in zip(panels, shown.items(), strict=True):
    axes.imshow(picture, cmap="gray")
    axes.set(xticks=[], yticks=[], title=title)
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U01.b. One molecule (155 kDa, without ice) on its way. 40 electrons per Å², 1.5 µm underfocus.*
#
# <a id="H03"></a>
# ## The electron gun
#
# A sharp tip emits electrons, and a voltage of 300 kV accelerates them to three quarters of the speed of light. An electron is a wave, and its wavelength is what limits a microscope, in principle:

# %% tags=["blur"]


def wavelength_by_hand(voltage):
    """λ = h/√(2meV(1 + eV/2mc²)) in Å, for a voltage in volts."""
    h, m, e, c = constants.PLANCK, constants.ELECTRON_MASS, constants.ELEMENTARY_CHARGE, constants.SPEED_OF_LIGHT
    return h / math.sqrt(2 * m * e * voltage * (1 + e * voltage / (2 * m * c**2))) * 1e10


for kilovolts, published in ((100, 0.037014), (200, 0.025079), (300, 0.019687)):
    by_hand = wavelength_by_hand(kilovolts * 1e3)
    print(f"{kilovolts} kV: λ = {by_hand:.6f} Å, v/c = {gun.relative_speed(kilovolts):.4f}")
    assert abs(by_hand - published) < 1e-6
    assert abs(by_hand / constants.electron_wavelength(kilovolts) - 1) < 1e-12

# %% [markdown] tags=["blur"]
# ### Exercise U01.1 · The wavelength
#
# What is the wavelength at 300 kV, in Å?

# %% tags=["blur"]
# BEGIN SOLUTION
wavelength = wavelength_by_hand(300e3)
# END SOLUTION
check("U01.1", wavelength)

# %% [markdown] tags=["blur"]
# ### Exercise U01.2 · Without Einstein
#
# Predict first: by how many **percent** is the wavelength at 300 kV too long, if you forget relativity and write $\lambda = h/\sqrt{2meV}$?

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
percent = 15.0
# END SOLUTION
predict("U01.2", percent)

# %% [markdown] tags=["blur"]
# Now compute it.

# %% tags=["blur"]
my_percent = prediction("U01.2")
# BEGIN SOLUTION
classical = constants.PLANCK / math.sqrt(2 * constants.ELECTRON_MASS * constants.ELEMENTARY_CHARGE * 300e3) * 1e10
my_percent = 100 * (classical / wavelength_by_hand(300e3) - 1)
# END SOLUTION
check("U01.2", my_percent)

# %% [markdown] tags=["solution", "blur"]
# $\lambda_\text{classical} = 0.022391$ Å instead of 0.019687 Å: $\sqrt{1 + 300/1022} - 1 = 13.7\,\%$. A CTF computed with it would have its rings at wrong places by as much. (At 100 kV it is 4.8 %.)
#
# And why, with $\lambda = 0.02$ Å, can we not see a tenth of an Å? Because the lens is bad: it can use angles of some 10 mrad only (U07), where the objective of a light microscope uses a hundred times as much; and because the specimen does not stand the dose.

# %% [markdown] tags=["blur"]
# ### One at a time
#
# Two sliders, and what they make of the beam: the voltage, and the current.

# %% tags=["blur"]


def draw_beam(voltage, current_na):
    """The column with the electrons that are in it at one moment, and the wavelength curve."""
    spacing = gun.electron_spacing(voltage, current=current_na * 1e-9) / 1e7  # mm
    source = np.random.default_rng(1)
    places = source.uniform(0, 2000, source.poisson(2000 / spacing))
    figure, (tube, curve) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(1.4, 1))
    tube.plot(places, np.zeros(len(places)), "C0o", ms=4)
    tube.set(xlim=(0, 2000), ylim=(-1, 1), yticks=[], xlabel="place in the column (mm)")
    tube.set_title(f"{len(places)} electrons now; {spacing:.1f} mm apart on average")
    voltages = np.linspace(20, 1000, 300)
    curve.loglog(voltages, [constants.electron_wavelength(v) for v in voltages], label="relativistic")
    curve.loglog(voltages, 12.2643 / np.sqrt(voltages * 1e3), "0.7", label="without relativity")
    curve.plot(voltage, constants.electron_wavelength(voltage), "C3o")
    curve.set(xlabel="voltage (kV)", ylabel="λ (Å)", title=f"λ = {constants.electron_wavelength(voltage):.5f} Å")
    curve.legend(fontsize=8)
    figure.tight_layout()
    return figure


beam = exploration(
    draw_beam,
    voltage=Slider(60, 1000, 300, step=20, label="voltage (kV)"),
    current_na=Slider(0.05, 5.0, 1.0, step=0.05, label="current (nA)"),
)
beam

# %% [markdown] tags=["blur"]
# *Figure U01.c. The electrons in a column of 2 m at one moment, and the wavelength.*
#
# ### Exercise U01.3 · How far apart?
#
# At 300 kV and 1 nA: the mean distance between two electrons along the beam in **mm**, and how many there are in a column of 2 m.

# %% tags=["blur"]
# BEGIN SOLUTION
electrons_per_second = 1e-9 / constants.ELEMENTARY_CHARGE
speed = 0.7765 * constants.SPEED_OF_LIGHT  # m/s
distance = speed / electrons_per_second * 1e3
distance_and_number = (distance, 2000 / distance)
# END SOLUTION
check("U01.3", distance_and_number)

# %% tags=["blur"]
my_guess = prediction("U01.opening")
print(
    f"you said ({my_guess}); it is {gun.electron_spacing(300, current=1e-9) / 1e7:.1f} mm, and the specimen is {300e-7:.5f} mm thick"
)
assert abs(gun.electron_spacing(300, current=1e-9) / 1e7 - 37.3) < 0.05
assert abs(gun.electrons_in_column(300, current=1e-9, length=2e10) - 54) < 0.5

# %% [markdown] tags=["solution", "blur"]
# 37.3 mm, and 54 electrons in the whole column. The specimen is a millionth of that distance thick, so **there is hardly ever more than one electron in it**. Whatever interferes in our pictures is each electron with itself. And since electrons do not know of each other, they arrive like raindrops: the number in a pixel is Poisson's, $N\pm\sqrt N$. That is **shot noise**, and no microscope removes it.
# With a contrast $C$ over an area $A$ at a dose $D$, the signal-to-noise ratio is $C\sqrt{DA}$; Rose found that the eye wants five.

# %% tags=["blur"]
contrast, disc = 0.05, math.pi * 50.0**2  # five percent over a disc of 50 Å radius
wanted = (5 / contrast) ** 2 / disc
print(
    f"to see 5 % over a disc of 100 Å, Rose wants {wanted:.2f} electrons per Å²; over a disc of 3 Å {(5 / contrast) ** 2 / (math.pi * 1.5**2):.0f}"
)
assert abs(gun.contrast_to_noise(contrast, dose=wanted, area=disc) - 5) < 1e-9
figure, panels = plt.subplots(1, 4, figsize=(12, 3.2))
y, x = np.mgrid[-80:80, -80:80] * 2.0
for axes, shown_dose in zip(panels, (0.1, 0.5, 2.0, 20.0), strict=True):
    expected = torch.from_numpy(shown_dose * 4 * (1 - contrast * (np.hypot(x, y) < 50)))
    axes.imshow(camera.record(expected.float(), camera.CAMERAS["ideal"], generator=generator(3)), cmap="gray")
    axes.set(xticks=[], yticks=[], title=f"{shown_dose} e⁻/Å²")
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U01.d. A disc of 100 Å with 5 % contrast, at four doses. Small detail needs far more: which is why particles are averaged.*
#
# ### Coherence: how alike are the electrons?
#
# Each electron interferes only with itself; but the picture is the sum over *many*, and if they differ, their fringes do not fit together. They differ in two ways.
#
# - **Energy (temporal coherence).** A spread of energies is a spread of focal lengths: $\delta = C_c\,\Delta E/E$ (and a little relativity). The pictures of a range of defoci add up, and what flips its contrast within that range is lost: $E_t(k) = \exp[-\tfrac12(\pi\lambda\delta)^2k^4]$. It does not care about the defocus itself.
# - **Direction (spatial coherence).** A source of finite size sends electrons from slightly different directions. Tilting the illumination changes the phase of detail of frequency $k$ in proportion to the tilt and to how far the lens throws that detail, $R = \lambda\Delta f\,k - C_s\lambda^3k^3$. So it costs **more the more you defocus**: $E_s(k) = \exp[-(\pi\alpha R/\lambda)^2]$.

# %% tags=["blur"]


def draw_coherence(energy_spread, convergence, underfocus_um):
    """Both envelopes, their product, and what the gun gives for it."""
    source = Gun(energy_spread_ev=energy_spread, convergence=convergence * 1e-3)
    lens = ObjectiveLens(chromatic_aberration_mm=2.7)
    k = torch.linspace(0, 0.6, 400, dtype=torch.float64)
    focus = Defocus(major=underfocus_um * 1e4 * one, minor=underfocus_um * 1e4 * one, azimuth=0 * one, phase_shift=0 * one)
    temporal = gun.temporal_envelope(k, optics=optics, gun=source, lens=lens)
    spatial = gun.spatial_envelope(k, optics=optics, defocus=focus, gun=source)[0]
    figure, axes = plt.subplots(figsize=(7.5, 3.8))
    axes.plot(k, temporal, "C0", label=f"temporal: focus spread {gun.focus_spread(optics, source, lens):.0f} Å")
    axes.plot(k, spatial, "C1", label=f"spatial: coherent over {gun.coherence_length(optics, source):.0f} Å")
    axes.plot(k, temporal * spatial, "k", lw=2, label="both")
    axes.axvline(1 / 3, color="0.8")
    axes.text(1 / 3, 1.02, "3 Å", ha="center", color="0.5")
    axes.set(xlabel="k (1/Å)", ylabel="amplitude that is left", ylim=(0, 1.1), xlim=(0, 0.6))
    axes.set_title(f"a gun of this brightness can give {gun.dose_rate(source):.0f} e⁻/Å²/s at this angle", fontsize=10)
    axes.legend(fontsize=8)
    return figure


coherence = exploration(
    draw_coherence,
    energy_spread=Slider(0.1, 2.0, 0.3, step=0.1, label="energy spread, standard deviation (eV)"),
    convergence=Slider(0.005, 0.2, 0.05, step=0.005, label="half-angle of the illumination (mrad)"),
    underfocus_um=Slider(0.0, 5.0, 2.0, step=0.25, label="underfocus (µm)"),
)
coherence

# %% [markdown] tags=["blur"]
# *Figure U01.e. What limited coherence leaves. The title says what coherence costs: half the angle is a quarter of the electrons. A bright gun (field emission) is one that gives many electrons at a small angle.*
#
# **With a parallel beam in a modern microscope** the half-angle is far below 0.05 mrad, and both envelopes are harmless to 2 Å. That is why the B-factors of U07 come from elsewhere.
#
# <a id="H04"></a>
# ## Sample delivery
#
# The sample is a drop of solution, blotted to a film and frozen before its water can crystallise. Particles that flow freely end up anywhere, in any orientation. In practice they often do not: the film is thinner in the middle of a hole, it has two surfaces (*air–water interfaces*), and particles stick to them, one face out.

# %% tags=["blur"]


def draw_hole(concentration, thickness, adsorbed):
    """A hole of a grid from above and from the side, with the particles that a solution brings."""
    side = 4096.0
    settings = DeliverySettings(
        concentration=concentration,
        ice_thickness=thickness,
        rim_thickness=1.5 * thickness,
        adsorbed_fraction=adsorbed,
        count_spread="none",
    )
    kind = delivery.ParticleKind(radius=60.0, mass=450e3)
    sample = delivery.deliver(settings, field=(side, side), specimens=[kind], generator=generator(6))
    face = sample.lab_from_particle[:, 2, 2]  # the cosine between the particle's z axis and the beam
    figure, (above, beside, orientation) = plt.subplots(1, 3, figsize=(14, 4), width_ratios=(1, 1.3, 0.8))
    colours = plt.get_cmap("coolwarm")((face.numpy() + 1) / 2)
    for place, colour in zip(sample.positions.tolist(), colours, strict=True):
        above.add_patch(plt.Circle(place[:2], 60, color=colour))
        beside.add_patch(plt.Circle((place[0], place[2]), 60, color=colour))
    above.set(xlim=(0, side), ylim=(0, side), aspect="equal", xticks=[], yticks=[], title=f"{len(face)} particles in the image")
    across = torch.linspace(0, side, 200)
    surface = delivery.thickness_at(sample.thickness, across, torch.tensor(side / 2)) / 2
    beside.fill_between(across, -surface, surface, color="lightblue", zorder=0)
    beside.set(
        xlim=(0, side),
        ylim=(-900, 900),
        xlabel="x (Å)",
        ylabel="z (Å), stretched",
        title="from the side: middle row of the ice, all particles",
    )
    orientation.hist(face, bins=np.linspace(-1, 1, 13), color="0.6")
    orientation.set(xlabel="cosine between axis and beam", title="orientations (even: flat)")
    mean = delivery.mean_thickness(sample.thickness, field=(side, side))
    passed = absorption.transmitted_fraction(mean, voltage_kv=300.0)
    alone = 1 - delivery.overlap_probability(len(face), area=side**2, distance=120.0)
    figure.suptitle(
        f"{100 * passed:.0f} % of the electrons pass without loss; at random places {100 * alone:.0f} % of the particles would lie clear of others",
        fontsize=10,
    )
    figure.tight_layout()
    return figure


hole = exploration(
    draw_hole,
    concentration=Slider(0.2, 8.0, 2.0, step=0.2, label="concentration (mg/mL)"),
    thickness=Slider(150.0, 800.0, 300.0, step=50.0, label="ice in the middle (Å)"),
    adsorbed=Slider(0.0, 1.0, 0.3, step=0.1, label="part that sticks to the surfaces"),
)
hole

# %% [markdown] tags=["blur"]
# *Figure U01.f. A field of 4096 Å in a hole with a meniscus, and particles of 450 kDa. Colour: which way they look. Thin ice is good for contrast; but thinner than the particle, and they leave the middle.*
#
# ### Exercise U01.8 · How many will there be?
#
# At 1 mg/mL, with particles of 450 kDa in 300 Å of even ice: how many lie in an image of 4096 × 4096 pixels of 1 Å?

# %% tags=["blur"]
# BEGIN SOLUTION
grams_per_cubic_angstrom = 1e-27  # 1 mg/mL is 1e-3 g per 1e24 Å³
particles = grams_per_cubic_angstrom * 6.02214076e23 * 4096**2 * 300 / 450e3
# END SOLUTION
check("U01.8", particles)

# %% [markdown] tags=["solution", "blur"]
# $cN_AAt/M = 6.7$. That is not many, and still grids at 1 mg/mL often show hundreds: particles *gather* at the interfaces and on support films. The number in an image tells you about adsorption as much as about concentration.

# %% [markdown] tags=["blur"]
# <a id="Q-M01B-1"></a>
# ## What happens to an electron in ice?
#
# *What happens when the electron is detected at small diffraction angles vs large diffraction angles?* Four fates:
#
# - **unscattered**: it met nothing. Most do.
# - **elastic**: a nucleus (screened by its electrons) turned it, without taking energy. It still belongs to the same wave as the unscattered part and *interferes* with it. **This is the signal.**
# - **inelastic**: it shook up the electrons of the ice, and lost some 20 eV. Its wave does not interfere with the rest any more; it is background, and the energy it left is radiation damage.
# - **plural**: more than one of these.
#
# Let electrons fly, one by one, and ask each of them what happened.

# %% tags=["blur"]
COLOURS = {"elastic, once": "C0", "inelastic (at least once)": "C3"}


def draw_fates(thickness, voltage):
    """The fates of 20000 electrons in ice, and the angles at which they come out."""
    flown = fates.draw_fates(
        20_000,
        thickness=thickness,
        elastic_path=fates.elastic_mean_free_path(voltage),
        inelastic_path=absorption.mean_free_path(voltage),
        voltage_kv=voltage,
        generator=generator(2),
    )
    groups = {"elastic, once": flown.single_elastic, "inelastic (at least once)": flown.lost_energy}
    parts = {
        "unscattered": flown.unscattered,
        "elastic\nonce": flown.single_elastic,
        "elastic\nplural": (flown.elastic > 1) & ~flown.lost_energy,
        "inelastic": flown.lost_energy,
    }
    figure, (bars, angles) = plt.subplots(1, 2, figsize=(12, 4), width_ratios=(1, 1.5))
    heights = [100 * float(part.double().mean()) for part in parts.values()]
    bars.bar(list(parts), heights, color=["0.7", "C0", "C9", "C3"])
    for place, height in enumerate(heights):
        bars.text(place, height, f"{height:.1f} %", ha="center", va="bottom")
    bars.set(ylim=(0, 105), title=f"fates in {thickness:.0f} Å of ice at {voltage:.0f} kV")
    edges = np.geomspace(0.02, 60, 45)
    for name, chosen in groups.items():
        angles.hist(1e3 * flown.angle[chosen].numpy(), bins=edges, histtype="step", lw=2, color=COLOURS[name], label=name)
    angles.set(xscale="log", yscale="log", xlabel="angle (mrad)", ylabel="electrons", ylim=(0.7, None), xlim=(0.02, 60))
    wavelength_here = constants.electron_wavelength(voltage)
    spacings = angles.secondary_xaxis(
        "top",
        functions=(lambda a: 1e3 * wavelength_here / np.maximum(a, 1e-9), lambda d: 1e3 * wavelength_here / np.maximum(d, 1e-9)),
    )
    spacings.set_xlabel("spacing (Å)")
    spacings.set_xticks([500, 100, 30, 10, 3, 1], ["500", "100", "30", "10", "3", "1"])
    angles.legend(fontsize=8, loc="lower left")
    figure.tight_layout()
    return figure


fate_player = exploration(
    draw_fates,
    thickness=Slider(100.0, 2000.0, 500.0, step=100.0, label="ice (Å)"),
    voltage=Choice((300.0, 200.0, 100.0), label="voltage (kV)"),
)
fate_player

# %% [markdown] tags=["blur"]
# *Figure U01.g. What became of 20 000 electrons, and the angles of those that were scattered, with the spacing that a grating would need to send them there.*
#
# ### Exercise U01.4 · Does the angle tell?
#
# To which angle, in **mrad**, does detail of 3 Å scatter 300 kV electrons? And which electrons can you find at that angle: `"unscattered"`, `"elastic"`, `"inelastic"`? (A set of names.)

# %% tags=["blur"]
answer = {"angle": None, "fates": set()}
# BEGIN SOLUTION
answer["angle"] = 1e3 * wavelength_by_hand(300e3) / 3.0
answer["fates"] = {"elastic", "inelastic"}
# END SOLUTION
check("U01.4", answer)

# %% [markdown] tags=["solution", "blur"]
# $\theta = \lambda/d = 0.019687/3 = 6.56$ mrad: about a third of a degree. "Large angles" are large only on this scale.
#
# **The answer.** An electron at a *small* angle is most probably unscattered, or inelastic: losses turn it by a few hundredths to a milliradian. If it was scattered elastically, it carries coarse features, shape and low resolution. An electron at a *large* angle is most probably elastic and carries fine detail; atoms near their nuclei send it there. But **the angle alone does not tell the fate**: inelastic electrons have a long
# tail, and many of them were scattered elastically as well. What tells them apart is their energy, and hence the energy filter. (And a camera in the image plane does not see angles at all: the lens brings all of them back to the place that they come from. Angles can be cut in the back focal plane, by the objective aperture.)

# %% tags=["blur"]
for thickness in (200.0, 500.0, 1000.0):
    flown = fates.draw_fates(
        50_000,
        thickness=thickness,
        elastic_path=fates.elastic_mean_free_path(300),
        inelastic_path=absorption.mean_free_path(300),
        voltage_kv=300.0,
        generator=generator(5),
    )
    without_loss = 1 - float(flown.lost_energy.double().mean())
    total = sum(
        float(part.double().mean()) for part in (flown.unscattered, (flown.elastic > 0) & ~flown.lost_energy, flown.lost_energy)
    )
    print(f"{thickness:.0f} Å: {100 * without_loss:.1f} % without loss, exp(−t/Λ) = {100 * math.exp(-thickness / 3950):.1f} %")
    assert abs(without_loss - math.exp(-thickness / 3950)) < 0.008
    assert abs(total - 1) < 1e-12

# %% [markdown] tags=["sharpen"]
# ## Sharpen: the wavelength from energy and momentum
#
# Special relativity says $E_\text{total}^2 = (pc)^2 + (mc^2)^2$. The accelerator adds $eV$: $E_\text{total} = mc^2 + eV$. So
# $$ (pc)^2 = (mc^2 + eV)^2 - (mc^2)^2 = 2mc^2\,eV + (eV)^2 = 2mc^2\,eV\left(1 + \frac{eV}{2mc^2}\right), $$
# and de Broglie's $\lambda = h/p$ gives the formula above. The speed follows from $E_\text{total} = \gamma mc^2$: $\gamma = 1 + eV/mc^2 = 1.587$ at 300 kV, $v/c = \sqrt{1-1/\gamma^2} = 0.7765$. A computer algebra system agrees:

# %% tags=["sharpen"]
import sympy

m, c, e, V, h = sympy.symbols("m c e V h", positive=True)
momentum = sympy.sqrt((m * c**2 + e * V) ** 2 - (m * c**2) ** 2) / c
textbook = h / sympy.sqrt(2 * m * e * V * (1 + e * V / (2 * m * c**2)))
assert sympy.simplify((h / momentum) ** 2 - textbook**2) == 0
print("h/p is the textbook's λ")
for kilovolts in (100, 200, 300):
    factor = 1 + kilovolts / constants.ELECTRON_REST_ENERGY_KV
    print(
        f"{kilovolts} kV: γ = {factor:.3f}, v/c = {math.sqrt(1 - 1 / factor**2):.4f}, σₑ = {1e3 * constants.interaction_constant(kilovolts):.4f} mrad/(V Å)"
    )

# %% [markdown] tags=["sharpen"]
# ### Exercise U01.7 · How hard can an electron hit?
#
# Most electrons pass without harm. The worst elastic collision is head-on. What is the largest energy, in **eV**, that a 300 keV electron can pass to a carbon nucleus (12.011 Da) and to a hydrogen nucleus (1.008 Da)?

# %% tags=["sharpen"]
# BEGIN SOLUTION
rest, energy, unit = 510998.95, 300e3, 931.49410242e6  # eV
hits = tuple(2 * energy * (energy + 2 * rest) / (weight * unit) for weight in (12.011, 1.008))
# END SOLUTION
check("U01.7", hits)

# %% [markdown] tags=["solution", "sharpen"]
# A head-on collision turns the momentum round, so that the nucleus gets $2p$ and the energy $(2p)^2/2M = 2E(E+2mc^2)/Mc^2$: **70.9 eV** for carbon, **845 eV** for hydrogen. A bond holds with some 4 eV, so such collisions break it; but they are rare. Radiation damage is mostly the inelastic electrons' work: 20 eV at a time, everywhere.

# %% [markdown] tags=["sharpen"]
# ## The two envelopes, with their conventions
#
# Let the defocus vary with a normal distribution of standard deviation $\delta$. The phase of frequency $k$ is $\pi\lambda\Delta f k^2$, so the mean of $e^{i\chi}$ is multiplied by the distribution's characteristic function at $\pi\lambda k^2$: $E_t = e^{-\frac12(\pi\lambda\delta)^2k^4}$. With $\delta$ a *standard deviation*. Books that use a half width at $1/e$, or a full width at half maximum, have other numbers in front: the same physics. Beware of 2.355.
#
# In the same way let the illumination tilt by $\theta$, distributed as $e^{-\theta^2/\alpha^2}$. A tilt shifts the lens's phase, $\chi(k+\theta/\lambda)\approx\chi(k) + \nabla\chi\cdot\theta/\lambda$, and the mean over the tilts is $E_s = e^{-(\alpha\nabla\chi/2\lambda)^2}$. With $\nabla\chi = 2\pi R$ this is $e^{-(\pi\alpha R/\lambda)^2}$: the angle times the distance. Both by simulation, tilt by tilt and focus by focus:

# %% tags=["sharpen"]
spread, angle_of_beam, k = 80.0, 5e-5, 1 / 3.0
lam, cs = wavelength_by_hand(300e3), 2.7e7
draws = np.random.default_rng(2)


def chi(q, focus):
    """The lens's phase at frequencies q (1/Å) and underfocus (Å)."""
    return np.pi * lam * (focus * q**2 - 0.5 * cs * lam**2 * q**4)


foci = 20000.0 + spread * draws.normal(size=400_000)
by_summing = abs(np.mean(np.exp(1j * (chi(k, foci) - chi(k, 20000.0)))))
print(f"temporal: {by_summing:.4f} by summing, {math.exp(-0.5 * (math.pi * lam * spread * k**2) ** 2):.4f} by the formula")
assert abs(by_summing - math.exp(-0.5 * (math.pi * lam * spread * k**2) ** 2)) < 0.005
tilts = angle_of_beam / math.sqrt(2) * draws.normal(size=400_000)  # exp(−θ²/α²) has the standard deviation α/√2 along each axis
by_summing = abs(np.mean(np.exp(1j * (chi(k + tilts / lam, 20000.0) - chi(tilts / lam, 20000.0) - chi(k, 20000.0)))))
thrown = lam * 20000.0 * k - cs * (lam * k) ** 3
print(
    f"spatial: {by_summing:.4f} by summing, {math.exp(-((math.pi * angle_of_beam * thrown / lam) ** 2)):.4f} by the formula; R = {thrown:.1f} Å"
)
assert abs(by_summing - math.exp(-((math.pi * angle_of_beam * thrown / lam) ** 2))) < 0.005

# %% [markdown] tags=["sharpen"]
# ### Exercise U01.6 · Spatial coherence
#
# Write a function of the spacing (Å), the underfocus (Å) and the half-angle $\alpha$ (rad) that returns $E_s$ at 300 kV with $C_s = 2.7$ mm, in this course's convention.


# %% tags=["sharpen"]
def spatial_envelope(spacing, underfocus, convergence):
    """The factor on amplitudes of detail of this spacing."""
    # BEGIN SOLUTION
    wavelength = constants.electron_wavelength(300)
    thrown = wavelength * underfocus / spacing - 2.7e7 * (wavelength / spacing) ** 3
    return math.exp(-((math.pi * convergence * thrown / wavelength) ** 2))
    # END SOLUTION


check("U01.6", spatial_envelope)

# %% [markdown] tags=["solution", "sharpen"]
# $E_s(3\text{ Å}, 2\text{ µm}, 0.05\text{ mrad}) = 0.378$. At a tenth of that angle, which parallel illumination of a modern microscope reaches, it is $0.378^{1/100} = 0.990$.

# %% [markdown] tags=["sharpen"]
# ## A mean free path from data
#
# Beer and Lambert: each thin layer takes the same *fraction* of those that are left, so $p(t) = e^{-t/\Lambda}$. In practice one measures thickness like this: with the energy filter in and out, $t = \Lambda\ln(I_\text{all}/I_\text{filtered})$. But $\Lambda$ has to be known, and that was measured with slabs of known thickness. Your turn.
#
# ### Exercise U01.5 · Fit it
#
# `parameters("U01.5")` is your measurement: thicknesses in Å, how many electrons passed without loss, and how many were sent. Write a function of thicknesses and *fractions* that returns $\Lambda$ in Å; give its value for your slabs, and the fraction that passes 500 Å of ice at 300 kV ($\Lambda$ = 3950 Å).

# %% tags=["sharpen"]
measurement = parameters("U01.5")
figure, axes = plt.subplots(figsize=(6, 3.2))
axes.semilogy(measurement["thickness"], measurement["passed"] / measurement["electrons"], "o")
axes.set(xlabel="thickness (Å)", ylabel="fraction without loss")
plt.show()
answer = {"fit": None, "path": None, "passes": None}
# BEGIN SOLUTION


def fit_mean_free_path(thickness, fraction):
    """Λ of p = exp(−t/Λ): a line through the origin, each point weighed with its p (thick slabs are noisier)."""
    t, p = np.asarray(thickness), np.asarray(fraction)
    return (p * t * t).sum() / (p * t * -np.log(p)).sum()


answer["fit"] = fit_mean_free_path
answer["path"] = fit_mean_free_path(measurement["thickness"], measurement["passed"] / measurement["electrons"])
answer["passes"] = math.exp(-500 / 3950)
# END SOLUTION
check("U01.5", answer)

# %% [markdown] tags=["solution", "sharpen"]
# $e^{-500/3950} = 0.881$. Note what a straight line through the logarithms hides: a count of $Np$ electrons has the variance $Np(1-p)$, so $-\ln p$ has $(1-p)/(Np)$, and the points at large thickness deserve less weight.
#
# How long $\Lambda$ is depends on the voltage (slower electrons interact more), on what the aperture lets through, and on whom you ask: between 3000 and 3950 Å for ice at 300 kV. Elastic collisions in ice are rarer: one in 6600 Å. **So in a film of 300 Å about 7 % of the electrons lose energy and 4 % carry signal.** The rest, nearly nine in ten, pass by, and yet they are needed: it is with them that the scattered ones interfere.

# %% tags=["sharpen"]
print("kV   elastic Λ   inelastic Λ   inelastic per elastic")
for kilovolts in (100, 200, 300):
    elastic, inelastic = fates.elastic_mean_free_path(kilovolts), absorption.mean_free_path(kilovolts)
    print(f"{kilovolts}  {elastic:7.0f} Å  {inelastic:9.0f} Å  {elastic / inelastic:10.2f}")
flown = fates.draw_fates(
    40_000,
    thickness=700.0,
    elastic_path=fates.elastic_mean_free_path(300),
    inelastic_path=absorption.mean_free_path(300),
    voltage_kv=300.0,
    generator=generator(8),
)
for collisions in range(4):
    seen = float((flown.inelastic == collisions).double().mean())
    expected = math.exp(-700 / 3950) * (700 / 3950) ** collisions / math.factorial(collisions)
    print(f"{collisions} inelastic collisions in 700 Å: {100 * seen:.2f} %, Poisson's law {100 * expected:.2f} %")
    assert abs(seen - expected) < 0.01

# %% [markdown] tags=["blur"]
# ## In your own words
#
# Somebody says: *at high dose rate the beam electrons disturb each other, and that is why pictures are noisy.* What do you answer?

# %% tags=["blur"]
my_words = ""
# BEGIN SOLUTION
my_words = "They are far apart, centimetres, one at a time. It is shot noise: counting independent electrons, whatever the rate."
# END SOLUTION
explain("U01.words", my_words)

# %% [markdown] tags=["blur"]
# ## With your own microscope
#
# - *How thick is the ice?* With an energy filter: $t = \Lambda \ln(I_\text{all}/I_\text{zero loss})$, from two pictures of the same hole.
# - *How parallel is the beam?* Dose rate and brightness tell: `gun.convergence_for_dose_rate(gun, dose_rate=…)`.
#
# ```python
# from cryowalk.microscope import absorption, delivery, gun
# from cryowalk.data.instrument import Gun
#
# print(absorption.mean_free_path(200))   # Å, inelastic, ice
# print(delivery.particles_in_ice(0.8, mass=155e3, thickness=350.0, area=(5760 * 0.83) * (4092 * 0.83)))
# print(gun.convergence_for_dose_rate(Gun(), dose_rate=15.0))   # rad
# ```
#
# ## Further reading
#
# - L. Reimer, H. Kohl, *Transmission Electron Microscopy*, 5th ed., Springer (2008), chapters 2, 4 and 5: electrons, guns, and what matter does to them.
# - W. J. Rice et al., *Routine determination of ice thickness for cryo-EM grids*, J. Struct. Biol. 204, 38–44 (2018). The mean free path of this unit.
# - R. M. Glaeser, *How good can cryo-EM become?*, Nat. Methods 13, 28–32 (2016). What limits us, and what does not.
# - F. J. Sigworth, *Principles of cryo-EM single-particle image processing*, Microscopy 65, 57–67 (2016).
# - The study group's pre-reading: *Complex numbers and the complex exponential*, and *Defocus phase contrast* (Sigworth's videos and notes).
#
# **Next:** U02, how electrons that are only delayed become visible.
