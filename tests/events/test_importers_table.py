import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from importing import NOW, Town, whole

from segue.core.actions import Action
from segue.core.errors import BadConfig, BadInput
from segue.events.importers import open_reader
from segue.events.importers.columns import numbers
from segue.events.importers.mapping import parse
from segue.events.importers.repeats import RepeatedBlocks
from segue.events.importers.table import TableReader

T0 = 1_600_000_000


def read(folder: Path, mapping: str, batch_rows: int = 1000) -> TableReader:
    return TableReader(folder, parse('name = "m"\nabout = ""\n' + mapping, "m.toml"), NOW, batch_rows)


def write(path: Path, text: str | bytes) -> None:
    raw = text.encode() if isinstance(text, str) else text
    if path.suffix == ".gz":
        raw = gzip.compress(raw)
    if path.suffix == ".zst":
        raw = pa.compress(raw, codec="zstd", asbytes=True) if False else _zstd(raw)
    path.write_bytes(raw)


def _zstd(raw: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(raw)
    return sink.getvalue().to_pybytes()


PLAYS = """
[[table]]
path = "plays.*"
role = "plays"
user = "who"
item = "what"
at = "when"
played_s = { column = "ms", unit = "ms" }
duration_s = "long"
"""
CSV = "who,what,when,ms,long\nann,x,1600000000,100000,200\nbob,y,2020-09-13T12:26:41Z,19000,200\nann,z,1600000002.5,,\n"


@pytest.mark.parametrize("name", ["plays.csv", "plays.csv.gz", "plays.csv.zst"])
def test_csv_plain_and_compressed(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, CSV)
    town = Town(tmp_path)
    summary = town.take(read(tmp_path, PLAYS))
    assert (summary.rows, summary.accepted, summary.users, summary.items) == (3, 3, 2, 3)
    assert (summary.first_at, summary.last_at) == (T0 * 1000, T0 * 1000 + 2500)
    assert town.rows("user", "item", "at", "action", "played_s", "duration_s")[:2] == [
        ("ann", "x", T0 * 1000, Action.COMPLETED, 100.0, 200.0),
        ("bob", "y", T0 * 1000 + 1000, Action.SKIPPED, 19.0, 200.0),
    ]
    assert np.isnan(town.events["played_s"][2])
    assert town.events["action"][2] == Action.COMPLETED


def test_parquet_and_json_lines_tell_the_same_as_csv(tmp_path: Path) -> None:
    rows = [
        {"who": "ann", "what": "x", "when": T0, "ms": 1e5, "long": 200},
        {"who": "bob", "what": "y", "when": T0, "ms": None, "long": 0},
    ]
    found = []
    for name in ("plays.parquet", "plays.jsonl", "plays.csv"):
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        if name.endswith("parquet"):
            pq.write_table(pa.Table.from_pylist(rows), folder / name)
        elif name.endswith("jsonl"):
            write(folder / name, "\n".join(map(json.dumps, rows)))
        else:
            lines = [",".join("" if v is None else str(v) for v in r.values()) for r in rows]
            write(folder / name, "\n".join(["who,what,when,ms,long", *lines]))
        town = Town(folder)
        town.take(read(folder, PLAYS))
        found.append(town.events.tobytes())
    assert found[0] == found[1] == found[2]


def test_a_second_run_adds_nothing_whatever_its_batches(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    rows = {"who": rng.integers(0, 5, 400), "what": rng.integers(0, 5, 400), "when": rng.integers(T0, T0 + 9, 400)}
    pq.write_table(pa.table({**rows, "ms": np.full(400, 9e5), "long": np.full(400, 900)}), tmp_path / "plays.parquet")
    town = Town(tmp_path)
    first = town.take(read(tmp_path, PLAYS, batch_rows=400))
    assert (first.accepted, first.duplicates) == (400, 0), "equal rows are repeats, not duplicates"
    for size in (1, 7, 64):
        again = town.take(read(tmp_path, PLAYS, batch_rows=size))
        assert (again.accepted, again.duplicates, again.conflicts) == (0, 400, 0)
        assert whole(again)


BAD = b"""who,what,when,ms,long
ann,x,1600000000,1000,10
,x,1600000000,1000,10
ann,,1600000000,1000,10
ann,x,,1000,10
ann,x,1932-02-19,1000,10
ann,x,tomorrow,1000,10
ann,x,1600000000000,1000,10
ann,x,1600000000,-1,10
ann,x,1600000000,abc,10
ann,x,1600000000,1000,inf
ann,\xff\xfe,1600000000,1000,10
ann,a\x01b,1600000000,1000,10
ann@example.org,x,1600000000,1000,10
ann,x,1600000000
bob,y,1600000000,1000,10
"""


def test_bad_rows_are_told_with_line_and_reason_and_the_rest_goes_in(tmp_path: Path) -> None:
    write(tmp_path / "plays.csv", BAD)
    town = Town(tmp_path)
    summary = town.take(read(tmp_path, PLAYS))
    assert (summary.rows, summary.accepted, summary.rejected) == (15, 2, 13)
    told = {r["line"]: r["reason"] for r in town.rejected}
    assert sorted(told) == list(range(3, 16))
    for line, words in {
        3: "user is missing", 4: "item is missing", 5: "at is missing", 6: "1932-02-19", 7: "expected a time", 8: "unit",
        9: "played_s is -0.001 s", 10: "expected a number in column ms, found 'abc'", 11: "duration_s", 12: "UTF-8",
        13: "control characters", 14: "e-mail", 15: "expected 5 fields, found 3",
    }.items():  # fmt: skip
        assert words in told[line], (line, told[line])
    assert "example.org" not in town.rejected_path.read_text(), "an address is never written down"
    assert town.rejected[0]["file"] == "plays.csv"
    assert town.rejected[0]["row"]["what"] == "x"


def test_a_value_beyond_what_the_log_can_keep_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "plays.csv", "user,item,at,value\nu,i,1600000000,1e300\nu,i,1600000001,-1e300\nu,i,1600000002,7\n")
    town = Town(tmp_path)
    summary = town.take(open_reader(tmp_path / "plays.csv", NOW))
    assert (summary.accepted, summary.rejected) == (1, 2)
    assert town.rejected[0]["reason"] == "value is 1e+300: expected at most 3e+38 either way"


def test_wrong_types_in_parquet_are_refused_row_by_row(tmp_path: Path) -> None:
    table = pa.table(
        {"who": ["a", "b"], "what": [1.0, 2.5], "when": ["2020-01-01", "soon"], "ms": ["5", "x"], "long": [None, None]}
    )
    pq.write_table(table, tmp_path / "plays.parquet")
    town = Town(tmp_path)
    summary = town.take(read(tmp_path, PLAYS))
    assert (summary.accepted, summary.rejected) == (1, 1)
    assert town.rows("user", "item") == [("a", "1")]


def test_broken_utf8_in_parquet_costs_its_row_alone(tmp_path: Path) -> None:
    raw = pa.array([b"ok", b"\xff", b"fine"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    full = {"who": text, "what": ["x"] * 3, "when": [T0] * 3, "ms": [9e5] * 3, "long": [900] * 3}
    pq.write_table(pa.table(full), tmp_path / "plays.parquet")
    town = Town(tmp_path)
    summary = town.take(read(tmp_path, PLAYS))
    assert (summary.accepted, summary.rejected) == (2, 1)
    assert "UTF-8" in town.rejected[0]["reason"]


def test_a_file_of_another_shape_is_refused_whole(tmp_path: Path) -> None:
    write(tmp_path / "plays.csv", "a,b\n1,2\n")
    with pytest.raises(BadInput, match=r"expected the columns who, what, when, ms, long; found a, b"):
        Town(tmp_path).take(read(tmp_path, PLAYS))
    write(tmp_path / "plays.csv", "who,what,when,ms,long\n" + "a,b,c,d,e\n" * 5)
    with pytest.raises(BadInput, match=r"none of 5 rows could be used; the first: plays.csv line 2: .*--format"):
        Town(tmp_path).take(read(tmp_path, PLAYS))
    write(tmp_path / "plays.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    with pytest.raises(BadInput):
        Town(tmp_path).take(read(tmp_path, PLAYS))
    (tmp_path / "plays.csv").unlink()
    write(tmp_path / "plays.parquet", "no parquet")
    with pytest.raises(BadInput, match="expected a Parquet file"):
        Town(tmp_path).take(read(tmp_path, PLAYS))


def test_playlists_keep_the_order_of_the_file(tmp_path: Path) -> None:
    write(tmp_path / "lists.csv", "list,song\nA,x\nA,y\nB,x\nA,x\nB,\n")
    mapping = (
        '[[table]]\npath = "lists.csv"\nrole = "playlists"\nplaylist = "list"\nitem = "song"\nat = { constant = "2018-01-01" }'
    )
    for size in (1, 2, 100):
        town = Town(tmp_path)
        summary = town.take(read(tmp_path, mapping, size))
        assert (summary.accepted, summary.rejected) == (4, 1)
        assert town.rows("user", "item", "position", "action") == [
            ("playlist:A", "x", 0, Action.SAVED), ("playlist:A", "y", 1, Action.SAVED),
            ("playlist:B", "x", 0, Action.SAVED), ("playlist:A", "x", 2, Action.SAVED),
        ]  # fmt: skip
        assert len(set(town.events["session"].tolist())) == 2


def test_ratings_become_stars(tmp_path: Path) -> None:
    write(tmp_path / "r.csv", "u,i,r,t\na,x,10,1600000000\na,y,5,1600000000\na,z,11,1600000000\na,w,,1600000000\n")
    mapping = '[[table]]\npath="r.csv"\nrole="ratings"\nuser="u"\nitem="i"\nvalue={column="r", max=10}\nat="t"'
    town = Town(tmp_path)
    summary = town.take(read(tmp_path, mapping))
    assert (summary.accepted, summary.rejected) == (2, 2)
    assert town.rows("item", "value", "action") == [("x", 5.0, Action.RATED), ("y", 2.5, Action.RATED)]


def test_told_actions_searches_positions_and_places(tmp_path: Path) -> None:
    write(tmp_path / "e.csv", "u,i,c,p,r,d\na,x,1,1,DE,web\na,y,0,3,94043,web\na,z,2,2,FR,web\na,w,1,0,FR,web\n")
    mapping = (
        '[[table]]\npath="e.csv"\nrole="events"\nuser={column="u", prefix="v:"}\nitem="i"\nregion="r"\ndevice="d"\n'
        'action={column="c", values={1="clicked", 0="shown"}}\nposition={column="p", start=1}\nat={constant=1600000000}'
    )
    town = Town(tmp_path)
    town.take(read(tmp_path, mapping))
    assert town.rows("user", "item", "action", "position", "region", "device") == [("v:a", "x", Action.CLICKED, 0, "DE", "web")]
    reasons = " / ".join(r["reason"] for r in town.rejected)
    assert all(words in reasons for words in ("region: expected", "expected one of 0, 1", "position is -1"))
    write(tmp_path / "s.csv", "u,q,t\na,blue train,1600000000\na,,1600000000\na,red,1600000000\n")
    searches = '[[table]]\npath="s.csv"\nrole="searches"\nuser="u"\ntext="q"\nat="t"'
    town = Town(tmp_path)
    summary = town.take(read(tmp_path, searches))
    assert (summary.accepted, summary.rejected, town.texts) == (2, 1, ["blue train", "red"])
    assert town.rows("item", "action") == [(None, Action.SEARCHED)] * 2


def test_facts_of_items_and_users(tmp_path: Path) -> None:
    write(
        tmp_path / "i.csv",
        "id,t,a,y,g,s,l\n1,Heat (1995),Mann,Heat (1995),crime|drama,170,eng\n2,,,,,-1,\n,x,,,,,\n4,,,,,,English\n",
    )
    write(tmp_path / "u.csv", "id,age,zip,sex,l\n1,29,94043,f,de-CH\n2,200,94043,m,\n3,,,,\n4,,,,?\n")
    mapping = (
        '[[table]]\npath="i.csv"\nrole="items"\nid="id"\ntitle="t"\nartist="a"\nreleased="y"\ntags={column="g", split="|"}\n'
        'duration_s={column="s", unit="min"}\nextra=["g"]\nlanguage="l"\n'
        '[[table]]\npath="u.csv"\nrole="users"\nid="id"\nage="age"\nzip="zip"\ngender="sex"\nlanguage="l"'
    )
    town = Town(tmp_path)
    summary = town.take(read(tmp_path, mapping))
    assert (summary.rows, summary.fact_rows, summary.rejected) == (8, 4, 4)
    assert town.item_facts["1"] == {
        "id": "1", "title": "Heat (1995)", "artist": "Mann", "released": "1995", "tags": ["crime", "drama"],
        "duration_s": 10_200.0, "extra": {"g": "crime|drama"}, "language": "en",
    }  # fmt: skip
    assert town.item_facts["2"] == {"id": "2"}
    assert town.user_facts["1"].language == "de"
    assert (town.user_facts["1"].age_band, town.user_facts["1"].region) == (3, "zip:9xxxx")
    hidden = town.rejected_path.read_text()
    assert "language: expected a BCP 47 tag such as en, pt-BR or yue, found 'English'" in hidden
    assert "94043" not in hidden, "personal facts of a refused row stay out of the file"


def test_lists_spread_over_rows_are_gathered_most_frequent_first(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", "i,t\n1,7\n1,8\n1,8\n2,7\n1,9\n1,9\n1,6\n")
    write(tmp_path / "n.csv", "k,v\n7,rock\n8,jazz\n9,folk\n6,pop\n")
    mapping = (
        '[[table]]\npath="t.csv"\nrole="items"\nid="i"\ntags={column="t", collect=3, lookup={path="n.csv", key="k", value="v"}}'
    )
    town = Town(tmp_path)
    summary = town.take(read(tmp_path, mapping))
    assert town.item_facts["1"]["tags"] == ["folk", "jazz", "pop"]
    assert town.item_facts["2"]["tags"] == ["rock"]
    assert whole(summary)


def test_facts_that_come_with_plays_are_put_once(tmp_path: Path) -> None:
    write(tmp_path / "p.csv", "u,a,t\nx,The Clash,London Calling\ny,clash,LONDON  CALLING\nx,The Clash,London Calling\n")
    mapping = (
        '[[table]]\npath="p.csv"\nrole="plays"\nuser="u"\nitem={columns=["a","t"], normalize=true}\nartist="a"\ntitle="t"\n'
        'at={constant="2020-01-01"}'
    )
    town = Town(tmp_path)
    summary = town.take(read(tmp_path, mapping))
    assert (summary.accepted, summary.items, town.puts) == (3, 1, 1)
    assert town.item_facts == {
        "clash\tlondon calling": {"id": "clash\tlondon calling", "title": "London Calling", "artist": "The Clash"}
    }


BLOCKS = """
[[table]]
path = "b.csv"
role = "plays"
user = "dj"
item = "song"
session = ["dj", "day"]
position = { order = true }
at = { column = "day", spread = true }
drop_repeated_blocks = true
"""


def test_repeated_blocks_are_dropped_and_counted(tmp_path: Path) -> None:
    one = "A,2020-01-01,x\nA,2020-01-01,y\n"
    two = "A,2020-01-02,x\n"
    other = "A,2020-01-01,x\nA,2020-01-01,z\n"
    write(tmp_path / "b.csv", "dj,day,song\n" + one + two + one + two + other)
    for size in (1, 2, 3, 100):
        town = Town(tmp_path)
        summary = town.take(read(tmp_path, BLOCKS, size))
        assert (summary.rows, summary.accepted, summary.repeated) == (8, 5, 3)
        assert town.rows("item", "position") == [("x", 0), ("y", 1), ("x", 0), ("x", 2), ("z", 3)]
        assert (np.diff(town.events["at"][[0, 1]]) == 1000).all(), "a second for each place"
        assert whole(summary)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=24), st.integers(1, 25))
def test_blocks_do_not_depend_on_batches(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]], size: int
) -> None:
    folder = tmp_path_factory.mktemp("b")
    table = pa.table({"dj": ["A"] * len(rows), "day": [f"2020-01-0{d + 1}" for d, _ in rows], "song": [s for _, s in rows]})
    pq.write_table(table, folder / "b.parquet")
    mapping = BLOCKS.replace("b.csv", "b.parquet")
    whole_file, parts = Town(folder), Town(folder)
    first = whole_file.take(read(folder, mapping, 100))
    second = parts.take(read(folder, mapping, size))
    assert (first.accepted, first.repeated) == (second.accepted, second.repeated)
    assert whole_file.events.tobytes() == parts.events.tobytes()


def test_a_block_is_its_rows_in_order() -> None:
    session = np.array([1, 1, 2, 1, 1, 2], np.uint64)
    assert RepeatedBlocks().mask(session, np.array([5, 6, 5, 6, 5, 5], np.uint64)).tolist() == [False] * 5 + [True]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("role = [", "TOML"),
        ('[[table]]\npath="x"\nrole="plays"\nuser="u"\nitem="i"', "needs 'at'"),
        ('[[table]]\npath="x"\nrole="play"', "role"),
        ('[[table]]\npath="x"\nrole="items"\nid="i"\ntitel="t"', "titel"),
        ('[[table]]\npath="x"\nrole="items"\nid={column="i", unit="h"}', "unit"),
        ('[[table]]\npath="x"\nrole="items"\nid={prefix="i"}', "exactly one"),
    ],
)
def test_a_wrong_mapping_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(BadConfig, match=says):
        parse('name="m"\nabout=""\n' + text, "m.toml")


def test_long_delimiters_and_other_encodings(tmp_path: Path) -> None:
    write(tmp_path / "m.dat", "1::Caf\xe9: A::x\n2::B::y\n".encode("latin-1") * 50_000)
    mapping = (
        '[[table]]\npath="m.dat"\nrole="items"\ndelimiter="::"\nencoding="latin-1"\nquoted=false\n'
        'header=["i","t","g"]\nid="i"\ntitle="t"'
    )
    town = Town(tmp_path)
    assert town.take(read(tmp_path, mapping)).fact_rows == 100_000
    assert town.item_facts == {"1": {"id": "1", "title": "Café: A"}, "2": {"id": "2", "title": "B"}}


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from(["x", "", "nan", "NULL", "1e5", "inf", "true"]))))
def test_numbers_as_text_are_read_as_python_reads_them(values: list[Any]) -> None:
    texts = [None if v is None else str(v) for v in values]
    found, wrong = numbers(pa.array(texts, pa.string()))
    for text, number, bad in zip(texts, found.tolist(), wrong.tolist(), strict=True):
        if text is None or text in ("", "nan", "NULL"):
            assert np.isnan(number)
            assert not bad
        elif text in ("x", "inf"):
            assert bad
        else:
            assert number == (1.0 if text == "true" else float(text))
