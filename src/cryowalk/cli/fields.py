"""Dataclass fields read as options: flags, help, ranges.

A field is `name: Annotated[type, "help", "--alias", ("min", 1)] = default`. The first text is the help; texts that begin with `-` are further flags beside
`--name`; a text in capitals makes the field positional under that name; `("min", x)`, `("max", x)`, `("above", x)` and `("below", x)` are ranges.
"""

import math
import types
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from cryowalk.core.errors import UsageError

# Names that RELION's users type, for every field so called.
HOUSE_ALIASES = {
    "output": ("--o",),
    "pixel_size": ("--angpix",),
    "threads": ("--j",),
    "symmetry": ("--sym",),
}
# A safety net below what a settings class says itself: values that mean nothing under these names.
HOUSE_RANGES: dict[str, tuple[tuple[str, float], ...]] = {
    "box": (("min", 8), ("max", 4096)),
    "count": (("min", 1),),
    "iterations": (("min", 1),),
    "pixel_size": (("above", 0), ("min", 0.02), ("max", 1000)),  # what is read back, io.relion_optics
    "voxel_size": (("above", 0), ("min", 0.02), ("max", 1000)),
    "snr": (("above", 0), ("min", 1e-6), ("max", 1e9)),
    "dose": (("above", 0), ("min", 1e-6), ("max", 1e9)),
    "memory_budget": (("min", 1),),
    "voltage_kv": (("above", 0), ("max", 3000)),
    "amplitude_contrast": (("min", 0), ("max", 1)),
    "batch": (("min", 1),),
    "padding": (("min", 1), ("max", 8)),
}
_WORDS = {"min": "at least", "max": "at most", "above": "above", "below": "below"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One option or argument of a command."""

    name: str
    kind: Any
    is_optional: bool
    default: Any
    help: str
    flags: tuple[str, ...]
    positional: str
    ranges: tuple[tuple[str, float], ...]

    @property
    def is_required(self) -> bool:
        """Whether it must be given."""
        return self.default is MISSING

    @property
    def label(self) -> str:
        """The name in messages, with the aliases that people rather type."""
        return self.positional or " / ".join(self.flags)

    def check(self, value: Any) -> None:
        """Nothing, if the value can be meant.

        Raises
        ------
        UsageError
            If it is outside its range.
        """
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                continue
            if not math.isfinite(number):
                raise UsageError(f"{self.label} must be a finite number: got {number}", expected=self.help)
            for bound, limit in self.ranges:
                fits = {"min": number >= limit, "max": number <= limit, "above": number > limit, "below": number < limit}[bound]
                if not fits:
                    raise UsageError(f"{self.label} must be {_WORDS[bound]} {limit:g}: got {number}", expected=self.help)


def fields_of(kind: type) -> Iterator[Field]:
    """The options and arguments that a dataclass declares."""
    hints = get_type_hints(kind, include_extras=True)
    for each in fields(kind):
        default = each.default
        if default is MISSING and each.default_factory is not MISSING:
            default = each.default_factory()
        yield field_from(each.name, hints[each.name], default)


def field_from(name: str, hint: Any, default: Any = MISSING) -> Field:
    """The option or argument of one annotation."""
    extras: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        extras = tuple(rest)
    texts = [extra for extra in extras if isinstance(extra, str)]
    ranges = tuple(extra for extra in extras if isinstance(extra, tuple))
    unknown = [bound for bound, _ in ranges if bound not in _WORDS]
    if unknown:
        raise TypeError(f"{name}: a range is one of {', '.join(_WORDS)}, not {unknown[0]!r}")
    aliases = [text for text in texts[1:] if text.startswith("-")]
    flags = (f"--{name.replace('_', '-')}", *aliases, *HOUSE_ALIASES.get(name, ()))
    kind, is_optional = _without_none(hint)
    return Field(
        name=name,
        kind=kind,
        is_optional=is_optional,
        default=default,
        help=texts[0] if texts else "",
        flags=tuple(dict.fromkeys(flags)),
        positional=next((text for text in texts[1:] if not text.startswith("-")), ""),
        ranges=ranges or HOUSE_RANGES.get(name, ()),
    )


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [each for each in get_args(hint) if each is not type(None)]
        if len(kinds) != 1:
            raise TypeError(f"an option has one type, or that type | None: {hint}")
        return kinds[0], True
    return hint, False


def is_path(field: Field) -> bool:
    """Whether the field is the name of a file, or a tuple of such names."""
    return field.kind is Path or (get_origin(field.kind) is tuple and get_args(field.kind)[0] is Path)
