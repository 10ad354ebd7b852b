"""Settings to plain values (what job.json and settings files hold) and back."""

import dataclasses
import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from cryowalk.core.errors import InputError, UsageError

T = TypeVar("T")


def plain(value: Any) -> Any:
    """The value as JSON knows it: dataclasses become mappings, paths become text, tuples become lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def settings_from(kind: type[T], values: Mapping[str, Any], *, file: Path | None = None) -> T:
    """The settings of this class with these plain values; what is not named keeps its default.

    Raises
    ------
    UsageError
        If a name is unknown or a value does not fit the field's type.
    """
    from difflib import get_close_matches

    hints = get_type_hints(kind, include_extras=True)
    chosen: dict[str, Any] = {}
    for name, value in values.items():
        key = name.replace("-", "_")
        if key not in hints:
            near = get_close_matches(key, hints, n=1, cutoff=0.0)
            raise UsageError(f"there is no setting {name!r}", file=file, fix=f"the nearest is {near[0]!r}" if near else "")
        try:
            chosen[key] = fitted(hints[key], value)
        except (TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"the setting {name!r} cannot be {value!r}", file=file, expected=str(error)) from None
    return kind(**chosen)


def read_settings(path: Path) -> dict[str, Any]:
    """The named values of a settings file, JSON or YAML; of a job.json, the settings of that job.

    Raises
    ------
    InputError
        If the file is not there or holds no names and values.
    """
    if not path.is_file():
        raise InputError("there is no such file", file=path, expected="--settings: a YAML or JSON file, or a job.json")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the settings cannot be read: {error}", file=path) from None
    try:
        if path.suffix == ".json":
            values = json.loads(text)
        else:
            import yaml

            values = yaml.safe_load(text)
    except ValueError as error:
        raise InputError(f"this is not JSON: {error}", file=path) from None
    except Exception as error:
        if type(error).__module__.startswith("yaml"):
            where = getattr(error, "problem_mark", None)
            raise InputError(
                f"this is not YAML: {getattr(error, 'problem', None) or type(error).__name__}",
                file=path,
                row=where.line + 1 if where is not None else None,
                expected="lines such as “dose: 40”",
            ) from None
        raise
    if isinstance(values, dict) and path.name == "job.json" and isinstance(values.get("settings"), dict):
        values = values["settings"]
    if not isinstance(values, dict):
        raise InputError("this file holds no settings", file=path, expected="lines such as `symmetry: D2`")
    return {str(name): value for name, value in values.items()}


def fitted(hint: Any, value: Any) -> Any:
    """The value in the type of the annotation.

    Raises
    ------
    ValueError, TypeError
        If it does not fit; the message says what would.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return fitted(arguments[0], value)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return fitted(next(argument for argument in arguments if argument is not type(None)), value)
    if origin is Literal:
        if value not in arguments:
            raise ValueError("one of " + ", ".join(map(str, arguments)))
        return value
    if origin is tuple:
        return _fitted_tuple(arguments, value)
    return _fitted_scalar(hint, value)


def _fitted_tuple(kinds: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    several = "values in a list" if kinds[1:] == (Ellipsis,) else f"{len(kinds)} values"
    if not isinstance(value, (str, list, tuple)):
        raise ValueError(several)  # noqa: TRY004  the caller turns it into a message
    items = value.replace(",", " ").split() if isinstance(value, str) else list(value)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(fitted(kinds[0], item) for item in items)
    if len(items) != len(kinds):
        raise ValueError(several)
    return tuple(fitted(kind, item) for kind, item in zip(kinds, items, strict=True))


def _fitted_scalar(kind: Any, value: Any) -> Any:
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "the name of a file"}
    wrong = ValueError(words.get(kind, str(kind)))
    if kind is bool or isinstance(value, bool):
        if kind is bool and isinstance(value, bool):
            return value
        raise wrong
    if kind is int and isinstance(value, float) and not value.is_integer():
        raise wrong
    if kind in (int, float) and not isinstance(value, (int, float, str)):
        raise wrong
    if kind in (str, Path) and not isinstance(value, (str, Path)):
        raise wrong
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise wrong from None
