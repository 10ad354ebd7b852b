"""Small valid files of every format, made by our writers or written down."""

import gzip
import io
from pathlib import Path

import numpy as np
import torch

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
_rlnOddZernike #8
1 one 300.0 2.7 0.1 1.7 8 [0.1,0.2,-1.5]

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
_rlnRandomSubset #11
000001@s.mrcs 1 10000.5 9900.5 30.0 10.0 20.0 30.0 1.5 -2.5 1
000002@s.mrcs 1 10001.5 9901.5 31.0 11.0 21.0 31.0 1.6 -2.6 2
"000003@s.mrcs" 1 10002.5 9902.5 32.0 12.0 22.0 32.0 1.7 -2.7 1
"""
MICROGRAPHS = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnMicrographPixelSize #6
1 one 300.0 2.7 0.1 1.7

data_micrographs

loop_
_rlnMicrographName #1
_rlnOpticsGroup #2
_rlnDefocusU #3
_rlnDefocusV #4
_rlnDefocusAngle #5
a.mrc 1 10000.0 9000.0 30.0
b.mrc 1 12000.0 9500.0 31.0
"""
MTF = "data_\n\nloop_\n_rlnResolutionInversePixel #1\n_rlnMtfValue #2\n" + "".join(f"{k / 10} {1 - k / 10}\n" for k in range(6))
PDB = """\
ATOM      1  N   ALA A   1      11.104   6.134  -6.504  1.00 20.00           N
ATOM      2  CA AALA A   1      11.639   6.071  -5.147  0.60 21.00           C
HETATM    5 CA    CA A   2      14.000   1.000   2.000  1.00 30.00          CA
END
"""
MDOC = """PixelSpacing = 1.35
Voltage = 300
ImageFile = TS_01.mrc
ImageSize = 5760 4092

[T =     Tilt axis angle = 85.3, binning = 1  spot = 8  camera = 0]

[ZValue = 0]
TiltAngle = 0.0022
StagePosition = -12.34 56.78
ExposureDose = 3.0
Defocus = -4.1
SubFramePath = D:\\frames\\TS_01_000_0.0.tif
DateTime = 21-Nov-26  10:12:13

[ZValue = 1]
TiltAngle = 3.0
ExposureDose = 3.0
SubFramePath = D:\\frames\\TS_01_001_3.0.tif
DateTime = 21-Nov-26  10:13:13
"""
CBOX = """data_global

_cbox_format_version 1.0

data_cryolo

loop_
_CoordinateX #1
_CoordinateY #2
_CoordinateZ #3
_Width #4
_Height #5
_Depth #6
_EstWidth #7
_EstHeight #8
_Confidence #9
_NumBoxes #10
_Angle #11
10.0 20.0 <NA> 64 64 1 60.0 61.0 0.5 <NA> <NA>
30.0 40.0 <NA> 64 64 1 60.0 61.0 0.75 <NA> <NA>
"""
CTFFIND = """# Output from CTFFind version 4.1.14, run on 2020-02-10 14:23:06
# Input file: stack.mrc ; Number of micrographs: 2
# Pixel size: 2.688 Angstroms ; acceleration voltage: 300.0 keV ; spherical aberration: 2.70 mm ; amplitude contrast: 0.07
# Box size: 512 pixels ; min. res.: 50.0 Angstroms ; max. res.: 10.0 Angstroms ; min. def.: 5000.0 um; max. def. 50000.0 um
# Columns: #1 - micrograph number; #2 - defocus 1 [Angstroms]; #3 - defocus 2; #4 - azimuth of astigmatism; #5 - additional phase shift [radians]; #6 - cross correlation; #7 - spacing (in Angstroms) up to which CTF rings were fit successfully
1.000000 38000.5 37000.25 45.5 0.000000 0.125 12.5
2.000000 38100.5 37100.25 46.5 0.000000 0.135 11.5
"""
GCTF = """   Defocus_U   Defocus_V       Angle         CCC
    38000.50    37000.25       45.50     0.12500  Final Values

Resolution limit estimated by EPA: RES_LIMIT  9.5
Differences from Original Values:
"""
COM = """# comment
$setenv IMOD_OUTPUT_FORMAT MRC
$tilt -StandardInput
InputProjections TS_01_ali.mrc
OutputFile TS_01_full.rec
IMAGEBINNED 4
TILTFILE TS_01.tlt
XTILTFILE TS_01.xtilt
THICKNESS 1200
RADIAL 0.35 0.035
FULLIMAGE 3838 3710
SHIFT 0.0 0.0
$if (-e ./savework) ./savework
"""
ALIGN_LOG = """
*** Entries to program tiltalign ***
  ModelFile = TS_01.fid
  ImageFile = TS_01_preali.mrc

 view   rotation    tilt    deltilt     mag      dmag      skew    resid-nm
   1      85.3    -60.00     0.00    1.0000    0.0000     0.00       0.52
   2      85.3    -57.00     0.00    1.0010    0.0000     0.00       0.48
   3      85.4    -54.00     0.00    1.0020    0.0000     0.00       0.50

 AngleOffset = 0.5
"""
ARETOMO = """# AreTomo Alignment / Priims bprmMn
# RawSize = 3838 3710 3
# NumPatches = 0
# DarkFrame =     0    1   -60.00
# AlphaOffset =     0.00
# BetaOffset =     0.00
# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT
    0    85.3000    1.00000     -5.250      3.500     1.00     1.00     1.00     0.00    -57.00
    1    85.3000    1.00000      1.250      0.500     1.00     1.00     1.00     0.00    -54.00
"""
WARP = """<?xml version="1.0" encoding="utf-8"?>
<TiltSeries AreAnglesInverted="True" PlaneNormal="0, 0, 1" UnselectFilter="False" CTFResolutionEstimate="8.2">
  <Angles>-3.0
0.0
3.0</Angles>
  <Dose>6.0
3.0
9.0</Dose>
  <UseTilt>True
True
True</UseTilt>
  <AxisAngle>85.3
85.3
85.3</AxisAngle>
  <MoviePath>a.tif
b.tif
c.tif</MoviePath>
  <CTF>
    <Param Name="PixelSize" Value="1.35" />
    <Param Name="Defocus" Value="3.2" />
    <Param Name="Voltage" Value="300" />
    <Param Name="Cs" Value="2.7" />
    <Param Name="Amplitude" Value="0.07" />
  </CTF>
  <GridCTF Width="1" Height="1" Depth="3">
    <Node X="0" Y="0" Z="0" Value="3.2" />
    <Node X="0" Y="0" Z="1" Value="3.3" />
    <Node X="0" Y="0" Z="2" Value="3.4" />
  </GridCTF>
</TiltSeries>
"""
FSC = """<fsc title="x" xaxis="Resolution (A-1)" yaxis="Correlation Coefficient">
  <coordinate>
    <x>0.01</x>
    <y>1</y>
  </coordinate>
  <coordinate>
    <x>0.02</x>
    <y>0.95</y>
  </coordinate>
</fsc>
"""
TEM = """=== simulation ===
generate_micrographs = yes
rand_seed = 3
log_file = log.txt
=== sample ===
diameter = 1200
thickness_center = 50
thickness_edge = 150
=== particle A ===
source = pdb
voxel_size = 0.1
pdb_file_in = a.pdb
=== particleset ===
particle_type = A
particle_coords = random
num_particles = 3
=== geometry ===
gen_tilt_data = yes
ntilts = 3
theta_start = -60
theta_incr = 60
geom_errors = none
=== electronbeam ===
acc_voltage = 300
energy_spread = 1.3
gen_dose = yes
total_dose = 5000
=== optics ===
magnification = 50000
cs = 2.7
cc = 2.7
aperture = 50
focal_length = 3.5
cond_ap_angle = 0.1
gen_defocus = yes
defocus_nominal = 3
=== detector ===
det_pix_x = 64
det_pix_y = 64
pixel_size = 15
gain = 10
use_quantization = yes
dqe = 0.4
mtf_a = 0.7
mtf_b = 0.2
mtf_c = 0.1
mtf_alpha = 10
mtf_beta = 40
image_file_out = x.mrc
"""
BODIES = """data_

loop_
_rlnBodyMaskName #1
_rlnBodyRotateRelativeTo #2
_rlnBodySigmaAngles #3
_rlnBodySigmaOffset #4
a.mrc 2 10 2
b.mrc 1 10 2
"""
JOB = """data_job

_rlnJobTypeLabel  relion.external
_rlnJobIsContinue  0
_rlnJobIsTomo  0

data_joboptions_values

loop_
_rlnJobOptionVariable #1
_rlnJobOptionValue #2
fn_exe "cryowalk refine"
in_part particles.star
do_queue No
"""
PIPELINE = """data_pipeline_general

_rlnPipeLineJobCounter  3

data_pipeline_processes

loop_
_rlnPipeLineProcessName #1
_rlnPipeLineProcessAlias #2
_rlnPipeLineProcessTypeLabel #3
_rlnPipeLineProcessStatusLabel #4
Import/job001/ None relion.import.movies Succeeded
External/job002/ None relion.external Running

data_pipeline_nodes

loop_
_rlnPipeLineNodeName #1
_rlnPipeLineNodeTypeLabel #2
_rlnPipeLineNodeTypeLabelDepth #3
Import/job001/movies.star MicrographMoviesData.star.relion 1

data_pipeline_input_edges

loop_
_rlnPipeLineEdgeFromNode #1
_rlnPipeLineEdgeProcess #2
Import/job001/movies.star External/job002/
"""
CSG = """created: 2024-01-01 00:00:00
group:
  description: particles
  name: particles
  title: particles
  type: particle
results:
  blob:
    metafile: '>particles.cs'
    num_items: 12
    type: particle.blob
  ctf:
    metafile: '>particles.cs'
    num_items: 12
    type: particle.ctf
version: v4.4.0
"""
NAMES = [f"{name}-body-1" for name in ("rot", "tilt", "psi", "x", "y", "z")]
MODES = " ".join(NAMES) + "\n" + "".join(" ".join(f"{float(i == k):.3f}" for k in range(6)) + "\n" for i in range(6))
TILT_SERIES = """data_global

loop_
_rlnTomoName #1
_rlnTomoTiltSeriesStarFile #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnMicrographOriginalPixelSize #6
_rlnTomoTiltSeriesPixelSize #7
_rlnTomoHand #8
TS_01 TS_01.star 300 2.7 0.1 1.35 1.35 -1
"""


def values(shape, seed=3):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def poses():
    """What cryoDRGN keeps: rotations and shifts."""
    return np.tile(np.eye(3, dtype=np.float32), (3, 1, 1)), np.zeros((3, 2), np.float32)


def mrc_stack(folder: Path) -> bytes:
    from cryowalk.io.mrc import write_array

    write_array(values((5, 8, 8)), folder / "s.mrcs", voxel_size=1.7, kind="images", extended=(b"abcdefgh" * 4, "SERI"))
    return (folder / "s.mrcs").read_bytes()


def stack_beside(folder: Path) -> None:
    """The stack that the STAR file names."""
    from cryowalk.io.mrc import write_array

    write_array(values((5, 8, 8)), folder / "s.mrcs", voxel_size=1.7, kind="images")


def mrc_map(folder: Path) -> bytes:
    from cryowalk.io.mrc import write_array

    write_array(values((6, 6, 6)), folder / "m.mrc", voxel_size=1.7)
    return (folder / "m.mrc").read_bytes()


def mrc_gzip(folder: Path) -> bytes:
    return gzip.compress(mrc_map(folder), mtime=0)


def motion(folder: Path) -> bytes:
    shifts = "".join(f"{frame} {frame * 0.5} {frame * -0.25}\n" for frame in range(1, 5))
    return (
        "data_general\n\n_rlnImageSizeX 64\n_rlnImageSizeY 48\n_rlnImageSizeZ 4\n_rlnMicrographMovieName m.tif\n"
        "_rlnMicrographBinning 1.0\n_rlnMicrographOriginalPixelSize 0.885\n_rlnMicrographDoseRate 1.277\n_rlnVoltage 200\n"
        "_rlnMicrographStartFrame 1\n_rlnMotionModelVersion 1\n\n"
        f"data_global_shift\n\nloop_\n_rlnMicrographFrameNumber #1\n_rlnMicrographShiftX #2\n_rlnMicrographShiftY #3\n{shifts}\n"
        "data_local_motion_model\n\nloop_\n_rlnMotionModelCoeffsIdx #1\n_rlnMotionModelCoeff #2\n"
        + "".join(f"{number} {number * 0.01}\n" for number in range(36))
    ).encode()


def tilt_series_beside(folder: Path) -> None:
    """The table of the images of the tilt series that the seed names."""
    rows = "".join(f"m{i}.mrc {3.0 * i - 3} 85.3 {3.0 * i} 30000 29000 10 0 {3.0 * i - 3} 85.3 {i} {-i}\n" for i in range(3))
    labels = (
        "MicrographName", "TomoNominalStageTiltAngle", "TomoNominalTiltAxisAngle", "MicrographPreExposure", "DefocusU", "DefocusV", "DefocusAngle",
        "TomoXTilt", "TomoYTilt", "TomoZRot", "TomoXShiftAngst", "TomoYShiftAngst",
    )  # fmt: skip
    loop = "".join(f"_rln{label} #{number}\n" for number, label in enumerate(labels, start=1))
    (folder / "TS_01.star").write_text(f"data_TS_01\n\nloop_\n{loop}{rows}\n")


def particle_set():
    from cryowalk.data.optics import Defocus, Optics
    from cryowalk.data.particles import ParticleSet
    from cryowalk.data.pose import Pose

    number = torch.arange(6, dtype=torch.float64)
    return ParticleSet(
        optics=(Optics(pixel_size=1.7, voltage_kv=300, spherical_aberration_mm=2.7, amplitude_contrast=0.1),),
        optics_index=torch.zeros(6, dtype=torch.long),
        pose=Pose(lab_from_particle=torch.eye(3, dtype=torch.float64).repeat(6, 1, 1), shift=torch.stack((number, -number), 1)),
        defocus=Defocus(major=10000 + number, minor=9000 + number, azimuth=number / 10, phase_shift=0 * number),
        half=torch.arange(6) % 2 + 1,
        image_names=tuple(f"{i + 1:06d}@s.mrcs" for i in range(6)),
    )


def cryosparc(folder: Path) -> bytes:
    from cryowalk.io.cryosparc_writer import write_cryosparc

    stack_beside(folder)
    write_cryosparc(particle_set(), folder / "p.cs")
    return (folder / "p.cs").read_bytes()


def cif(folder: Path) -> bytes:
    from cryowalk.io.atoms import read_atoms, write_atoms

    (folder / "a.pdb").write_text(PDB)
    write_atoms(read_atoms(folder / "a.pdb"), folder / "a.cif")
    return (folder / "a.cif").read_bytes()


def hdf5(folder: Path) -> bytes:
    import h5py

    with h5py.File(folder / "a.h5", "w") as file:
        made = file.create_dataset("images", data=values((4, 8, 8)), chunks=(1, 8, 8), compression="gzip")
        made.attrs["pixel_size"] = 1.7
        file["pixel_size"] = 1.7
    return (folder / "a.h5").read_bytes()


def zarr_metadata(folder: Path) -> bytes:
    import zarr

    store = zarr.open_group(folder / "a.zarr", mode="w")
    store.create_array("images", data=values((4, 8, 8)))
    store.attrs["pixel_size"] = 1.7
    return (folder / "a.zarr" / "zarr.json").read_bytes()


def frames():
    return torch.from_numpy(np.random.default_rng(4).poisson(2.0, (3, 12, 12)).astype(np.float32))


def tiff(folder: Path) -> bytes:
    from cryowalk.io.movies import write_movie

    write_movie(iter(frames()), folder / "a.tif", pixel_size=0.66, sample_format="uint8")
    return (folder / "a.tif").read_bytes()


def eer(folder: Path) -> bytes:
    from cryowalk.io.eer_encoder import EerMovieWriter

    with EerMovieWriter(folder / "a.eer", image_shape=(12, 12), pixel_size=0.7, raw_frames_per_frame=1) as writer:
        writer.write(frames().clamp(max=1))
    return (folder / "a.eer").read_bytes()


def gain(folder: Path) -> bytes:
    from cryowalk.io.gain import write_gain

    write_gain(frames()[0] + 0.5, folder / "a.gain")
    return (folder / "a.gain").read_bytes()


def png(folder: Path) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.png_encode(np.random.default_rng(1).integers(0, 255, (12, 12)).astype(np.uint8)))


def em(folder: Path) -> bytes:
    head = bytearray(512)
    head[0], head[3] = 6, 5
    head[4:16] = np.array([4, 4, 2], "<i4").tobytes()
    return bytes(head) + values((2, 4, 4)).tobytes()


def checkpoint(folder: Path) -> bytes:
    from cryowalk.workflow.checkpoint import pack

    buffer = io.BytesIO()
    for part in pack({"a": torch.arange(6.0).reshape(2, 3), "b": [1, "x", None], "c": {"d": (1.5, b"xy")}}):
        buffer.write(part)
    return buffer.getvalue()


def manifest(folder: Path) -> bytes:
    from cryowalk.workflow.manifest import Manifest, new_run

    made = Manifest(command="reconstruct", settings={"symmetry": "C1", "padding": 1.5}, seed=0)
    made.outputs = {"a.mrc": {"bytes": 10, "sha256": "ab"}}
    made.runs.append(new_run())
    made.write(folder)
    return (folder / "job.json").read_bytes()
