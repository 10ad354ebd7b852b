"""Checks of typed formulas: parsed with a white list, never evaluated as code, and compared at random points."""

import ast
import cmath
import random
from collections.abc import Callable, Mapping
from typing import Any

from cryowalk.course.verdict import PASSED, Check, Verdict, is_missing

Function = Callable[[complex], complex]

_POINTS = 20
_TOLERANCE = 1e-9


def _sinc(x: complex) -> complex:
    """The normalised sine cardinal sin(πx)/(πx)."""
    return 1.0 if x == 0 else cmath.sin(cmath.pi * x) / (cmath.pi * x)


_FUNCTIONS: Mapping[str, Function] = {
    "exp": cmath.exp,
    "sin": cmath.sin,
    "cos": cmath.cos,
    "tan": cmath.tan,
    "sqrt": cmath.sqrt,
    "log": cmath.log,
    "sinh": cmath.sinh,
    "cosh": cmath.cosh,
    "tanh": cmath.tanh,
    "abs": lambda x: complex(abs(x)),
    "Abs": lambda x: complex(abs(x)),
    "conj": lambda x: x.conjugate(),
    "conjugate": lambda x: x.conjugate(),
    "re": lambda x: complex(x.real),
    "im": lambda x: complex(x.imag),
    "sinc": _sinc,
}
_CONSTANTS: Mapping[str, complex] = {"pi": cmath.pi, "e": cmath.e, "E": cmath.e, "i": 1j, "j": 1j, "I": 1j}
_OPERATORS: Mapping[type, Callable[[complex, complex], complex]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}


class FormulaError(ValueError):
    """A formula that cannot be read; the message says which part."""


def evaluate(formula: str, *, values: Mapping[str, complex], functions: Mapping[str, Function] | None = None) -> complex:
    """The value of a formula such as `exp(-2*pi*i*u*a) * F(u)` at one point; `^` and `**` both mean power.

    Raises
    ------
    FormulaError
        If the formula holds anything but numbers, the named variables, constants and functions, and + − * / **.
    """
    try:
        tree = ast.parse(formula.replace("^", "**").replace("π", "pi").replace("−", "-").strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise FormulaError("I cannot read it as a formula; write products with *, such as 2*pi*u*x") from error
    known = {**_CONSTANTS, **values}
    try:
        return _value(tree.body, known, {**_FUNCTIONS, **(functions or {})})
    except (ArithmeticError, RecursionError) as error:
        raise FormulaError(f"it cannot be computed at a test point ({error})") from error


def _value(node: ast.AST, names: Mapping[str, complex], functions: Mapping[str, Function]) -> complex:
    match node:
        case ast.Constant(value=int() | float() | complex() as number) if not isinstance(number, bool):
            return complex(number)
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, names, functions)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, names, functions)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            return _OPERATORS[type(operator)](_value(left, names, functions), _value(right, names, functions))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in functions:
            return functions[name](_value(argument, names, functions))
        case ast.Name(id=name) | ast.Call(func=ast.Name(id=name)):
            raise FormulaError(f"I do not know {name!r} here; known names are {', '.join(sorted({*names, *functions}))}")
        case _:
            raise FormulaError("only numbers, names, + - * / ** and functions of one argument are allowed")


def compare(
    formula: str, expected: str, *, variables: tuple[str, ...], functions: Mapping[str, Function] | None = None
) -> str | None:
    """None where two formulas agree at random real points, else a sentence with one counter-example."""
    source = random.Random(20201203)
    for _ in range(_POINTS):
        point = {name: complex(source.uniform(0.2, 1.7) * source.choice((-1, 1))) for name in variables}
        value = evaluate(formula, values=point, functions=functions)
        truth = evaluate(expected, values=point, functions=functions)
        if abs(value - truth) > _TOLERANCE * max(1.0, abs(truth)):
            place = ", ".join(f"{name} = {number.real:.3f}" for name, number in point.items())
            return f"at {place} it is {_ratio(value, truth)} what it should be"
    return None


def _ratio(value: complex, truth: complex) -> str:
    if abs(truth) < 1e-12:
        return "not"
    ratio = value / truth
    if abs(ratio.imag) < 1e-9:
        return f"{ratio.real:.3g} times"
    return f"({ratio.real:.3g} {'+' if ratio.imag >= 0 else '-'} {abs(ratio.imag):.3g} i) times"


def symbolic_check(
    expected: str, *, variables: tuple[str, ...], functions: Mapping[str, Function] | None = None, success: str = PASSED
) -> Check:
    """A check of one typed formula (a text, or a sympy expression) in the named real variables.

    `functions` names general functions that may appear, such as F, each with a stand-in that has no symmetry.
    """

    def check(answer: Any, seed: int) -> Verdict:
        return _judge(answer, expected, variables=variables, functions=functions, success=success)

    check.expected = expected  # type: ignore[attr-defined]
    return check


def derivation_check(
    steps: Mapping[str, str],
    *,
    variables: tuple[str, ...],
    functions: Mapping[str, Function] | None = None,
    success: str = PASSED,
) -> Check:
    """A check of a derivation line by line: the answer is a mapping from each step's name to a formula; the first wrong line is named."""

    def check(answer: Any, seed: int) -> Verdict:
        if is_missing(answer) or not isinstance(answer, Mapping):
            return Verdict(passed=False, message=f"I expected a dictionary with the lines {', '.join(steps)}.")
        for name, expected in steps.items():
            if is_missing(answer.get(name)):
                return Verdict(passed=False, message=f"The line {name!r} is still empty.")
            verdict = _judge(answer[name], expected, variables=variables, functions=functions, success=success)
            if not verdict.passed:
                return Verdict(passed=False, message=f"Look at the line {name!r}: {verdict.message}")
        return Verdict(passed=True, message=success)

    check.expected = tuple(steps.values())  # type: ignore[attr-defined]
    return check


def _judge(
    answer: Any, expected: str, *, variables: tuple[str, ...], functions: Mapping[str, Function] | None, success: str
) -> Verdict:
    if is_missing(answer):
        return Verdict(passed=False, message="There is no formula here yet.")
    try:
        difference = compare(str(answer), expected, variables=variables, functions=functions)
    except FormulaError as error:
        return Verdict(passed=False, message=f"{str(error)[:1].upper()}{str(error)[1:]}.")
    if difference is None:
        return Verdict(passed=True, message=success)
    return Verdict(passed=False, message=f"Not equal yet: {difference}.")
