"""The table of docs/guide/scattering.md: where weak-phase, phase-grating and Ewald models leave multislice, in a slab as dense as protein.

    python benchmarks/scattering_breakdown.py [--band-limit]

The slab is a gas of carbon, nitrogen and oxygen atoms, 0.045 an Å³ (5 V mean inner potential), B = 20 Å², in a field of 128 Å. With
--band-limit: errors of three ways to limit the band, against a three times finer grid.
"""

import argparse

import torch

from cryowalk.data.atoms import Atoms
from cryowalk.data.optics import Optics
from cryowalk.fourier.transform import filtering_transform, resample
from cryowalk.microscope.breakdown import breakdown
from cryowalk.microscope.multislice import band_limit, free_space, transmission
from cryowalk.microscope.scattering import exit_wave, slices_of_atoms

FIELD, SLICE, DENSITY, B_FACTOR = 128.0, 5.0, 0.045, 20.0
THICKNESSES, VOLTAGES, RESOLUTIONS = (50.0, 200.0, 500.0, 1000.0), (100.0, 200.0, 300.0), (2.0, 3.0, 6.0)


def slab(thickness: float, *, pixels: int) -> torch.Tensor:
    """Slices of the slab on this many pixels a side."""
    generator = torch.Generator().manual_seed(11)
    count = int(DENSITY * FIELD**2 * thickness)
    place = torch.rand(count, 3, generator=generator, dtype=torch.float64) - 0.5
    atoms = Atoms(
        positions=place * torch.tensor([FIELD, FIELD, thickness], dtype=torch.float64),
        atomic_numbers=torch.tensor([6, 6, 6, 7, 8])[torch.randint(0, 5, (count,), generator=generator)],
        b_factors=torch.full((count,), B_FACTOR, dtype=torch.float64),
        occupancies=torch.ones(count, dtype=torch.float64),
    )
    size = (pixels, pixels)
    slices = slices_of_atoms(atoms, size=size, pixel_size=FIELD / pixels, slice_thickness=SLICE, thickness=thickness)
    return torch.stack(list(slices))


def models() -> None:
    """Print the table of models."""
    slices = slab(max(THICKNESSES), pixels=256)
    print(f"mean inner potential {slices.mean().item() / SLICE:.1f} V")
    optics = Optics(pixel_size=FIELD / 256)
    table = breakdown(
        slices,
        optics=optics,
        slice_thickness=SLICE,
        thicknesses=THICKNESSES,
        voltages_kv=VOLTAGES,
        resolutions=RESOLUTIONS,
    )
    print("| kV | thickness (Å) | resolution (Å) | weak phase | phase grating | Ewald |")
    print("|---|---|---|---|---|---|")
    rows = table.rows()
    for first in range(0, len(rows), len(table.models)):
        line = rows[first : first + len(table.models)]
        errors = " | ".join(f"{100 * row.error:.0f} % ({row.correlation:.3f})" for row in line)
        print(f"| {line[0].voltage_kv:.0f} | {line[0].thickness:.0f} | {line[0].resolution:g} | {errors} |")


def band_limits() -> None:
    """Print the relative errors of exit waves below the band limit, by what is limited."""
    fine = slab(200.0, pixels=768).double()
    reference = exit_wave(fine, optics=Optics(pixel_size=FIELD / 768, amplitude_contrast=0.0), slice_thickness=SLICE)
    for pixels in (128, 256):
        optics = Optics(pixel_size=FIELD / pixels, amplitude_contrast=0.0)
        coarse = resample(fine, pixels)
        truth = resample(reference.real, pixels) + 1j * resample(reference.imag, pixels)
        k = torch.fft.fftfreq(pixels, FIELD / pixels, dtype=torch.float64)
        inside = (k[:, None] ** 2 + k**2 <= band_limit(optics) ** 2).double()
        inner = (k[:, None] ** 2 + k**2 <= (0.75 * band_limit(optics)) ** 2).double()
        for what in ("potential", "transmission", "wave alone"):
            wave = _multislice(coarse, optics, inside, what)
            error = filtering_transform(wave - truth, direction="forward") * inner
            signal = filtering_transform(truth - truth.mean(), direction="forward") * inner
            print(f"pixels of {FIELD / pixels:g} Å, {what} limited: {100 * (error.norm() / signal.norm()).item():.2f} %")


def _multislice(slices: torch.Tensor, optics: Optics, inside: torch.Tensor, what: str) -> torch.Tensor:
    """Multislice with one more thing limited to the band."""

    def limited(values: torch.Tensor) -> torch.Tensor:
        return filtering_transform(
            filtering_transform(values.to(torch.complex128), direction="forward") * inside, direction="inverse"
        )

    wave = torch.ones_like(slices[0], dtype=torch.complex128)
    step = free_space((slices.shape[-2], slices.shape[-1]), optics=optics, distance=SLICE, like=wave)
    for potential in slices:
        passed = transmission(limited(potential).real if what == "potential" else potential, optics=optics)
        passed = limited(passed) if what == "transmission" else passed
        wave = filtering_transform(filtering_transform(wave * passed, direction="forward") * inside * step, direction="inverse")
    back = free_space((slices.shape[-2], slices.shape[-1]), optics=optics, distance=-(len(slices) + 1) / 2 * SLICE, like=wave)
    return filtering_transform(filtering_transform(wave, direction="forward") * back, direction="inverse")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--band-limit", action="store_true", help="compare ways to limit the band instead")
    band_limits() if parser.parse_args().band_limit else models()
