"""The innermost loops of the compiled slices: 27 taps read as nine vectors, or added as nine rows of three, written in LLVM's vectors.

A compiler does not find these vectors by itself; with them a slice takes about a third of the time. On processors without
wide vectors LLVM splits them.
"""

# Numba reads the names and the number of the arguments; annotations mean nothing to it.
# mypy: disable-error-code="import-untyped"
# ruff: noqa: ANN001, ANN201, ARG001, PLR0913, PLR0917

from typing import Any, no_type_check

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_FUSED = ("contract",)


@intrinsic
@no_type_check
def gather_taps(typing_context, data, first, row_step, plane_step, along_x, along_y, along_z):
    """Σ w · (real, imaginary) over 3 × 3 × 3 taps of a flat float32 array of complex numbers, from index `first` (of a real part)."""
    signature = types.UniTuple(types.float32, 2)(data, first, row_step, plane_step, along_x, along_y, along_z)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        index, rows, planes = arguments[1:4]
        x, y, z = (_members(builder, argument) for argument in arguments[4:7])
        vector = ir.VectorType(ir.FloatType(), 8)
        total = ir.Constant(vector, [0.0] * 8)
        for weight_z in z:
            place = index
            for weight_y in y:
                weight = _splat(builder, builder.fmul(weight_z, weight_y), vector)
                row = builder.load(_vector_at(builder, base, place, vector), align=4)
                total = builder.fadd(total, builder.fmul(row, weight, flags=_FUSED), flags=_FUSED)
                place = builder.add(place, rows)
            index = builder.add(index, planes)
        sums = []
        for part in (0, 1):
            taps = [builder.fmul(builder.extract_element(total, _lane(2 * i + part)), x[i], flags=_FUSED) for i in range(3)]
            sums.append(builder.fadd(builder.fadd(taps[0], taps[1], flags=_FUSED), taps[2], flags=_FUSED))
        return context.make_tuple(builder, signature.return_type, sums)

    return signature, generate


@intrinsic
@no_type_check
def add_taps(typing_context, data, first, row_step, along_x, along_y, weight, value):
    """Add w · value (four float32 numbers) to the 3 × 3 taps of one plane of a flat array of groups of four, from index `first`."""
    signature = types.void(data, first, row_step, along_x, along_y, weight, value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        index, rows = arguments[1:3]
        x, y = (_members(builder, argument) for argument in arguments[3:5])
        vector = ir.VectorType(ir.FloatType(), 4)
        numbers = ir.Constant(vector, ir.Undefined)
        for lane, number in enumerate(_members(builder, arguments[6])):
            numbers = builder.insert_element(numbers, number, _lane(lane))
        along = [builder.fmul(numbers, _splat(builder, weight_x, vector)) for weight_x in x]
        for weight_y in y:
            factor = _splat(builder, builder.fmul(arguments[5], weight_y), vector)
            for step in range(3):
                pointer = _vector_at(builder, base, builder.add(index, ir.Constant(index.type, 4 * step)), vector)
                old = builder.load(pointer, align=4)
                builder.store(builder.fadd(old, builder.fmul(along[step], factor, flags=_FUSED), flags=_FUSED), pointer, align=4)
            index = builder.add(index, rows)
        return context.get_dummy_value()

    return signature, generate


def _members(builder: Any, group: Any) -> list[Any]:
    return [builder.extract_value(group, i) for i in range(len(group.type.elements))]


def _lane(index: int) -> ir.Constant:
    return ir.Constant(ir.IntType(32), index)


def _splat(builder: Any, number: Any, vector: Any) -> Any:
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), number, _lane(0))
    return builder.shuffle_vector(
        single, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    )


def _vector_at(builder: Any, base: Any, index: Any, vector: Any) -> Any:
    return builder.bitcast(builder.gep(base, [index]), vector.as_pointer())
