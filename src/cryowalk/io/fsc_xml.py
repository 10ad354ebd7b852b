"""Fourier shell correlations in the XML that the EMDB takes: `<fsc>` with one `<coordinate>` a shell, x in 1/Å and y the correlation."""

import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from cryowalk.core.errors import InputError, SafetyRefusal
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.opening import open_content, read_up_to

X_AXIS, Y_AXIS = "Resolution (A-1)", "Correlation Coefficient"
LARGEST = 2**24  # bytes of a file that is read


def write_fsc_xml(frequency: Sequence[float], correlation: Sequence[float], path: str | Path, *, title: str) -> None:
    """Write a curve for deposition, all or nothing: frequencies in 1/Å that rise, correlations from −1 to 1.

    Raises
    ------
    InputError
        If the numbers differ in count, do not rise, or are not finite.
    """
    if len(frequency) != len(correlation) or not frequency:
        raise InputError(
            f"a curve of {len(frequency)} frequencies and {len(correlation)} correlations cannot be written", file=path
        )
    if not all(map(math.isfinite, (*frequency, *correlation))):
        raise InputError("a curve with values that are not finite cannot be written", file=path)
    if any(later <= earlier for earlier, later in itertools.pairwise(frequency)):
        raise InputError("the frequencies of the curve do not rise", file=path)
    lines = [f"<fsc title={quoteattr(title)} xaxis={quoteattr(X_AXIS)} yaxis={quoteattr(Y_AXIS)}>"]
    for x, y in zip(frequency, correlation, strict=True):
        lines += ["  <coordinate>", f"    <x>{x:.6g}</x>", f"    <y>{y:.6g}</y>", "  </coordinate>"]
    atomic_write_text(path, "\n".join([*lines, "</fsc>"]) + "\n")


def read_fsc_xml(path: str | Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The frequencies (1/Å) and correlations of a curve.

    Raises
    ------
    InputError
        If the file is no such curve.
    SafetyRefusal
        If it defines entities, which can swell without bound or read other files.
    """
    path = Path(path)
    with open_content(path) as stream:
        content = read_up_to(stream, LARGEST + 1, path=path)
    if len(content) > LARGEST:
        raise InputError(f"the file has more than {LARGEST // 2**20} MiB", file=path, expected="a curve of some hundred points")
    text = content.decode("utf-8-sig", "replace")
    if re.search(r"<!\s*(?:DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise SafetyRefusal("the XML defines a document type or entities, which no curve needs", file=path)
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise InputError(f"the XML is damaged: {error}", file=path) from None
    if root.tag != "fsc":
        raise InputError(f"the XML holds <{root.tag}>", file=path, expected="a curve in <fsc> as the EMDB takes it")
    try:
        points = [(float(one.findtext("x", "")), float(one.findtext("y", ""))) for one in root.iter("coordinate")]
    except ValueError as error:
        raise InputError(f"a coordinate of the curve is no number: {error}", file=path) from None
    if not points or not all(math.isfinite(value) for point in points for value in point):
        raise InputError("the curve has no points, or some that are not finite", file=path)
    return tuple(x for x, _ in points), tuple(y for _, y in points)
