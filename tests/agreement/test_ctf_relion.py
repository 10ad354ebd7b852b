"""Our contrast transfer function and aberrations beside RELION's."""

import math
import subprocess
from dataclasses import replace

import mrcfile
import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from cryowalk.core.constants import electron_wavelength
from cryowalk.data import ParticleSet, Pose, Volume
from cryowalk.data.optics import Aberrations, Defocus, Optics
from cryowalk.fourier.shells import shell_correlation
from cryowalk.fourier.slices import prepare_volume
from cryowalk.fourier.transform import to_fourier, to_real
from cryowalk.geometry.sampling import random_rotations
from cryowalk.io.maps import read_map
from cryowalk.io.mrc import MrcStackReader, write_array
from cryowalk.io.relion import read_particles, write_particles
from cryowalk.io.stacks import image_names
from cryowalk.microscope.aberrations import magnified_stretch, observed_slices
from cryowalk.microscope.lens import antisymmetric_factor, contrast_transfer
from cryowalk.reconstruction import reconstruct_with_full_map


def relion_image(relion, folder, *, pixel_size, box, major, minor, degrees, phase_degrees):
    """The CTF image that relion_ctf_toolbox writes, origin at n // 2."""
    path = folder / "ctf.mrc"
    command = [str(relion / "relion_ctf_toolbox"), "--simulate", str(path), "--angpix", str(pixel_size), "--box", str(box)]
    command += ["--kV", "300", "--Cs", "2.7", "--Q0", "0.1", "--defU", str(major), "--defV", str(minor)]
    command += ["--defAng", str(degrees), "--phase_shift", str(phase_degrees)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with mrcfile.open(path, permissive=True) as file:
        return np.array(file.data).reshape(box, box)


def wavelength_of_relion(voltage_kv):
    """The voltage at which CODATA's constants give the wavelength that RELION computes."""
    volts = 1e3 * voltage_kv
    wavelength = 12.2643247 / math.sqrt(volts * (1 + 0.978466e-6 * volts))
    return brentq(lambda v: electron_wavelength(v) - wavelength, 0.99 * voltage_kv, 1.01 * voltage_kv, xtol=1e-13, rtol=1e-15)


@pytest.mark.agreement
@pytest.mark.parametrize(
    ("major", "minor", "degrees", "phase_degrees"), [(15000, 15000, 0, 0), (18000, 12000, 25, 0), (9000, 8000, 130, 70)]
)
def test_images_equal_those_of_relion(relion, tmp_path, major, minor, degrees, phase_degrees):
    pixel_size, box = 1.125, 128  # RELION reads the pixel size in single precision: this one is exact there
    theirs = relion_image(
        relion, tmp_path, pixel_size=pixel_size, box=box, major=major, minor=minor, degrees=degrees, phase_degrees=phase_degrees
    )
    optics = Optics(
        pixel_size=pixel_size, voltage_kv=wavelength_of_relion(300), spherical_aberration_mm=2.7, amplitude_contrast=0.1
    )
    values = [
        torch.tensor(float(v), dtype=torch.float64) for v in (major, minor, math.radians(degrees), math.radians(phase_degrees))
    ]
    ours = contrast_transfer(
        optics, Defocus(major=values[0], minor=values[1], azimuth=values[2], phase_shift=values[3]), size=(box, box)
    ).numpy()
    half = np.fft.ifftshift(theirs)[:, : box // 2 + 1]
    inside = np.ones_like(half, dtype=bool)
    inside[box // 2, :] = inside[:, box // 2] = False  # one stored Nyquist coefficient stands for two with different astigmatism
    assert np.abs(ours - half)[inside].max() < 3e-6


# ---------------------------------------------------------------- optics tables with aberrations

BOX, PIXEL = 64, 2.0
COLUMNS = {
    "beam_tilt": ("rlnBeamTiltX", "rlnBeamTiltY"),
    "odd_zernike": ("rlnOddZernike",),
    "even_zernike": ("rlnEvenZernike",),
    "magnification": ("rlnMagMat00", "rlnMagMat01", "rlnMagMat10", "rlnMagMat11"),
}


def write_star(path, aberrations, *, image="1@images.mrcs"):
    """One particle in the standard orientation, with the aberrations in its optics table."""
    optics = {
        "rlnOpticsGroupName": "g1", "rlnOpticsGroup": 1, "rlnVoltage": 300, "rlnSphericalAberration": 2.7, "rlnAmplitudeContrast": 0.1,
        "rlnImagePixelSize": PIXEL, "rlnImageSize": BOX, "rlnImageDimensionality": 2,
    }  # fmt: skip
    for name, value in aberrations.items():
        if name.endswith("zernike"):
            optics[COLUMNS[name][0]] = "[" + ",".join(map(str, value)) + "]"
        else:
            scale = 1e3 if name == "beam_tilt" else 1
            optics |= {label: scale * number for label, number in zip(COLUMNS[name], value, strict=True)}
    particles = {
        "rlnImageName": image, "rlnOpticsGroup": 1, "rlnDefocusU": 9000, "rlnDefocusV": 8000, "rlnDefocusAngle": 30,
        "rlnAngleRot": 0, "rlnAngleTilt": 0, "rlnAnglePsi": 0, "rlnOriginXAngst": 0, "rlnOriginYAngst": 0,
    }  # fmt: skip
    blocks = []
    for name, row in (("optics", optics), ("particles", particles)):
        blocks.append(
            f"data_{name}\n\nloop_\n" + "".join(f"_{label}\n" for label in row) + " ".join(map(str, row.values())) + "\n\n"
        )
    path.write_text("\n".join(blocks))


def write_map(path, array):
    with mrcfile.new(path) as file:
        file.set_data(np.ascontiguousarray(array, dtype=np.float32))
        file.voxel_size = PIXEL


def projected_by_relion(relion, folder, aberrations, *, ctf):
    """The spectrum of the blobs in `folder / map.mrc` that relion_project makes with this optics table."""
    write_star(folder / "s.star", aberrations)
    command = [str(relion / "relion_project"), "--i", "map.mrc", "--ang", "s.star", "--o", "p", "--angpix", str(PIXEL)]
    subprocess.run(command + (["--ctf"] if ctf else []), check=True, capture_output=True, timeout=60, cwd=folder)
    with mrcfile.open(folder / "p.mrcs", permissive=True) as file:
        return to_fourier(torch.from_numpy(np.array(file.data, dtype=np.float64).reshape(BOX, BOX)))


def blobs(*, width=1.5, count=12):
    """The half spectrum, pixels as unit, of Gaussian blobs in the plane."""
    random = np.random.default_rng(1)
    x, y = np.meshgrid(np.fft.rfftfreq(BOX), np.fft.fftfreq(BOX))
    total = np.zeros_like(x, dtype=complex)
    for _ in range(count):
        place, weight = random.uniform(-10, 10, 2), random.uniform(0.5, 1.5)
        total += weight * np.exp(-2 * (np.pi * width) ** 2 * (x**2 + y**2) - 2j * np.pi * (x * place[0] + y * place[1]))
    return total


@pytest.mark.agreement
@pytest.mark.parametrize(
    "aberrations",
    [
        {"even_zernike": (0.0, 10.0, 0.0, 0.0, 0.0)},
        {"even_zernike": (0.0, 0.0, 0.0, 10.0, 0.0)},
        {"even_zernike": (0.3, 2.0, 2.0, -3.0, 60.0, 30.0, 50.0, 20.0, -60.0)},
        {"magnification": (1.06, 0.05, 0.02, 0.95)},
        {"magnification": (1.06, 0.05, 0.02, 0.95), "even_zernike": (0.0, 10.0, 3.0, -5.0, 0.0, 20.0, 30.0, 40.0, 50.0)},
    ],
)
def test_even_terms_and_magnification_act_on_the_ctf_as_in_relion_project(relion, tmp_path, aberrations):
    volume = np.zeros((BOX, BOX, BOX))
    volume[BOX // 2] = np.fft.fftshift(np.fft.irfft2(blobs(), s=(BOX, BOX)))
    write_map(tmp_path / "map.mrc", volume)
    bare = projected_by_relion(relion, tmp_path, aberrations, ctf=False)
    theirs = projected_by_relion(relion, tmp_path, aberrations, ctf=True) / bare
    optics = Optics(pixel_size=PIXEL, voltage_kv=wavelength_of_relion(300), aberrations=Aberrations(**aberrations))
    values = [torch.tensor(float(v), dtype=torch.float64) for v in (9000, 8000, math.radians(30), 0)]
    defocus = Defocus(major=values[0], minor=values[1], azimuth=values[2], phase_shift=values[3])
    ours = contrast_transfer(optics, defocus, size=(BOX, BOX))
    seen = bare.abs() > 2e-3 * bare.abs().max()
    seen[BOX // 2, :] = seen[:, BOX // 2] = False
    assert seen.sum() > 400
    assert (theirs.real - ours)[seen].abs().max() < 2e-5  # relion_project writes float32 images
    without = contrast_transfer(Optics(pixel_size=PIXEL), defocus, size=(BOX, BOX))
    assert (ours - without)[seen].abs().max() > 0.1  # the term is large enough for the agreement to mean something


def aberrated_particles(folder, aberrations, *, count=500):
    """Particles of an asymmetric phantom whose images we made with these aberrations, as `p.star` and `stack.mrcs`; and the phantom."""
    random = torch.Generator().manual_seed(8)
    axis = torch.arange(BOX, dtype=torch.float64) - BOX // 2
    voxels = torch.zeros(BOX, BOX, BOX, dtype=torch.float64)
    for number in range(16):
        x, y, z = (
            torch.exp(-((axis - c) ** 2) / (2 * 1.2**2)) for c in 20 * torch.rand(3, generator=random, dtype=torch.float64) - 10
        )
        voxels += (1 + number % 3) * z[:, None, None] * y[:, None] * x
    volume = Volume(voxels=voxels.float(), voxel_size=PIXEL)
    optics = Optics(pixel_size=PIXEL, aberrations=aberrations)
    major = 6000 + 6000 * torch.rand(count, generator=random, dtype=torch.float64)
    defocus = Defocus(major=major, minor=major - 300, azimuth=major / 1e3, phase_shift=torch.zeros_like(major))
    pose = Pose(lab_from_particle=random_rotations(count, generator=random), shift=torch.zeros(count, 2, dtype=torch.float64))
    reference = prepare_volume(volume, stretch=magnified_stretch(optics))
    slices = observed_slices(reference, pose.lab_from_particle.float(), optics=optics)
    factor = contrast_transfer(optics, defocus, size=(BOX, BOX)).float()
    images = to_real(slices * factor * antisymmetric_factor(optics, size=(BOX, BOX), like=slices), width=BOX)
    write_array(images, folder / "stack.mrcs", voxel_size=PIXEL, kind="images")
    particles = ParticleSet(
        optics=(optics,),
        optics_index=torch.zeros(count, dtype=torch.long),
        pose=pose,
        defocus=defocus,
        half=torch.arange(count) % 2 + 1,
    )
    named = particles.with_images(
        MrcStackReader(folder / "stack.mrcs"), image_names(folder / "stack.mrcs", count, star=folder / "p.star")
    )
    write_particles(named, folder / "p.star")
    return named, volume


@pytest.mark.slow
@pytest.mark.agreement
@pytest.mark.parametrize(
    "aberrations",
    [
        {"beam_tilt": (9e-3, -6e-3)},
        {"odd_zernike": (0.0, 0.0, 120.0, 60.0, -90.0, 80.0)},
        {"odd_zernike": (2.0, -3.0, 100.0), "beam_tilt": (5e-3, 5e-3), "even_zernike": (0.0, 20.0, 10.0, -20.0)},
        {"magnification": (1.06, 0.02, 0.02, 0.95)},
    ],
    ids=["beam tilt", "odd", "all phases", "magnification"],
)
def test_relion_reconstruct_undoes_the_aberrations_that_we_put_into_images(relion, tmp_path, monkeypatch, aberrations):
    # relion_project applies neither the odd phase nor the magnification of slices (3.1.3): its reconstruction does.
    monkeypatch.chdir(tmp_path)
    particles, volume = aberrated_particles(tmp_path, Aberrations(**aberrations))
    last = int(0.8 * BOX / 2)

    def reconstructed(name, changes):
        changed = replace(particles.optics[0], aberrations=Aberrations(**changes))
        write_particles(replace(particles, optics=(changed,)), tmp_path / "r.star")
        subprocess.run(
            [str(relion / "relion_reconstruct"), "--i", "r.star", "--o", name, "--ctf"],
            check=True,
            capture_output=True,
            timeout=300,
        )
        return shell_correlation(read_map(tmp_path / name).voxels, volume.voxels)[1:last]

    assert reconstructed("right.mrc", aberrations).min() > 0.97
    assert reconstructed("none.mrc", {}).min() < 0.8
    if "magnification" not in aberrations:
        wrong = {name: tuple(-v for v in value) for name, value in aberrations.items()}
        assert reconstructed("wrong.mrc", wrong).min() < 0.8
    ours = shell_correlation(reconstruct_with_full_map(read_particles(tmp_path / "p.star")).full.voxels, volume.voxels)
    assert ours[1:last].min() > 0.98
