"""`segue benchmark sound` on generated clips: kinds are found again, the table is checked, figures are all there."""

from __future__ import annotations

import argparse
import csv
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segue.benchmarks import sound
from segue.core.errors import BadInput
from segue.sound.onnx_graph import Graph
from segue.sound.spectrogram import BANDS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three kinds of tune, four clips of each, of 7 s; and a clip of a kind of its own."""
    root = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    rows = []
    for place in range(13):
        kind = place % 3 if place < 12 else 3
        t = np.arange(7 * 16_000) / 16_000
        notes = 220 * 2 ** (rng.integers(0, 12, 14) / 12) * (kind + 1)
        tune = (
            np.sign(np.sin(2 * np.pi * np.repeat(notes, 8_000) * t))
            if kind == 1
            else np.sin(2 * np.pi * np.repeat(notes, 8_000) * t)
        )
        tune *= (1 + np.sin(2 * np.pi * (1 + 2 * kind) * t)) * rng.uniform(0.1, 0.3)
        tune += 0.002 * rng.standard_normal(len(t))
        with wave.open(str(root / f"{place}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes((16_000 * np.clip(tune, -1, 1)).astype("<i2").tobytes())
        rows.append({"clip": f"{place}.wav", "package": f"kind {kind}", "other": str(place)})
    with (root / "tracks.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, ["clip", "package", "other"])
        writer.writeheader()
        writer.writerows(rows)
    return root


def arguments(folder: Path, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    sound.add_arguments(parser)
    fixed = ["--clips", str(folder), "--tracks", str(folder / "tracks.csv"), "--rounds", "200", "--timed", "2"]
    return parser.parse_args([*fixed, *more])


def test_kinds_find_one_another(folder: Path) -> None:
    result: dict[str, Any] = sound.run(arguments(folder, "--encoder", "cues"))
    assert result["queries"] == 12
    assert (result["clips"], result["labels"]) == (13, 4)
    assert result["map"] > 0.8
    assert result["mrr"] > 0.9
    assert result["precision@5"] <= 0.6  # three others of each kind: no more than 3 of 5
    assert set(result["encoders"]) == {"random", "cues", "mfcc", "lda", "lda, as recorded"}
    for row in result["encoders"].values():
        assert row["map"]["low"] <= row["map"]["mean"] <= row["map"]["high"]
    assert result["gain_of_the_default"]["random"]["map"]["low"] > 0
    assert result["encoders"]["lda"]["kept_6_db_down"] > 0.97
    assert result["encoders"]["lda, as recorded"]["kept_6_db_down"] <= 1
    assert result["fit_cpu_s"] >= 0
    assert result["real_time_factor"] > 1


def test_the_same_command_gives_the_same_figures(folder: Path) -> None:
    one, other = (sound.run(arguments(folder)) for _ in range(2))
    assert one["gain_of_the_default"] == other["gain_of_the_default"]


def test_settings_are_judged_without_labels(folder: Path, tmp_path: Path) -> None:
    graph = Graph("patch", 187, BANDS)
    (tmp_path / "ear.onnx").write_bytes(
        graph.build({"mean": (graph.node("ReduceMean", "patch", axes=[1], keepdims=0), BANDS)}, {})
    )
    (tmp_path / "ear.onnx.json").write_text('{"name": "ear", "outputs": ["mean"]}')
    table = tmp_path / "tracks.csv"
    rows = [{"clip": f"{place}.wav", "package": str(place // 12)} for place in range(13)]
    table.write_text("clip,package\n" + "".join(f"{row['clip']},{row['package']}\n" for row in rows))
    more = ("--blind", "--with-pretrained", str(tmp_path / "ear.onnx"), "--try", "size=1,emphasis=0.5")
    found: dict[str, Any] = sound.run(arguments(folder, *more))
    other = sound.run(arguments(folder, *more, "--tracks", str(table)))
    assert found == other, "other labels, same figures"
    one, less = found["settings"]["default"], found["settings"]["size=1,emphasis=0.5"]
    assert (
        set(one)
        == set(less)
        == {"half", "half, another channel", "thirds", "agreement, tempo and tonality", "agreement, network"}
    )
    for row in one.values():
        assert row["low"] <= row["mean"] <= row["high"]
        assert row["gain"] == row["gain_low"] == row["gain_high"] == 0
    assert less["half"]["mean"] < one["half"]["mean"] <= 1  # one number tells a clip from the others less well
    assert less["half"]["gain"] == pytest.approx(less["half"]["mean"] - one["half"]["mean"], abs=2e-4)
    assert less["thirds"]["mean"] < one["thirds"]["mean"] <= 1
    for wrong in ("magic=1", "size=many", "size", "network.size=2"):
        with pytest.raises(BadInput, match="--try: expected NAME=NUMBER of size"):
            sound.run(arguments(folder, "--blind", "--try", wrong))


def test_settings_beside_a_network_are_judged_without_labels(folder: Path, tmp_path: Path) -> None:
    graph = Graph("patch", 187, BANDS)
    mean = graph.node("ReduceMean", "patch", axes=[1], keepdims=0)
    high = graph.node("ReduceMax", "patch", axes=[1], keepdims=0)
    (tmp_path / "ear.onnx").write_bytes(graph.build({"mean": (mean, BANDS), "high": (high, BANDS)}, {}))
    (tmp_path / "ear.onnx.json").write_text('{"name": "ear", "outputs": ["mean", "high"], "groups": [1, 1]}')
    poor = "size=1,network.size=1,network.networks=1"
    more = ("--blind", "--beside", "--with-pretrained", str(tmp_path / "ear.onnx"), "--try", poor, "--try", "network.size=128")
    found: dict[str, Any] = sound.run(arguments(folder, *more))
    one, less, same = (found["settings"][name] for name in ("default", poor, "network.size=128"))
    criteria = {"half", "half, another channel", "thirds"}
    assert set(one) == {*criteria, "agreement, tempo and tonality"}, "the network is no judge of itself"
    assert one == same, "the default is what serves"
    for key in criteria:
        assert less[key]["mean"] < one[key]["mean"] <= 1
    with pytest.raises(BadInput, match=r"network\.networks from 1 to 2, what the file has; found 3"):
        sound.run(arguments(folder, *more, "--try", "network.networks=3"))
    with pytest.raises(BadInput, match="--beside: expected --with-pretrained FILE"):
        sound.run(arguments(folder, "--blind", "--beside"))


def test_what_is_missing_is_named(folder: Path) -> None:
    with pytest.raises(BadInput, match="needs a column 'genre'"):
        sound.run(arguments(folder, "--label", "genre"))
    with pytest.raises(BadInput, match="one clip of each"):
        sound.run(arguments(folder, "--label", "other"))
    with pytest.raises(BadInput, match="expected the clip 0"):
        sound.run(arguments(folder, "--clips", str(folder / "nowhere" / "deep")))
    with pytest.raises(BadInput, match="expected one of"):
        sound.run(arguments(folder, "--encoder", "magic"))
