"""What a request costs before any source is asked: it must not grow with what the caller writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from segue.catalogue.works import work_key
from segue.core.records import ItemRecord
from segue.core.types import Int32
from segue.serving.discovery import Discovery
from segue.serving.query import MOST_ARTISTS_SOUGHT, QueryMaker, RecommendIn, SeedsIn
from segue.storage.metadata.sqlite import SqliteCatalogue
from segue.storage.online_state.arrays import ArrayState


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[QueryMaker]:
    """A catalogue of 50 songs, each of an artist and a tag of its own, and nobody who has heard one."""
    catalogue = SqliteCatalogue(tmp_path / "catalogue", today=lambda: 0, work_key=work_key)
    catalogue.put_items([ItemRecord(f"i{n}", title=f"Song {n}", artist=f"Artist {n}", tags=[f"Tag {n}"]) for n in range(50)])
    state = ArrayState(tmp_path / "state")
    yield QueryMaker(catalogue, state, Discovery(0.5), {})
    state.close()
    catalogue.close()


def asked(maker: QueryMaker, **seeds: list[str]) -> tuple[Int32, Int32, list[str]]:
    """Dense ids of the seed artists and tags, and the warnings."""
    query, warnings = maker.make(RecommendIn(user="u", seeds=SeedsIn(**seeds)), 0, 1)
    return query.seeds.artists, query.seeds.tags, warnings


def test_seeds_in_another_case_are_found_and_new_ones_too(maker: QueryMaker) -> None:
    artists, tags, warnings = asked(maker, artists=["ARTIST 7", "Artist 9"], tags=["tAG 8", "Tag 3"])
    assert maker.catalogue.artists.all(artists) == ["Artist 7", "Artist 9"]
    assert maker.catalogue.tags.all(tags) == ["Tag 8", "Tag 3"]
    assert not warnings
    maker.catalogue.put_items([ItemRecord("later", title="Later", artist="Late", tags=["Later Tag"])])
    assert maker.catalogue.tags.all(asked(maker, tags=["LATER TAG", "TAG 8"])[1]) == ["Later Tag", "Tag 8"]


def test_a_thousand_unknown_seeds_do_not_search_a_thousand_times(maker: QueryMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[str] = []
    read: list[int] = []
    search, names = maker.catalogue.search, maker.catalogue.tags.all

    def counted_search(text: str, limit: int) -> Int32:
        searches.append(text)
        return search(text, limit)

    def counted_names(dense: Int32) -> Sequence[str]:
        read.append(len(np.asarray(dense)))
        return names(dense)

    monkeypatch.setattr(maker.catalogue, "search", counted_search)
    monkeypatch.setattr(maker.catalogue.tags, "all", counted_names)
    many = [f"nobody {n}" for n in range(1000)]
    for _ in range(2):
        artists, tags, warnings = asked(maker, artists=many, tags=many)
        assert not len(artists)
        assert not len(tags)
        assert len(warnings) == 2
    assert len(searches) == 2 * MOST_ARTISTS_SOUGHT
    assert sum(read) == 50, "every tag is folded once"
