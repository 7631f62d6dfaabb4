"""Taste spread over the graph of listeners and items: from items to those who wanted them, and on to what they wanted."""

from __future__ import annotations

import numpy as np
from numba import njit

from segue.core.types import Float32, Int32, Int64

Csr = tuple[Int64, Int32, Float32]
"""ptr (rows + 1,), columns (e,), values (e,)."""


@njit(cache=True, nogil=True)
def spread(rows: Csr, by_item: Csr, by_user: Csr, sharpness: float, n_items: int) -> Float32:
    """out = ((rows @ by_item) ** sharpness) @ by_user, dense (m, n_items) float32; by_item and by_user are CSR.

    rows (m, n_items), by_item (n_items, n_users) and by_user (n_users, n_items) hold no negative values. Similarities stay in
    one row of n_users, so the work is one addition for each path of length three and memory does not grow with them.
    """
    row_ptr, row_items, row_values = rows
    item_ptr, item_users, item_values = by_item
    user_ptr, user_items, user_values = by_user
    out = np.zeros((len(row_ptr) - 1, n_items), np.float32)
    near = np.zeros(len(user_ptr) - 1, np.float32)
    touched = np.empty(len(near), np.int32)
    for m in range(len(out)):
        n, scores = 0, out[m]
        for e in range(row_ptr[m], row_ptr[m + 1]):
            item, value = row_items[e], row_values[e]
            for f in range(item_ptr[item], item_ptr[item + 1]):
                user = item_users[f]
                if near[user] == 0:
                    touched[n] = user
                    n += 1
                near[user] += value * item_values[f]
        for t in range(n):
            user = touched[t]
            weight = near[user] if sharpness == 1 else np.float32(near[user] ** sharpness)
            near[user] = 0
            for f in range(user_ptr[user], user_ptr[user + 1]):
                scores[user_items[f]] += weight * user_values[f]
    return out
