# %% [markdown]
# # U10 Multislice and the edges of the linear model
#
# **Question.** Every processing program treats an image as the projection of the specimen, filtered by the CTF. Electrons do something else: they are waves that pass layer after layer. Where does the simple picture end, and could we do without it?
#
# **What you need.** U02 (phase contrast) and U07 (the CTF). For *sharpen*: U04 (the DFT) and a little calculus.
#
# **What you will be able to do.**
#
# - follow a wave through a specimen, slice by slice, and write the step that does it (*sharpen*);
# - keep two simplifications apart that are often taken for one: *weak* and *thin*;
# - say by how much the sine CTF errs, and for which specimens;
# - compute what an exact model would cost, and reconstruct a tiny volume through it.
#
# About 75 minutes. *Blur*: the travelling wave, the two-by-two lab, the cost table, two routes of simulation, the budget. *Sharpen*: the step, orders of error, bands, gradients, a reconstruction.

# %%
import math
from dataclasses import replace
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch

from cryowalk import fourier
from cryowalk.course import Slider, check, explain, exploration, predict, prediction
from cryowalk.course.checks.u10 import (
    OPTICS,
    SIGMA,
    SLICE,
    UNDERFOCUS,
    band_correlation,
    defocus_of,
    image_by,
    toy_slices,
)
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.fourier.grids import frequency_radius
from cryowalk.geometry.sampling import random_rotations
from cryowalk.microscope import lens, specimen
from cryowalk.microscope.gun import spatial_envelope, temporal_envelope
from cryowalk.microscope.image_formation import image_of_wave
from cryowalk.microscope.multislice import band_limit, multislice_by_definition, propagate, transmission
from cryowalk.microscope.scattering import exit_wave, slices_of_atoms
from cryowalk.numerics.interpolation import rotate_volume

torch.set_num_threads(1)
toy = toy_slices()  # phases in rad: 36 slices of 2 Å, 128 × 128 pixels of 0.75 Å; the strongest line through it adds up to 1 rad
print(f"{len(toy)} slices, {len(toy) * SLICE:.0f} Å thick, {toy.shape[1] * OPTICS.pixel_size:.0f} Å across")

# %% [markdown] tags=["blur"]
# ## A wave on its way
#
# An electron comes in as a plane wave. It meets one thin layer of atoms after the other. In each of them the potential delays or hastens the wave's crests a little: it multiplies the wave by $e^{i\varphi}$, which changes **no intensity at all**. Right behind the first layer, a camera without a lens would see nothing. **What would it see behind the last of 36 layers?** (a) still nothing, since each layer changes phases only; (b) something, since the wave spreads between layers; (c) a shadow, since atoms stop electrons.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "b"
# END SOLUTION
predict("U10.opening", my_guess, options=("a", "b", "c"))

# %% tags=["blur"]
my_guess = prediction("U10.opening")
movie = []  # the wave right behind each slice; the phases are made strong, 2 rad in all, so that one can see something
travelling = torch.ones(128, 128, dtype=torch.complex128)
for phase in torch.from_numpy(2.0 * toy):
    travelling = transmission(phase / SIGMA, optics=OPTICS) * travelling
    movie.append(travelling)
    travelling = propagate(travelling, optics=OPTICS, distance=SLICE)


def draw_travelling(slice_number):
    """The layer, and phase and intensity of the wave right behind it."""
    wave = movie[int(slice_number) - 1]
    figure, panels = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    panels[0].imshow(toy[int(slice_number) - 1], cmap="magma", origin="lower", vmax=0.1)
    panels[0].set_title(f"layer {int(slice_number)} of 36")
    panels[1].imshow(torch.angle(wave), cmap="twilight", origin="lower", vmin=-2.2, vmax=2.2)
    panels[1].set_title("phase of the wave")
    intensity = panels[2].imshow(wave.abs() ** 2, cmap="gray", origin="lower", vmin=0.85, vmax=1.2)
    panels[2].set_title(f"its intensity: {100 * (wave.abs() ** 2).std():.1f} % contrast")
    figure.colorbar(intensity, ax=panels[2], shrink=0.8)
    for panel in panels:
        panel.set(xticks=[], yticks=[])
    return figure


player = exploration(draw_travelling, slice_number=Slider(1, 36, 30, step=1, label="behind slice"))
print(f"you said {my_guess}; contrast behind slice 1: {100 * (movie[0].abs() ** 2).std():.1e} %")
assert (movie[0].abs() ** 2).std() < 1e-12
print(f"behind slice 36: {100 * (movie[-1].abs() ** 2).std():.1f} %")
assert (movie[-1].abs() ** 2).std() > 0.01
player

# %% [markdown] tags=["blur"]
# *Figure U10.a. The wave behind each layer of a toy protein. The phases add up. The intensity stays flat at first, then it grains: what one layer has bent, the space behind it lets interfere.*
#
# Not one electron is lost on the way. But phase has turned into intensity without any lens, because the layers lie *behind one another*. This is what a projection cannot know: it adds up all layers as if they lay in one plane.

# %% [markdown] tags=["blur"]
# <a id="Q-M09-5"></a>
# ## Two simplifications, not one
#
# *What is the difference between the "weak approximation" and the "projection assumption"?* The linear picture, image = CTF ∗ projection, needs both:
#
# | | says | is fine if |
# |---|---|---|
# | **weak approximation** | $e^{i\varphi}\approx 1+i\varphi$: every electron is scattered once at most | … |
# | **projection assumption** | all layers lie in one plane: $\varphi=\sigma\int V\,dz$ | … |
#
# ### Exercise U10.1 · Which error comes from what?
#
# The specimen has a *strength* (its phase) and a *thickness*. Say for either simplification which of the two makes its error grow. Then try it in the lab below; you may come back and change your mind.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = {"weak approximation": "strength", "projection assumption": "thickness"}
# END SOLUTION
predict("U10.1", my_guess)


# %% tags=["blur"]
def contrast_error(image, truth):
    """The root mean square difference of two images over the contrast of the second, in detail down to 2.5 Å."""
    coarse = fourier.low_pass(
        torch.from_numpy(np.stack([image - truth, truth - 1])), resolution=2.5, pixel_size=OPTICS.pixel_size
    )
    return float(coarse[0].norm() / coarse[1].norm())


def sine_image(phases):
    """The linear image of the projection: 1 minus twice the phase filtered by the sine CTF."""
    transfer = lens.contrast_transfer(OPTICS, defocus_of(UNDERFOCUS), size=phases.shape[1:])
    projection = torch.from_numpy(phases.sum(axis=0))
    return 1 - 2 * fourier.to_real(fourier.to_fourier(projection) * transfer, width=phases.shape[2]).numpy()


def draw_lab(strength, thickness):
    """The same atoms, made strong or thick, by the linear model and with one simplification taken back at a time."""
    phases, step = strength * toy, thickness / len(toy)
    linear, thin = sine_image(phases), image_by("phase_grating", phases, thickness=step)
    weak = 1 + 1e4 * (image_by("ewald", 1e-4 * phases, thickness=step) - 1)  # the part that is linear in the phase
    full = image_by("multislice", phases, thickness=step)
    figure, panels = plt.subplots(1, 4, figsize=(15, 4.6), layout="constrained")
    panels[0].imshow(full, cmap="gray", origin="lower")
    panels[0].set_title("multislice: both taken back")
    limit = 0.3 * np.abs(full - 1).max()
    for panel, image, title in zip(
        panels[1:],
        (linear, thin, weak),
        ("linear: weak and thin", "any strength, thin", "weak, any thickness"),
        strict=True,
    ):
        panel.imshow(image - full, cmap="RdBu", origin="lower", vmin=-limit, vmax=limit)
        panel.set_title(f"{title}\ndiffers by {100 * contrast_error(image, full):.1f} %")
    for panel in panels:
        panel.set(xticks=[], yticks=[])
    return figure


lab = exploration(
    draw_lab,
    strength=Slider(0.02, 0.8, 0.4, step=0.02, label="strength: largest phase (rad)"),
    thickness=Slider(7.2, 360.0, 72.0, step=7.2, label="thickness (Å)"),
)
lab

# %% [markdown] tags=["blur"]
# *Figure U10.b. The two-by-two lab. Left, the image by multislice. Then the errors (red and blue, all on one scale) of the linear model, of the phase grating (any strength, no depth), and of the linear part of the Ewald model (depth, but one scattering only). Pull one slider at a time and see which picture empties.*

# %% tags=["blur"]
check("U10.1", prediction("U10.1"))

# %% tags=["blur"]
print("largest phase   thickness   weak approximation costs   projection costs")
errors = {}
for strength, thickness in ((0.05, 7.2), (0.4, 7.2), (0.05, 72.0), (0.4, 72.0)):
    phases, step = strength * toy, thickness / len(toy)
    grating = image_by("phase_grating", phases, thickness=step)
    errors[strength, thickness] = (
        contrast_error(sine_image(phases), grating),
        contrast_error(grating, image_by("multislice", phases, thickness=step)),
    )
    print(
        f"{strength:8.2f} rad   {thickness:7.1f} Å   {100 * errors[strength, thickness][0]:17.1f} %   {100 * errors[strength, thickness][1]:19.1f} %"
    )
assert errors[0.05, 72.0][0] == errors[0.05, 7.2][0]
assert abs(errors[0.4, 72.0][1] / errors[0.05, 72.0][1] - 1) < 0.05

# %% [markdown] tags=["solution", "blur"]
# **A worked answer.** They are independent. The weak approximation compares $\varphi$ with 1 and does not know $z$ at all: a *thin strong* specimen (a gold atom) breaks it alone. The projection assumption compares $\lambda k^2 t$ with 1 and does not know how strong the layers are: a *thick weak* specimen (a large virus) breaks it alone. Neither column of the table
# minds the other's cause.
#
# Two layers a distance $t$ apart show detail $k$ with the factor $\cos(\pi\lambda k^2t/2)$: 0.568 for 4 Å and 500 Å at 300 kV (U09.5 measures it). It is also the reason why fine detail goes first.

# %% [markdown] tags=["blur"]
# <a id="Q-M09-4"></a>
# ## Why nobody refines with it (yet)
#
# *How would one go about doing 3D reconstruction with these more accurate forward models?* The projection model has a miracle: the transform of a projection **is a slice** of the specimen's transform (U21). So an image is *read out* of the 3D transform, and a reconstruction *puts it back in*. Multislice has no such theorem. Doubling the specimen does not double the image, and every layer depends on all before it. What is
# left is the way of all hard inverse problems: guess a volume, compute its images, compare, and improve the guess along the gradient. Again and again, for every particle and every trial orientation. So what does one image cost?
#
# ### Exercise U10.6 · Count
#
# Count operations for an image of $N = 256^2$ pixels. A fast Fourier transform takes $5N\log_2N$ operations. *Multislice*: two transforms for each of 30 slices (leave out the products). *Slice extraction*: each of $N$ coefficients is interpolated from 8 neighbours at 4 operations each; then one transform leads back to the image. How many times as expensive is multislice?

# %% tags=["blur"]
pixels = 256**2
# BEGIN SOLUTION
transform = 5 * pixels * math.log2(pixels)
ratio = 30 * 2 * transform / (transform + pixels * 8 * 4)
# END SOLUTION
check("U10.6", ratio)

# %% tags=["blur"]
print(
    "what it takes              transforms   operations   the same, for 100 000 particles × 1000 trial orientations at 10¹¹ per second"
)
for name, count, extra in (
    ("a central slice, kept in Fourier space", 0, 32),
    ("a central slice, and back", 1, 32),
    ("phase grating", 2, 40),
    ("multislice, 30 slices", 60, 30 * 14),
    ("  and its gradient", 120, 30 * 30),
):
    operations = count * 5 * pixels * math.log2(pixels) + extra * pixels
    print(f"{name:40s} {count:4d}   {operations:9.1e}   {operations * 1e8 / 1e11 / 86400:10.2f} days")

# %% [markdown] tags=["solution", "blur"]
# About 43 times, and the gradient doubles it. The table's last column is the real obstacle: expectation–maximisation (U18) compares every particle with *thousands* of projections, and there the comparison happens in Fourier space, where a slice needs no transform at all. So the sensible plan is **projection for the search, multislice for the end**: orientations from the linear model, then some
# gradient steps of the accurate model on the final map. Bottlenecks: transforms per slice, the search over poses (which needs a gradient too), and memory, since the way back needs the wave at every slice. The last section does it in the small.

# %% [markdown] tags=["blur"]
# <a id="H10"></a>
# ## Two routes of simulation
#
# Simulated data (U11, U12) are made by either route: *project* the molecule and filter by the CTF, or imitate *physics*, layer by layer, and count $|\psi|^2$. When does it matter? We take the course's molecule (U01), 150 kDa, whole; and a thin piece cut out of its middle. Same atoms, same defocus.

# %% tags=["blur"]
molecule = specimen.hinge()
fine = replace(OPTICS, pixel_size=1.25)


def middle_of(atoms, half):
    """The atoms within so many Å of the middle."""
    inside = atoms.positions[:, 2].abs() < half
    fields = ("positions", "atomic_numbers", "b_factors", "occupancies")
    chosen = {name: getattr(atoms, name)[inside] for name in fields}
    return replace(atoms, **chosen, names=(), residue_names=(), residue_numbers=(), chains=())


def both_routes(atoms):
    """The images by projection and sine CTF, by the phase grating, and by multislice; and the largest phase."""
    slices = torch.stack(list(slices_of_atoms(atoms, size=(144, 144), pixel_size=1.25, slice_thickness=4.0)))
    transfer = lens.contrast_transfer(fine, defocus_of(12000.0), size=(144, 144))
    projected = fourier.to_real(fourier.to_fourier(slices.sum(0)) * transfer, width=144)
    waves = [exit_wave(slices, optics=fine, slice_thickness=4.0, method=name) for name in ("phase_grating", "multislice")]
    grating, physical = (image_of_wave(wave, fine, defocus_of(12000.0)).numpy() for wave in waves)
    return (1 - 2 * SIGMA * projected).numpy(), grating, physical, SIGMA * slices.sum(0).max().item()


for name, atoms in (("thin piece, 12 Å", middle_of(molecule, 6.0)), ("whole molecule", molecule)):
    linear, grating, physical, largest = both_routes(atoms)
    bands = [band_correlation(linear, physical, 1.25, coarse, finest) for coarse, finest in ((100.0, 5.0), (5.0, 3.9))]
    print(f"{name:18s} largest phase {largest:.2f} rad: correlation {bands[0]:.4f} to 5 Å, {bands[1]:.4f} from 5 to 3.9 Å")
    if largest < 0.3:
        assert bands[0] > 0.999

figure, panels = plt.subplots(1, 4, figsize=(15, 4.3), layout="constrained")
for panel, image, title in zip(
    panels,
    (physical, linear - physical, linear - grating, grating - physical),
    ("physical route", "projection − physical", "because it is not weak", "because it is not thin"),
    strict=True,
):
    spread = np.abs(physical - 1).max() * (1.0 if title == "physical route" else 0.15)
    centre = 1.0 if title == "physical route" else 0.0
    panel.imshow(image, cmap="gray", origin="lower", vmin=centre - spread, vmax=centre + spread)
    panel.set(xticks=[], yticks=[], title=title)
plt.show()

# %% [markdown] tags=["blur"]
# *Figure U10.c. The whole molecule in vacuum, by multislice; the difference of the two routes, and the parts of it by cause (on a scale 0.15 times as wide). The strong part is smooth and large, the thick part fine and small.*
#
# So for a single protein to 4 Å **the routes agree to a few percent**, far below the noise of one image. Projection is the right tool to test an algorithm: its truth is exactly what the algorithm assumes. The physical route tests the *assumptions*, and it is the only honest one for thick specimens, heavy atoms, and for what lies around the particle.

# %% [markdown] tags=["blur"]
# <a id="H06"></a>
# ## Thickness in the budget
#
# U09 ends with a budget in which every cause is a factor. Is that allowed, when the causes act one after the other on a wave? Let us test the product against the full thing: a thick specimen of random layers, imaged by multislice through an incoherent lens; and its bars, each computed alone.

# %% tags=["blur"]
poor_gun, plain_lens = Gun(energy_spread_ev=0.9, convergence=1.2e-4), ObjectiveLens()
wide = replace(OPTICS, pixel_size=0.8)
layers = 0.5 * torch.randn(60, 288, 288, generator=torch.Generator().manual_seed(10), dtype=torch.float64)  # V Å: very weak
ideal = fourier.to_fourier(layers.sum(0)) * lens.contrast_transfer(wide, defocus_of(9000.0), size=(288, 288))
wave = exit_wave(layers, optics=wide, slice_thickness=5.0)
seen = image_of_wave(wave, wide, defocus_of(9000.0), gun=poor_gun, lens=plain_lens)
found = fourier.to_fourier((1 - seen) / (2 * SIGMA))
k = frequency_radius((288, 288), pixel_size=0.8, dtype=torch.float64)


def bars_at(resolution, thickness):
    """What each cause leaves at a resolution, each computed alone."""
    frequency = torch.tensor(1 / resolution, dtype=torch.float64)
    return {
        "energy spread": temporal_envelope(frequency, optics=wide, gun=poor_gun, lens=plain_lens).item(),
        "convergence": spatial_envelope(frequency, optics=wide, defocus=defocus_of(9000.0), gun=poor_gun).item(),
        "thickness": float(np.sinc(wide.wavelength * thickness / (2 * resolution**2))),
    }


print("resolution   product of the bars   full simulation")
for resolution in (6.0, 4.5, 3.6, 3.0):
    ring = (k * resolution - 1).abs() < 0.03
    measured = ((found * ideal.conj()).real[ring].sum() / (ideal.abs() ** 2)[ring].sum()).item()
    product = math.prod(bars_at(resolution, 300.0).values())
    print(f"{resolution:8.1f} Å   {product:17.3f}   {measured:15.3f}")
    assert abs(product - measured) < 0.02


def draw_bars(resolution, thickness):
    """The bars of a thick specimen, and their product."""
    shares = bars_at(resolution, thickness)
    names, values = [*shares, "product"], [*shares.values(), math.prod(shares.values())]
    figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
    axes.barh(names[::-1], values[::-1], color=["C3", "C0", "C0", "C0"])
    axes.axvline(0, color="k", lw=0.8)
    axes.set(xlim=(-0.3, 1), xlabel=f"what is left of the signal at {resolution:.1f} Å, specimen {thickness:.0f} Å thick")
    return figure


bars = exploration(
    draw_bars,
    resolution=Slider(1.5, 8.0, 3.0, step=0.1, label="resolution (Å)"),
    thickness=Slider(20.0, 2000.0, 300.0, step=20.0, label="thickness (Å)"),
)
bars

# %% [markdown] tags=["blur"]
# *Figure U10.d. Three bars and their product. Thickness is the odd one: its factor $\operatorname{sinc}(\lambda k^2t/2)$, the mean of $\cos(\pi\lambda k^2z)$ over the depth, can be negative. Then most layers show that detail with the wrong sign.*
#
# The table agrees, because everything here is linear in the specimen, and what is linear multiplies. The thickness's bar is also the one that can be *won back*: the layers know where they are, and a reconstruction that gives each point its own defocus (Ewald-sphere correction, U09) has it for free. The other two bars are lost.
#
# ### In your own words

# %% tags=["blur"]
# BEGIN SOLUTION
answer = "A protein is a weak phase object, so errors go with the square of a small phase; how thick it is limits resolution separately."
# END SOLUTION
explain("U10.words", answer)

# %% [markdown] tags=["sharpen"]
# ## Sharpen: the step
#
# Write the wave as $\psi(x,y,z)\,e^{2\pi iz/\lambda}$ and put it into the Schrödinger equation. The fast electron hardly turns back, so drop $\partial_z^2\psi$:
# $$ \frac{\partial\psi}{\partial z} = \Big[\underbrace{\frac{i\lambda}{4\pi}\nabla_{xy}^2}_{\text{free space}} + \underbrace{i\sigma V(x,y,z)}_{\text{potential}}\Big]\psi . $$
# Either bracket alone is solved exactly. The potential alone multiplies by $e^{i\sigma\int V dz}$. Free space alone is simple in Fourier space, where $\nabla^2\to-4\pi^2k^2$: it multiplies the spectrum by $e^{-i\pi\lambda\,\Delta z\,k^2}$. Both together do not commute, but over a thin slice one after the other is right to second order in its thickness. That is multislice
# (Cowley & Moodie 1957): **transmit, propagate, repeat**.
#
# ### Exercise U10.2 · One slice
#
# Write the step with numpy: the wave (complex array), the phase of the slice (rad), the space behind it (Å). Wavelength and pixel size are `OPTICS.wavelength` and `OPTICS.pixel_size`.


# %% tags=["sharpen"]
def step(wave, phase, distance):
    # BEGIN SOLUTION
    height, width = wave.shape
    ky, kx = np.fft.fftfreq(height, OPTICS.pixel_size)[:, None], np.fft.fftfreq(width, OPTICS.pixel_size)
    free_space = np.exp(-1j * np.pi * OPTICS.wavelength * distance * (kx**2 + ky**2))
    return np.fft.ifft2(np.fft.fft2(wave * np.exp(1j * phase)) * free_space)
    # END SOLUTION


check("U10.2", step)

# %% [markdown] tags=["sharpen"]
# ### Where power goes
#
# Both factors have modulus one: the step is *unitary*, and $\sum|\psi|^2$ stays. A computer adds a nuisance. The product of two functions with frequencies up to Nyquist has frequencies up to twice that, which fold back (U06). The cure: cut the spectrum at ⅔ of Nyquist after each slice. What folds then falls onto what is cut. So power *is* lost: exactly what was cut, and no more. The library keeps account of it.

# %% tags=["sharpen"]
strong = torch.from_numpy(0.4 * toy / SIGMA)
kept = multislice_by_definition(strong.unbind(0), optics=OPTICS, slice_thickness=SLICE)
power = (kept.wave.abs() ** 2).mean().item()
print(f"band limit {1 / band_limit(OPTICS):.2f} Å; power left {power:.12f}; 1 − what was cut {1 - kept.removed.item():.12f}")
assert abs(power - (1 - kept.removed.item())) < 1e-12

slow = np.ones((128, 128), dtype=complex)
for phase in 0.4 * toy:
    slow = step(slow, phase, SLICE)
slow = step(slow, np.zeros_like(toy[0]), -(len(toy) + 1) / 2 * SLICE)  # back to the middle of the specimen
difference = np.linalg.norm(slow - kept.wave.numpy()) / np.linalg.norm(slow - 1)
print(
    f"your step, {len(toy)} times, without a band limit, differs from the library by {100 * difference:.2f} % of what is scattered"
)
assert difference < 0.01

# %% [markdown] tags=["sharpen"]
# <a id="Q-M09-2"></a>
# ## The sine and the wave
#
# *What is the difference between this and the sin CTF that is often used?* Take a thin specimen, so that only the weak approximation is at stake. Behind the lens, whose phase is $\chi(k)$,
# $$ \psi = \mathcal F^{-1}\big[e^{i\chi}\,\mathcal F(e^{i\varphi})\big],\qquad e^{i\varphi} = 1 + i\varphi - \tfrac12\varphi^2 + \dots $$
# $$ |\psi|^2 = 1 \;\underbrace{-\,2\,\mathcal F^{-1}[\sin\chi\,\mathcal F\varphi]}_{\text{the sine CTF}} \;+\; \underbrace{|\varphi*h|^2 - \operatorname{Re}(\varphi^2 * h)}_{\text{what it leaves out}} + \dots $$
# with $h=\mathcal F^{-1}e^{i\chi}$. The rest is of second order. So doubling the phase makes the difference **four** times as large, and relative to the contrast twice.
#
# ### Exercise U10.3 · Two images of one object
#
# `chi` is given on the full spectrum in the order of `np.fft.fft2`. Return the pair (image by the complex transfer, image by the sine), both protein dark with mean near 1.


# %% tags=["sharpen"]
def two_images(phase, chi):
    # BEGIN SOLUTION
    behind = np.fft.ifft2(np.fft.fft2(np.exp(1j * phase)) * np.exp(1j * chi))
    return np.abs(behind) ** 2, 1 - 2 * np.fft.ifft2(np.fft.fft2(phase) * np.sin(chi)).real
    # END SOLUTION


check("U10.3", two_images)

# %% tags=["sharpen"]
ky, kx = np.fft.fftfreq(128, OPTICS.pixel_size)[:, None], np.fft.fftfreq(128, OPTICS.pixel_size)
chi = lens.aberration_phase(torch.from_numpy(kx), torch.from_numpy(ky), optics=OPTICS, defocus=defocus_of(UNDERFOCUS)).numpy()
print("largest phase   largest difference   over the largest contrast   that, over the phase")
differences = []
for strength in (0.01, 0.05, 0.1, 0.2, 0.4):
    whole, linear = two_images(strength * toy.sum(0), chi)
    differences.append(np.abs(whole - linear).max())
    relative = differences[-1] / np.abs(linear - 1).max()
    print(f"{strength:10.2f} rad   {differences[-1]:18.2e}   {100 * relative:23.2f} %   {relative / strength:20.2f}")
assert abs(differences[3] / differences[2] - 4) < 0.2
assert differences[0] < 0.004 * 2 * 0.01

# %% [markdown] tags=["solution", "sharpen"]
# A single protein has phases of 0.1 to 0.6 rad where many atoms lie above one another, and much less on average: the sine is wrong by some percent of the contrast, mostly at *low* resolution, where $\varphi^2$ lives. Use the complex transfer for strong or thick specimens, for those that absorb, with a tilted beam, and in every simulation that is to be measured against; trust the sine where the term
# linear in $\varphi$ dominates, which is all of single-particle processing.
#
# ## Band by band
#
# Now the other simplification. Compare images by multislice and by projection (a phase grating of the same strength, so that the weak approximation cancels) in a band of resolution.
#
# ### Exercise U10.4 · A correlation in a band
#
# Write the Fourier correlation of two real images in the band from `coarse` to `fine` (Å): $\operatorname{Re}\sum F_1F_2^*\big/\sqrt{\sum|F_1|^2\sum|F_2|^2}$ over the $k$ between $1/\text{coarse}$ and $1/\text{fine}$.


# %% tags=["sharpen"]
def correlation(first, second, pixel_size, coarse, fine):
    # BEGIN SOLUTION
    ky, kx = np.fft.fftfreq(first.shape[0], pixel_size)[:, None], np.fft.fftfreq(first.shape[1], pixel_size)
    radius = np.sqrt(kx**2 + ky**2)
    band = (radius > 1 / coarse) & (radius < 1 / fine)
    one, other = np.fft.fft2(first)[band], np.fft.fft2(second)[band]
    return (one * other.conj()).real.sum() / np.sqrt((np.abs(one) ** 2).sum() * (np.abs(other) ** 2).sum())
    # END SOLUTION


check("U10.4", correlation)

# %% tags=["sharpen"]
print("largest phase   20–10 Å   10–5 Å    5–3 Å    3–2.3 Å")
in_band = []
for strength in (0.05, 0.4):
    thick, thin = (image_by(method, strength * toy) for method in ("multislice", "phase_grating"))
    row = [correlation(thick, thin, OPTICS.pixel_size, *band) for band in ((20, 10), (10, 5), (5, 3), (3, 2.3))]
    in_band.append(row[2])
    print(f"{strength:10.2f} rad   " + "   ".join(f"{value:.4f}" for value in row))
print(f"sinc(λk²t/2) at 4 Å for {len(toy) * SLICE:.0f} Å: {np.sinc(OPTICS.wavelength * 72 / 2 / 16):.4f}")
assert abs(in_band[0] - in_band[1]) < 0.002
assert abs(in_band[0] - 0.998) < 0.002

# %% [markdown] tags=["solution", "sharpen"]
# The rows agree: eight times the strength, the same cost. And it is all in the fine bands, as $\lambda k^2t$ says.
#
# ## Backwards through the specimen
#
# To reconstruct through multislice one needs the slope of a loss, say $L=\sum(|\psi|^2-T)^2$ with the target image $T$, with respect to *every pixel of every slice*: a million numbers. Small steps would take a million simulations. The **adjoint** takes one way back. Let $u_j$ be the wave right behind the transmission of slice $j$, and $\lambda$ the sensitivity, defined by $dL=\operatorname{Re}\sum\lambda^*d\psi$. At the end
# $\lambda=4(|\psi|^2-T)\psi$. Each step of the way forth has its mirror image:
#
# | forth | back |
# |---|---|
# | space: $\psi\to\mathcal F^{-1}P\mathcal F\psi$ | $\lambda\to\mathcal F^{-1}P^*\mathcal F\lambda$ |
# | slice: $\psi\to e^{i\varphi}\psi=u$ | $\partial L/\partial\varphi=\operatorname{Im}(\lambda u^*)$, then $\lambda\to e^{-i\varphi}\lambda$ |
#
# ### Exercise U10.5 · The gradient by hand
#
# `phases` `[slices, h, w]`, `target` `[h, w]`, `propagator` on the full spectrum, behind every slice (the last one too). The wave comes in as 1. Return the gradient, in the shape of the phases.


# %% tags=["sharpen"]
def gradient(phases, target, propagator):
    # BEGIN SOLUTION
    wave, behind = np.ones(target.shape, dtype=complex), []
    for phase in phases:
        behind.append(wave * np.exp(1j * phase))
        wave = np.fft.ifft2(np.fft.fft2(behind[-1]) * propagator)
    sensitivity = 4 * (np.abs(wave) ** 2 - target) * wave
    result = np.zeros(phases.shape)
    for j in reversed(range(len(phases))):
        sensitivity = np.fft.ifft2(np.fft.fft2(sensitivity) * propagator.conj())
        result[j] = (sensitivity * behind[j].conj()).imag
        sensitivity = sensitivity * np.exp(-1j * phases[j])
    return result
    # END SOLUTION


check("U10.5", gradient)

# %% [markdown] tags=["sharpen"]
# torch does the same by itself: it records the way forth and walks it back. Memory is the price: the wave at every slice is kept.
#
# ## A reconstruction without a slice theorem
#
# A volume of 16³ voxels, strong and thick in its own measure: pixels of 1.4 Å, but slices 12 Å apart, at 100 kV. Sixteen views from all sides, whose orientations we know. Their images are made by multislice, and we go down the gradient twice: with the true model, and with the linear one.

# %% tags=["sharpen"]
tiny = replace(OPTICS, pixel_size=1.4, voltage_kv=100.0)
tiny_sigma = 9.24396e-4  # rad/(V Å) at 100 kV
random = torch.Generator().manual_seed(5)
axis = torch.arange(16, dtype=torch.float64) - 7.5
truth = torch.zeros(16, 16, 16, dtype=torch.float64)
for place in 8.0 * torch.rand(14, 3, generator=random, dtype=torch.float64) - 4.0:
    x, y, z = (torch.exp(-((axis - at) ** 2) / (2 * 0.9**2)) for at in place)
    truth += 0.45 * z[:, None, None] * y[:, None] * x
rotations = random_rotations(16, generator=random)


def views(volume):
    """The volume as the beam meets it, in every orientation."""
    return torch.stack([rotate_volume(volume, rotation) for rotation in rotations])


def images_of(volume, method):
    """The images of a volume of phases (rad per slice), at two defoci each."""
    wave = exit_wave(views(volume) / tiny_sigma, optics=tiny, slice_thickness=12.0, method=method)
    return torch.stack([image_of_wave(wave, tiny, defocus_of(value)) for value in (300.0, 700.0)])


def reconstructed(measured, method, rounds=60):
    """Gradient descent from an empty volume; a step that would raise the loss is halved until it does not."""
    volume, rate = torch.zeros_like(truth), 4.0
    losses = [((images_of(volume, method) - measured) ** 2).mean().item()]
    for _ in range(rounds):
        volume.requires_grad_()
        loss = ((images_of(volume, method) - measured) ** 2).mean()
        (slope,) = torch.autograd.grad(loss, volume)
        volume = volume.detach()
        while rate > 1e-6:
            trial = volume - rate * slope * measured[0].numel() / 100
            new = ((images_of(trial, method) - measured) ** 2).mean().item()
            if new < losses[-1]:
                volume, rate = trial, 1.3 * rate
                losses.append(new)
                break
            rate /= 2
    return volume, losses


measured = images_of(truth, "multislice")
results = {method: reconstructed(measured, method) for method in ("multislice", "weak_phase")}
figure, panels = plt.subplots(1, 4, figsize=(15, 3.9), layout="constrained")
for method, (volume, losses) in results.items():
    error = ((volume - truth).norm() / truth.norm()).item()
    print(
        f"{method:11s} loss {losses[0]:.1e} → {losses[-1]:.1e} in {len(losses) - 1} steps; error of the volume {100 * error:.0f} %"
    )
    panels[0].semilogy(losses, label=method)
    assert all(later < earlier for earlier, later in pairwise(losses))
panels[0].set(xlabel="step", ylabel="loss")
panels[0].legend()
for panel, volume, title in zip(
    panels[1:],
    (truth, results["multislice"][0], results["weak_phase"][0]),
    ("truth", "by multislice", "by the linear model"),
    strict=True,
):
    panel.imshow(volume.sum(0), cmap="gray", origin="lower", vmin=-0.2, vmax=float(truth.sum(0).max()))
    panel.set(xticks=[], yticks=[], title=title)
plt.show()
assert results["multislice"][1][-1] < 0.1 * results["weak_phase"][1][-1]

# %% [markdown] tags=["sharpen"]
# *Figure U10.e. Both losses fall at every step, but the linear model's stays where its own error is; the other goes on. Projections of the truth and of both results, on one scale.*
#
# What was left out: noise, unknown orientations, and size. Each of them is a factor of a thousand. This is why the question *"could we do without projection?"* has the answer *"not for the search; perhaps for the last Ångström"*.
#
# ## What to take along
#
# - Weak and thin are two assumptions. Strength breaks the one, thickness the other, and neither knows of its sister.
# - The sine CTF errs in second order of the phase; projection errs with $\lambda k^2t$, finest detail first.
# - Multislice is two exact steps in turn, and loses only what its band limit cuts.
# - There is no slice theorem for it. There is a gradient, for the price of two simulations.
