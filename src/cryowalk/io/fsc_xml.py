"""Fourier shell correlations in the XML that the EMDB takes: `<fsc>` with one `<coordinate>` a shell, x in 1/Å and y the correlation."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

from cryowalk.core.errors import InputError
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.safe_xml import read_xml
from cryowalk.io.text_rows import real

X_AXIS, Y_AXIS = "Resolution (A-1)", "Correlation Coefficient"
LARGEST = 2**24  # bytes of a file that is read


@dataclass(frozen=True, slots=True, kw_only=True)
class FscCurve:
    """A curve as it is deposited: frequencies in 1/Å, correlations, and its title."""

    frequency: tuple[float, ...]
    correlation: tuple[float, ...]
    title: str = ""

    def __len__(self) -> int:
        return len(self.frequency)


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
    curve = read_fsc_curve(path)
    return curve.frequency, curve.correlation


def read_fsc_curve(path: str | Path) -> FscCurve:
    """The curve of a file as the EMDB takes it, with its title.

    Raises
    ------
    InputError
        If the file is no such curve.
    SafetyRefusal
        If it defines entities, which can swell without bound or read other files.
    """
    path = Path(path)
    root, _ = read_xml(path, limit=LARGEST)
    if root.tag != "fsc":
        raise InputError(f"the XML holds <{root.tag}>", file=path, expected="a curve in <fsc> as the EMDB takes it")
    points = []
    for one in root.children:
        if one.tag == "coordinate":
            texts = [child.text.strip() if (child := one.find(tag)) else "" for tag in "xy"]
            points.append(tuple(real(text, what="a coordinate of the curve", path=path, line=one.line) for text in texts))
    if not points:
        raise InputError("the curve has no points", file=path)
    return FscCurve(
        frequency=tuple(x for x, _ in points), correlation=tuple(y for _, y in points), title=root.attributes.get("title", "")
    )


def write_fsc_curve(curve: FscCurve, path: str | Path) -> None:
    """Write a curve with its title; see `write_fsc_xml`."""
    write_fsc_xml(curve.frequency, curve.correlation, path, title=curve.title)
