"""Listeners by hour: against sets, rebuilt to the byte, and the same by night out of a history."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segue.core.actions import Action
from segue.core.clock import HOUR_MS
from segue.core.errors import NotReady
from segue.core.types import MISSING, Events, Items, empty_events
from segue.storage.online_state import file as files
from segue.storage.online_state.arrays import ArrayState
from segue.storage.online_state.hours import HOURS
from segue.training.dataset import build_history, mapped, park
from segue.training.hours import ByHour

T0 = 490_000 * HOUR_MS
EVERY = np.array([0, 5, 1, 2, 3, 4, 900, MISSING], np.int32)


class Log:
    """The parts of a log that build_history asks for."""

    def __init__(self, events: Events) -> None:
        self.events = events

    def scan(self, at_from: int, at_to: int, columns: object = None) -> Any:
        yield self.events[(self.events["at"] >= at_from) & (self.events["at"] < at_to)]


def plays(rows: list[tuple[int, int, int]], action: Action = Action.COMPLETED) -> Events:
    """Events of (seconds after T0, user, item), in the order given."""
    events = empty_events(len(rows))
    events["seq"] = np.arange(1, len(rows) + 1)
    events["action"] = action
    for i, (second, user, item) in enumerate(rows):
        events["at"][i], events["user"][i], events["item"][i] = T0 + 1000 * second, user, item
    return events


def by_sets(events: Events, items: np.ndarray, now: int) -> list[list[int]]:
    """Distinct listeners of each item in each hour, newest first."""
    out = []
    for item in items.tolist():
        row = []
        for k in range(HOURS):
            hour = now // HOUR_MS - k
            mine = events[(events["item"] == item) & (events["at"] // HOUR_MS == hour) & (item >= 0)]
            row.append(len(set(mine["user"].tolist())))
        out.append(row)
    return out


ROWS = st.lists(st.tuples(st.integers(0, 60 * 3600), st.integers(0, 4), st.integers(0, 5)), max_size=60).map(sorted)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, later=st.integers(0, 40))
def test_the_state_counts_listeners_by_hour_as_the_night_does(
    rows: list[tuple[int, int, int]], later: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("state")
    events = plays(rows)
    now = int(events["at"].max(initial=T0)) + later * HOUR_MS + 1000
    with closing(ArrayState(folder / "day")) as state:
        state.fold(events)
        got = state.by_hour(EVERY, now)
        assert (got.dtype, got.shape) == (np.uint16, (len(EVERY), HOURS))
        assert got.tolist() == by_sets(events, EVERY, now)
    history = build_history(Log(events), Items.bare(6), now=now, window_ms=now, n_users=5, n_items=6)  # type: ignore[arg-type]
    park(history, folder / "night")
    night = ByHour.of(mapped(folder / "night"), now)
    assert night.of_moment(EVERY[:6], now).tobytes() == got[:6].tobytes()


@pytest.mark.parametrize("second", [0, 1, 3599, 3600, 50_000, 100_000])
def test_the_night_knows_only_what_came_before_the_moment(second: int, tmp_path: Path) -> None:
    """For any moment of the past: the state that had folded the log up to there, to the bit; what came after is shuffled."""
    rng = np.random.default_rng(second)
    events = plays(sorted(zip(*(rng.integers(0, n, 800).tolist() for n in (120_000, 6, 6)), strict=True)))
    now = T0 + second * 1000
    with closing(ArrayState(tmp_path / "day")) as state:
        state.fold(events[events["at"] < now])
        want = state.by_hour(EVERY[:6], now)
    late = events["at"] >= now
    events["item"][late], events["user"][late] = rng.permutation(events["item"][late]), rng.permutation(events["user"][late])
    end = T0 + 200_000_000
    history = build_history(Log(events), Items.bare(6), now=end, window_ms=end, n_users=6, n_items=6)  # type: ignore[arg-type]
    park(history, tmp_path / "night")
    assert ByHour.of(mapped(tmp_path / "night"), now).of_moment(EVERY[:6], now).tobytes() == want.tobytes()
    assert ByHour.of(mapped(tmp_path / "night"), now - 30 * HOUR_MS).of_moment(EVERY[:6], now).tobytes() == want.tobytes()


def test_one_listener_in_a_loop_lifts_nothing_and_votes_are_no_plays(tmp_path: Path) -> None:
    with closing(ArrayState(tmp_path)) as state:
        state.fold(plays([(second, 0, 3) for second in range(0, 3600, 30)]))
        assert state.by_hour(EVERY[4:5], T0)[0, 0] == 1
        votes = plays([(10, 1, 3), (11, 2, 3)], Action.LIKED)
        votes["seq"] += 1000
        state.fold(votes)
        assert state.by_hour(EVERY[4:5], T0).sum() == 1


def test_late_events_find_their_hour_or_are_dropped(tmp_path: Path) -> None:
    with closing(ArrayState(tmp_path)) as state:
        state.fold(plays([(30 * 3600, 0, 1), (29 * 3600, 1, 1), (7 * 3600, 2, 1), (6 * 3600, 3, 1)]))
        assert np.flatnonzero(state.by_hour(EVERY[2:3], T0 + 30 * HOUR_MS)[0]).tolist() == [0, 1, 23]
        assert np.flatnonzero(state.by_hour(EVERY[2:3], T0 + 29 * HOUR_MS)[0]).tolist() == [0, 22], "nothing of the future"
        assert not state.by_hour(EVERY[2:3], T0 + 60 * HOUR_MS).any()


def test_a_rebuild_gives_the_same_bytes_however_it_is_batched(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    events = plays(list(zip(*(rng.integers(0, n, 3000).tolist() for n in (300_000, 40, 2000)), strict=True)))
    digests = []
    for number, size in enumerate((3000, 701, 64)):
        with closing(ArrayState(tmp_path / str(number))) as state:
            for start in range(0, len(events), size):
                state.fold(events[start : start + size])
            digests.append(state.digest())
    assert len(set(digests)) == 1
    with closing(ArrayState(tmp_path / "0")) as again:
        assert again.digest() == digests[0]
        again._store.view().hours[7, 3] += 1
        assert again.digest() != digests[0], "the counts are part of what is digested"


def test_the_folder_of_an_earlier_version_is_folded_anew_by_its_writer_and_refused_to_readers(tmp_path: Path) -> None:
    with closing(ArrayState(tmp_path)) as state:
        state.fold(plays([(0, 0, 1)]))
    header = (tmp_path / "header").read_bytes()
    (tmp_path / "header").write_bytes(header[:8] + (1).to_bytes(4, "little") + header[12 : files.HEADER.itemsize - 8])
    (tmp_path / "items.hours").unlink()
    with pytest.raises(NotReady, match="earlier version"):
        ArrayState(tmp_path, read_only=True)
    with closing(ArrayState(tmp_path)) as newer:
        assert newer.applied == 0
        newer.fold(plays([(0, 0, 1)]))
        assert newer.by_hour(EVERY[2:3], T0)[0, 0] == 1
