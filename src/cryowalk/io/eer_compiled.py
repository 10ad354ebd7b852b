"""The bits of EER frames: encoded, decoded and rendered in compiled loops.

A frame is one stream of bits, the least significant first. A code begins with a run length (how many pixels without an electron follow, in raster
order); a run of all ones says that and nothing more; after any other run stand the sub-pixel position of an electron, x then y, and the next run
begins at the pixel after it. A run that reaches the end of the frame ends it. A sub-pixel position is stored with its highest bit turned over (as a
signed offset from the middle of the pixel). In the first version of the format (65000) every code has its full length, also the runs of all ones.
"""

# Numba's functions carry no annotations (and checking them in tests would hide them from the compiler).
# ruff: noqa: ANN001, ANN201, ANN202, PLR0917

from typing import no_type_check

import numpy as np
from numba import njit

from cryowalk.io.eer_status import CUT_OFF, OVERRUN

_MIX_1, _MIX_2, _MIX_3 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@njit(nogil=True, cache=True)
@no_type_check
def mixed(seed, place):
    """64 bits that depend on every bit of seed and place (the finaliser of SplitMix64: Steele, Lea and Flood, OOPSLA 2014)."""
    bits = seed + (place + np.uint64(1)) * _MIX_1
    bits = (bits ^ (bits >> np.uint64(30))) * _MIX_2
    bits = (bits ^ (bits >> np.uint64(27))) * _MIX_3
    return bits ^ (bits >> np.uint64(31))


@njit(nogil=True, cache=True)
@no_type_check
def _put(value, width, row, state):
    """Append the lowest `width` bits of a value; the state is (bits not yet stored, how many of them, bytes stored)."""
    bits, count, size = state[0] | (value << state[1]), state[1] + width, state[2]
    while count >= 8:
        row[size] = bits & 255
        bits >>= 8
        count -= 8
        size += 1
    state[0], state[1], state[2] = bits, count, size


@njit(nogil=True, cache=True)
@no_type_check
def _put_run(run, row, state, layout):
    """Append all but the last code of a run; what is left of the run."""
    skip_bits, x_bits, y_bits, wastes = layout
    longest = (1 << skip_bits) - 1
    while run >= longest:
        _put(longest, skip_bits, row, state)
        if wastes:
            _put(0, x_bits + y_bits, row, state)
        run -= longest
    return run


@njit(nogil=True, cache=True)
@no_type_check
def _put_event(run, x, y, row, state, layout):
    """Append a run of empty pixels and the electron after it, at the sub-pixel (x, y)."""
    skip_bits, x_bits, y_bits, _ = layout
    rest = _put_run(run, row, state, layout)
    code = rest | (x ^ (1 << (x_bits - 1))) << skip_bits | (y ^ (1 << (y_bits - 1))) << (skip_bits + x_bits)
    _put(code, skip_bits + x_bits + y_bits, row, state)


@njit(nogil=True, cache=True)
@no_type_check
def _finish(run, row, state, layout):
    """Append the run up to the end of the frame, and zeros so that decoders which fetch a whole code at a time never read past the end."""
    rest = _put_run(run, row, state, layout)
    _put(rest, layout[0], row, state)
    _put(0, 48, row, state)
    return int(state[2] & ~np.int64(1))  # an even number of bytes; at least 40 of the zeros are in it


@njit(nogil=True, cache=True)
@no_type_check
def encode_events(positions, x, y, pixels, layout):
    """The bytes of one frame with electrons at these pixels (raster order, rising) and sub-pixels; `layout` is (run bits, x bits, y bits, wastes)."""
    width = layout[0] + layout[1] + layout[2]
    codes = len(positions) + pixels // ((1 << layout[0]) - 1) + 2
    row = np.zeros(codes * width // 8 + 16, np.uint8)
    state = np.zeros(3, np.int64)
    begin = 0
    for event in range(len(positions)):
        _put_event(positions[event] - begin, x[event], y[event], row, state, layout)
        begin = positions[event] + 1
    return row[: _finish(pixels - begin, row, state, layout)]


@njit(nogil=True, cache=True)
@no_type_check
def _electrons(counts, row, column, factor):
    """How many electrons a camera pixel has."""
    if factor == 1:
        return np.int64(counts[row, column])
    total = np.int64(0)
    for fine_y in range(factor):
        for fine_x in range(factor):
            total += counts[row * factor + fine_y, column * factor + fine_x]
    return total


@njit(nogil=True, cache=True)
@no_type_check
def _first(bits, raw):
    """A raw frame by the upper half of these bits, each as likely as any."""
    return np.int64(((bits >> np.uint64(32)) * np.uint64(raw)) >> np.uint64(32))


@njit(nogil=True, cache=True)
@no_type_check
def _turn(start, event, raw, total):
    """The raw frame of the event-th of `total` electrons of a pixel: evenly spread over all, all different."""
    if event == 0:
        return start
    frame = start + event * raw // total
    return frame - raw if frame >= raw else frame


@njit(nogil=True, cache=True)
@no_type_check
def count_raw(counts, factor, raw, seed):
    """How many electrons each of `raw` raw frames gets, and the largest number in one camera pixel; `counts` is `factor` times finer than the camera."""
    height, width = counts.shape[0] // factor, counts.shape[1] // factor
    events = np.zeros(raw, np.int64)
    most = 0
    for row in range(height):
        for column in range(width):
            total = _electrons(counts, row, column, factor)
            if total == 0:
                continue
            most = max(most, total)
            start = _first(mixed(seed, np.uint64(row * width + column)), raw)
            for event in range(total):
                events[_turn(start, event, raw, total)] += 1
    return events, most


@njit(nogil=True, cache=True)
@no_type_check
def encode_counts(counts, factor, rows, seed, layout):
    """The lengths of the raw frames whose bytes were put in `rows`: the electrons of each pixel go to different raw frames, evenly spread.

    The first raw frame of a pixel and, where `counts` does not tell them, the sub-pixel positions are bits of a hash of seed and pixel.
    """
    height, width, raw = counts.shape[0] // factor, counts.shape[1] // factor, rows.shape[0]
    states, begins = np.zeros((raw, 3), np.int64), np.zeros(raw, np.int64)
    finer_x, finer_y = (1 << layout[1]) // factor, (1 << layout[2]) // factor
    for row in range(height):
        for column in range(width):
            total = _electrons(counts, row, column, factor)
            if total == 0:
                continue
            place = row * width + column
            bits = mixed(seed, np.uint64(place))
            start, event = _first(bits, raw), 0
            for fine_y in range(factor):
                for fine_x in range(factor):
                    for _ in range(counts[row * factor + fine_y, column * factor + fine_x]):
                        random = bits if event == 0 else mixed(bits, np.uint64(event))
                        x = fine_x * finer_x + (np.int64(random & np.uint64(255)) & (finer_x - 1))
                        y = fine_y * finer_y + (np.int64((random >> np.uint64(8)) & np.uint64(255)) & (finer_y - 1))
                        frame = _turn(start, event, raw, total)
                        _put_event(place - begins[frame], x, y, rows[frame], states[frame], layout)
                        begins[frame] = place + 1
                        event += 1
    lengths = np.zeros(raw, np.int64)
    for frame in range(raw):
        lengths[frame] = _finish(height * width - begins[frame], rows[frame], states[frame], layout)
    return lengths


@njit(nogil=True, cache=True)
@no_type_check
def _fetch(content, place):
    """32 bits from this bit on; the content is followed by spare zeros."""
    byte = place >> 3
    word = np.int64(content[byte]) | np.int64(content[byte + 1]) << 8 | np.int64(content[byte + 2]) << 16
    word |= np.int64(content[byte + 3]) << 24 | np.int64(content[byte + 4]) << 32
    return int(word >> (place & 7))


@njit(nogil=True, cache=True)
@no_type_check
def decode_events(content, size, shape, layout, found):
    """How many electrons a frame of `size` bytes holds, put in `found` as (pixel, x, y) rows as far as they fit; or what is wrong, below zero.

    `content` has at least 8 bytes of zeros after the frame.
    """
    skip_bits, x_bits, y_bits, wastes = layout
    pixels, longest, bits = shape[0] * shape[1], (1 << skip_bits) - 1, size * 8
    code_bits, turn_x, turn_y = skip_bits + x_bits + y_bits, 1 << (x_bits - 1), 1 << (y_bits - 1)
    place, pixel, count = 0, 0, 0
    while place + skip_bits <= bits:
        word = _fetch(content, place)
        run = word & longest
        pixel += run
        if pixel == pixels:
            return count
        if pixel > pixels:
            return OVERRUN
        if run == longest:
            place += code_bits if wastes else skip_bits
            continue
        if count < len(found):
            found[count, 0] = pixel
            found[count, 1] = ((word >> skip_bits) & ((1 << x_bits) - 1)) ^ turn_x
            found[count, 2] = ((word >> (skip_bits + x_bits)) & ((1 << y_bits) - 1)) ^ turn_y
        count += 1
        pixel += 1
        place += code_bits
    return CUT_OFF


@njit(nogil=True, cache=True)
@no_type_check
def render(content, size, image, factor, layout):
    """How many electrons of a frame were added to `image`, which is `factor` times finer than the camera; or what is wrong, below zero."""
    skip_bits, x_bits, y_bits, wastes = layout
    width = image.shape[1] // factor
    pixels, longest, bits = (image.shape[0] // factor) * width, (1 << skip_bits) - 1, size * 8
    code_bits, turn_x, turn_y = skip_bits + x_bits + y_bits, 1 << (x_bits - 1), 1 << (y_bits - 1)
    coarse_x, coarse_y = (1 << x_bits) // factor, (1 << y_bits) // factor
    flat = image.reshape(-1)
    place, pixel, count = 0, 0, 0
    while place + skip_bits <= bits:
        word = _fetch(content, place)
        run = word & longest
        pixel += run
        if pixel == pixels:
            return count
        if pixel > pixels:
            return OVERRUN
        if run == longest:
            place += code_bits if wastes else skip_bits
            continue
        if factor == 1:
            flat[pixel] += 1
        else:
            x = (((word >> skip_bits) & ((1 << x_bits) - 1)) ^ turn_x) // coarse_x
            y = (((word >> (skip_bits + x_bits)) & ((1 << y_bits) - 1)) ^ turn_y) // coarse_y
            row = pixel // width
            flat[(row * factor + y) * image.shape[1] + (pixel - row * width) * factor + x] += 1
        count += 1
        pixel += 1
        place += code_bits
    return CUT_OFF
