"""How functions become machine code here: kept between runs, without the lock of the interpreter, and with the same rounding in the first run as later."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numba

FAST = frozenset(
    {"contract", "arcp", "nsz", "reassoc"}
)  # what leaves NaN, infinities and the results' order of magnitude as they are


def kernel(fast: Iterable[str] = ()) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: the function as machine code, with these freedoms of floating point; a checker of argument types that tests put around it is taken off.

    Assumes that functions it calls are `inlined` ones.
    """
    return _compiler(fast, is_inlined=False)


def inlined(fast: Iterable[str] = ()) -> Callable[[Callable[..., Any]], Any]:
    """A decorator for what kernels call: always part of the caller's machine code.

    A call that stays a call is bound when the code is loaded, in the process that compiles it to another copy than in those that read it from the cache;
    where sums may be reordered the two copies round differently, and the first run of a program would not end with the bytes of the second.
    """
    return _compiler(fast, is_inlined=True)


def _compiler(fast: Iterable[str], *, is_inlined: bool) -> Callable[[Callable[..., Any]], Any]:
    compiler: Callable[[Callable[..., Any]], Any] = numba.njit(
        cache=True, nogil=True, error_model="numpy", fastmath=set(fast), forceinline=is_inlined
    )
    return lambda function: compiler(inspect.unwrap(function))
