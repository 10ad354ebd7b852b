"""The one caller of FFTs: orthonormal half spectra whose phases count from the origin pixel n // 2, and crop, pad and resample."""

# ruff: noqa: TID251  this module is the one that the rule sends the others to

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryowalk.core.errors import ShapeError
from cryowalk.numerics.sizes import fast_length_from, is_fast

_CHUNK_BYTES = 2**20  # of a stack that is transformed at a time on a CPU: about what stays in its cache


def to_fourier(array: Float[Tensor, "*batch w"], *, dimensions: int = 2) -> Complex[Tensor, "*batch half"]:
    """Orthonormal half spectrum over the last `dimensions` axes, unshifted, phases about the origin pixel n // 2.

    F(k) = n^(−1/2) Σ_x f(x) e^(−2πi k·(x − x₀)/n); the last axis keeps frequencies 0 … w // 2, the others the order 0, 1, …, −1.
    """
    size = tuple(array.shape[-dimensions:])
    result = (*array.shape[:-1], size[-1] // 2 + 1)
    return _in_chunks(
        array, lambda part: _forward(part, size), shape=result, dtype=array.dtype.to_complex(), dimensions=dimensions
    )


def _forward(array: Tensor, size: tuple[int, ...]) -> Tensor:
    spectrum = torch.fft.rfftn(array, dim=tuple(range(-len(size), 0)), norm="ortho")
    # The fresh spectrum is multiplied in place: for a 512³ map each further copy would be a gibibyte.
    for factor in _origin_factors(size, spectrum, sign=1):
        spectrum = spectrum.mul_(factor)
    return spectrum


def to_real(spectrum: Complex[Tensor, "*batch half"], *, width: int, dimensions: int = 2) -> Float[Tensor, "*batch w"]:
    """The real array whose `to_fourier` is this half spectrum.

    `width` is the length of the last axis: an odd and an even width have half spectra of the same length.

    Raises
    ------
    ShapeError
        If the spectrum has not width // 2 + 1 columns.
    """
    if spectrum.shape[-1] != width // 2 + 1:
        raise ShapeError(
            f"a half spectrum of width {width} has {width // 2 + 1} columns: got {spectrum.shape[-1]}",
            cause="the width of another array, or a full spectrum",
        )
    size = (*spectrum.shape[-dimensions:-1], width)
    result = (*spectrum.shape[:-1], width)
    return _in_chunks(
        spectrum, lambda part: _backward(part, size), shape=result, dtype=spectrum.dtype.to_real(), dimensions=dimensions
    )


def _backward(spectrum: Tensor, size: tuple[int, ...]) -> Tensor:
    centred = spectrum
    for factor in _origin_factors(size, spectrum, sign=-1):
        centred = centred * factor if centred is spectrum else centred.mul_(factor)
    return torch.fft.irfftn(centred, s=size, dim=tuple(range(-len(size), 0)), norm="ortho")


def _in_chunks(
    array: Tensor, work: Callable[[Tensor], Tensor], *, shape: tuple[int, ...], dtype: torch.dtype, dimensions: int
) -> Tensor:
    """`work` on a stack, some images at a time where that pays: a whole stack's temporary copies leave the cache, and cost four times.

    Each thread does chunks of its own. Torch's threads would meet at every image, and on a machine with other work wait there for many times the
    transform's own time.
    """
    one = math.prod(array.shape[-dimensions:]) * array.element_size()
    images = max(1, _CHUNK_BYTES // max(one, 1))
    stack = math.prod(array.shape[:-dimensions])
    if stack == 0:
        return array.new_empty(shape, dtype=dtype)
    if stack <= images or array.device.type != "cpu" or (array.requires_grad and torch.is_grad_enabled()):
        return work(array)
    source = array.reshape(stack, *array.shape[-dimensions:])
    result = torch.empty((stack, *shape[-dimensions:]), dtype=dtype)

    def fill(start: int) -> None:
        result[start : start + images] = work(source[start : start + images])

    # The number of torch's threads is each calling thread's own.
    with ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for chunk in [pool.submit(fill, start) for start in range(0, stack, images)]:
            chunk.result()
    return result.reshape(shape)


def complex_transform(
    array: Complex[Tensor, "*batch w"], *, dimensions: int, direction: Literal["forward", "inverse"]
) -> Complex[Tensor, "*batch w"]:
    """The full orthonormal spectrum of a complex array (or back), unshifted, phases about the origin pixel.

    It is for wave functions and other truly complex arrays; real ones have their half spectrum.
    """
    axes = tuple(range(-dimensions, 0))
    scale = 1 / math.sqrt(math.prod(array.shape[axis] for axis in axes))
    if direction == "forward":
        return torch.fft.fftn(torch.fft.ifftshift(array, dim=axes), dim=axes).mul_(scale)
    return torch.fft.fftshift(torch.fft.ifftn(array, dim=axes, norm="forward").mul_(scale), dim=axes)


def filtering_transform(
    array: Complex[Tensor, "*batch h w"], *, direction: Literal["forward", "inverse"]
) -> Complex[Tensor, "*batch h w"]:
    """The full 2D spectrum Σ f(x) e^(−2πi k·x/n) of complex images (or back, divided by the number of pixels), unshifted, phases about pixel 0.

    It serves products of a spectrum with a filter that depends on k alone (free space, the lens): there the origin's place and the scale
    cancel between the ways forth and back, and each would cost a pass over the array.
    """
    if direction == "forward":
        return torch.fft.fft2(array)
    # Scaled by hand: with two threads, MKL (torch 2.13) leaves parts of a scaled complex64 transform of 2048 × 2048 unscaled.
    return torch.fft.ifft2(array, norm="forward").mul_(1 / (array.shape[-2] * array.shape[-1]))


def filtering_half_spectrum(image: Float[Tensor, "*batch h w"]) -> Complex[Tensor, "*batch h half"]:
    """The orthonormal 2D half spectrum of real images, unshifted, phases about pixel 0: `filtering_transform` for real ones, one way."""
    spectrum: Tensor = torch.fft.rfft2(image, norm="ortho")
    return spectrum


def filtered_image(spectrum: Complex[Tensor, "*batch h half"], *, width: int) -> Float[Tensor, "*batch h w"]:
    """The real images whose `filtering_half_spectrum` is this."""
    image: Tensor = torch.fft.irfft2(spectrum, s=(spectrum.shape[-2], width), norm="ortho")
    return image


def fast_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size, or where that holds a large prime the next one that transforms fast."""
    height, width = (length if is_fast(length) else fast_length_from(length, largest_factor=13) for length in size)
    return height, width


def mirrored_to_fast_size(image: Float[Tensor, "h w"]) -> Float[Tensor, "h2 w2"]:
    """The image in the first rows and columns of its `fast_size`, beyond it its own pixels mirrored at the last row and column.

    A filter that reaches a few pixels finds noise of the right strength there; without a change of size the image itself is returned.
    """
    height, width = image.shape
    size = fast_size((height, width))
    if size == (height, width):
        return image
    result = image.new_empty(size)
    result[:height, :width] = image
    result[:height, width:] = result[:height, 2 * width - size[1] : width].flip(1)
    result[height:] = result[2 * height - size[0] : height].flip(0)
    return result


def transform_rows(rows: Complex[Tensor, "*batch n"], *, direction: Literal["forward", "inverse"]) -> Complex[Tensor, "*batch n"]:
    """Σ f(x) e^(∓2πi k·x/n) of every row, unshifted, phases about pixel 0; there and back is n times the row.

    One step of a transform that its caller arranges for the cache, and scales (`microscope.multislice_compiled`).
    """
    return torch.fft.fft(rows) if direction == "forward" else torch.fft.ifft(rows, norm="forward")


def resize(array: Float[Tensor, "*batch w"], size: int | tuple[int, ...]) -> Float[Tensor, "*shape w2"]:
    """The array cropped or zero-padded over its last axes to `size`, origin pixel onto origin pixel.

    An integer means a square over the last two axes; a tuple names as many last axes as it has numbers.
    """
    target = (size, size) if isinstance(size, int) else size
    source = tuple(array.shape[-len(target) :])
    if source == target:
        return array.clone()
    kept: list[slice] = []
    padding: list[int] = []
    for old, new in zip(source, target, strict=True):
        start = old // 2 - new // 2  # index in the old array of the new array's first pixel
        first, last = max(start, 0), min(start + new, old)
        kept.append(slice(first, last))
        padding = [first - start, start + new - last, *padding]
    cropped = array[(..., *kept)]  # type: ignore[index]  # an ellipsis and slices: torch stubs know only plain tuples
    return torch.nn.functional.pad(cropped, padding) if any(padding) else cropped.clone()


def resample(array: Float[Tensor, "*batch w"], size: int | tuple[int, ...]) -> Float[Tensor, "*shape w2"]:
    """The same function on another number of pixels over the same field of view, by cropping or padding its spectrum.

    Values are kept (a constant stays the same constant). An even side's Nyquist component is shared between ±Nyquist when the side grows
    and summed when it shrinks, so that growing and shrinking back is the identity.
    """
    target = (size, size) if isinstance(size, int) else size
    dimensions = len(target)
    if dimensions not in (1, 2, 3):
        raise ShapeError(f"resampling works on one to three axes: got the size {target}")
    source = tuple(array.shape[-dimensions:])
    if source == target:
        return array.clone()
    spectrum = to_fourier(array, dimensions=dimensions)
    for axis, (old, new) in enumerate(zip(source, target, strict=True), start=-dimensions):
        spectrum = _resize_half_axis(spectrum, old, new) if axis == -1 else _resize_full_axis(spectrum, old, new, axis=axis)
    scale = math.sqrt(math.prod(target) / math.prod(source))
    return to_real(spectrum * scale, width=target[-1], dimensions=dimensions)


def lower_frequencies(half: Tensor, size: tuple[int, int]) -> Tensor:
    """The entries `[*batch, size[0], size[1] // 2 + 1]` of an image's half spectrum at the frequencies that a coarser grid over the same field has too.

    They are taken as they are, powers as well as coefficients: origin phases are the same before and after where both sizes are even, and an even
    side's Nyquist entry is that of one sign (`resample` shares it).
    """
    rows, columns = size[0] // 2, size[1] // 2 + 1
    if tuple(half.shape[-2:]) == (size[0], columns):
        return half
    return torch.cat([half[..., :rows, :columns], half[..., half.shape[-2] - (size[0] - rows) :, :columns]], dim=-2)


def _resize_full_axis(spectrum: Tensor, old: int, new: int, *, axis: int) -> Tensor:
    """The spectrum with a full axis of `old` frequencies cropped or padded to `new`."""
    small = min(old, new)
    positive = spectrum.narrow(axis, 0, (small + 1) // 2)
    negative = spectrum.narrow(axis, old - (small - 1) // 2, (small - 1) // 2)
    middle: list[Tensor] = []
    if small % 2 == 0 and old > new:
        middle = [spectrum.narrow(axis, small // 2, 1) + spectrum.narrow(axis, old - small // 2, 1)]
    elif small % 2 == 0 and new > old:
        half = spectrum.narrow(axis, small // 2, 1) / 2
        middle = [half, _zeros(half, axis, new - small - 1), half]
    elif small % 2 == 0:
        middle = [spectrum.narrow(axis, small // 2, 1)]
    elif new > old:
        middle = [_zeros(positive, axis, new - small)]
    return torch.cat([positive, *middle, negative], dim=axis)


def _resize_half_axis(spectrum: Tensor, old: int, new: int) -> Tensor:
    """The spectrum with the half axis of a width of `old` pixels cropped or padded to that of `new`."""
    if old == new:
        return spectrum
    small = min(old, new)
    parts = [spectrum[..., : (small + 1) // 2]]
    if small % 2 == 0:
        # The inverse transform takes the real part of the Nyquist column: twice it is the sum of +Nyquist and −Nyquist.
        parts.append(spectrum[..., small // 2, None] * (2 if old > new else 0.5))
    kept = torch.cat(parts, dim=-1)
    missing = new // 2 + 1 - kept.shape[-1]
    return torch.cat([kept, _zeros(kept, -1, missing)], dim=-1) if missing else kept


def _zeros(like: Tensor, axis: int, length: int) -> Tensor:
    """Zeros of the tensor's shape but for `length` along `axis`."""
    shape = list(like.shape)
    shape[axis] = length
    return like.new_zeros(shape)


def _origin_factors(size: tuple[int, ...], spectrum: Tensor, *, sign: int) -> list[Tensor]:
    """Factors e^(±2πi k x₀/n) that move the phases' origin from pixel 0 to pixel n // 2: one over the image axes, one over z.

    They replace a shift of the array in memory, which costs more than the transform of a small image.
    """
    last = _axis_phase(size[-1], size[-1] // 2 + 1, spectrum, sign)
    if len(size) == 1:
        return [last]
    image = _axis_phase(size[-2], size[-2], spectrum, sign)[:, None] * last
    if len(size) == 2:
        return [image]
    return [image, _axis_phase(size[-3], size[-3], spectrum, sign)[:, None, None]]


def _axis_phase(length: int, count: int, spectrum: Tensor, sign: int) -> Tensor:
    """The first `count` origin factors of an axis: ±1 (real) for an even length, complex for an odd one."""
    index = torch.arange(count, device=spectrum.device)
    if length % 2 == 0:
        return (1 - 2 * (index % 2)).to(spectrum.real.dtype)
    turns = (index * (length // 2)) % length  # whole numbers first: the angle keeps full accuracy in long arrays
    angle = turns.to(torch.float64) * (sign * 2 * math.pi / length)
    return torch.polar(torch.ones_like(angle), angle).to(spectrum.dtype)
