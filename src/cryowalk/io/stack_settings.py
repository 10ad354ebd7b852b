"""What a user may choose about a stack in HDF5 or Zarr."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class StackStorage:
    """How the images of a stack are stored."""

    sample_format: Annotated[Literal["float32", "float16"], "how the values are stored", "--mode"] = "float32"
    compression: Annotated[
        Literal["none", "lzf", "gzip"],
        "packing of each image: noise shrinks to 86 % at a thirtieth of the speed (lzf: HDF5 only)",
    ] = "none"
