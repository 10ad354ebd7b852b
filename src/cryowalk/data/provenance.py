"""Where a result came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The record of one job: command, settings, versions, seed, and the sha256 of what went in and came out."""

    command: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    seed: int
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
