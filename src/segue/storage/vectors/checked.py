"""What comes into a store of vectors, checked and brought into form: one wording of the errors for every backend."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segue.core.errors import BadInput
from segue.core.types import Float32, Int32

MOST_NUMBERS = 4096
"""In a vector: far above what encoders give."""


def as_items(items: Int32) -> Int32:
    """(n,) int32, all >= 0; BadInput."""
    out = np.asarray(items)
    if out.ndim != 1 or (len(out) and (out.dtype.kind not in "iu" or int(out.min()) < 0 or int(out.max()) >= 2**31)):
        raise BadInput(f"items: expected one row of dense ids from 0, found {out.dtype} of shape {out.shape}", "items")
    return out.astype(np.int32)


def as_vectors(vectors: Float32, n: int) -> Float32:
    """(n, d) float32 of unit length (or 0); BadInput."""
    out = np.asarray(vectors, np.float32)
    if out.ndim != 2 or len(out) != n or not 1 <= out.shape[1] <= MOST_NUMBERS:
        raise BadInput(f"vectors: expected {n} rows of 1 to {MOST_NUMBERS} numbers, found shape {out.shape}", "vectors")
    if not np.isfinite(out).all():
        raise BadInput("vectors: expected finite numbers, found NaN or infinity: leave such songs out", "vectors")
    wide: NDArray[np.float64] = out.astype(np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    unit: Float32 = (wide / np.where(lengths > 0, lengths, 1.0)[:, None]).astype(np.float32)
    return np.ascontiguousarray(unit)


def as_queries(queries: Float32, dimension: int) -> Float32:
    """(m, d) float32, contiguous; BadInput."""
    out = np.ascontiguousarray(queries, np.float32)
    if out.ndim != 2 or (dimension and out.shape[1] != dimension) or not np.isfinite(out).all():
        raise BadInput(f"queries: expected finite rows of {dimension} numbers, found shape {out.shape}", "queries")
    return out
