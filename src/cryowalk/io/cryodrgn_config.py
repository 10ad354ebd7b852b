"""cryoDRGN's `config.yaml`: what a run was given, as nested mappings of plain values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryowalk.core.errors import InputError
from cryowalk.io.atomic import atomic_write_text
from cryowalk.io.safe_yaml import read_yaml


def read_cryodrgn_config(path: str | Path) -> Mapping[str, Any]:
    """The settings of a cryoDRGN run: `dataset_args`, `lattice_args`, `model_args` and what else there is.

    Raises
    ------
    InputError
        If this is no such file.
    SafetyRefusal
        If it asks for objects to be made.
    """
    path = Path(path)
    told = read_yaml(path)
    if not any(isinstance(told.get(name), dict) for name in ("dataset_args", "lattice_args", "model_args")):
        raise InputError("these are no settings of cryoDRGN", file=path, expected="dataset_args, lattice_args or model_args")
    return told


def write_cryodrgn_config(settings: Mapping[str, Any], path: str | Path) -> None:
    """Write such settings, all or nothing.

    Raises
    ------
    InputError
        If a value is no number, text, list or mapping.
    """
    import yaml

    try:
        text = yaml.safe_dump(_plain(settings), sort_keys=True, allow_unicode=True)
    except yaml.YAMLError as error:
        raise InputError("a setting is no number, text, list or mapping", file=path, cause=str(error)[:160]) from error
    atomic_write_text(path, text)


def _plain(value: Any) -> Any:
    """The value with mappings as dictionaries and tuples as lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value
