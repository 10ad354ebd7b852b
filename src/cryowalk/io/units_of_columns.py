"""The unit in which RELION's columns are written, for files that can say so."""

_BY_LABEL = {
    "rlnDefocusU": "angstrom",
    "rlnDefocusV": "angstrom",
    "rlnDefocusAngle": "degree",
    "rlnPhaseShift": "degree",
    "rlnCtfBfactor": "angstrom^2",
    "rlnCtfScalefactor": "1",
    "rlnCtfFigureOfMerit": "1",
    "rlnCtfMaxResolution": "angstrom",
    "rlnCtfAstigmatism": "angstrom",
    "rlnAngleRot": "degree",
    "rlnAngleTilt": "degree",
    "rlnAnglePsi": "degree",
    "rlnVoltage": "kilovolt",
    "rlnSphericalAberration": "millimetre",
    "rlnAmplitudeContrast": "1",
    "rlnMagnification": "1",
    "rlnDetectorPixelSize": "micrometre",
    "rlnPixelSize": "angstrom/pixel",
    "rlnImagePixelSize": "angstrom/pixel",
    "rlnMicrographOriginalPixelSize": "angstrom/pixel",
    "rlnMicrographPixelSize": "angstrom/pixel",
    "rlnTomoTiltSeriesPixelSize": "angstrom/pixel",
    "rlnImageSize": "pixel",
    "rlnBeamTiltX": "milliradian",
    "rlnBeamTiltY": "milliradian",
    "rlnOriginX": "pixel",
    "rlnOriginY": "pixel",
    "rlnOriginZ": "pixel",
    "rlnCoordinateX": "pixel",
    "rlnCoordinateY": "pixel",
    "rlnCoordinateZ": "pixel",
    "rlnMicrographPreExposure": "electron/angstrom^2",
    "rlnMicrographDoseRate": "electron/angstrom^2",
    "rlnHelicalTubePitch": "angstrom",
}
_BY_ENDING = (("Angst", "angstrom"), ("PriorDeg", "degree"))
_ANGLES = (
    "rlnAngleRot",
    "rlnAngleTilt",
    "rlnAnglePsi",
    "rlnTomoSubtomogramRot",
    "rlnTomoSubtomogramTilt",
    "rlnTomoSubtomogramPsi",
)


def unit_of(label: str) -> str:
    """The unit of the column of this label in words such as "angstrom" or "degree"; "1" for a plain number, empty where it is not known.

    >>> unit_of("rlnOriginXAngst"), unit_of("rlnAngleTiltPrior"), unit_of("rlnClassNumber")
    ('angstrom', 'degree', '')
    """
    if label in _BY_LABEL:
        return _BY_LABEL[label]
    if label.startswith(_ANGLES):
        return "degree"
    return next((unit for ending, unit in _BY_ENDING if label.endswith(ending)), "")
