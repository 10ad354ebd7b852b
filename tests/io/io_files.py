"""Makers of small files for the tests of io: whole ones, and the same ones broken."""

from pathlib import Path

import numpy as np
import torch

from cryowalk.data.images import ImageStack
from cryowalk.data.optics import Aberrations, Defocus, Optics
from cryowalk.data.particles import ParticleSet
from cryowalk.data.pose import Pose
from cryowalk.geometry.rotations import matrix_from_euler
from cryowalk.io.mrc import write_array


def values(shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def stack(path: Path, *, count=5, shape=(8, 8), pixel_size=1.7, seed=3):
    array = values((count, *shape), seed)
    write_array(array, path, voxel_size=pixel_size, kind="images")
    return array


def patched(source: Path, target: Path, *changes):
    """A copy of a file with bytes replaced: (offset, bytes) each."""
    content = bytearray(source.read_bytes())
    for offset, new in changes:
        content[offset : offset + len(new)] = new
    target.write_bytes(bytes(content))
    return target


def integers(*numbers, order="<"):
    return np.array(numbers, dtype=f"{order}i4").tobytes()


def reals(*numbers, order="<"):
    return np.array(numbers, dtype=f"{order}f4").tobytes()


def particle_set(count=7, box=8, seed=5, *, groups=2) -> ParticleSet:
    g = torch.Generator().manual_seed(seed)

    def uniform(*shape, low=0.0, high=1.0):
        return low + (high - low) * torch.rand(*shape, generator=g, dtype=torch.float64)

    angles = torch.stack((uniform(count, low=-3, high=3), uniform(count, low=0.1, high=3), uniform(count, low=-3, high=3)), -1)
    optics = tuple(
        Optics(
            pixel_size=1.7,
            voltage_kv=(300.0, 200.0, 120.0)[i],
            spherical_aberration_mm=(2.7, 1.4, 0.001)[i],
            amplitude_contrast=(0.1, 0.07, 0.04)[i],
            name=f"group {i + 1}",
            micrograph_pixel_size=0.85,
            aberrations=Aberrations(
                beam_tilt=(1e-4 * i, -2e-4),
                odd_zernike=(0.123456789, -1.5, 2.0),
                even_zernike=(0.1, 0.2),
                magnification=(1.01, 0, 0, 0.99),
            ),
            extra={"rlnMtfFileName": f"mtf {i}.star"},
        )
        for i in range(groups)
    )
    major = uniform(count, low=8000, high=20000)
    return ParticleSet(
        optics=optics,
        optics_index=torch.arange(count) % groups,
        images=ImageStack(pixels=torch.randn(count, box, box, generator=g), pixel_size=1.7),
        pose=Pose(lab_from_particle=matrix_from_euler(angles), shift=uniform(count, 2, low=-9, high=9)),
        defocus=Defocus(
            major=major,
            minor=major - 300,
            azimuth=uniform(count, low=-1.5, high=1.5),
            phase_shift=uniform(count),
            b_factor=uniform(count, high=50),
            scale=uniform(count, low=0.5),
        ),
        half=torch.arange(count) % 2 + 1,
        class_number=torch.arange(count) % 3 + 1,
        micrograph_names=tuple(f"mic {i // 3}.mrc" for i in range(count)),
        coordinates=uniform(count, 2, high=4000),
        extra={"rlnUnknown": tuple(("007", "1e3", "a b", "", "it's", '"q"', "#x")[i % 7] for i in range(count))},
        column_order=("rlnUnknown", "rlnMicrographName", "rlnCoordinateY"),
    )


STAR = """
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageSize #7
1 one 300.0 2.7 0.1 1.7 8

data_particles

loop_
_rlnImageName #1
_rlnOpticsGroup #2
_rlnDefocusU #3
_rlnDefocusV #4
_rlnDefocusAngle #5
_rlnAngleRot #6
_rlnAngleTilt #7
_rlnAnglePsi #8
_rlnOriginXAngst #9
_rlnOriginYAngst #10
000001@s.mrcs 1 10000.5 9900.5 30.0 10.0 20.0 30.0 1.5 -2.5
000002@s.mrcs 1 10001.5 9901.5 31.0 11.0 21.0 31.0 1.6 -2.6
000003@s.mrcs 1 10002.5 9902.5 32.0 12.0 22.0 32.0 1.7 -2.7
"""

PDB = """\
ATOM      1  N   ALA A   1      11.104   6.134  -6.504  1.00 20.00           N
ATOM      2  CA AALA A   1      11.639   6.071  -5.147  0.60 21.00           C
ATOM      3  CA BALA A   1      11.739   6.171  -5.247  0.40 21.00           C
ATOM      4  C   ALA A   1      10.547   5.698  -4.149  1.00 22.00           C
HETATM    5 CA    CA A   2      14.000   1.000   2.000  1.00 30.00          CA
END
"""
