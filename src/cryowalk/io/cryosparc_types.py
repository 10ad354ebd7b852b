"""Which fields of cryoSPARC's records hold whole numbers, numbers or texts, and how many a particle: checked before any of them is read."""

import re
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from cryowalk.core.errors import InputError, printable

WHOLE, NUMBER, TEXT = "uib", "fuib", "SU"
IN_WORDS = {WHOLE: "a whole number", NUMBER: "a number", TEXT: "a text"}
_RULES: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    (r"uid|blob/idx|ctf/exp_group_id|filament/filament_uid", WHOLE, ()),
    (r"(?:alignments[23]D|alignments_class_\d+)/(?:split|class)", WHOLE, ()),
    (r"blob/path|location/micrograph_path|relion/.+|relion_optics/.+", TEXT, ()),
    (r"blob/shape|location/micrograph_shape", WHOLE, (2,)),
    (
        r"blob/(?:psize_A|sign)|ctf/(?:accel_kv|cs_mm|amp_contrast|df1_A|df2_A|df_angle_rad|phase_shift_rad|scale|bfactor)",
        NUMBER,
        (),
    ),
    (
        r"location/(?:center_[xy]_frac|micrograph_psize_A)|(?:alignments[23]D|alignments_class_\d+)/(?:psize_A|class_posterior)",
        NUMBER,
        (),
    ),
    (r"components_mode_\d+/value", NUMBER, ()),
    (r"ctf/(?:tilt_A|trefoil_A)", NUMBER, (2,)),
    (r"ctf/(?:tetra_A|anisomag)", NUMBER, (4,)),
)


def check_types(records: NDArray[Any], path: Path | None) -> None:
    """Nothing, if every field that is known here is of its kind.

    Raises
    ------
    InputError
        If one is of another.
    """
    for name in records.dtype.names or ():
        rule = next(((kinds, shape) for pattern, kinds, shape in _RULES if re.fullmatch(pattern, name)), None)
        dtype = records.dtype[name]
        if rule is not None and (dtype.base.kind not in rule[0] or dtype.shape != rule[1]):
            count = f"{rule[1][0]} numbers" if rule[1] else IN_WORDS[rule[0]]
            raise InputError(
                f"the field {printable(name)} is of the type {printable(dtype)}",
                file=path,
                expected=f"{count} a particle",
                fix="export the particles again",
            )
