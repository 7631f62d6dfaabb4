"""Top-N from tables of pairs: reading, cuts of train, ranking with train masked, and figures by the published protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import sparse

from segue.benchmarks._topn_models import Score
from segue.candidates._topk import best_rows
from segue.core.errors import BadInput
from segue.core.types import Float32, Int32, Int64
from segue.evaluation.ranking import PerList, per_list

K = 20
BLOCK = 512
"""Listeners scored at a time."""
SHARE = 0.2
"""Of each user's train, so much is held out by a cut."""


@dataclass(frozen=True)
class Split:
    """Train and what is held out, (n_users, n_items) each; the same user is the same row, columns in order of the ids.

    `place` says for each entry of train the row of the file that it came from.
    """

    train: sparse.csr_matrix
    test: sparse.csr_matrix
    place: Int64

    def asked(self) -> Int64:
        """Every user with something held out."""
        return np.flatnonzero(np.diff(self.test.indptr)).astype(np.int64)


def read(train: str, test: str) -> Split:
    """Parquet files with user (or user_id), item (or item_id) and perhaps value; a pair that stands twice counts once."""
    parts_read = [columns(path) for path in (train, test)]
    users, items = (np.unique(np.concatenate([part[k] for part in parts_read])) for k in (0, 1))
    shape = (len(users), len(items))
    parts = [_matrix(np.searchsorted(users, u), np.searchsorted(items, i), v, shape) for u, i, v in parts_read]
    return Split(parts[0][0], parts[1][0], parts[0][1])


def columns(path: str, value_column: str = "value") -> tuple[NDArray[Any], NDArray[Any], Float32]:
    """Users, items and values of a file; 1 for each where it has no such column. BadInput names what is missing."""
    table = pq.read_table(path)
    out = []
    for column in ("user", "item"):
        name = next((n for n in (column, f"{column}_id") if n in table.column_names), None)
        if name is None:
            raise BadInput(f"{path} needs a column {column!r}; it has {', '.join(table.column_names)}", column)
        out.append(table[name].to_numpy())
    value = table[value_column].to_numpy() if value_column in table.column_names else np.ones(table.num_rows)
    return out[0], out[1], np.asarray(value, np.float32)


def _matrix(user: Int64, item: Int64, value: Float32, shape: tuple[int, int]) -> tuple[sparse.csr_matrix, Int64]:
    """The matrix and the file's row of each entry. A pair that stands several times keeps its largest value."""
    order = np.lexsort((-value, item, user))
    user, item, value = user[order], item[order], value[order]
    first = np.ones(len(user), np.bool_)
    first[1:] = (np.diff(user) != 0) | (np.diff(item) != 0)
    ptr = np.searchsorted(user[first], np.arange(shape[0] + 1))
    return sparse.csr_matrix((value[first], item[first], ptr), shape=shape), order[first].astype(np.int64)


def tells_order(split: Split) -> bool:
    """Whether the order of a user's rows in the file says something: it is not that of the ids, and its end is no random draw.

    Then rows most likely stand in order of time, and a test that came later is best stood in for by their end. The measure
    is the mean over items (of 20 users or more) of the squared deviation of their share in the end from what the users' own
    shares foretell, over its variance: 1 for a random draw.
    """
    user = owners(split.train)
    by_file = np.lexsort((split.place, user))
    inside = np.diff(user[by_file]) == 0
    rising = float((np.diff(split.train.indices[by_file])[inside] > 0).mean()) if inside.any() else 1.0
    if not 0.05 < rising < 0.95:
        return False
    end = held_out(split, split.place).astype(np.float64)
    n = split.train.shape[1]
    share = (np.bincount(user, end) / np.maximum(np.bincount(user), 1))[user]
    columns = split.train.indices
    wanted, variance, found = (np.bincount(columns, w, n) for w in (share, share * (1 - share), end))
    known = (np.bincount(columns, minlength=n) >= 20) & (variance > 0)
    excess = float(((found - wanted)[known] ** 2 / variance[known]).mean()) - 1 if known.any() else 0.0
    return bool(excess > max(0.2, 5 * np.sqrt(2 / max(int(known.sum()), 1))))  # and not by chance, where items are few


def owners(matrix: sparse.csr_matrix) -> Int64:
    """The row of each entry."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def held_out(split: Split, key: NDArray[Any]) -> NDArray[np.bool_]:
    """For each entry of train whether it is among the SHARE of its user with the largest keys; a user's only one never is."""
    user = owners(split.train)
    order = np.lexsort((key, user))
    sizes = np.diff(split.train.indptr)
    kept = sizes - np.where(sizes > 1, np.maximum(np.rint(SHARE * sizes), 1), 0).astype(np.int64)
    out = np.zeros(len(user), np.bool_)
    out[order] = np.arange(len(user)) - split.train.indptr[user] >= kept[user]
    return out


def cut(split: Split, key: NDArray[Any]) -> Split:
    """Train cut in two: what held_out says is held out from the rest."""
    out = held_out(split, key)
    parts = []
    for mask in (~out, out):
        ptr = np.concatenate((np.zeros(1, np.int64), np.cumsum(mask)))[split.train.indptr]
        columns = (split.train.data[mask], split.train.indices[mask], ptr)
        parts.append(sparse.csr_matrix(columns, shape=split.train.shape))
    return Split(parts[0], parts[1], split.place[~out])


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
