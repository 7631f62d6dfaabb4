"""Blend fuses ranks: known answers, ties, silence, and the order of the candidates is kept."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segue.core.evidence import SILENT, ranks, reciprocal_ranks
from segue.core.types import Candidates, Query, Recent, Seeds
from segue.ranking.blend import Blend

NAN = np.nan
QUERY = Query(request_id=1, user=0, now=0)
NO_ROWS = np.zeros((0, 0), np.float32)


def pool(evidence: list[list[float]], sources: tuple[str, ...]) -> Candidates:
    """Candidates 0, 1, 2, ... with the evidence given, one row each."""
    table = np.array(evidence, np.float32)
    return Candidates(np.arange(len(table), dtype=np.int32), table, sources)


def test_ranks_known() -> None:
    """Best first, silence apart, ties to the earlier row, and the two zeros are one number."""
    table = np.array([[1.0, NAN], [3.0, -0.0], [3.0, 0.0], [-np.inf, -5.0]], np.float32)
    assert ranks(table).tolist() == [[2, SILENT], [0, 0], [1, 1], [3, 2]]


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 40), st.integers(0, 4)),
        elements=st.one_of(st.just(np.nan), st.integers(-3, 3).map(float), st.floats(width=32, allow_nan=True)),
    )
)
def test_ranks_are_a_stable_sort(table: np.ndarray) -> None:
    """The packed sort agrees with a stable sort of the scores, column by column."""
    places = ranks(table)
    for column in range(table.shape[1]):
        spoken = [i for i in range(len(table)) if not np.isnan(table[i, column])]
        want = sorted(spoken, key=lambda i: (-table[i, column], i))
        assert [places[i, column] for i in want] == list(range(len(want)))
        assert np.all(places[np.isnan(table[:, column]), column] == SILENT)


def test_reciprocal_ranks_known() -> None:
    """1, (k+1)/(k+2), ... and 0 for silence."""
    got = reciprocal_ranks(np.array([[5.0], [7.0], [NAN]], np.float32), k=1.0)
    assert got[:, 0] == pytest.approx([2 / 3, 1.0, 0.0])


def test_blend_known_answer() -> None:
    """Weights times reciprocal ranks, by hand."""
    blend = Blend(away={"a": 1.0, "b": 0.5}, k=1.0, other=0.0)
    got = blend.score(QUERY, pool([[9, NAN], [8, 3], [NAN, 4]], ("a", "b")), NO_ROWS)
    assert got == pytest.approx([1.0, 2 / 3 + 0.5 * 2 / 3, 0.5])
    assert got.dtype == np.float32


def test_a_session_and_seeds_change_whom_it_trusts() -> None:
    """The first source is for sessions, the second for taste."""
    blend = Blend(here={"a": 1.0}, away={"b": 1.0}, other=0.0)
    candidates = pool([[9, NAN], [NAN, 9]], ("a", "b"))
    one = np.zeros(1, np.int32)

    def after(inside: bool) -> Recent:
        return Recent(one, np.ones(1, np.float32), np.ones(1, np.float32), np.zeros(1, np.int64), np.array([inside]))

    assert blend.score(QUERY, candidates, NO_ROWS).tolist() == [0, 1]
    assert blend.score(replace(QUERY, recent=after(False)), candidates, NO_ROWS).tolist() == [0, 1]
    assert blend.score(replace(QUERY, recent=after(True)), candidates, NO_ROWS).tolist() == [1, 0]
    assert blend.score(replace(QUERY, seeds=Seeds(items=one)), candidates, NO_ROWS).tolist() == [1, 0]


def test_agreement_beats_one_source() -> None:
    """Second place in two sources is worth more than first place in one of them."""
    got = Blend(away={}).score(QUERY, pool([[9, NAN], [8, 8], [NAN, 9]], ("a", "b")), NO_ROWS)
    assert got.argmax() == 1


def test_scale_does_not_matter() -> None:
    """Multiplying one source's scores changes nothing."""
    table = np.random.default_rng(0).random((50, 3), np.float32)
    sources = ("als", "cooccurrence", "new")
    items = np.arange(50, dtype=np.int32)
    scaled = table * np.array([1000, 1, 0.001], np.float32)
    first = Blend().score(QUERY, Candidates(items, table, sources), NO_ROWS)
    assert np.array_equal(first, Blend().score(QUERY, Candidates(items, scaled, sources), NO_ROWS))


def test_empty() -> None:
    """No candidates and no sources are fine."""
    none = Candidates(np.zeros(0, np.int32), np.zeros((0, 2), np.float32), ("a", "b"))
    assert Blend().score(QUERY, none, NO_ROWS).shape == (0,)
    silent = Candidates(np.arange(3, dtype=np.int32), np.full((3, 1), NAN, np.float32), ("a",))
    assert Blend().score(QUERY, silent, NO_ROWS).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("bad", [{"k": -1.0}, {"other": float("nan")}, {"here": {"a": -0.1}}, {"away": {"a": np.inf}}])
def test_bad_settings(bad: dict[str, object]) -> None:
    """Negative or not finite weights are refused."""
    with pytest.raises(ValueError, match="finite"):
        Blend(**bad)  # type: ignore[arg-type]
