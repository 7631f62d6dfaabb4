"""Top-N from tables of pairs: reading, cuts of train, ranking with train masked, and figures by the published protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import sparse

from segue.candidates._topk import best_rows
from segue.core.errors import BadInput
from segue.core.types import Float32, Int32, Int64
from segue.evaluation.ranking import PerList, per_list

K = 20
BLOCK = 512
"""Listeners scored at a time."""
Score = Callable[[Int64], Float32]
"""Rows of train (m,) -> scores of all items (m, n_items) float32."""


@dataclass(frozen=True)
class Split:
    """Train and what is held out, (n_users, n_items) each; the same user is the same row, columns in order of the ids."""

    train: sparse.csr_matrix
    test: sparse.csr_matrix

    def asked(self) -> Int64:
        """Every user with something held out."""
        return np.flatnonzero(np.diff(self.test.indptr)).astype(np.int64)


def read(train: str, test: str) -> Split:
    """Parquet files with user (or user_id), item (or item_id) and perhaps value; a pair that stands twice counts once."""
    columns = [_columns(path) for path in (train, test)]
    users, items = (np.unique(np.concatenate([part[k] for part in columns])) for k in (0, 1))
    shape = (len(users), len(items))
    return Split(*(_matrix(np.searchsorted(users, u), np.searchsorted(items, i), v, shape) for u, i, v in columns))


def _columns(path: str) -> tuple[NDArray[Any], NDArray[Any], Float32]:
    table = pq.read_table(path)
    out = []
    for column in ("user", "item"):
        name = next((n for n in (column, f"{column}_id") if n in table.column_names), None)
        if name is None:
            raise BadInput(f"{path} needs a column {column!r}; it has {', '.join(table.column_names)}", column)
        out.append(table[name].to_numpy())
    value = table["value"].to_numpy() if "value" in table.column_names else np.ones(table.num_rows)
    return out[0], out[1], np.asarray(value, np.float32)


def _matrix(user: Int64, item: Int64, value: Float32, shape: tuple[int, int]) -> sparse.csr_matrix:
    """A pair that stands several times keeps its largest value."""
    order = np.lexsort((-value, item, user))
    user, item, value = user[order], item[order], value[order]
    first = np.ones(len(user), np.bool_)
    first[1:] = (np.diff(user) != 0) | (np.diff(item) != 0)
    return sparse.csr_matrix((value[first], (user[first], item[first])), shape=shape, dtype=np.float32)


def ranked(score: Score, split: Split, users: Int64, k: int = K) -> Int32:
    """Lists (m, k) of each user, items of train left out, ties to the smaller item index."""
    out = []
    for start in range(0, len(users), BLOCK):
        part = users[start : start + BLOCK]
        scores = score(part)
        mask(scores, split.train[part])
        out.append(best_rows(scores, k)[0])
    return np.concatenate(out)


def mask(scores: Float32, seen: sparse.csr_matrix) -> None:
    """Set what each row of `seen` holds to -inf."""
    scores[np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr)), seen.indices] = -np.inf


def judge(lists: Int32, split: Split, users: Int64, k: int = K) -> PerList:
    """Recall = hits / held out, NDCG with the ideal of min(k, held out) places: He et al. 2020 (LightGCN)."""
    held = split.test[users]
    return per_list(lists, held.indptr.astype(np.int64), held.indices.astype(np.int32), k)
