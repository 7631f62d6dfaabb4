"""Near-duplicates by sound and tags become one work, other songs do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from segue.catalogue.duplicates import LIKELY, SAME, join_duplicates
from segue.catalogue.works import work_key
from segue.core.records import ItemRecord
from segue.storage.metadata.sqlite import SqliteCatalogue
from segue.storage.vectors.file import FileVectors

D = 32


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[SqliteCatalogue]:
    made = SqliteCatalogue(tmp_path / "catalogue", today=lambda: 20_000, work_key=work_key)
    yield made
    made.close()


@pytest.fixture
def vectors(tmp_path: Path) -> FileVectors:
    return FileVectors(tmp_path / "vectors")


def at(base: np.ndarray, cosine: float, rng: np.random.Generator) -> np.ndarray:
    """A vector at this cosine from base."""
    other = rng.standard_normal(D)
    base = base / np.linalg.norm(base)
    other -= (other @ base) * base
    return (cosine * base + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other)).astype(np.float32)


@pytest.fixture
def arrive(catalogue: SqliteCatalogue, vectors: FileVectors) -> Callable[..., int]:
    def put(record: ItemRecord, vector: np.ndarray) -> int:
        dense = catalogue.put_items([record])
        vectors.put("a", dense, vector[None, :].astype(np.float32))
        return join_duplicates(dense, vectors, catalogue)

    return put


def test_the_same_recording_without_tags_is_one_work(arrive: Callable[..., int], catalogue: SqliteCatalogue) -> None:
    rng = np.random.default_rng(0)
    one = rng.standard_normal(D)
    assert arrive(ItemRecord("a", title="Blue", artist="Joni"), one) == 0
    assert arrive(ItemRecord("b"), at(one, SAME + 0.005, rng)) == 1
    assert arrive(ItemRecord("c", title="Track 01", artist="Unknown"), at(one, SAME + 0.005, rng)) >= 1
    assert arrive(ItemRecord("d", title="Red", artist="Joni"), at(one, SAME - 0.02, rng)) == 0
    assert catalogue.facts.work.tolist() == [0, 0, 0, 3]
    assert arrive(ItemRecord("e", title="Blue (Live)", artist="Joni"), rng.standard_normal(D)) == 0
    assert catalogue.facts.work.tolist() == [0, 0, 0, 3, 0]  # by its tags alone


def test_songs_that_tags_or_lengths_tell_apart_stay_apart_however_alike(
    arrive: Callable[..., int], catalogue: SqliteCatalogue
) -> None:
    rng = np.random.default_rng(3)
    one = rng.standard_normal(D)
    assert arrive(ItemRecord("a", title="Blue", artist="Joni", duration_s=200), one) == 0
    assert arrive(ItemRecord("b", title="Red", artist="Joni", duration_s=200), at(one, 0.999, rng)) == 0
    assert arrive(ItemRecord("c", title="rip 7", duration_s=204), at(one, 0.999, rng)) == 0
    assert arrive(ItemRecord("d", title="rip 8", duration_s=202), at(one, 0.999, rng)) == 2  # to a, and c follows
    assert catalogue.facts.work.tolist() == [0, 1, 0, 0]
    assert arrive(ItemRecord("e", title="Blue (Live)", artist="Joan", duration_s=260), at(one, LIKELY + 0.02, rng)) == 1


def test_who_shares_a_work_does_not_leave_it_for_a_copy_that_is_farther(
    catalogue: SqliteCatalogue, vectors: FileVectors
) -> None:
    """Found with five copies of a clip: the last one went from the works of four to that of a remaster beside it."""
    rng = np.random.default_rng(5)
    one = rng.standard_normal(D)
    last = at(one, SAME + 0.007, rng)
    rows = np.stack([at(last, SAME + 0.002, rng), at(one, 0.999, rng), at(one, 0.9995, rng), last, one.astype(np.float32)])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert rows[0] @ rows[4] < SAME
    dense = catalogue.put_items([ItemRecord(name, title=f"rip {name}", duration_s=200) for name in "abcde"])
    vectors.put("a", dense, rows)
    join_duplicates(dense, vectors, catalogue)
    assert len(set(catalogue.facts.work.tolist())) == 1
    join_duplicates(dense[::-1], vectors, catalogue)
    assert len(set(catalogue.facts.work.tolist())) == 1


def test_a_song_that_tags_tell_goes_to_no_work_of_another_such(arrive: Callable[..., int], catalogue: SqliteCatalogue) -> None:
    rng = np.random.default_rng(6)
    one = rng.standard_normal(D)
    arrive(ItemRecord("a", title="Blue", artist="Joni", duration_s=200), one)
    assert arrive(ItemRecord("b", title="rip 7", duration_s=200), at(one, 0.999, rng)) == 1
    near_b = at(one, 0.999, rng)
    assert arrive(ItemRecord("c", title="Red", artist="Joni", duration_s=200), near_b) == 0
    assert catalogue.facts.work.tolist() == [0, 0, 2]


def test_a_remaster_is_one_work_when_sound_and_title_agree(arrive: Callable[..., int], catalogue: SqliteCatalogue) -> None:
    rng = np.random.default_rng(1)
    one = rng.standard_normal(D)
    arrive(ItemRecord("a", title="Blue", artist="Joni Mitchell"), one)
    assert arrive(ItemRecord("b", title="Blue - 2021 Remaster", artist="J. Mitchell"), at(one, LIKELY + 0.02, rng)) == 1
    assert arrive(ItemRecord("c", title="Blue", artist="Somebody"), at(one, LIKELY - 0.1, rng)) == 0
    assert arrive(ItemRecord("d", title="Green", artist="Joni Mitchell"), at(one, LIKELY + 0.02, rng)) == 0
    assert catalogue.facts.work.tolist() == [0, 0, 2, 3]


def test_songs_without_tags_get_a_work_of_their_own_name(
    arrive: Callable[..., int], catalogue: SqliteCatalogue, tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    one = rng.standard_normal(D)
    assert arrive(ItemRecord("file one"), one) == 0
    assert arrive(ItemRecord("file two"), one) == 1
    assert arrive(ItemRecord("file two"), one) == 0  # once is enough
    again = SqliteCatalogue(tmp_path / "catalogue", today=lambda: 20_000, work_key=work_key)
    assert again.facts.work.tolist() == [0, 0]
    again.close()


def test_silent_and_unknown_songs_are_like_nothing(arrive: Callable[..., int], catalogue: SqliteCatalogue) -> None:
    assert arrive(ItemRecord("a"), np.zeros(D)) == 0
    assert arrive(ItemRecord("b"), np.zeros(D)) == 0
    assert len(set(catalogue.facts.work.tolist())) == 2


def test_nothing_is_joined_without_vectors(catalogue: SqliteCatalogue, vectors: FileVectors) -> None:
    assert join_duplicates(catalogue.put_items([ItemRecord("a")]), vectors, catalogue) == 0
