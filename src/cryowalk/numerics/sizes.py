"""Lengths that transform fast: even ones without large prime factors."""

_PRIMES = (2, 3, 5, 7, 11, 13)


def fast_length_from(length: int, *, largest_factor: int = 5) -> int:
    """The smallest even number, from 2 on, not below `length` without prime factors above `largest_factor`.

    Examples
    --------
    >>> fast_length_from(4093), fast_length_from(4093, largest_factor=13)
    (4096, 4096)
    """
    side = max(2, length + length % 2)
    while not _is_smooth(side, largest_factor):
        side += 2
    return side


def fast_length_to(length: int, *, largest_factor: int = 5) -> int:
    """The largest even number not above `length` (at least 2) without prime factors above `largest_factor`."""
    side = max(2, length - length % 2)
    while not _is_smooth(side, largest_factor):
        side -= 2
    return side


def is_fast(length: int, *, largest_factor: int = 13) -> bool:
    """Whether the number has no prime factor above `largest_factor`."""
    return _is_smooth(length, largest_factor)


def _is_smooth(number: int, largest_factor: int) -> bool:
    for factor in _PRIMES:
        while factor <= largest_factor and number % factor == 0:
            number //= factor
    return number == 1
