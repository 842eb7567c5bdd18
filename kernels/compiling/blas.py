"""Instructions that Numba lacks: GEMM on submatrices, copies of unaligned vectors, a call by address. No bounds checks.

`np.dot` in compiled code takes whole contiguous matrices. The BLAS function behind it also takes a part of a matrix
(where it starts, and how far apart its rows are) and can add to its result, which spares kernels most of their copies.
"""

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

from .linking import linked

_size, _int, _char, _pointer = ir.IntType(64), ir.IntType(32), ir.IntType(8), ir.IntType(8).as_pointer()


def load_blas() -> None:
    """SciPy's BLAS, under the names by which `gemm` calls it: known before such a kernel is linked, or read from disk.

    A name without a function ends the process. The names are the same everywhere, so kernels on disk can hold them.
    """
    for name in ("sgemm", "dgemm"):
        binding.add_symbol(f"nanostn_{name}", get_cython_function_address("scipy.linalg.cython_blas", name))


def _entry(context, builder, array_type, array, index):
    """The address of an entry of an array, counted along its memory."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


@intrinsic
def gemm(typingctx, rows, columns, inner, a, a_start, a_step, a_transposed, b, b_start, b_step, b_transposed,
         c, c_start, c_step, add):
    """C = A B, or C += A B where `add`; A (rows, inner), B (inner, columns), C (rows, columns), stored row by row.

    The matrix in array x begins at entry x_start of its memory, and its rows are x_step entries apart; a transposed one
    is stored as its transpose. Arrays are of one dtype, sizes and starts int64. Whoever runs a kernel that calls it has
    asked for `one_blas_thread`, which loads BLAS.
    """
    def generate(context, builder, signature, args):
        rows, columns, inner, a, a_start, a_step, a_transposed = args[:7]
        b, b_start, b_step, b_transposed, c, c_start, c_step, add = args[7:]
        kind = signature.args[3].dtype
        number = context.get_value_type(kind)

        def address(array_type, array, start):
            return builder.bitcast(_entry(context, builder, array_type, array, start), _pointer)

        def slot(value):
            return builder.bitcast(cgutils.alloca_once_value(builder, value), _pointer)

        def count(size):
            return slot(builder.trunc(size, _int))

        def form(transposed):
            return slot(builder.select(transposed, ir.Constant(_char, ord("t")), ir.Constant(_char, ord("n"))))

        one, zero = ir.Constant(number, 1.0), ir.Constant(number, 0.0)
        # BLAS counts by columns, so it is asked for C^T = B^T A^T; as a function of Fortran it takes pointers only.
        blas = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [_pointer] * 13),
                                              "nanostn_sgemm" if kind == types.float32 else "nanostn_dgemm")
        builder.call(blas, [
            form(b_transposed), form(a_transposed), count(columns), count(rows), count(inner), slot(one),
            address(signature.args[7], b, b_start), count(b_step), address(signature.args[3], a, a_start),
            count(a_step), slot(builder.select(add, one, zero)), address(signature.args[11], c, c_start),
            count(c_step)])
        return context.get_dummy_value()

    size = types.int64
    return types.void(size, size, size, a, size, size, types.boolean, b, size, size, types.boolean, c, size, size,
                      types.boolean), generate


def _vector(count, name, add):
    def moved(typingctx, target, at, source, start):
        def generate(context, builder, signature, args):
            vector = ir.VectorType(context.get_value_type(signature.args[0].dtype), count).as_pointer()
            into = builder.bitcast(_entry(context, builder, signature.args[0], args[0], args[1]), vector)
            from_ = builder.bitcast(_entry(context, builder, signature.args[2], args[2], args[3]), vector)
            value = builder.load(from_, align=4)
            builder.store(builder.fadd(builder.load(into, align=4), value) if add else value, into, align=4)
            return context.get_dummy_value()

        return types.void(target, types.int64, source, types.int64), generate

    moved.__name__ = name
    moved.__doc__ = f"""target[at:at + {count}] {"+" if add else ""}= source[start:start + {count}], as one vector.

    A loop tests first whether the two overlap.
    """
    return intrinsic(moved)


move2, add2 = _vector(2, "move2", False), _vector(2, "add2", True)


@intrinsic
def move16(typingctx, target, at, source, start, first, end):
    """target[at + i] = source[start + i] for the i from first to end, else zero, for all i below 16: as one vector.

    All counted in entries. What is not moved is not read, so it may lie outside the source.
    """
    def generate(context, builder, signature, args):
        target, at, source, start, first, end = args
        number, lane = context.get_value_type(signature.args[0].dtype), ir.IntType(32)
        vector, lanes, bits = (ir.VectorType(kind, 16) for kind in (number, lane, ir.IntType(1)))
        numbers = ir.Constant(lanes, list(range(16)))

        def beside(limit):
            one = builder.insert_element(ir.Constant(lanes, ir.Undefined), builder.trunc(limit, lane), lane(0))
            return builder.shuffle_vector(one, ir.Constant(lanes, ir.Undefined), ir.Constant(lanes, None))

        def address(array_type, array, index):
            return builder.bitcast(_entry(context, builder, array_type, array, index), vector.as_pointer())

        read = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector.as_pointer(), lane, bits, vector]),
            f"llvm.masked.load.v16{number.intrinsic_name}.p0")
        moved = builder.and_(builder.icmp_signed(">=", numbers, beside(first)),
                             builder.icmp_signed("<", numbers, beside(end)))
        value = builder.call(read, [address(signature.args[2], source, start), lane(4), moved,
                                    ir.Constant(vector, None)])
        builder.store(value, address(signature.args[0], target, at), align=4)
        return context.get_dummy_value()

    size = types.int64
    return types.void(target, size, source, size, size, size), generate


@linked(nogil=True)
def zero(target, at, count):
    """target[at:at + count] = 0, without the code that Numba makes for a slice."""
    for q in range(count):
        target[np.uint64(at + q)] = target.dtype.type(0)


@intrinsic
def turn16(typingctx, target, at, target_step, source, start, source_step):
    """target[at + j target_step + i] = source[start + i source_step + j] of 16 x 16 entries: transposed in registers.

    Blocks of 8, 4, 2 and 1 beside the diagonal change places, in all rows at once.
    """
    def generate(context, builder, signature, args):
        target, at, target_step, source, start, source_step = args
        vector = ir.VectorType(context.get_value_type(signature.args[0].dtype), 16)

        def line(array_type, array, first, step, i):
            index = builder.add(first, builder.mul(step, ir.Constant(_size, i)))
            return builder.bitcast(_entry(context, builder, array_type, array, index), vector.as_pointer())

        def chosen(a, b, places):
            places = ir.Constant(ir.VectorType(ir.IntType(32), 16), places)  # from 16 on: of b
            return builder.shuffle_vector(a, b, places)

        lines = [builder.load(line(signature.args[3], source, start, source_step, i), align=4) for i in range(16)]
        for size in (8, 4, 2, 1):
            above = [16 + j - size if j & size else j for j in range(16)]
            below = [16 + j if j & size else j + size for j in range(16)]
            for i in range(16):
                if not i & size:
                    a, b = lines[i], lines[i + size]
                    lines[i], lines[i + size] = chosen(a, b, above), chosen(a, b, below)
        for j in range(16):
            builder.store(lines[j], line(signature.args[0], target, at, target_step, j), align=4)
        return context.get_dummy_value()

    size = types.int64
    return types.void(target, size, size, source, size, size), generate


def _call(builder, address, values):
    function = ir.FunctionType(_pointer, [value.type for value in values]).as_pointer()
    return builder.call(builder.inttoptr(address, function), values)


@intrinsic
def call_address(typingctx, address, first, last, arguments):
    """function(first, last, *arguments) of the C function at an address: Python hands a number over in no time."""
    def generate(context, builder, signature, args):
        _call(builder, args[0], [*args[1:3], *cgutils.unpack_tuple(builder, args[3])])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, arguments), generate


@intrinsic
def enclosed(typingctx, address, arguments):
    """(entry, where): entry(first, last, where) is function(first, last, *arguments) of the C function at an address.

    The arguments lie on the stack of the caller, so what it calls must have come to an end when it does.
    """
    def generate(context, builder, signature, args):
        held = [args[0], *cgutils.unpack_tuple(builder, args[1])]
        room = ir.LiteralStructType([value.type for value in held])
        where = cgutils.alloca_once(builder, room)
        for i, value in enumerate(held):
            builder.store(value, cgutils.gep_inbounds(builder, where, 0, i))

        entry = ir.Function(builder.module, ir.FunctionType(_pointer, [_size] * 3),
                            builder.module.get_unique_name(f"{builder.function.name}.enclosed"))
        entry.linkage = "internal"
        inside = ir.IRBuilder(entry.append_basic_block())
        there = inside.inttoptr(entry.args[2], room.as_pointer())
        address, *values = (inside.load(cgutils.gep_inbounds(inside, there, 0, i)) for i in range(len(held)))
        inside.ret(_call(inside, address, [*entry.args[:2], *values]))
        return cgutils.pack_array(builder, [builder.ptrtoint(entry, _size), builder.ptrtoint(where, _size)])

    return types.UniTuple(types.int64, 2)(types.int64, arguments), generate
