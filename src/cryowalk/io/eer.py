"""Movies of electron events (EER): what their container says, and their frames rendered from the electrons as they are asked for.

An EER file is a BigTIFF with one page a raw frame. Raw frames hold few electrons, so that a movie for alignment sums many of them. Rows lie as in MRC
files, not upside-down as in other TIFF files; RELION reads them so too.

Source: Guo, Franken, Deng, Benlekbir, Singla Lezcano, Janssen, Yu, Ripstein, Tan & Rubinstein, IUCrJ 7, 860 (2020); the conventions of
Thermo Fisher's EerReaderLib and of RELION's renderer, which the tests compare with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree as ET

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from cryowalk.core.errors import InputError, UsageError, printable
from cryowalk.io.eer_status import CUT_OFF, OVERRUN
from cryowalk.io.mrc_header import decimal
from cryowalk.io.opening import open_file, require_places
from cryowalk.io.tiff import open_tiff

EER_ENDINGS = {".eer", ".ecc"}
METADATA_TAG = 65001
FRAMES_ITEM = "cryowalkRawFramesPerFrame"
SPARE = 8  # zero bytes after a frame, so that bits may be fetched beyond its end
LONGEST_METADATA = 2**24  # bytes of XML; more is no list of settings
_ANGSTROM_PER_METRE = 1e10


@dataclass(frozen=True, slots=True, kw_only=True)
class EerLayout:
    """How many bits the codes of an EER frame have, and whether runs of all ones are as long as other codes (the first version only)."""

    run_bits: int = 7
    x_bits: int = 2
    y_bits: int = 2
    has_full_runs: bool = False

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """The layout as the compiled loops take it."""
        return self.run_bits, self.x_bits, self.y_bits, int(self.has_full_runs)


LAYOUTS = {65000: EerLayout(run_bits=8, has_full_runs=True), 65001: EerLayout()}
VARIABLE = 65002
LAYOUT_TAGS = {65007: "run_bits", 65008: "x_bits", 65009: "y_bits"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EerEvents:
    """The electrons of one raw frame in raster order: camera pixel (x, y), and place within it in 2^bits steps from its corner."""

    pixel: Int[Tensor, "n 2"]
    sub_pixel: Int[Tensor, "n 2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EerItem:
    """One item of the acquisition metadata: its text and its unit."""

    text: str
    unit: str = ""


def is_eer(path: Path) -> bool:
    """Whether a file is a BigTIFF with a page of electron events."""
    with open_file(path) as stream:
        if stream.read(4) not in {b"II+\x00", b"MM\x00+"}:
            return False
    try:
        with open_tiff(path) as tiff:
            return any(int(tiff.pages[i].compression) in {*LAYOUTS, VARIABLE} for i in range(min(2, len(tiff.pages))))
    except InputError:
        return path.suffix.lower() in EER_ENDINGS  # the reader of its kind tells what is wrong


def parse_metadata(text: bytes, path: Path) -> dict[str, EerItem]:
    """The items of the acquisition metadata, by name.

    Raises
    ------
    InputError
        If the text is no list of items, or declares entities.
    """
    if len(text) > LONGEST_METADATA or b"<!" in text or b"\0" in text.rstrip(b"\0 \r\n"):  # UTF-16 would hide a "<!"
        raise InputError("the acquisition metadata is no list of items", file=path, cause="a damaged or hostile file")
    start = text.find(b"<metadata")
    try:
        root = ET.fromstring(text[max(start, 0) :].rstrip(b"\0 \r\n"))
    except ET.ParseError as error:
        raise InputError(f"the acquisition metadata cannot be read: {printable(error)}", file=path) from error
    return {
        item.get("name", ""): EerItem(text=(item.text or "").strip(), unit=item.get("unit", ""))
        for item in root.iter("item")
        if item.get("name")
    }


def format_metadata(items: Mapping[str, EerItem]) -> bytes:
    """The acquisition metadata as EER files hold it."""
    root = ET.Element("metadata")
    for name, item in items.items():
        element = ET.SubElement(root, "item", {"name": name, **({"unit": item.unit} if item.unit else {})})
        element.text = item.text
    return bytes(ET.tostring(root, encoding="utf-8"))


class EerMovieReader:
    """The frames of an EER movie, an `ImageSource`: each is the sum of `raw_frames_per_frame` raw frames, counted in electrons, as float32.

    `upsampling` 2 or 4 puts the electrons on a grid so many times finer than the camera. Raw frames left over at the end are not used, as in RELION.
    A movie written by us knows how many raw frames belong together; of another each raw frame is one unless it is said.

    Raises
    ------
    InputError
        If the file is damaged, or has fewer raw frames than make one frame.
    """

    def __init__(self, path: str | Path, *, raw_frames_per_frame: int | None = None, upsampling: Literal[1, 2, 4] = 1) -> None:
        self.path, self.upsampling = Path(path), upsampling
        if upsampling not in (1, 2, 4):
            raise UsageError(f"EER movies cannot be rendered {upsampling} times finer", expected="1, 2 or 4")
        pages = _pages(self.path)
        self.layout, self.camera_shape = pages.layout, pages.shape
        self._places, self._sizes = pages.places, pages.sizes
        self.metadata: Mapping[str, EerItem] = parse_metadata(pages.metadata, self.path) if pages.metadata else {}
        if max(upsampling >> self.layout.x_bits, upsampling >> self.layout.y_bits) > 1:
            raise UsageError(f"the electrons are not placed {upsampling} times finer than the pixels", file=self.path)
        self.raw_frames_per_frame = self._frames_together(raw_frames_per_frame)
        if self.count < 1:
            raise InputError(
                f"{self.raw_frames_per_frame} raw frames make a frame, and the movie has {self.raw_count}",
                file=self.path,
                fix="sum fewer raw frames",
            )

    def _frames_together(self, wanted: int | None) -> int:
        if wanted is None:
            told = self.metadata.get(FRAMES_ITEM, EerItem(text="1")).text
            wanted = int(told) if told.isascii() and told.isdigit() else 1
        if wanted < 1:
            raise UsageError(f"{wanted} raw frames cannot make a frame", expected="1 or more")
        return wanted

    @property
    def raw_count(self) -> int:
        """How many raw frames there are."""
        return len(self._places)

    @property
    def count(self) -> int:
        """How many frames there are."""
        return self.raw_count // self.raw_frames_per_frame

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.camera_shape[0] * self.upsampling, self.camera_shape[1] * self.upsampling

    @property
    def pixel_size(self) -> float | None:
        """Pixel size of the frames in Å, or None where the metadata does not say."""
        item = self.metadata.get("sensorPixelSize.width")
        size = self._number("sensorPixelSize.width")
        if item is None or size is None or item.unit != "m" or not 2e-12 <= size <= 1e-7:
            return None
        return decimal(size * _ANGSTROM_PER_METRE) / self.upsampling

    @property
    def exposure_time(self) -> float | None:
        """How long the exposure took in s, or None where the metadata does not say."""
        return self._number("exposureTime")

    def _number(self, name: str) -> float | None:
        try:
            return float(self.metadata[name].text)
        except (KeyError, ValueError):
            return None

    def _content(self, raw: int) -> tuple[NDArray[np.uint8], int]:
        """The bytes of a raw frame with spare zeros after them, and how many they are."""
        size = self._sizes[raw]
        content = np.zeros(size + SPARE, np.uint8)
        with open_file(self.path) as stream:
            stream.seek(self._places[raw])
            got = stream.readinto(content.data[:size])  # type: ignore[attr-defined]
        if got != size:
            raise self._damage(raw, CUT_OFF)
        return content, size

    def _layout_of(self, content: NDArray[np.uint8], size: int, raw: int) -> tuple[int, int, int, int]:
        """The layout by which a raw frame ends where it must: programs differ in how they read the runs of the first version."""
        from cryowalk.io.eer_compiled import decode_events  # compiled code is loaded when it is needed

        run_bits, x_bits, y_bits, is_full = self.layout.numbers
        nothing = np.empty((0, 3), np.int64)
        for has_full_runs in (1, 0) if is_full else ():
            layout = (run_bits, x_bits, y_bits, has_full_runs)
            if decode_events(content, size, self.camera_shape, layout, nothing) >= 0:
                return layout
        if is_full:
            raise self._damage(raw, OVERRUN)
        return run_bits, x_bits, y_bits, 0

    def read_events(self, raw: int) -> EerEvents:
        """The electrons of one raw frame, counted from 0.

        Raises
        ------
        InputError
            If there is no such frame or it is damaged.
        """
        from cryowalk.io.eer_compiled import decode_events

        require_places([raw], self.raw_count, self.path, what="frame")
        content, size = self._content(raw)
        layout = self._layout_of(content, size, raw)
        found = np.empty((size * 8 // sum(layout[:3]) + 1, 3), np.int64)
        count = decode_events(content, size, self.camera_shape, layout, found)
        if count < 0:
            raise self._damage(raw, count)
        events = torch.from_numpy(found[:count])
        width = self.camera_shape[1]
        return EerEvents(
            pixel=torch.stack((events[:, 0] % width, events[:, 0] // width), dim=-1), sub_pixel=events[:, 1:].clone()
        )

    def read(self, indices: Sequence[int]) -> Float[Tensor, "n h w"]:
        """The frames at these positions, counted from 0, electrons a pixel.

        Raises
        ------
        InputError
            If a position is out of range or a frame is damaged.
        """
        places = [int(index) for index in indices]
        require_places(places, self.count, self.path, what="frame")
        frames = torch.zeros((len(places), *self.image_shape), dtype=torch.float32)
        for frame, place in zip(frames, places, strict=True):
            for raw in range(place * self.raw_frames_per_frame, (place + 1) * self.raw_frames_per_frame):
                self._add(frame.numpy(), raw)
        return frames

    def _add(self, image: NDArray[np.float32], raw: int) -> None:
        """Add the electrons of a raw frame to an image."""
        from cryowalk.io.eer_compiled import render

        content, size = self._content(raw)
        count = render(content, size, image, self.upsampling, self._layout_of(content, size, raw))
        if count < 0:
            raise self._damage(raw, count)

    def _damage(self, raw: int, status: int) -> InputError:
        what = "runs beyond its last pixel" if status == OVERRUN else "ends before its last pixel"
        return InputError(
            f"raw frame {raw + 1} of {self.raw_count} {what}",
            file=self.path,
            cause="an interrupted copy, or damaged content",
            fix="fetch the file again",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pages:
    """Where the raw frames of a file lie and what their pages say."""

    shape: tuple[int, int]
    layout: EerLayout
    places: tuple[int, ...]
    sizes: tuple[int, ...]
    metadata: bytes


def _pages(path: Path) -> _Pages:
    """What the pages of an EER file say; a sum of all frames that stands first is passed over."""
    with open_tiff(path) as tiff:
        pages: list[Any] = [tiff.pages[i] for i in range(len(tiff.pages))]
        metadata = next((bytes(page.tags[METADATA_TAG].value) for page in pages[:2] if METADATA_TAG in page.tags), b"")
        frames = [page for page in pages if int(page.compression) in {*LAYOUTS, VARIABLE}]
        facts = {(int(page.imagelength), int(page.imagewidth), _layout(page)) for page in frames}
        strips = [(page.dataoffsets, page.databytecounts) for page in frames]
    length = path.stat().st_size
    if len(facts) != 1 or any(len(places) != 1 or len(sizes) != 1 for places, sizes in strips):
        what = "the EER file holds no frames" if not facts else "the frames of the EER file differ in size or coding"
        raise InputError(what, file=path, cause="an interrupted copy, or another kind of TIFF")
    beyond = next((number for number, ((place,), (size,)) in enumerate(strips, start=1) if place + size > length), None)
    if beyond is not None:
        raise InputError(
            f"the file ends before raw frame {beyond} of {len(strips)}",
            file=path,
            cause="an interrupted copy",
            fix="fetch it again",
        )
    height, width, layout = facts.pop()
    if not (1 <= height <= 2**15 and 1 <= width <= 2**15):
        raise InputError(f"the frames are {width} × {height} px", file=path, cause="a damaged header")
    return _Pages(
        shape=(height, width),
        layout=layout,
        places=tuple(int(places[0]) for places, _ in strips),
        sizes=tuple(int(sizes[0]) for _, sizes in strips),
        metadata=metadata,
    )


def _layout(page: Any) -> EerLayout:
    """The layout of the codes of a page."""
    compression = int(page.compression)
    if compression != VARIABLE:
        return LAYOUTS[compression]
    bits = {
        name: int(page.tags[tag].value) if tag in page.tags else getattr(EerLayout(), name) for tag, name in LAYOUT_TAGS.items()
    }
    if not (2 <= bits["run_bits"] <= 16 and 1 <= bits["x_bits"] <= 4 and 1 <= bits["y_bits"] <= 4):
        raise ValueError(f"codes of {bits['run_bits']} + {bits['x_bits']} + {bits['y_bits']} bits")
    return EerLayout(run_bits=bits["run_bits"], x_bits=bits["x_bits"], y_bits=bits["y_bits"])
