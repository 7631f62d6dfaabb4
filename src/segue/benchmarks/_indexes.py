"""The indexes that `segue benchmark neighbours` compares, behind one face: ours, those of usearch and of faiss."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from segue.candidates._topk import top_k
from segue.candidates.als import index as factor_index
from segue.core.ports import Vectors
from segue.core.types import Float32, Int32
from segue.storage.vectors.file import ExactVectors, FileVectors

BOTH = ("sound", "factors")
Store = TypeVar("Store", bound=Vectors)


class Index:
    """Built once, its knob turned until it finds enough, asked, added to, and opened again from the disk."""

    kinds: ClassVar[tuple[str, ...]] = BOTH
    knobs: tuple[int, ...] = (0,)
    knob = 0

    usual: ClassVar[bool] = True
    """Measured unless `--methods` says otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def clock(self) -> float:
        """CPU seconds so far, of whoever works for this index."""
        return time.process_time()

    def close(self) -> None:
        """Release what it holds."""

    def turn(self, knob: int) -> None:
        """How hard a search tries."""
        self.knob = knob

    def build(self, vectors: Float32) -> None:
        """From nothing."""
        raise NotImplementedError

    def search(self, queries: Float32, k: int) -> Int32:
        """(m, k) ids, best first."""
        raise NotImplementedError

    def add(self, ids: Int32, vectors: Float32) -> None:
        """While it serves."""

    def reopen(self) -> None:
        """Save and open from the disk, memory-mapped where it can be."""

    def size(self) -> int:
        """Bytes on the disk."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


class Stored(Index, Generic[Store]):
    """A store behind the port of vectors, durable."""

    kinds: ClassVar[tuple[str, ...]] = ("sound",)
    store: Store

    def build(self, vectors: Float32) -> None:
        """One put, and the index that it starts."""
        self.store = self.opened()
        self.add(np.arange(len(vectors), dtype=np.int32), vectors)

    def search(self, queries: Float32, k: int) -> Int32:
        """By the port."""
        return self.store.search(queries, k)[0]

    def add(self, ids: Int32, vectors: Float32) -> None:
        """Durable when it returns."""
        self.store.put("bench", ids, vectors)

    def reopen(self) -> None:
        """Another process would do the same."""
        self.store.close()
        self.store = self.opened()

    def opened(self) -> Store:
        """The store, opened."""
        raise NotImplementedError


class Ours(Stored[FileVectors]):
    """storage/vectors/file: durable rows and an inverted file that measures itself. Its knob is inside."""

    kind: type[FileVectors] = FileVectors

    def build(self, vectors: Float32) -> None:
        """And the index is waited for."""
        super().build(vectors)
        self.store.settle()
        self.knob = int(self.store.measured().get("budget", len(vectors)))
        self.knobs = (self.knob,)

    def opened(self) -> FileVectors:
        """In the folder."""
        return self.kind(self.folder)


class Exact(Ours):
    """The same rows, all of them looked at."""

    kind = ExactVectors


class BatchedExact(Index):
    """candidates/_topk: blocks of inner products and heaps, the longest vectors first. For factors, many listeners at once."""

    kinds: ClassVar[tuple[str, ...]] = ("factors",)

    def build(self, vectors: Float32) -> None:
        """Nothing to build."""
        self.vectors = vectors

    def search(self, queries: Float32, k: int) -> Int32:
        """Exact."""
        return top_k(queries, self.vectors, k)[0]

    def add(self, ids: Int32, vectors: Float32) -> None:
        """A row more."""
        self.vectors = np.concatenate((self.vectors, vectors))


class FactorCells(Index):
    """candidates/als/index: the inverted file of the factors, which knows norms."""

    kinds: ClassVar[tuple[str, ...]] = ("factors",)
    knobs = (8192, 16_384, 32_768, 65_536, 131_072, 262_144)

    def build(self, vectors: Float32) -> None:
        """k-means on factors, not directions."""
        norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
        self.cells = factor_index.build(vectors, norms, np.random.default_rng(0), 1)

    def search(self, queries: Float32, k: int) -> Int32:
        """One query after another."""
        return np.stack([factor_index.search(self.cells, query, k, self.knob)[0] for query in queries])


class Usearch(Index):
    """usearch: HNSW, half precision, 16 edges a node, 128 candidates when added."""

    knobs = (64, 96, 128, 192, 256, 384, 512, 1024)

    def build(self, vectors: Float32) -> None:
        """One thread."""
        from usearch.index import Index as Native

        self.native = Native(ndim=vectors.shape[1], metric="ip", dtype="f16", connectivity=16, expansion_add=128)
        self.native.add(np.arange(len(vectors)), vectors, threads=1)

    def turn(self, knob: int) -> None:
        """expansion_search."""
        self.knob = knob
        setattr(self.native, "expansion_search", knob)  # noqa: B010 - its stub calls it read-only

    def search(self, queries: Float32, k: int) -> Int32:
        """A batch at once."""
        keys: Int32 = np.asarray(self.native.search(queries, k, threads=1).keys).reshape(len(queries), -1).astype(np.int32)
        return keys

    def add(self, ids: Int32, vectors: Float32) -> None:
        """To the graph."""
        self.native.add(ids, vectors, threads=1)

    def reopen(self) -> None:
        """Saved and viewed."""
        from usearch.index import Index as Native

        self.native.save(str(self.folder / "index"))
        self.native = Native(ndim=self.native.ndim, metric="ip", dtype="f16", connectivity=16)
        self.native.view(str(self.folder / "index"))
        self.turn(self.knob)


class Faiss(Index):
    """faiss: saved, and memory-mapped where the kind allows."""

    native: Any

    def search(self, queries: Float32, k: int) -> Int32:
        """A batch at once."""
        found: Int32 = self.native.search(queries, k)[1].astype(np.int32)
        return found

    def add(self, ids: Int32, vectors: Float32) -> None:
        """Ids are places."""
        self.native.add(vectors)

    def reopen(self) -> None:
        """Written and read."""
        import faiss

        faiss.write_index(self.native, str(self.folder / "index"))
        self.native = faiss.read_index(str(self.folder / "index"), faiss.IO_FLAG_MMAP)
        self.turn(self.knob)


class FaissHnsw(Faiss):
    """faiss HNSW, 16 edges a node, 128 candidates when added, full precision."""

    knobs = (64, 96, 128, 192, 256, 384, 512, 1024)

    def build(self, vectors: Float32) -> None:
        """One thread."""
        import faiss

        faiss.omp_set_num_threads(1)
        self.native = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
        self.native.hnsw.efConstruction = 128
        self.native.add(vectors)

    def turn(self, knob: int) -> None:
        """efSearch."""
        self.knob = self.native.hnsw.efSearch = knob


class FaissIvf(Faiss):
    """faiss IVF-Flat, 4 sqrt(n) cells."""

    knobs = (8, 16, 32, 64, 96, 128, 192, 256, 384, 512)

    def build(self, vectors: Float32) -> None:
        """One thread."""
        import faiss

        faiss.omp_set_num_threads(1)
        cells, d = int(4 * np.sqrt(len(vectors))), vectors.shape[1]
        self.quantizer = faiss.IndexFlatIP(d)
        self.native = faiss.IndexIVFFlat(self.quantizer, d, cells, faiss.METRIC_INNER_PRODUCT)
        self.native.train(vectors[np.random.default_rng(0).permutation(len(vectors))[: 40 * cells]])
        self.native.add(vectors)

    def turn(self, knob: int) -> None:
        """nprobe."""
        self.knob = self.native.nprobe = knob


METHODS: Mapping[str, type[Index]] = {
    "exact": Exact,
    "segue": Ours,
    "usearch": Usearch,
    "faiss-hnsw": FaissHnsw,
    "faiss-ivf": FaissIvf,
    "factors-exact": BatchedExact,
    "factors-cells": FactorCells,
}
