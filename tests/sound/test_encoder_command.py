"""`segue encoder import` and `segue encoder list`, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from segue.cli import main
from segue.sound.onnx_graph import Graph
from segue.sound.spectrogram import BANDS
from segue.wiring import open_home


def call(capsys: pytest.CaptureFixture[str], home: Path, *words: str) -> tuple[int, str, str]:
    code = main(["--home", str(home), "encoder", *words])
    out = capsys.readouterr()
    return code, out.out, out.err


def onnx_file(path: Path, floor: float) -> Path:
    graph = Graph("patch", 187, BANDS)
    rows = graph.node("ReduceMean", graph.node("Max", "patch", graph.constant([floor])), axes=[1], keepdims=0)
    path.write_bytes(graph.build({"bands": (rows, BANDS)}, {}))
    return path


def test_an_onnx_file_is_imported_listed_and_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, manifest = tmp_path / "home", tmp_path / "any.json"
    manifest.write_text('{"name": "colour", "outputs": ["bands"], "licence": "MIT\\nText", "source": "made here"}')
    seen: list[dict[str, Any]] = []
    for floor in (0.0, 0.5, 0.5):
        path = onnx_file(tmp_path / "colour.onnx", floor)
        code, out, _ = call(capsys, home, "import", str(path), "--manifest", str(manifest), "--json")
        assert code == 0
        seen.append(json.loads(out))
    assert seen[0]["dimension"] == BANDS
    assert seen[0]["version"] != seen[1]["version"] == seen[2]["version"]
    networks = json.loads(call(capsys, home, "list", "--json")[1])["networks"]
    assert [(n["name"], n["version"], n["current"]) for n in networks] == [
        ("colour", seen[0]["version"], False),
        ("colour", seen[1]["version"], True),
    ]
    assert "colour" in call(capsys, home, "list")[1]


def test_what_serves_and_what_may_be_wanted_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(call(capsys, tmp_path / "home", "list", "--json")[1])
    assert (listed["serving"], listed["wanted"], listed["kept"]) == (None, "lda", [])
    for name in listed["encoders"]:
        (tmp_path / "home" / "segue.toml").write_text(f'[sound]\nencoder = "{name}"\n')
        with open_home(tmp_path / "home", writer=False) as home:
            assert home.shelf.make().name == name, "what is listed can be asked for"
    assert "none serves yet" in call(capsys, tmp_path / "home", "list")[1]


def test_what_was_written_can_be_imported_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = onnx_file(tmp_path / "a.onnx", 0.1)
    path.with_suffix(".json").write_text('{"name": "colour", "outputs": ["bands"]}')
    copy = tmp_path / "copy.onnx"
    first = call(capsys, tmp_path / "one", "import", str(path), "--output", str(copy), "--json")
    second = call(capsys, tmp_path / "two", "import", str(copy), "--json")
    assert json.loads(first[1]) == json.loads(second[1])


def test_what_cannot_be_used_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.whl").write_text("no wheel")
    for words, says in (
        (["import", str(tmp_path / "none.onnx")], "pip download --no-deps musicnn"),
        (["import", str(tmp_path / "text.whl")], "expected the musicnn wheel"),
        (["import", str(onnx_file(tmp_path / "alone.onnx", 0.0))], "no manifest"),
    ):
        code, out, err = call(capsys, tmp_path / "home", *words)
        assert code == 2
        assert not out
        assert says in err
        assert err.count("\n") == 1
