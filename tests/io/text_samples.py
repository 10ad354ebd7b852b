"""One small file in each of the text formats, as its program writes it."""

import struct

XF = """\
   0.9803519  -0.1972494   0.1972494   0.9803519      22.751      -0.799
   0.9803793  -0.1979111   0.1979111   0.9803793       6.676       1.969
"""
TLT = "-60.0\n0.0\n57.5\n"
COM = """\
$setenv IMOD_OUTPUT_FORMAT MRC
$tilt -StandardInput
InputProjections a_ali.mrc
# a comment
IMAGEBINNED 4
THICKNESS\t2000
PERPENDICULAR
EXCLUDELIST 1-3,7
FULLIMAGE 3708 3832
$if (-e ./savework) ./savework
"""
LOG = """\
Beam tilt angle is    0.14 degrees

At minimum tilt, rotation angle is   85.23

 view   rotation    tilt    deltilt     mag      dmag      skew    resid-nm
   2      85.2     -47.4      0.00    1.0000    0.0000      0.00      0.70
   3      85.2     -44.4      0.00    1.0000    0.0000      0.00      0.51

*** Entries to program tiltalign ***
  AngleOffset = 9.02
  TiltFile = a.rawtlt
*** End of entries ***

 Residual error mean and sd:     0.360   0.457 nm
"""
ALN = """\
# AreTomo Alignment / Priims bprmMn
# RawSize = 100 90 5
# NumPatches = 1
# DarkFrame =     1    0   -66.00
# AlphaOffset =     1.50
# BetaOffset =     0.00
# Thickness = 300
# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT
    1   -12.6611    1.00000     24.786     -2.677     1.00     1.00     1.00     0.00    -61.50
    2    85.3000    1.00000     34.451     -8.599     1.00     1.00     1.00     0.00      0.00
# Local Alignment
   0   0  -558.42   -802.00   -100.07     24.43   1.0
"""
CTFFIND4 = """\
# Output from CTFFind version 4.1.14, run on 2024-08-30 16:05:30
# Input file: a.mrc ; Number of micrographs: 2
# Pixel size: 1.400 Angstroms ; acceleration voltage: 200.0 keV ; spherical aberration: 1.40 mm ; amplitude contrast: 0.10
# Box size: 512 pixels ; min. res.: 30.0 Angstroms ; max. res.: 5.0 Angstroms ; min. def.: 5000.0 um; max. def. 50000.0 um
# Columns: #1 - micrograph number; #2 - defocus 1 [Angstroms]; #3 - defocus 2; #4 - azimuth of astigmatism; #5 - additional phase shift [radians]; #6 - cross correlation; #7 - spacing (in Angstroms) up to which CTF rings were fit successfully
1.000000 37034.929688 35846.542969 -14.849661 0.000000 0.017465 9.554261
2.000000 20000.000000 19000.000000 45.000000 1.500000 0.100000 inf
"""
CTFFIND5 = """\
# Output from CTFFind version 5.0.2, run on 2025-02-13 21:14:21
# Input file: a.mrc ; Number of micrographs: 1
# Pixel size: 0.930 Angstroms ; acceleration voltage: 300.0 keV ; spherical aberration: 2.70 mm ; amplitude contrast: 0.07
# Columns: #1 - micrograph number; #2 - defocus 1 [Angstroms]; #3 - defocus 2; #4 - azimuth of astigmatism; #5 - additional phase shift [radians]; #6 - cross correlation; #7 - spacing (in Angstroms) up to which CTF rings were fit successfully; #8 - Estimated tilt axis angle; #9 - Estimated tilt angle ; #10 Estimated sample thickness (in Angstroms)
1.000000 8984.742188 8709.236328 45.948771 0.000000 0.446317 3.720000 221.912292 12.251187 1619.773438
"""
AVROT = """\
# Output from CTFFind version 4.1.14, run on 2024-08-30 16:05:31
# Pixel size: 1.400 Angstroms ; acceleration voltage: 200.0 keV ; spherical aberration: 1.40 mm ; amplitude contrast: 0.10
# 6 lines per micrograph: #1 - spatial frequency (1/Angstroms); #2 - 1D rotational average of spectrum
0.000000 0.001396 0.002791
1.000000 2.000000 3.000000
1.500000 2.500000 3.500000
0.000000 0.500000 -0.500000
0.100000 0.200000 0.300000
0.050000 0.050000 0.050000
"""
GCTF_LOG = """\
Gctf --apix 1.34 --kV 300 --cs 2.7 --ac 0.1 mic_01.mrc
Opening mic_01.mrc ...
     Defocus_U     Defocus_V         Angle           CCC
    21000.12      20500.50        45.67       0.10000
    21010.25      20510.75        45.60       0.15432  Final Values
Resolution limit estimated by EPA: RES_LIMIT 4.25
"""
EPA = """\
Resolution       |CTF|sim    EPA(Ln|F|)  EPA(Ln|F|-Bg)           CCC
     50.000000      0.100000      9.000000      0.500000      0.900000
      4.000000      0.900000      7.000000      0.100000      0.300000
"""
WARP = """\
<?xml version="1.0" encoding="utf-8"?>
<TiltSeries AreAnglesInverted="False" PlaneNormal="0, 0, 1" CTFResolutionEstimate="5.2">
\t<Angles>-3
0
3</Angles>
\t<Dose>6
0
3</Dose>
\t<UseTilt>True
False
True</UseTilt>
\t<AxisAngle>85
85
85</AxisAngle>
\t<AxisOffsetX>1.5
0
-1</AxisOffsetX>
\t<AxisOffsetY>0
2
0</AxisOffsetY>
\t<MoviePath>a.mrc
b.mrc
c &amp; d.mrc</MoviePath>
\t<CTF>
\t\t<Param Name="PixelSize" Value="1.5" />
\t\t<Param Name="Voltage" Value="300" />
\t\t<Param Name="Cs" Value="2.7" />
\t\t<Param Name="Amplitude" Value="0.07" />
\t\t<Param Name="Defocus" Value="3" />
\t\t<Param Name="DefocusDelta" Value="0.2" />
\t\t<Param Name="DefocusAngle" Value="30" />
\t\t<Param Name="PhaseShift" Value="0.5" />
\t</CTF>
\t<GridCTF Width="1" Height="1" Depth="3" MarginX="0" MarginY="0" MarginZ="0">
\t\t<Node X="0" Y="0" Z="0" Value="2.9" />
\t\t<Node X="0" Y="0" Z="1" Value="3" />
\t\t<Node X="0" Y="0" Z="2" Value="3.1" />
\t</GridCTF>
</TiltSeries>"""
DYNAMO = """\
1 1 1 0.25 -0.5 0 10 90 -20 0.5 0 0 1 -60 60 0 0 0 0 2 1 1 0 101 51 31
2 1 1 0 0 0 0 0 0 0.4 0 0 1 -60 60 0 0 0 0 3 1 1 0 11 12 13
"""
MODES = """\
rot-body-1 tilt-body-1 psi-body-1 x-body-1 y-body-1 z-body-1 
1.000000e+00 0.000000e+00 0.000000e+00 0.000000e+00 0.000000e+00 -2.500000e-01
0.000000e+00 1.000000e+00 0.000000e+00 0.000000e+00 0.000000e+00 0.000000e+00
"""  # noqa: W291  RELION writes a blank at the end of the first line
PROJECTIONS = "0.5 -1.25\n1e-05 3.0\n"
FSC = '<fsc title="a &amp; b" xaxis="Resolution (A-1)" yaxis="Correlation Coefficient">\n  <coordinate>\n    <x>0.1</x>\n    <y>1</y>\n  </coordinate>\n</fsc>\n'
TEM = "# TEM-simulator\n 2  6\n 1 2 3 10 20 30\n 4 5 6 40 50 60\n"
EM = bytes([6, 0, 0, 5]) + struct.pack("<3i", 2, 2, 3) + bytes(496) + struct.pack("<12f", *range(12))
CBOX = """\
data_global

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
10.5 20.0 <NA> 64.0 64.0 <NA> 60.5 61.5 0.75 3.0 <NA>
"""
TOPAZ = "image_name\tx_coord\ty_coord\tscore\nmic_a\t10\t20\t1.5\nmic_b\t30\t40\t-0.25\nmic_a\t50\t60\t2.5\n"

SAMPLES = {
    "a.xf": XF, "a.tlt": TLT, "a.xtilt": TLT, "tilt.com": COM, "align.log": LOG, "a.aln": ALN, "a.txt": CTFFIND4, "b.txt": CTFFIND5,
    "a_avrot.txt": AVROT, "a_gctf.log": GCTF_LOG, "a_EPA.log": EPA, "a.xml": WARP, "a.tbl": DYNAMO, "analyse_eigenvectors.dat": MODES,
    "analyse_projections.dat": PROJECTIONS, "fsc.xml": FSC, "crd.txt": TEM, "a.em": EM, "a.cbox": CBOX, "topaz.txt": TOPAZ,
    "a.box": "10\t20\t64\t64\t0.5\n", "a.coord": "x y density\n10.5 20 3\n", "a.csv": "x,y\n1.5,2\n",
}  # fmt: skip

BODIES = """
data_

loop_
_rlnBodyMaskName
_rlnBodyRotateRelativeTo
_rlnBodySigmaAngles
_rlnBodySigmaOffset
large.mrc 2 10 2
small.mrc 1 20 0
"""
PIPELINE = """
data_pipeline_general

_rlnPipeLineJobCounter 3

data_pipeline_processes

loop_
_rlnPipeLineProcessName #1
_rlnPipeLineProcessAlias #2
_rlnPipeLineProcessType #3
_rlnPipeLineProcessStatus #4
Import/job001/ None 0 2
CtfFind/job002/ CtfFind/mine/ 2 0
"""
JOB = 'data_job\n\n_rlnJobTypeLabel relion.import\n_rlnJobIsContinue 1\n_rlnJobIsTomo 0\n\ndata_joboptions_values\n\nloop_\n_rlnJobOptionVariable #1\n_rlnJobOptionValue #2\nfn_in "a b.mrc"\nempty ""\n'
FILES = "data_coordinate_files\n\nloop_\n_rlnMicrographName #1\n_rlnMicrographCoordinates #2\na.mrc picks/a_autopick.star\n"
TABLE = "data_\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\na.mrc 1.5 2\nb.mrc 3 4\n"
TOMOGRAMS = """
data_global

loop_
_rlnTomoName #1
_rlnTomoTiltSeriesName #2
_rlnTomoFrameCount #3
_rlnTomoSizeX #4
_rlnTomoSizeY #5
_rlnTomoSizeZ #6
_rlnTomoHand #7
_rlnOpticsGroupName #8
_rlnTomoTiltSeriesPixelSize #9
_rlnVoltage #10
_rlnSphericalAberration #11
_rlnAmplitudeContrast #12
_rlnTomoImportFractionalDose #13
TS_1 a.st 2 3710 3838 2000 -1 optics1 1.35 300 2.7 0.07 3

data_TS_1

loop_
_rlnTomoProjX #1
_rlnTomoProjY #2
_rlnTomoProjZ #3
_rlnTomoProjW #4
_rlnDefocusU #5
_rlnDefocusV #6
_rlnDefocusAngle #7
_rlnMicrographPreExposure #8
[1,0,0,10.5] [0,1,0,20] [0,0,1,0] [0,0,0,1] 20000 19000 30 0
[0.5,0,0.25,10] [0,1,0,20] [-0.25,0,0.5,0] [0,0,0,1] 21000 20000 31 3
"""
PARTICLES = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnAmplitudeContrast #5
_rlnImagePixelSize #6
_rlnImageDimensionality #7
_rlnImageSize #8
1 one 300 2.7 0.1 2.5 2 64

data_particles

loop_
_rlnTomoName #1
_rlnCenteredCoordinateXAngst #2
_rlnCenteredCoordinateYAngst #3
_rlnCenteredCoordinateZAngst #4
_rlnOpticsGroup #5
_rlnTomoParticleName #6
_rlnAngleRot #7
_rlnAngleTilt #8
_rlnAnglePsi #9
_rlnTomoSubtomogramRot #10
_rlnTomoSubtomogramTilt #11
_rlnTomoSubtomogramPsi #12
_rlnOriginXAngst #13
_rlnOriginYAngst #14
_rlnOriginZAngst #15
_rlnTomoVisibleFrames #16
TS_1 100.5 -20 3 1 TS_1/1 10 20 30 40 50 60 1 2 3 [1,0,1]
TS_2 -1 2.25 -3 1 TS_2/1 11 21 31 41 51 61 0 0 0 [1,1,1]
"""
SET = "data_\n\n_rlnTomoParticlesFile particles.star\n_rlnTomoTomogramsFile tomograms.star\n"
MOTION = "data_general\n\n_rlnParticleNumber 1\n\ndata_TS_1/1\n\nloop_\n_rlnOriginXAngst #1\n_rlnOriginYAngst #2\n_rlnOriginZAngst #3\n0 0 0\n1.5 -2 0.25\n"
STAR_SAMPLES = {
    "bodies": BODIES, "pipeline": PIPELINE, "job": JOB, "coordinate files": FILES, "coordinate table": TABLE, "tomograms": TOMOGRAMS,
    "tomogram particles": PARTICLES, "optimisation set": SET, "trajectories": MOTION,
}  # fmt: skip
