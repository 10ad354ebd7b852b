"""The ice that a molecule displaces: which part of space it fills, and its potential relative to the ice around it.

Source: Jiang & Brünger, J. Mol. Biol. 243, 100 (1994), the binary mask; Shang & Sigworth, J. Struct. Biol. 180, 10 (2012), who find that it does nearly as
well for images of particles in ice as a continuum fitted to molecular dynamics.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryowalk.core.errors import InputError
from cryowalk.data.atoms import Atoms
from cryowalk.data.volume import Volume
from cryowalk.fourier.grids import frequency_radius
from cryowalk.fourier.transform import resample, to_fourier, to_real
from cryowalk.microscope.ice import MEAN_INNER_POTENTIAL

_FINEST = 0.8  # Å, the largest step of the grid on which the surface is drawn
_MARGIN = 8.0  # Å around the atoms in which the soft boundary dies away
_PROBE = 1.4  # Å, radius of the water molecule that rolls over the atoms
_GAP = 0.3  # Å between the molecular surface and the ice: with it proteins fill 0.73 mL/g
BOUNDARY = 1.0  # Å, standard deviation of the water's edge


def displaced(atoms: Atoms, volume: Volume, *, boundary: float = BOUNDARY, ice_potential: float = MEAN_INNER_POTENTIAL) -> Volume:
    """The potential relative to ice, V: the molecule's potential `volume` minus that of the ice in whose place it is.

    V(x) − `ice_potential` · `filled_fraction`. `volume` is on any grid in the frame of the atoms (as `specimen.potential` makes it); far from the molecule
    it is 0 before and after. The edge of the water is as soft as its standard deviation `boundary` (Å). Denser water in the first hydration shell is left out.

    Proteins fill 1.2 Å³/Da. Without their hydrogens free atoms make 6.6 V inside, 3.0 V above the measured potential of ice, 3.6 V. Where all hydrogens are listed as free
    atoms, water should be made of free atoms too: `ice.FREE_ATOM_INNER_POTENTIAL`; with the form factors `bonded` `ice.BONDED_INNER_POTENTIAL`. Both leave 3.4 V.

    Raises
    ------
    InputError
        If there are no atoms, or they lie outside the volume.
    """
    filled = filled_fraction(atoms, volume, boundary=boundary)
    return Volume(voxels=volume.voxels - ice_potential * filled, voxel_size=volume.voxel_size, origin=volume.origin)


def filled_fraction(atoms: Atoms, volume: Volume, *, boundary: float = BOUNDARY) -> Float[Tensor, "z y x"]:
    """The part of each voxel of the volume's grid that the molecule fills instead of ice (no unit, 0 to 1 but for ringing of a few per cent).

    Points within the van der Waals radius plus 1.4 Å of an atom, without those within 1.1 Å of the rest: water's centres do not come nearer, crevices where no water fits
    are the molecule's, and the ice begins 0.3 Å from the molecular surface. So proteins fill 1.21 Å³/Da, their partial specific volume of 0.73 mL/g (three structures:
    1.21 to 1.22). The sharp mask is drawn at 0.8 Å or finer, blurred by a Gaussian and limited to the grid's Nyquist frequencies, as the potential is. Atoms
    without occupancy count as absent.
    """
    part = _part(atoms, volume)
    mask = _mask(atoms, part)
    soft = _blurred(mask, deviation=boundary, step=part.step)
    coarse = resample(soft, part.size) if part.finer > 1 else soft
    filled = torch.zeros(volume.voxels.shape, dtype=volume.voxels.dtype)
    z, y, x = part.first
    d, h, w = part.size
    filled[z : z + d, y : y + h, x : x + w] = coarse.to(filled.dtype)
    return filled.to(volume.voxels.device)


class _Part(NamedTuple):
    """The part of a volume that holds the atoms: its first voxel and size (z, y, x), how much finer the mask is, its step and its corner (x, y, z) in Å."""

    first: tuple[int, int, int]
    size: tuple[int, int, int]
    finer: int
    step: float
    corner: tuple[float, float, float]


def _part(atoms: Atoms, volume: Volume) -> _Part:
    """The smallest part of the volume with room for the atoms and their boundary."""
    scattering = atoms.occupancies > 0
    if len(atoms) == 0 or not bool(scattering.any()):
        raise InputError("the structure holds no atoms that scatter", fix="give a model with at least one atom")
    positions = atoms.positions[scattering].double().cpu()
    origin = torch.tensor(volume.origin, dtype=torch.float64)
    voxel, shape = volume.voxel_size, torch.tensor(tuple(volume.voxels.shape)).flip(0)
    low, high = positions.amin(dim=0) - origin, positions.amax(dim=0) - origin
    if bool((low < 0).any()) or bool((high > (shape - 1) * voxel).any()) or not bool(torch.isfinite(positions).all()):
        raise InputError(
            "atoms lie outside the volume whose solvent they displace",
            expected="a volume in the frame of the atoms, as `specimen.potential` makes it",
            cause="another origin or a smaller box",
        )
    first = torch.floor((low - _MARGIN) / voxel).long().clamp(min=0)
    last = torch.minimum(torch.ceil((high + _MARGIN) / voxel).long(), shape - 1)
    size = last - first + 1
    finer = max(1, math.ceil(voxel / _FINEST))
    # The middle pixels of the coarse and the fine grid coincide.
    corner = origin + (first + size // 2) * voxel - (size * finer // 2) * (voxel / finer)
    x, y, z = corner.tolist()
    return _Part(
        (int(first[2]), int(first[1]), int(first[0])),
        (int(size[2]), int(size[1]), int(size[0])),
        finer,
        voxel / finer,
        (x, y, z),
    )


def _mask(atoms: Atoms, part: _Part) -> Float[Tensor, "z y x"]:
    """1 inside the molecule and 0 in the solvent, on the fine grid of the part; in between where the surface passes within half a step."""
    import gemmi
    from scipy.ndimage import distance_transform_edt

    depth, height, width = (n * part.finer for n in part.size)
    grid = gemmi.FloatGrid(width, height, depth)
    grid.spacegroup = gemmi.SpaceGroup("P 1")
    grid.set_unit_cell(gemmi.UnitCell(width * part.step, height * part.step, depth * part.step, 90, 90, 90))
    model = gemmi.Model(1)
    chain, residue = gemmi.Chain("A"), gemmi.Residue()
    places = (atoms.positions.double().cpu() - torch.tensor(part.corner)).tolist()
    for place, number, occupancy in zip(places, atoms.atomic_numbers.tolist(), atoms.occupancies.tolist(), strict=True):
        if occupancy > 0:
            atom = gemmi.Atom()
            atom.element, atom.pos = gemmi.Element(number), gemmi.Position(*place)
            residue.add_atom(atom)
    chain.add_residue(residue)
    model.add_chain(chain)
    masker = gemmi.SolventMasker(gemmi.AtomicRadiiSet.VanDerWaals)
    masker.rprobe, masker.rshrink = _PROBE, 0.0
    masker.put_mask_on_float_grid(grid, model)
    # Depth below the surface that water’s centres reach. The nearest point outside lies on the average a third of a step beyond it.
    depth_below = distance_transform_edt(np.array(grid) == 0, sampling=part.step) - 0.35 * part.step
    inside = np.clip((depth_below - (_PROBE - _GAP)) / part.step + 0.5, 0, 1)
    return torch.from_numpy(inside.astype(np.float32).transpose(2, 1, 0).copy())


def _blurred(mask: Tensor, *, deviation: float, step: float) -> Tensor:
    """The mask convolved with a Gaussian of this standard deviation (Å)."""
    size = (mask.shape[0], mask.shape[1], mask.shape[2])
    radius = frequency_radius(size, pixel_size=step, like=mask)
    spectrum = to_fourier(mask, dimensions=3).mul_(torch.exp(radius.square_().mul_(-2 * (math.pi * deviation) ** 2)))
    return to_real(spectrum, width=size[2], dimensions=3)
