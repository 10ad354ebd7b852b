"""Every convention of the package, written once with its reason; the documentation's page is generated from this table."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """One choice that the whole package shares: what it is about, what we chose, why, and the test that holds it."""

    about: str
    choice: str
    reason: str
    tested_by: str


CONVENTIONS: tuple[Convention, ...] = (
    Convention(
        about="arrays",
        choice="Volumes are [..., z, y, x], images [..., y, x]; vectors are (x, y, z).",
        reason="The slowest axis of an MRC file comes first in memory, while formulas write vectors as (x, y, z).",
        tested_by="tests/closed_form/test_conventions.py",
    ),
    Convention(
        about="origin",
        choice="The origin is pixel n // 2 on each axis, for odd and even boxes alike.",
        reason="It is the pixel that a Fourier transform leaves in place, and RELION's centre for even boxes.",
        tested_by="tests/closed_form/test_conventions.py",
    ),
    Convention(
        about="units",
        choice="Å, 1/Å, rad, e⁻/Å² and s inside; a name carries a unit only when it is another one (voltage_kv); degrees only at the door.",
        reason="One unit per quantity leaves no conversion in the middle of a formula.",
        tested_by="tests/test_architecture.py",
    ),
    Convention(
        about="Fourier transforms",
        choice=(
            "Forward e^(−2πi k·x), orthonormal, unshifted, half spectrum, phases about the origin pixel; fourier.transform alone calls an FFT. "
            "A central slice of an orthonormal 3D transform carries the factor √n · voxel size."
        ),
        reason="Orthonormal transforms keep the noise variance, so noise models read the same in both spaces.",
        tested_by="tests/fourier",
    ),
    Convention(
        about="beam",
        choice=(
            "The beam runs along +z and a projection is ∫ V dz. Underfocus images a plane upstream, "
            "so a point at larger z (farther along the beam) has an underfocus larger by z."
        ),
        reason="It is the direction in which the electrons travel; the sign of z matters for the Ewald sphere and for tilted specimens.",
        tested_by="tests/microscope",
    ),
    Convention(
        about="pose",
        choice=(
            "lab_from_particle is the matrix R with x_lab = R x_particle; shift is (x, y) in Å: where the particle's origin lies relative to the "
            "image's origin. Image = ∫ V(Rᵀ x_lab) dz, then shifted."
        ),
        reason="Named by direction, a product of rotations reads like a chain and cannot be transposed by accident.",
        tested_by="tests/closed_form/test_conventions.py",
    ),
    Convention(
        about="RELION",
        choice=(
            "R is RELION's matrix A = Rotation.from_euler('ZYZ', [rot, tilt, psi]).as_matrix().T; shift = −rlnOriginAngst; the defocus azimuth runs "
            "from +x towards +y; RELION's motion shift is minus the displacement. RELION's programs shift odd boxes by (+1, +1) px."
        ),
        reason="Verified against relion_project on an asymmetric map (even boxes, correlation 0.9999).",
        tested_by="tests/agreement",
    ),
    Convention(
        about="cryoSPARC",
        choice="R = Rotation.from_rotvec(pose).as_matrix().T; shift = −(shift · psize_A); indices count from 0.",
        reason="Derived from the meaning of the fields and checked against another program's parse of the same file.",
        tested_by="tests/closed_form/test_conventions.py",
    ),
    Convention(
        about="map scale",
        choice="Inside, an image is ∫ V dz in V Å; on disk maps carry RELION's scale (image = sum of voxels): io.maps multiplies and divides by the voxel size.",
        reason="RELION sums voxels; converting in one place keeps formulas physical and files usable there.",
        tested_by="tests/io",
    ),
    Convention(
        about="PDB frame",
        choice="r_particle = r_pdb − origin − (n // 2) · voxel size.",
        reason="The particle's origin is the origin pixel of its box; a map's header origin is where voxel (0, 0, 0) lies.",
        tested_by="tests/microscope",
    ),
    Convention(
        about="defocus",
        choice="Positive is underfocus, in Å; the astigmatism angle runs from +x towards +y and belongs to the larger (major, U) defocus.",
        reason="It is the sign of every processing program.",
        tested_by="tests/closed_form/test_conventions.py",
    ),
    Convention(
        about="contrast",
        choice=(
            "Particles are protein-bright with CTF(0) = +Q, CTF = sin(χ + φ + arcsin Q). A micrograph is physical (protein dark): in the weak-phase limit "
            "I = I₀(1 − 2 CTF ∗ φ) with φ = σₑ ∫ V dz; extraction inverts."
        ),
        reason="Particle stacks are stored so by RELION; the one inversion is extraction's.",
        tested_by="tests/microscope",
    ),
    Convention(
        about="waves",
        choice=(
            "Free space of Δz multiplies a spectrum by exp(−iπλ Δz k²), the lens by exp(+iχ); a thin slice multiplies the wave by exp(iσₑ v (√(1 − Q²) + iQ)). "
            "Exit waves refer to z = 0, the middle of the specimen, where the defocus is given."
        ),
        reason="Then every model of scattering gives the same image in the weak limit, 1 − 2σₑ v ∗ sin(χ + arcsin Q), and one can stand for another.",
        tested_by="tests/microscope/test_scattering.py",
    ),
    Convention(
        about="aberrations",
        choice=(
            "Even Zernike terms are subtracted from χ, odd ones and the beam tilt's −2πCsλ²k²(k·t) are added as the phase of the image; "
            "a magnification matrix M shows a point x at Mᵀx."
        ),
        reason="So RELION's optics columns mean what they mean in RELION; measured with relion_ctf_toolbox and relion_reconstruct.",
        tested_by="tests/agreement/test_ctf_relion.py",
    ),
    Convention(
        about="motion",
        choice="A displacement is how far the specimen has moved since frame 0, (x, y) in Å; RELION's shift is minus it, in pixels.",
        reason="It is the physical quantity; a shift is what a program does about it.",
        tested_by="tests/io/test_motion.py",
    ),
    Convention(
        about="coordinates",
        choice="A particle's place in a micrograph is (x, y) in pixels from the middle of the first pixel of the first row, as the array lies in memory.",
        reason="RELION counts so. TIFF files of the field lie upside-down against MRC files: io turns their rows, in one place.",
        tested_by="tests/io/test_coordinates.py",
    ),
    Convention(
        about="hand",
        choice="The hand is not in single-particle data; it is set by comparison with a model or a tilt pair.",
        reason="A map and its mirror image give the same projections, each seen from the opposite direction.",
        tested_by="tests/validation",
    ),
    Convention(
        about="wavelength",
        choice="CODATA. RELION's constants differ by 6·10⁻⁶.",
        reason="RELION's CTF agrees to 2·10⁻⁶ with its own wavelength put in, to 3·10⁻³ at 0.5 Å⁻¹ with CODATA's.",
        tested_by="tests/core",
    ),
)
