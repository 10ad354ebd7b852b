"""A scene: which particles lie where in the field of a micrograph, and their projected potential under any displacement and tilt.

How to use it (micrographs, movies and tilt series do):

- `Scene` holds what is in the field: `specimens` (prepared volumes, one for each conformation), `positions` (x, y from the corner, z from the middle of the
  specimen; Å), `lab_from_particle`, `state` (which of the volumes), the `optics`, and the `size` (height, width) of the micrograph in pixels.
- `canvas_for(optics, defocus, size=…)` is the larger sheet on which images form without wrapping round; `canvas.crop` cuts the micrograph out of it.
- `project_particles(scene, canvas=…, view=View(…))` gives the `Layers` of that sheet: with a tilt (`lab_from_specimen`, about the field's origin pixel), a
  displacement of each particle, an amplitude filter such as radiation damage. `place_of` says where particles then are.
- `transfer_layers(layers, optics, defocus)` gives the contrast −ΔI/I₀ / (2 σₑ) on the sheet in the weak-phase limit, V Å, protein bright.

**Every particle has its own defocus, exactly, at the price of two layers.** A particle at height z adds πλzk² to the aberration phase χ. In the weak-phase
limit its image is v ∗ sin(χ + πλzk²) = (v ∗ cos πλzk²) ∗ sin χ + (v ∗ sin πλzk²) ∗ cos χ. So each particle's small box is filtered with the cosine and the
sine of its own height, all of them are summed into one sheet each, and the lens acts twice, whatever the number of heights.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Complex, Float, Int, Shaped
from torch import Tensor

from cryowalk.data.instrument import Gun, ObjectiveLens
from cryowalk.data.optics import Defocus, Optics
from cryowalk.fourier.filters import shift_phases, unit_phase
from cryowalk.fourier.grids import frequency_grid, radius_of
from cryowalk.fourier.slices import FourierVolume, extract_slices
from cryowalk.fourier.transform import filtered_image, filtering_half_spectrum, to_real
from cryowalk.microscope.aberrations import has_odd_terms, true_frequency
from cryowalk.microscope.gun import coherence_envelope
from cryowalk.microscope.lens import antisymmetric_phase, aperture, canvas_size, contrast_transfer, per_image
from cryowalk.microscope.simulate.specimens import Specimens

_BATCH_BYTES = 32 * 2**20  # of slices held at a time
_COMPLEX_BYTES = 8
_COARSE, _NODES = 8, 200  # the coherence envelope is computed at one frequency in eight, but at 200 at least along each axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What lies in the field of one micrograph: particles of several kinds at positions (x, y, z) in Å, each with its orientation and its state.

    x and y count from the centre of the micrograph's first pixel, z from the middle of the specimen along the beam. `state` counts `specimens.states`.
    """

    specimens: Specimens
    optics: Optics
    size: tuple[int, int]
    positions: Float[Tensor, "n 3"]
    lab_from_particle: Float[Tensor, "n 3 3"]
    state: Int[Tensor, " n"]

    def __len__(self) -> int:
        return self.positions.shape[0]

    @property
    def field(self) -> tuple[float, float]:
        """Width and height of the micrograph, Å."""
        return self.size[1] * self.optics.pixel_size, self.size[0] * self.optics.pixel_size

    @property
    def origin(self) -> tuple[float, float]:
        """The place (x, y) of the micrograph's origin pixel n // 2, about which a specimen is tilted, Å."""
        return self.size[1] // 2 * self.optics.pixel_size, self.size[0] // 2 * self.optics.pixel_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """The sheet on which a micrograph of `inner` (height, width) pixels forms; its first pixel is the sheet's pixel `corner` (row, column)."""

    size: tuple[int, int]
    inner: tuple[int, int]
    pixel_size: float

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the micrograph's first pixel."""
        return (self.size[0] - self.inner[0]) // 2, (self.size[1] - self.inner[1]) // 2

    def crop(self, sheet: Shaped[Tensor, "*batch canvas_h canvas_w"]) -> Shaped[Tensor, "*batch h w"]:
        """The micrograph's part of the sheet, a view."""
        top, left = self.corner
        return sheet[..., top : top + self.inner[0], left : left + self.inner[1]]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How the beam meets the scene: the specimen's tilt about the field's origin, each particle's displacement in the image (x, y) in Å, and a filter.

    `amplitude` maps spatial frequencies (1/Å) to factors on the specimen's amplitudes, such as what radiation damage leaves. `is_flat` puts every particle into
    the plane of focus.
    """

    lab_from_specimen: Float[Tensor, "3 3"] | None = None
    displacement: Float[Tensor, "n 2"] | None = None
    amplitude: Callable[[Tensor], Tensor] | None = None
    is_flat: bool = False


class Layers(NamedTuple):
    """Projected potential on a canvas, V Å: the part in phase with the plane z = 0 and, unless all lies in that plane, the part a quarter wave from it.

    A particle v at height z adds v ∗ cos(πλzk²) to the one and v ∗ sin(πλzk²) to the other.
    """

    in_phase: Float[Tensor, "h w"]
    quadrature: Float[Tensor, "h w"] | None


def canvas_for(optics: Optics, defocus: Defocus, *, size: tuple[int, int]) -> Canvas:
    """The sheet for a micrograph of `size` (height, width): 2 λ Δf k_max larger, with sides that transform fast."""
    height, width = (canvas_size(optics, defocus, box=side) for side in size)
    return Canvas(size=(height, width), inner=size, pixel_size=optics.pixel_size)


def place_of(scene: Scene, view: View | None = None) -> Float[Tensor, "n 3"]:
    """Where the particles are in this view, (x, y) from the micrograph's corner and z along the beam, Å: R (x − o) + o, then displaced."""
    view = view or View()
    place = scene.positions
    if view.lab_from_specimen is not None:
        origin = torch.tensor([*scene.origin, 0.0], dtype=place.dtype, device=place.device)
        place = (place - origin) @ view.lab_from_specimen.to(place).T + origin
    if view.displacement is not None:
        place = torch.cat([place[:, :2] + view.displacement.to(place), place[:, 2:]], dim=1)
    return place


class Slice(NamedTuple):
    """Central slices of some particles, in no place yet: their volume, their numbers in the scene, and the half spectra."""

    reference: FourierVolume
    members: Int[Tensor, " n"]
    spectra: Complex[Tensor, "n box half"]


Slices: TypeAlias = tuple[Slice, ...]


def slices_of(scene: Scene, *, limit: int) -> Slices | None:
    """The slices of all particles, for views without tilt that are many (the frames of a movie); None where they take more than `limit` bytes."""
    boxes = torch.tensor([reference.box for reference in scene.specimens.references])[scene.state.cpu()]
    if int((boxes * (boxes // 2 + 1)).sum()) * _COMPLEX_BYTES > limit:
        return None
    return tuple(
        Slice(reference, members, extract_slices(reference, scene.lab_from_particle[members].float()))
        for reference, members in _batches(scene)
    )


def project_particles(scene: Scene, *, canvas: Canvas, view: View | None = None, slices: Slices | None = None) -> Layers:
    """The projected potential of all particles on the canvas, V Å.

    Central slices of each particle's own small box, moved there by the part of its place that is no whole pixel, filtered by its height, and added to the
    sheet at whole pixels; what lies outside the sheet is left out. Sums run over the particles in a fixed order. `slices` made before serve a view without tilt.
    """
    view = view or View()
    place = place_of(scene, view)
    sheets = [torch.zeros(canvas.size, dtype=torch.float32, device=place.device) for _ in range(1 if view.is_flat else 2)]
    ready = slices if slices is not None and view.lab_from_specimen is None else None
    for reference, members, base in ready or ((*batch, None) for batch in _batches(scene)):
        pixel, rest = whole_pixels(place[members, :2], canvas)
        if base is None:
            rotations = scene.lab_from_particle[members]
            if view.lab_from_specimen is not None:
                rotations = view.lab_from_specimen.to(rotations) @ rotations
            spectra = extract_slices(reference, rotations.float(), shift=rest.float())
        else:
            spectra = base * shift_phases((reference.box, reference.box), rest.float(), pixel_size=canvas.pixel_size)
        if view.amplitude is not None:
            spectra = spectra * _on_slices(reference, view.amplitude)
        heights = None if view.is_flat else place[members, 2]
        for sheet, part in zip(sheets, _parts(spectra, heights, reference=reference, optics=scene.optics), strict=True):
            add_boxes(sheet, part, pixel)
    return Layers(sheets[0], None if view.is_flat else sheets[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """What the lens does to the two layers of a canvas, on its half spectrum: sin(χ + …), cos(χ + …), the envelope of both, and the odd phases."""

    sine: Float[Tensor, "h half"]
    cosine: Float[Tensor, "h half"]
    envelope: Float[Tensor, "h half"] | None = None
    odd: Complex[Tensor, "h half"] | None = None


def transfer_for(
    canvas: Canvas, optics: Optics, defocus: Defocus, *, gun: Gun | None = None, lens: ObjectiveLens | None = None
) -> Transfer:
    """The lens at this defocus (that of the plane z = 0), float32; one serves all frames of a movie.

    The envelopes of partial coherence vary slowly: they are computed on a coarse grid and interpolated, to 1e-4. That of a B-factor is in sine and cosine.
    """
    both = _with_quarter_turn(defocus.to(torch.float32))
    sine, cosine = contrast_transfer(optics, both, size=canvas.size)
    envelope = None
    if gun is not None:
        envelope = _smooth_envelope(canvas, optics, defocus, gun=gun, lens=lens or ObjectiveLens())
    if lens is not None and lens.aperture is not None:
        passed = aperture(
            radius_of(*frequency_grid(canvas.size, pixel_size=canvas.pixel_size, like=sine)), optics=optics, lens=lens
        )
        envelope = passed if envelope is None else envelope.mul_(passed)
    odd = None
    if has_odd_terms(optics.aberrations):
        phase = antisymmetric_phase(optics, size=canvas.size, device=sine.device)
        odd = torch.polar(torch.ones_like(phase), phase).to(torch.complex64)
    return Transfer(sine=sine, cosine=cosine, envelope=envelope, odd=odd)


def _with_quarter_turn(defocus: Defocus) -> Defocus:
    """The defocus twice: as it is, and with a quarter of a turn more phase, which makes the sine a cosine."""

    def twice(value: Tensor) -> Tensor:
        return torch.stack([value, value])

    return Defocus(
        major=twice(defocus.major),
        minor=twice(defocus.minor),
        azimuth=twice(defocus.azimuth),
        phase_shift=torch.stack([defocus.phase_shift, defocus.phase_shift + math.pi / 2]),
        b_factor=None if defocus.b_factor is None else twice(defocus.b_factor),
        scale=None if defocus.scale is None else twice(defocus.scale),
    )


class LayerSpectra(NamedTuple):
    """The spectra of `Layers`, phases about pixel 0."""

    in_phase: Complex[Tensor, "h half"]
    quadrature: Complex[Tensor, "h half"] | None


def spectra_of(layers: Layers) -> LayerSpectra:
    """The half spectra of both layers."""
    quadrature = None if layers.quadrature is None else filtering_half_spectrum(layers.quadrature)
    return LayerSpectra(filtering_half_spectrum(layers.in_phase), quadrature)


def with_sheet(
    spectra: LayerSpectra, sheet: Float[Tensor, "h w"], *, height: float, canvas: Canvas, optics: Optics
) -> LayerSpectra:
    """The spectra with a thin sheet of projected potential (V Å) at this height (Å) added."""
    added = filtering_half_spectrum(sheet)
    if height == 0 or spectra.quadrature is None:
        return LayerSpectra(spectra.in_phase + added, spectra.quadrature)
    kx, ky = frequency_grid(canvas.size, pixel_size=canvas.pixel_size, dtype=torch.float64, device=sheet.device)
    turn = unit_phase(-0.5 * optics.wavelength * height * kx**2) * unit_phase(-0.5 * optics.wavelength * height * ky**2)
    turn = turn.to(added.dtype)  # exp(iπλzk²)
    return LayerSpectra(spectra.in_phase + added * turn.real, spectra.quadrature + added * turn.imag)


def image_of_spectra(spectra: LayerSpectra, transfer: Transfer, *, canvas: Canvas) -> Float[Tensor, "h w"]:
    """The image of these layers in the weak-phase limit, V Å, protein bright: I = I₀ (1 − 2 σₑ · image). The spectra are used up."""
    total = spectra.in_phase.mul_(transfer.sine)
    if spectra.quadrature is not None:
        total += spectra.quadrature.mul_(transfer.cosine)
    for factor in (transfer.envelope, transfer.odd):
        if factor is not None:
            total = total.mul_(factor)
    return filtered_image(total, width=canvas.size[1])


def transfer_layers(
    layers: Layers, optics: Optics, defocus: Defocus, *, gun: Gun | None = None, lens: ObjectiveLens | None = None
) -> Float[Tensor, "h w"]:
    """The image of these layers in the weak-phase limit, V Å, protein bright: in phase ∗ sin(χ + …) + quadrature ∗ cos(χ + …).

    I = I₀ (1 − 2 σₑ · image). The defocus is that of the plane z = 0; gun and lens add their envelopes, aperture and odd aberrations.
    """
    size = (layers.in_phase.shape[-2], layers.in_phase.shape[-1])
    canvas = Canvas(size=size, inner=size, pixel_size=optics.pixel_size)
    return image_of_spectra(spectra_of(layers), transfer_for(canvas, optics, defocus, gun=gun, lens=lens), canvas=canvas)


def _smooth_envelope(
    canvas: Canvas, optics: Optics, defocus: Defocus, *, gun: Gun, lens: ObjectiveLens
) -> Float[Tensor, "h half"]:
    """The coherence envelope on the half spectrum, from one value in `_COARSE` along each axis."""
    height, width = canvas.size
    half = width // 2 + 1
    rows, columns = (min(side, max(side // _COARSE, _NODES)) for side in (height, half))
    device = defocus.major.device
    step = 1 / (height * canvas.pixel_size)
    kx = torch.linspace(0, (width // 2) / (width * canvas.pixel_size), columns, dtype=torch.float64, device=device)
    fine = torch.empty(height, half, device=device)
    split = (height + 1) // 2  # rows of ky ≥ 0 come first
    for first, last, low, high in ((0, split, 0, split - 1), (split, height, -(height // 2), -1)):
        count = min(last - first, max(rows // 2, 2))
        ky = torch.linspace(low * step, high * step, count, dtype=torch.float64, device=device)[:, None]
        coarse = _envelope_at(kx, ky, optics, defocus, gun=gun, lens=lens).float()
        fine[first:last] = torch.nn.functional.interpolate(
            coarse[None, None], size=(last - first, half), mode="bilinear", align_corners=True
        )[0, 0]
    return fine


def _envelope_at(
    kx: Tensor, ky: Tensor, optics: Optics, defocus: Defocus, *, gun: Gun, lens: ObjectiveLens
) -> Float[Tensor, "rows columns"]:
    """The coherence envelope at these frequencies; with a tilted beam the mean of those of k and −k, as in `lens.contrast_transfer`."""
    kx, ky = true_frequency(kx, ky, optics=optics)
    image = per_image(defocus)
    envelope = coherence_envelope(kx, ky, optics=optics, defocus=image, gun=gun, lens=lens)
    if not has_odd_terms(optics.aberrations):
        return envelope
    return (envelope + coherence_envelope(-kx, -ky, optics=optics, defocus=image, gun=gun, lens=lens)) / 2


def _batches(scene: Scene) -> Iterator[tuple[FourierVolume, Tensor]]:
    """Which particles share a volume, some at a time: the volume, and the particles' numbers."""
    for state, reference in enumerate(scene.specimens.references):
        members = torch.nonzero(scene.state == state)[:, 0]
        images = max(1, _BATCH_BYTES // (_COMPLEX_BYTES * reference.box * (reference.box // 2 + 1)))
        for chosen in torch.split(members, images):
            if len(chosen):
                yield reference, chosen


def whole_pixels(place: Float[Tensor, "n 2"], canvas: Canvas) -> tuple[Tensor, Tensor]:
    """The nearest pixel (x, y) of the canvas, and how far beyond it the place lies, Å."""
    top, left = canvas.corner
    corner = torch.tensor([left, top], dtype=place.dtype, device=place.device)
    exact = place / canvas.pixel_size + corner
    nearest = torch.floor(exact + 0.5)
    return nearest.to(torch.int64), (exact - nearest) * canvas.pixel_size


def _on_slices(reference: FourierVolume, amplitude: Callable[[Tensor], Tensor]) -> Float[Tensor, "box half"]:
    """The filter on the half spectrum of this volume's projections."""
    box = reference.box
    kx, ky = frequency_grid((box, box), pixel_size=reference.voxel_size, like=reference.coefficients)
    return amplitude(radius_of(kx, ky)).to(reference.coefficients.real.dtype)


def _parts(
    spectra: Tensor, heights: Tensor | None, *, reference: FourierVolume, optics: Optics
) -> Iterator[Float[Tensor, "n box box"]]:
    """The images of the slices times cos(πλzk²), and, unless they lie flat, times sin(πλzk²): products of short vectors, since k² = kx² + ky²."""
    box = reference.box
    if heights is None:
        yield to_real(spectra, width=box)
        return
    kx, ky = frequency_grid((box, box), pixel_size=reference.voxel_size, dtype=torch.float64, device=heights.device)
    across = math.pi * optics.wavelength * heights.double()[:, None] * kx**2
    along = math.pi * optics.wavelength * heights.double()[:, None] * ky[:, 0] ** 2
    real = spectra.real.dtype
    # An even box's origin is moved from pixel 0 to its middle by (−1)^k on each axis, which costs nothing in the short vectors.
    signs = [1 - 2 * (torch.arange(length, device=heights.device) % 2) if box % 2 == 0 else 1 for length in (box // 2 + 1, box)]
    cos_x, sin_x = ((wave * signs[0]).to(real)[:, None, :] for wave in (across.cos(), across.sin()))
    cos_y, sin_y = ((wave * signs[1]).to(real)[:, :, None] for wave in (along.cos(), along.sin()))
    for factor in (cos_x * cos_y - sin_x * sin_y, sin_x * cos_y + cos_x * sin_y):
        yield filtered_image(spectra * factor, width=box) if box % 2 == 0 else to_real(spectra * factor, width=box)


def add_boxes(sheet: Float[Tensor, "h w"], boxes: Float[Tensor, "n box box"], pixel: Int[Tensor, "n 2"]) -> None:
    """The boxes added to the sheet, in place, each with its origin pixel on its pixel (x, y); parts beyond the border are cut off."""
    height, width = sheet.shape
    box = boxes.shape[-1]
    for patch, (x, y) in zip(boxes, pixel.tolist(), strict=True):
        top, left = y - box // 2, x - box // 2
        first_row, last_row = max(top, 0), min(top + box, height)
        first_column, last_column = max(left, 0), min(left + box, width)
        if first_row < last_row and first_column < last_column:
            sheet[first_row:last_row, first_column:last_column] += patch[
                first_row - top : last_row - top, first_column - left : last_column - left
            ]
