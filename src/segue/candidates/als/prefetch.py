"""The processor's prefetch hint for numba kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _prefetch(_typing: Any, array: Any, row: Any, column: Any) -> tuple[Any, Callable[..., Any]]:
    """What the compiler is told: the types of a call, and the code for it."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[0]
        struct = context.make_array(kind)(context, builder, args[0])
        place = [context.cast(builder, args[i], signature.args[i], types.intp) for i in (1, 2)]
        address = cgutils.get_item_pointer(  # type: ignore[no-untyped-call]
            context, builder, kind, struct, place, wraparound=False
        )
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        shape = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        hint = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, shape, "llvm.prefetch.p0i8"
        )
        read, keep, data = (ir.Constant(word, number) for number in (0, 3, 1))
        builder.call(hint, [builder.bitcast(address, byte), read, keep, data])
        return context.get_dummy_value()

    return types.void(array, row, column), emit


prefetch: Any = intrinsic(_prefetch)
"""prefetch(array, row, column) asks for the cache line of array[row, column], to read; it never faults and changes no result.
array is 2-dimensional and C ordered, row and column are not negative."""
