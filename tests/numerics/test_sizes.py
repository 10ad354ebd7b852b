import pytest

from cryowalk.numerics.sizes import fast_length_from, fast_length_to


def factors(number):
    found, factor = [], 2
    while number > 1:
        while number % factor == 0:
            found.append(factor)
            number //= factor
        factor += 1
    return found


@pytest.mark.parametrize("largest", [2, 3, 5, 7, 13])
@pytest.mark.parametrize("length", [0, 1, 2, 7, 23, 511, 1023, 3710, 3838, 4099])
def test_the_nearest_even_length_of_small_factors_is_found(length, largest):
    above, below = (f(length, largest_factor=largest) for f in (fast_length_from, fast_length_to))
    good = [n for n in range(2, 8400, 2) if max(factors(n)) <= largest]
    assert above == min(n for n in good if n >= length)
    assert below == max((n for n in good if n <= length), default=2)
