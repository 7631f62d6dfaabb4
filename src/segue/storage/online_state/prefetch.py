"""One machine instruction that numba does not offer: ask for a cache line before it is needed."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array


def _prefetch(context: Any, array: types.Array, index: types.Integer) -> Any:
    """Start loading the cache line of element `index` of the flattened C-contiguous array.

    A hint: it never fails, an address that is not mapped included, and changes nothing but the time.
    """

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = make_array(signature.args[0])(target, builder, arguments[0]).data  # type: ignore[no-untyped-call]
        address = builder.bitcast(builder.gep(data, [arguments[1]]), cgutils.voidptr_t)
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, word, word, word])
        call = builder.module.declare_intrinsic("llvm.prefetch", [cgutils.voidptr_t], kind)
        builder.call(call, [address, word(1), word(3), word(1)])  # to write, keep in every level, data
        return target.get_dummy_value()

    return types.void(array, types.intp), generate


prefetch: Any = intrinsic(_prefetch)
"""prefetch(array, index), inside kernels only."""
