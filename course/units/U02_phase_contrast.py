# %% [markdown]
# # U02 Phase contrast from defocus
#
# **Question.** A protein in ice is as transparent as glass to a 300 kV electron. Why do we see it at all, and why only out of focus?
#
# **What you need.** Complex numbers on the unit circle (U00). For *sharpen*: the Taylor series, and one look at the Fourier transform (U03 may come later: a grating is enough here).
#
# **What you will be able to do.**
#
# - say why a perfect phase object is invisible at focus, with two arrows and no formula;
# - switch on, one by one, what stands between the potential and the picture, and say what each layer adds;
# - say where the atomic number enters, and where it does not;
# - explain why the CTF has zeros and measured Thon rings have none;
# - derive the contrast transfer function in six lines (*sharpen*), and say when "small" stops being small (*sharpen*).
#
# About 75 minutes. *Blur*: two arrows, the layers, atoms, Thon's minima. *Sharpen*: the derivation, where it breaks down, thick samples, the budget.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.special import j0

from cryowalk import Defocus, Optics, fourier, microscope
from cryowalk.core.constants import electron_wavelength, interaction_constant
from cryowalk.course import Choice, Slider, check, explain, exploration, parameters, predict, prediction
from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.microscope import beam_motion, damage, exposure, gun, image_formation, lens, limits, scattering, specimen, support

torch.set_num_threads(1)
OPTICS = Optics(pixel_size=1.5, voltage_kv=300.0, spherical_aberration_mm=2.7, amplitude_contrast=0.0)


def defocus_of(mean):
    """The defocus of one image without astigmatism, Å."""
    value, zero = torch.tensor([mean], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    return Defocus(major=value, minor=value, azimuth=zero, phase_shift=zero)


def chi_of(k, defocus, *, optics=OPTICS):
    """χ = πλ(Δf k² − ½ Cs λ² k⁴), rad: k in 1/Å, the rest in Å."""
    wavelength = optics.wavelength
    return np.pi * wavelength * (defocus * k**2 - 0.5 * optics.spherical_aberration * wavelength**2 * k**4)


# %% [markdown] tags=["blur"]
# ## A guess to begin with
#
# Take a sheet of glass with gentle ripples, one every 20 Å. It absorbs nothing; where it is thicker, the wave comes out a little *ahead* (for electrons: a positive potential makes the wavelength shorter). That is a **phase grating**. You image it with a perfect lens. **Where do you see the ripples best?** (a) exactly at focus; (b) somewhat out of focus; (c) nowhere, it is transparent.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_guess = "b"
# END SOLUTION
predict("U02.opening", my_guess, options=("a", "b", "c"))

# %% [markdown] tags=["blur"]
# And a number, before you compute anything. *Contrast* is (brightest − darkest) / (brightest + darkest).
#
# ### Exercise U02.1 · At focus
#
# What is the contrast of this pure phase grating **exactly at focus**?

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
contrast_at_focus = 0.0
# END SOLUTION
predict("U02.1", contrast_at_focus)
check("U02.1", contrast_at_focus)

# %% [markdown] tags=["blur"]
# ## Two arrows
#
# Behind the specimen there are two waves. One went straight through: the **unscattered** wave, an arrow of length 1. The other was **scattered**: a short arrow of length $\varepsilon$. The camera sees the square of the length of their sum. Nothing else.
#
# A phase object turns the whole arrow a little without changing its length: $e^{i\varphi} \approx 1 + i\varphi$. So the short arrow stands **at a right angle** to the long one. A right angle is the one direction that does not change the length (to first order). That is the whole problem, and it also shows the cure: *turn the short arrow*. Half of a quarter turn, and part of it points along the long one.
#
# Out of focus the scattered wave has run another way than the straight one, and comes with an additional angle $\chi$. Move the slider.

# %% tags=["blur"]
SPACING = 20.0  # Å, of the grating
STRENGTH = 0.15  # rad, the phase of its crests


def grating_image(defocus, *, spacing=SPACING, strength=STRENGTH, samples=256):
    """Two periods of a phase grating and its exact image at this underfocus (Å): wave, lens, modulus squared."""
    place = np.arange(samples) / samples * 2 * spacing
    wave = np.exp(1j * strength * np.cos(2 * np.pi * place / spacing))
    k = np.fft.fftfreq(samples, 2 * spacing / samples)
    return place, np.abs(np.fft.ifft(np.fft.fft(wave) * np.exp(1j * chi_of(k, defocus)))) ** 2


def contrast_of(intensity):
    """(brightest − darkest) / (brightest + darkest)."""
    return (intensity.max() - intensity.min()) / (intensity.max() + intensity.min())


def draw_arrows(underfocus, spacing):
    """The two arrows at a crest of the grating, the picture, and the contrast against defocus."""
    chi = float(chi_of(1 / spacing, underfocus))
    scattered = 1j * STRENGTH * np.exp(1j * chi)
    figure, (arrows, picture, meter) = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained", width_ratios=(1.1, 1.3, 1.3))
    turn = np.linspace(0, 2 * np.pi, 400)
    arrows.plot(np.cos(turn), np.sin(turn), "0.85")
    arrows.annotate("", (1, 0), (0, 0), arrowprops={"arrowstyle": "-|>", "color": "C0", "lw": 2})
    arrows.annotate("", (1 + scattered.real, scattered.imag), (1, 0), arrowprops={"arrowstyle": "-|>", "color": "C1", "lw": 3})
    arrows.plot([0, 1 + scattered.real], [0, scattered.imag], "k", lw=1)
    arrows.set(xlim=(0.55, 1.3), ylim=(-0.3, 0.3), aspect="equal", title=f"χ = {math.degrees(chi):.0f}°", xticks=[], yticks=[])
    arrows.text(0.57, 0.25, f"length² at a crest: {abs(1 + scattered) ** 2:.3f}")
    place, intensity = grating_image(underfocus, spacing=spacing)
    picture.imshow(np.tile(intensity, (60, 1)), cmap="gray", vmin=0.6, vmax=1.4, aspect="auto", extent=(0, 2 * spacing, 0, 1))
    picture.plot(place, 0.5 + 0.4 * np.cos(2 * np.pi * place / spacing), "C0", lw=1, label="phase of the specimen")
    picture.plot(place, 0.5 + (intensity - 1), "C1", lw=2, label="picture")
    picture.set(xlabel="place (Å)", yticks=[], ylim=(0, 1), title=f"contrast {contrast_of(intensity):.3f}")
    picture.legend(fontsize=8, loc="upper right")
    across = np.linspace(0, 30000, 301)
    meter.plot(across / 1e4, [contrast_of(grating_image(value, spacing=spacing)[1]) for value in across], "0.3")
    meter.plot(underfocus / 1e4, contrast_of(intensity), "C1o", ms=9)
    meter.set(xlabel="underfocus (µm)", ylabel="contrast", ylim=(0, 0.42))
    return figure


arrows_player = exploration(
    draw_arrows,
    underfocus=Slider(0, 30000, 6000, step=500, label="underfocus (Å)"),
    spacing=Slider(8, 60, 20, step=2, label="spacing (Å)"),
)
arrows_player

# %% [markdown] tags=["blur"]
# *Figure U02.a. Left: the unscattered wave (blue), the scattered one (orange) and their sum, at a crest of the grating. Middle: the picture. Right: contrast against underfocus. At zero the arrows stand at a right angle.*
#
# Things to find: the contrast is largest where the orange arrow lies along the blue one; it is zero again when it has made half a turn more, and then the stripes have changed places (crests bright instead of dark). A finer grating turns faster: its scattered wave runs at a steeper angle. That is the CTF, one spacing at a time.

# %% tags=["blur"]
answer_at_focus = contrast_of(grating_image(0.0)[1])
k_grating = 1 / SPACING
best = max(np.linspace(0, 15000, 3001), key=lambda value: contrast_of(grating_image(value)[1]))
quarter_turn = (math.pi / 2) / (math.pi * OPTICS.wavelength * k_grating**2) + 0.5 * OPTICS.spherical_aberration * (
    OPTICS.wavelength * k_grating
) ** 2
print(f"you said ({prediction('U02.opening')}); contrast at focus, where only Cs turns the arrow: {answer_at_focus:.1e}")
print(f"best underfocus for {SPACING:.0f} Å: {best:.0f} Å; a quarter turn is reached at {quarter_turn:.0f} Å")
assert contrast_of(np.abs(np.exp(1j * STRENGTH * np.cos(np.linspace(0, 6, 99)))) ** 2) < 1e-6
assert abs(best - quarter_turn) < 300

# %% [markdown] tags=["blur"]
# (The number printed for focus is not quite zero: "Δf = 0" leaves the spherical aberration, which turns the arrow a little. A lens with $\chi = 0$ for all spacings gives none at all; the assertion below it checks that.)
#
# <a id="H01"></a>
# ## Layer by layer: what each stage adds
#
# Between the molecule and the numbers of the camera stand a few stages. Switch them on one at a time. With everything off you see the **bare projection** of the potential, $\int V\,dz$, which is what we would like to measure.
#
# - *scattering*: off, the projection itself; on, a wave $e^{i\sigma v}$, whose phase is the projection times $\sigma$ (and whose intensity, on its own, is blank);
# - *lens*: the wave's spectrum times $e^{i\chi}$, then the intensity;
# - *dose*: electrons are counted, one by one;
# - *camera*: pixels have a size, and so an MTF.

# %% tags=["blur"]
box, voxel_size = 128, 1.5
molecule = microscope.potential(microscope.hinge(), box=box, voxel_size=voxel_size)
projection = molecule.voxels.double().sum(0) * voxel_size  # V Å
field = fourier.resize(projection, 256)  # room for what the lens spreads


def formed(potential, *, with_lens, underfocus, dose=None, with_camera=False, with_scattering=True):
    """The picture after the chosen layers, as a protein-bright image in V Å (0 where there is nothing)."""
    if not with_scattering:
        return potential  # nothing interacts: we may as well look at the object
    wave = scattering.exit_wave(potential[None], optics=OPTICS, slice_thickness=1.0, method="phase_grating")
    if with_lens:
        intensity = image_formation.image_of_wave(wave, OPTICS, defocus_of(underfocus)).reshape(potential.shape)
    else:
        intensity = wave.abs() ** 2
    shown_dose = dose or 1.0
    counts = intensity * exposure.electrons_per_pixel(OPTICS, dose=shown_dose)
    if dose:
        counts = torch.poisson(counts, generator=torch.Generator().manual_seed(2))
    if with_camera:
        kx, ky = fourier.frequency_grid(potential.shape, pixel_size=1.0, like=counts)
        counts = fourier.to_real(fourier.to_fourier(counts) * torch.sinc(kx) * torch.sinc(ky), width=counts.shape[-1])
    return exposure.images_of_counts(counts, OPTICS, dose=shown_dose)


def draw_layers(interaction, lens_layer, dose_layer, camera_layer, underfocus):
    """The picture with the layers that are on, beside the bare projection."""
    picture = formed(
        field,
        with_scattering=interaction == "on",
        with_lens=lens_layer == "on",
        dose=40.0 if dose_layer == "on" else None,
        with_camera=camera_layer == "on",
        underfocus=underfocus,
    )
    figure, (left, right, below) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    left.imshow(fourier.resize(field, 160), cmap="gray")
    left.set(title="bare projection (V Å)", xticks=[], yticks=[])
    shown = fourier.resize(picture, 160)
    right.imshow(shown, cmap="gray", vmin=min(float(shown.min()), -1.0), vmax=max(float(shown.max()), 1.0))
    right.set(title="after the layers that are on", xticks=[], yticks=[])
    for image, colour, name in ((field, "C0", "bare projection"), (picture, "C1", "with the layers")):
        below.plot(np.arange(256) * voxel_size, image[128], colour, lw=1, label=name)
    below.set(xlabel="place (Å)", ylabel="V Å", title="the middle row")
    below.legend(fontsize=8)
    return figure


layers = exploration(
    draw_layers,
    interaction=Choice(("on", "off"), label="scattering"),
    lens_layer=Choice(("on", "off"), label="lens"),
    dose_layer=Choice(("off", "on"), label="dose (40 e⁻/Å²)"),
    camera_layer=Choice(("off", "on"), label="camera"),
    underfocus=Slider(0, 30000, 12000, step=1000, label="underfocus (Å)"),
)
layers

# %% [markdown] tags=["blur"]
# *Figure U02.b. The image formation model as a stack of layers; pictures are shown protein-bright, as particle images are stored. Scattering on and lens off shows an empty field: the wave carries the molecule in its phase, and a camera is blind to it.*

# %% tags=["blur"]
bare = formed(field, with_scattering=False, with_lens=False, underfocus=0.0)
blank = formed(field, with_lens=False, underfocus=0.0)
print(f"all layers off: largest difference from the projection {float((bare - field).abs().max()):.0e} V Å")
print(f"scattering without a lens: largest value {float(blank.abs().max()):.0e} V Å of {float(field.max()):.0f}")
assert float((bare - field).abs().max()) < 1e-10
assert float(blank.abs().max()) < 1e-9 * float(field.max())

# %% [markdown] tags=["blur"]
# <a id="Q-M01S-4"></a>
# ## Where is the atomic number?
#
# *Where does the atomic number of the sample come into the equations?* Nowhere visibly: the wave knows a potential $V$, and a voltage is a voltage, whoever makes it. $Z$ is hidden in it. Every atom is a nucleus of charge $+Z$ with $Z$ electrons around it, and what a passing electron feels is the difference. Its Fourier transform is the **electron scattering factor** $f_e(k)$, which stands in the tables.
#
# ### Exercise U02.7 · Who scatters most, forward?
#
# Forward means $k=0$: $f_e(0)$ is (up to a constant) the integral of the atom's potential. Carbon has $Z=6$, nitrogen 7, oxygen 8. Put them in order, strongest first, *before* you look.

# %% tags=["predict", "blur"]
# BEGIN SOLUTION
my_order = ("C", "N", "O")
# END SOLUTION
predict("U02.7", " > ".join(my_order))

# %% tags=["blur"]
prediction("U02.7")
ELEMENTS = {"H": 1, "C": 6, "N": 7, "O": 8, "P": 15, "S": 16, "Fe": 26, "Au": 79}
frequencies = torch.linspace(0, 4, 401, dtype=torch.float64)
factors = {name: specimen.scattering_factor(number, frequencies).numpy() for name, number in ELEMENTS.items()}
VOLT = specimen.VOLT_PER_SCATTERING_FACTOR  # V Å² for each Å of scattering factor


def phase_of_atom(name, distance, *, b_factor=10.0):
    """The phase (rad, 300 kV) by which one atom, blurred by its B-factor, advances the wave that passes at a distance (Å)."""
    k = frequencies.numpy()
    integrand = factors[name] * np.exp(-b_factor * k**2 / 4) * 2 * np.pi * k * j0(2 * np.pi * np.outer(distance, k))
    return interaction_constant(300) * VOLT * np.trapezoid(integrand, k, axis=-1)


def draw_atom(name):
    """Scattering factors of all elements with one picked out, and the phase of that atom."""
    figure, (left, right, table) = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    for other, factor in factors.items():
        left.semilogy(
            frequencies, factor, "C1" if other == name else "0.75", lw=3 if other == name else 1, zorder=3 if other == name else 1
        )
        if other == name or other not in {"N", "O", "S", "Fe"}:
            left.text(0.02, factor[0] * 1.05, other, fontsize=8)
    left.set(xlabel="k (1/Å)", ylabel="$f_e$ (Å)", title="electron scattering factors", ylim=(0.02, 15))
    distance = np.linspace(0, 2.5, 101)
    right.plot(distance, 1e3 * phase_of_atom("C", distance), "0.6", label="C")
    right.plot(distance, 1e3 * phase_of_atom(name, distance), "C1", label=name)
    right.set(xlabel="distance from the atom (Å)", ylabel="phase (mrad)", title="one atom, B = 10 Å², 300 kV")
    right.legend()
    charge = np.arange(1, 21)
    forward = [float(specimen.scattering_factor(int(z), torch.zeros((), dtype=torch.float64))) for z in charge]
    table.plot(charge, forward, "o-", color="0.6")
    if ELEMENTS[name] <= 20:
        table.plot(ELEMENTS[name], forward[ELEMENTS[name] - 1], "C1o", ms=10)
    table.set(xlabel="atomic number Z", ylabel="$f_e(0)$ (Å)", title="forward: not monotonic in Z", xticks=range(0, 21, 2))
    return figure


picker = exploration(draw_atom, name=Choice(("O", "H", "C", "N", "P", "S", "Fe", "Au"), label="atom"))
picker

# %% tags=["blur"]
for name, factor in factors.items():
    print(f"{name:2s} Z = {ELEMENTS[name]:2d}: f_e(0) = {factor[0]:6.3f} Å, f_e(4 Å⁻¹) = {factor[-1]:.4f} Å")
check("U02.7", my_order)

# %% [markdown] tags=["blur"]
# *Figure U02.c. Left: scattering factors; the picked atom in orange. Middle: the phase that one such atom gives to the wave. Right: forward scattering of the first twenty elements. The peaks are the alkali metals with their one far-out electron.*
#
# Carbon beats oxygen forward, though its nucleus is smaller: oxygen holds its electrons tighter, so its charge is screened better and its potential reaches less far. **At small angles $f_e$ tells the size of the atom, not its charge.** At large angles (close passage, inside the shells) the nucleus shows, and ratios tend to those of $Z$. Between hydrogen and gold the phases at low resolution differ by a factor of twenty, not seventy-nine.
#
# This is why protein (about 6 V) has so little contrast in ice (3.6 V): nearly the same atoms, packed a little tighter.

# %% tags=["blur"]
ratio = factors["Au"][-1] / factors["C"][-1]
print(f"gold over carbon: {factors['Au'][0] / factors['C'][0]:.1f} forward, {ratio:.1f} at 4 Å⁻¹, Z ratio {79 / 6:.1f}")
gold, protein = 100 * support.gold_mean_inner_potential() * interaction_constant(300), 100 * 2.5 * interaction_constant(300)
print(f"100 Å of gold turn the wave by {gold:.2f} rad, 100 Å of protein in ice by about {protein:.2f}")
assert factors["C"][0] > factors["N"][0] > factors["O"][0] > factors["H"][0]
assert abs(ratio / (79 / 6) - 1) < 0.35

# %% [markdown] tags=["blur"]
# <a id="Q-M01S-2"></a>
# ## Zeros that nobody has ever seen
#
# *At certain points the CTF seems to oscillate to zeros. Is this observed in practice?* Look at the power spectrum of a real micrograph of carbon film: dark rings, but never black. What fills them? Switch things on, one by one.


# %% tags=["blur"]
def ring_power(k, underfocus, *, amplitude_contrast=0.0, noise=0.0, focus_spread=0.0, thickness=0.0):
    """The power spectrum of a film whose own spectrum is flat (1), at frequencies k.

    Energies and voltages spread the focus: amplitudes are averaged over them. Layers of a thick film are different objects: powers are averaged. Noise adds its own power.
    """
    total = chi_of(k, underfocus) + math.asin(amplitude_contrast)
    envelope = np.exp(-0.5 * (math.pi * OPTICS.wavelength * focus_spread) ** 2 * k**4)
    layers = 0.5 * (1 - np.sinc(OPTICS.wavelength * k**2 * thickness) * np.cos(2 * total))
    return envelope**2 * layers + noise


def draw_minima(amplitude_contrast, focus_spread, thickness, noise):
    """Thon rings of carbon at 1 µm underfocus: the ideal ones, and with what is switched on."""
    k = np.linspace(0.001, 0.33, 3000)
    figure, axes = plt.subplots(figsize=(9, 3.8), layout="constrained")
    axes.plot(k, ring_power(k, 10000.0), "0.8", label="ideal: sin²χ")
    power = ring_power(
        k, 10000.0, amplitude_contrast=amplitude_contrast, noise=noise, focus_spread=focus_spread, thickness=thickness
    )
    axes.plot(k, power, "C1", label="with what is on")
    axes.axhline(noise, color="k", ls=":", label="power of the noise")
    if thickness:
        node = 1 / math.sqrt(OPTICS.wavelength * thickness)
        if node < k[-1]:
            axes.axvline(node, color="C2", ls="--", label="rings vanish")
    axes.set(xlabel="k (1/Å)", ylabel="power (the film's own = 1)", ylim=(0, 1.8), xlim=(0, 0.33))
    axes.legend(fontsize=8, loc="upper right", ncols=2)
    return figure


minima = exploration(
    draw_minima,
    amplitude_contrast=Slider(0.0, 0.3, 0.1, step=0.02, label="amplitude contrast"),
    focus_spread=Slider(0.0, 300.0, 60.0, step=20.0, label="focus spread (Å)"),
    thickness=Slider(0.0, 2000.0, 0.0, step=100.0, label="thickness (Å)"),
    noise=Slider(0.0, 0.8, 0.25, step=0.05, label="noise power"),
)
minima

# %% [markdown] tags=["blur"]
# *Figure U02.d. Thon rings at 1 µm underfocus and 300 kV, ideal (grey) and with the effects that are on.*
#
# Four effects, three different things:
#
# - **amplitude contrast** moves the zeros a little. They stay zeros;
# - a **spread of focus** or of the beam's angle (partial coherence) averages *amplitudes*, because all electrons image the same atoms: an envelope on the CTF. The rings fade, the zeros stay where they are, and stay zeros;
# - the **thickness** averages *powers*, because every layer holds other atoms at another defocus. This one really fills the minima (and, at one resolution, wipes the rings out);
# - **noise** that does not pass the lens (counting, the camera) lies under everything.
#
# ### Exercise U02.5 · Do the minima reach zero?
#
# A thin carbon film is imaged, with a standard deviation of the film's own picture of about one unit, and white noise is added to every pixel with the standard deviation `noise` that is drawn for you. The power spectrum is that of an *orthonormal* transform (a unit that keeps $\sum|f|^2$). Commit yourself: do the minima reach zero (`"yes"` or `"no"`), and what is the mean power there, the floor?

# %% tags=["predict", "blur"]
noise = parameters("U02.5")["noise"]
# BEGIN SOLUTION
my_minima = {"reach zero": "no", "floor": noise**2}
# END SOLUTION
predict("U02.5", str(my_minima))

# %% tags=["blur"]
prediction("U02.5")
side = 512
film = support.carbon(
    (side, side), pixel_size=1.5, film=support.CarbonFilm(thickness=100.0), generator=torch.Generator().manual_seed(4)
).double()
through_lens = fourier.to_real(
    fourier.to_fourier(film - film.mean()) * lens.contrast_transfer(OPTICS, defocus_of(10000.0), size=(side, side))[0], width=side
)
through_lens /= through_lens.std()
measured_image = through_lens + noise * torch.randn(side, side, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
rings = fourier.shell_average(fourier.to_fourier(measured_image).abs() ** 2, size=(side, side)).numpy()
clean = fourier.shell_average(fourier.to_fourier(through_lens).abs() ** 2, size=(side, side)).numpy()
shells = np.arange(len(rings)) / (side * 1.5)
zeros = lens.ctf_zeros(OPTICS, defocus=10000.0, up_to=0.3).numpy()
at_zeros = np.array([np.argmin(np.abs(shells - zero)) for zero in zeros[:10]])
figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
axes.plot(shells, rings, "C1", label="film and noise")
axes.plot(shells, clean, "0.7", label="film alone")
axes.plot(shells[at_zeros], rings[at_zeros], "kv", label="at the zeros")
axes.axhline(noise**2, color="k", ls=":")
axes.set(xlabel="k (1/Å)", ylabel="mean power of a coefficient", xlim=(0, 0.3), ylim=(0, 4 * float(np.median(rings))))
axes.legend(fontsize=8)
plt.show()
floor = float(np.mean(rings[at_zeros] - clean[at_zeros]))
print(
    f"zeros at {', '.join(f'{1 / zero:.2f}' for zero in zeros[:3])} Å; mean power there, without what a shell's width lets in: {floor:.3f}"
)
assert np.allclose(1 / zeros[:3], (14.013, 9.895, 8.068), atol=2e-3)
check("U02.5", my_minima)

# %% [markdown] tags=["blur"]
# *Figure U02.e. A simulated carbon film at 1 µm underfocus, with and without noise. The triangles are the shells nearest to the zeros; dotted, the noise's power.*
#
# So both are true: **the signal is zero there, and the measured power is not.** Nothing can be read at a zero, and no processing brings it back; that is why we take pictures at many defoci.

# %% tags=["blur"]
assert abs(floor / noise**2 - 1) < 0.1

# %% [markdown] tags=["sharpen"]
# <a id="Q-M01S-3"></a>
# ## Six lines
#
# *Work through the derivation with pencil and eraser.* Please do: paper first. Then type the lines; each is compared with the right one at twenty random points, and a wrong one gets a counter-example.
#
# Warm-up: the two arrows, multiplied out. Write products with `*`, powers with `^`, the imaginary unit as `i`; names: `eps`, `chi`.
#
# ### Exercise U02.2 · The length of the sum
#
# Expand $|1+i\varepsilon e^{i\chi}|^2$ for real $\varepsilon$ and $\chi$.

# %% tags=["sharpen"]
# BEGIN SOLUTION
expansion = "1 - 2*eps*sin(chi) + eps^2"
# END SOLUTION
check("U02.2", expansion)

# %% [markdown] tags=["sharpen"]
# Now the whole way. The beam runs along $+z$; $\lambda$ is `lam`.
#
# 1. `"incoming wave"`: a plane wave along $z$, of modulus one and with phase zero at $z=0$.
# 2. `"exit wave"`: relative to the incoming wave it is $e^{i\varphi}$, $\varphi=\sigma\int V\,dz$. To **first order** in `phi`.
# 3. `"free space"`: a wave with the spatial frequency `k` across the beam travels a distance `D` along $z$. By which factor does it change, *relative to the straight wave*? (Its wave vector has the length $1/\lambda$. Small angles: Fresnel's approximation.)
# 4. `"lens phase"`: at an **underfocus** `D` the picture shows the plane a distance `D` *upstream* of the specimen. So what is `chi` (the factor is $e^{i\chi}$)?
# 5. `"image wave"`: take a grating $\varphi = \varepsilon c$, where $c = 2\cos 2\pi kx$ is real and holds the frequencies $\pm k$ only. The wave behind the lens, from lines 2 and 4, with `eps`, `c`, `chi`.
# 6. `"intensity"`: its modulus squared, **to first order** in `eps`.
#
# ### Exercise U02.3 · From a plane wave to the CTF

# %% tags=["sharpen"]
lines = {}
# BEGIN SOLUTION
lines["incoming wave"] = "exp(2*pi*i*z/lam)"
lines["exit wave"] = "1 + i*phi"
lines["free space"] = "exp(-i*pi*lam*D*k^2)"
lines["lens phase"] = "pi*lam*D*k^2"
lines["image wave"] = "1 + i*eps*c*exp(i*chi)"
lines["intensity"] = "1 - 2*eps*c*sin(chi)"
# END SOLUTION
check("U02.3", lines)

# %% [markdown] tags=["solution", "sharpen"]
# 1. $\psi_0 = e^{2\pi i z/\lambda}$.
# 2. $\psi = e^{i\varphi} = 1 + i\varphi + O(\varphi^2)$. *Here the object enters, and the only approximation about it.*
# 3. The component of the wave vector along $z$ is $\sqrt{1/\lambda^2-k^2} = \frac1\lambda - \frac{\lambda k^2}{2} + O(\lambda^3k^4)$. After a distance $D$ the phase relative to the straight wave is $2\pi D(-\lambda k^2/2) = -\pi\lambda D k^2$. *Here the angle is taken to be small.*
# 4. Upstream: $D\to-D$, so $\chi = +\pi\lambda D k^2$. (Spherical aberration adds the next even power, $-\frac{\pi}{2}C_s\lambda^3k^4$.)
# 5. The constant 1 has $k=0$ and keeps its phase; both $+k$ and $-k$ get the same $e^{i\chi}$, as $\chi$ is even: $1+i\varepsilon c\,e^{i\chi}$.
# 6. $|1+i\varepsilon c\,e^{i\chi}|^2 = 1 - 2\varepsilon c\sin\chi + \varepsilon^2c^2$. First order: $1-2\varphi\sin\chi$.
#
# A specimen is a sum of gratings and line 6 is linear in them, so the picture is $1 - 2\,\mathcal F^{-1}[\sin\chi\cdot\mathcal F\varphi]$. **$\sin\chi$ is the contrast transfer function.** The lines can be checked by machine as well:

# %% tags=["sharpen"]
import sympy

eps, chi, k, D, lam = sympy.symbols("eps chi k D lam", positive=True)
sum_of_arrows = 1 + sympy.I * eps * sympy.exp(sympy.I * chi)
squared = sympy.expand(sum_of_arrows * sympy.conjugate(sum_of_arrows))
assert sympy.simplify((squared - (1 - 2 * eps * sympy.sin(chi) + eps**2)).rewrite(sympy.exp)) == 0
along_z = sympy.series(sympy.sqrt(1 / lam**2 - k**2), k, 0, 4).removeO()
assert sympy.simplify(2 * sympy.pi * D * (along_z - 1 / lam) + sympy.pi * lam * D * k**2) == 0
print("the two lines that need care agree with sympy")

# %% [markdown] tags=["sharpen"]
# **Where do these waves come from?** Kirkland's section 6.2 (the reading of that meeting) starts from the wave equation. Write the wave as the straight one times a slowly varying factor, $\Psi = \psi\,e^{2\pi iz/\lambda}$, and drop $\partial^2\psi/\partial z^2$, since $\psi$ changes little over a wavelength of 0.02 Å:
# $$ \frac{\partial\psi}{\partial z} = \Big[\underbrace{\frac{i\lambda}{4\pi}\nabla_{xy}^2}_{\text{spreading}} + \underbrace{i\sigma V}_{\text{phase}}\Big]\psi . $$
# With the first term alone, a component $e^{2\pi ikx}$ gets $\frac{i\lambda}{4\pi}(-4\pi^2k^2) = -i\pi\lambda k^2$ per Å: line 3. With the second alone, $\psi = e^{i\sigma\int V dz}$: line 2. Both together need the *multislice* method (U10).
#
# <a id="Q-M01S-1"></a>
# ## When is small not small?
#
# *Which approximations did we make, and under what extreme conditions would they break down?* There are two, and they have nothing to do with each other:
#
# - **small angle**: $\lambda k \ll 1$. At 3 Å and 300 kV the angle is 6.6 mrad, and $\tan\theta$ differs from $\theta$ by a hundred-thousandth;
# - **small phase**: $\varphi\ll1$. A single atom gives tens of milliradians, but they add up along the beam.

# %% tags=["sharpen"]
theta = electron_wavelength(300) / 3.0
print(f"θ = {1e3 * theta:.2f} mrad, (tan θ − θ)/θ = {(math.tan(theta) - theta) / theta:.1e}")
print(f"even at 1 Å and 100 kV: {(math.tan(electron_wavelength(100)) / electron_wavelength(100) - 1):.1e}")
assert math.isclose((math.tan(theta) - theta) / theta, 1.4e-5, rel_tol=0.03)

# %% [markdown] tags=["sharpen"]
# So look at the phase. The object is a blob of Gaussian shape, standard deviation 5 Å, whose peak phase we choose. 300 kV, 1 µm underfocus.
#
# ### Exercise U02.4 · The error of the linear image
#
# In one dictionary:
#
# - `"image"`: your function of `(phase, chi)` that returns the **exact** image $|\mathcal F^{-1}[e^{i\chi}\mathcal F e^{i\varphi}]|^2$; `chi` is an array in the order of `np.fft.fft2`;
# - `"slope"`: the slope of $\log(\text{error})$ against $\log(\text{peak phase})$, error = root mean square of exact − linear;
# - `"error"`: the same error *relative* to the root mean square of (linear − 1), at a peak phase of 0.4 rad.

# %% tags=["sharpen"]
blob_side = 256
axis = np.arange(blob_side) - blob_side // 2
blob = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * 5.0**2))  # 1 Å pixels, peak 1
k_axis = np.fft.fftfreq(blob_side, 1.0)
chi_blob = chi_of(np.hypot(k_axis[:, None], k_axis[None, :]), 10000.0)
phases = np.array([0.05, 0.1, 0.2, 0.4])


def rms(values):
    """The root mean square."""
    return math.sqrt(np.mean(values**2))


mine = {}
# BEGIN SOLUTION


def exact_image(phase, chi):
    """The intensity behind the lens, from the wave."""
    return np.abs(np.fft.ifft2(np.fft.fft2(np.exp(1j * phase)) * np.exp(1j * chi))) ** 2


def linear_image(phase, chi):
    """1 − 2 φ filtered with sin χ."""
    return 1 - 2 * np.fft.ifft2(np.fft.fft2(phase) * np.sin(chi)).real


errors = [rms(exact_image(p * blob, chi_blob) - linear_image(p * blob, chi_blob)) for p in phases]
mine["image"] = exact_image
mine["slope"] = np.polyfit(np.log(phases), np.log(errors), 1)[0]
mine["error"] = errors[-1] / rms(linear_image(0.4 * blob, chi_blob) - 1)
# END SOLUTION
check("U02.4", mine)

# %% [markdown] tags=["solution", "sharpen"]
# Twice the phase, four times the error: the first term that we dropped is $\varphi^2$. Relative to the contrast the error is proportional to $\varphi$, about $0.3\,\varphi$ for this blob: 3 % at 0.1 rad, 12 % at 0.4.

# %% [markdown] tags=["sharpen"]
# Which specimens are that strong? Only *variations* of the phase count: a flat slab turns all arrows alike, and nobody notices. A particle in ice is a variation of its own thickness times its contrast against ice.

# %% tags=["sharpen"]
voltages = np.linspace(80, 300, 60)
CONTRASTS = {
    "protein against ice": 2.5,
    "ice against vacuum": 3.6,
    "carbon edge": support.CARBON_MEAN_INNER_POTENTIAL,
    "gold bead": support.gold_mean_inner_potential(),
}


def draw_validity(largest_phase):
    """How thick an object may be before its phase exceeds a limit, against voltage."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for name, contrast in CONTRASTS.items():
        limit = [largest_phase / (contrast * interaction_constant(v)) for v in voltages]
        axes.semilogy(voltages, limit, label=f"{name} ({contrast:.1f} V)")
    for name, extent in (("ferritin", 120), ("ribosome", 250), ("large virus", 1000)):
        axes.axhline(extent, color="0.85", zorder=0)
        axes.text(81, extent * 1.04, name, color="0.5", fontsize=8)
    axes.set(
        xlabel="voltage (kV)", ylabel="extent along the beam (Å)", ylim=(5, 8000), title=f"phase below {largest_phase:.2f} rad"
    )
    axes.legend(fontsize=8, loc="upper right", ncols=2)
    return figure


validity = exploration(draw_validity, largest_phase=Slider(0.1, 1.0, 0.4, step=0.05, label="largest phase (rad)"))
validity

# %% [markdown] tags=["sharpen"]
# *Figure U02.f. How far an object may extend along the beam before it turns the wave by more than the chosen phase. Below the line the linear image is good. Slower electrons are turned more.*
#
# The map shows the extremes: heavy (gold, carbon edges), thick (viruses, cells), slow (100 kV). And one more, which no phase map shows: an object *thicker than the depth of field* is not at one defocus any more (U09, U10).
#
# ### Exercise U02.8 · Your particle
#
# By how many radians does a protein 100 Å thick, with a contrast of 2.5 V against the ice, turn the wave at 300 kV?

# %% tags=["sharpen"]
# BEGIN SOLUTION
phase_of_protein = interaction_constant(300) * 2.5 * 100
# END SOLUTION
check("U02.8", phase_of_protein)

# %% [markdown] tags=["sharpen"]
# So a protein is a weak phase object, if not a very weak one: the linear image is good to about a twentieth.
#
# ### Exercise U02.6 · The rings of a thick sample
#
# In figure U02.d a thick film lost its rings at one resolution. Derive it: average $\sin^2(\chi+\pi\lambda k^2z)$ over $-t/2<z<t/2$ (every layer has its own atoms, so powers add). At which resolution, in Å, do the rings of a sample of 1000 Å vanish for the first time, at 300 kV?

# %% tags=["sharpen"]
# BEGIN SOLUTION
node = math.sqrt(electron_wavelength(300) * 1000)
# END SOLUTION
check("U02.6", node)

# %% [markdown] tags=["solution", "sharpen"]
# $\sin^2a = \frac12(1-\cos2a)$, and the average of $\cos(2\chi+2\pi\lambda k^2z)$ over the slab is $\cos2\chi\cdot\mathrm{sinc}(\lambda k^2t)$ with $\mathrm{sinc}\,x=\sin\pi x/\pi x$. It vanishes first at $\lambda k^2t=1$, that is, at $d=\sqrt{\lambda t}$. CTFFIND5 measures the thickness of ice from this node. With layers of random atoms in the computer:

# %% tags=["sharpen"]
slab, layer_count = 1000.0, 40
heights = (np.arange(layer_count) - (layer_count - 1) / 2) * slab / layer_count
total = torch.zeros(side, side, dtype=torch.float64)
source = torch.Generator().manual_seed(6)
for height in heights:  # a layer farther along the beam has the larger underfocus
    layer = torch.randn(side, side, generator=source, dtype=torch.float64)
    total += fourier.to_real(
        fourier.to_fourier(layer) * lens.contrast_transfer(OPTICS, defocus_of(10000.0 + height), size=(side, side))[0], width=side
    )
thick_rings = fourier.shell_average(fourier.to_fourier(total).abs() ** 2, size=(side, side)).numpy() / layer_count
predicted = ring_power(shells, 10000.0, thickness=slab)
figure, axes = plt.subplots(figsize=(9, 3.2), layout="constrained")
axes.plot(shells, thick_rings, "C1", lw=1, label="40 layers of random atoms")
axes.plot(shells, predicted, "k", lw=1, label="½ (1 − sinc(λk²t) cos 2χ)")
axes.axvline(1 / node, color="C2", ls="--")
axes.set(xlabel="k (1/Å)", ylabel="power", xlim=(0, 0.33))
axes.legend(fontsize=8)
plt.show()
inside = (shells > 0.03) & (shells < 0.3)
print(f"first node at {node:.2f} Å; rms difference from the formula {rms((thick_rings - predicted)[inside]):.3f}")
assert rms((thick_rings - predicted)[inside]) < 0.05

# %% [markdown] tags=["sharpen"]
# *Figure U02.g. The power spectrum of a thick random sample against the formula; dashed, the node.*
#
# <a id="H06"></a>
# ## Theoretical limits: a budget
#
# The linear image is the bright side of the story: effects that are independent **multiply**. What is left of a detail of spacing $d$ after everything that smears it is a product of factors, one bar each. (Each has its own unit later: coherence in U01, motion and dose in U12 and U14, the camera in U08, thickness and curvature in U09 and U10.)

# %% tags=["sharpen"]
BUDGET_GUN, BUDGET_LENS = Gun(energy_spread_ev=0.5, convergence=2e-5), ObjectiveLens()
DRIFT, JITTER, DOSE = 0.6, 0.3, 30.0  # Å within a frame, Å, e⁻/Å²


def budget(spacing, underfocus):
    """What each effect leaves of the amplitude of a detail of this spacing (Å)."""
    k = torch.tensor(1 / spacing, dtype=torch.float64)
    bars = {
        "energy spread": gun.temporal_envelope(k, optics=OPTICS, gun=BUDGET_GUN, lens=BUDGET_LENS),
        "beam convergence": gun.spatial_envelope(k, optics=OPTICS, defocus=defocus_of(underfocus), gun=BUDGET_GUN),
        "drift in a frame": beam_motion.motion_envelope(k, drift=DRIFT),
        "jitter": beam_motion.motion_envelope(k, jitter=JITTER),
        "radiation damage": damage.attenuation(k, dose_before=0.0, dose=DOSE, voltage_kv=300),
        "pixel": torch.sinc(k * OPTICS.pixel_size),
    }
    return {name: float(value.reshape(-1)[0]) for name, value in bars.items()}


def draw_budget(spacing, underfocus):
    """One bar for each effect, and their product."""
    bars = budget(spacing, underfocus)
    figure, axes = plt.subplots(figsize=(9, 3.4), layout="constrained")
    axes.bar(bars.keys(), bars.values(), color="C0")
    axes.bar("all together", math.prod(bars.values()), color="C1")
    for position, value in enumerate([*bars.values(), math.prod(bars.values())]):
        axes.text(position, value + 0.02, f"{value:.2f}", ha="center")
    axes.set(ylim=(0, 1.12), ylabel="amplitude left", title=f"{spacing:g} Å at {underfocus / 1e4:.1f} µm")
    axes.tick_params(axis="x", labelrotation=20)
    return figure


budget_bars = exploration(
    draw_budget,
    spacing=Slider(3.2, 12.0, 4.0, step=0.2, label="spacing (Å)"),
    underfocus=Slider(5000, 30000, 15000, step=1000, label="underfocus (Å)"),
)
budget_bars

# %% [markdown] tags=["sharpen"]
# *Figure U02.h. The budget at one resolution. Move to 3.2 Å: which bar would you pay to raise?*
#
# Is the product right? Let us not believe it, but simulate all of them *at once*: the image of a weak grating, averaged over electrons that each have their own energy, come from their own direction, at their own moment of the drift, at their own dose, in a pixel of finite width.

# %% tags=["sharpen"]


def simulated_amplitude(spacing, underfocus, *, electrons=400_000):
    """What is left of a weak grating's amplitude, relative to the ideal image, electron by electron (Monte Carlo)."""
    random = np.random.default_rng(8)
    k, wavelength = 1 / spacing, OPTICS.wavelength
    focus = underfocus + gun.focus_spread(OPTICS, BUDGET_GUN, BUDGET_LENS) * random.normal(size=electrons)
    angle = BUDGET_GUN.convergence / math.sqrt(2) * random.normal(size=electrons)  # exp(−θ²/α²)
    dose = DOSE * random.uniform(size=electrons)
    shift = angle * (focus - OPTICS.spherical_aberration * (wavelength * k) ** 2)  # a tilted electron sees the image displaced
    shift += DRIFT * (random.uniform(size=electrons) - 0.5) + JITTER * random.normal(size=electrons)
    shift += OPTICS.pixel_size * (random.uniform(size=electrons) - 0.5)
    left = damage.exposure_filter(torch.tensor(k, dtype=torch.float64), dose=torch.from_numpy(dose), voltage_kv=300).numpy()
    return np.mean(np.sin(chi_of(k, focus)) * np.cos(2 * np.pi * k * shift) * left) / np.sin(chi_of(k, underfocus))


def nearest_crest(spacing, underfocus):
    """The underfocus nearest to the wanted one at which this spacing has full contrast."""
    turns = round(float(chi_of(1 / spacing, underfocus)) / math.pi - 0.5) + 0.5
    return (turns / (OPTICS.wavelength / spacing**2)) + 0.5 * OPTICS.spherical_aberration * (OPTICS.wavelength / spacing) ** 2


for spacing in (10.0, 6.0, 4.0):
    crest = nearest_crest(spacing, 15000.0)
    product, simulated = math.prod(budget(spacing, crest).values()), simulated_amplitude(spacing, crest)
    print(f"{spacing:4.1f} Å at {crest:.0f} Å underfocus: product of the bars {product:.4f}, simulated {simulated:.4f}")
    assert abs(product / simulated - 1) < 0.02

# %% [markdown] tags=["sharpen"]
# The library keeps such a ledger for real images: `limits.budget` has the same bars for coherence, motion and dose, and adds those that need the particle's size: energy losses in the ice, curvature, the camera's efficiency, and what the box cuts off.

# %% tags=["sharpen"]
conditions = limits.Conditions(
    defocus=15000.0, diameter=120.0, box=256, dose=DOSE, drift=DRIFT, jitter=JITTER, gun=BUDGET_GUN, lens=BUDGET_LENS
)
for spacing in (8.0, 4.0):
    ledger, mine_here = limits.budget(spacing, optics=OPTICS, conditions=conditions), budget(spacing, 15000.0)
    print(f"{spacing:.0f} Å: " + ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in ledger._asdict().items()))
    print(f"     all together {ledger.total:.2f}; the worst is {ledger.worst.replace('_', ' ')}")
    assert math.isclose(
        ledger.temporal_coherence * ledger.spatial_coherence, mine_here["energy spread"] * mine_here["beam convergence"]
    )
    assert math.isclose(
        ledger.motion * ledger.dose, mine_here["drift in a frame"] * mine_here["jitter"] * mine_here["radiation damage"]
    )

# %% [markdown]
# ## In your own words
#
# A colleague from light microscopy asks why you take your pictures out of focus on purpose. What do you say?

# %%
# BEGIN SOLUTION
my_text = (
    "A protein changes only the phase of the electron wave, and the camera sees the intensity. The scattered wave is a quarter turn away from the unscattered one. "
    "Defocus turns it further, so that the two interfere and the phase becomes visible."
)
# END SOLUTION
explain("U02.words", my_text)

# %% [markdown]
# ## What to try on your own data
#
# Take a micrograph with a carbon edge. Average its power spectrum over rings. How far above zero are the minima, and how does that change from the first ring to the fifth? What would you conclude about noise and thickness?
#
# ```python
# import cryowalk as cw
#
# micrograph = cw.read("micrograph.mrc")
# power = cw.fourier.to_fourier(micrograph.image).abs() ** 2
# rings = cw.fourier.shell_average(power, size=tuple(micrograph.image.shape))
# ```
#
# ## Further reading
#
# - F. J. Sigworth, *Defocus phase contrast*, lecture in *Cryo-EM Principles* (Yale). The pre-reading of the study group.
# - E. J. Kirkland, *Advanced Computing in Electron Microscopy*, 3rd ed., Springer (2020), section 6.2, the wave equation for fast electrons.
# - O. Scherzer, *The theoretical resolution limit of the electron microscope*, J. Appl. Phys. 20, 20–29 (1949). Where defocus as a virtue begins.
# - F. Thon, *Zur Defokussierungsabhängigkeit des Phasenkontrastes bei der elektronenmikroskopischen Abbildung*, Z. Naturforsch. 21a, 476–478 (1966). The rings.
# - J. Elferich et al., *CTFFIND5 provides improved insight into quality, tilt, and thickness of TEM samples*, eLife 13, RP97227 (2024). The node of exercise U02.6, measured.
# - L.-M. Peng et al., *Robust parameterization of elastic and absorptive electron atomic scattering factors*, Acta Cryst. A52, 257–276 (1996). The table behind the atoms.
#
# **Next:** U03, where gratings become a language: the Fourier transform.
