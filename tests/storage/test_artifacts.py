"""Artifacts in a folder: any flipped byte is found, a kill at any point leaves the old or the new, leftovers go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segue.core.errors import Corrupt, NotFound
from segue.storage.artifacts.folder import FolderArtifacts

ARRAYS = {"factors": np.arange(40, dtype=np.float32).reshape(8, 5), "none": np.zeros(0, np.int32)}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), which=st.integers(0, 2))
def test_any_flipped_byte_is_corrupt_and_named(
    tmp_path_factory: pytest.TempPathFactory, where: float, flip: int, which: int
) -> None:
    store = FolderArtifacts(tmp_path_factory.mktemp("store"), verify=True)
    version = store.put("m", ARRAYS, {"ndcg": 0.5})
    path = sorted((store._folder / "m" / version).iterdir())[which]
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= flip
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=path.name):
        store.get("m", version)
    assert store.put("m", ARRAYS, {"ndcg": 0.5}) == version  # the same content heals it
    assert np.array_equal(store.get("m", version)[0]["factors"], ARRAYS["factors"])


@pytest.mark.parametrize("file", ["factors.npy", "manifest.json"])
def test_a_cut_or_missing_file_is_found_without_reading_it_all(tmp_path: Path, file: str) -> None:
    store = FolderArtifacts(tmp_path)
    version = store.put("m", ARRAYS, {})
    path = tmp_path / "m" / version / file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Corrupt, match=file):
        store.get("m", version)
    path.unlink()
    with pytest.raises(Corrupt, match=file):
        store.get("m", version)


def test_a_swapped_manifest_is_not_taken_for_the_version(tmp_path: Path) -> None:
    store = FolderArtifacts(tmp_path)
    one, two = store.put("m", ARRAYS, {"n": 1}), store.put("m", ARRAYS, {"n": 2})
    (tmp_path / "m" / one / "manifest.json").write_bytes((tmp_path / "m" / two / "manifest.json").read_bytes())
    with pytest.raises(Corrupt, match=r"manifest\.json"):
        store.get("m", one)


def test_verify_is_a_choice_for_each_get(tmp_path: Path) -> None:
    store = FolderArtifacts(tmp_path)
    version = store.put("m", ARRAYS, {})
    path = tmp_path / "m" / version / "factors.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    store.get("m", version)
    with pytest.raises(Corrupt, match=r"factors\.npy"):
        store.get("m", version, verify=True)


def test_pruning_keeps_the_newest_and_whatever_an_alias_names(tmp_path: Path) -> None:
    store = FolderArtifacts(tmp_path)
    versions = [store.put("m", ARRAYS, {"n": n}) for n in range(5)]
    store.set_aliases("m", {"champion": versions[1]})
    held = store.get("m", versions[0])[0]["factors"]
    assert store.prune("m", keep=2) == [versions[0], versions[2]]
    assert store.versions("m") == [versions[1], versions[3], versions[4]]
    assert np.array_equal(held, ARRAYS["factors"])  # who has it open keeps it
    with pytest.raises(NotFound):
        store.get("m", versions[0])
    assert store.put("m", ARRAYS, {"n": 0}) == versions[0]
    assert store.versions("m")[-1] == versions[0]
    assert store.prune("m", keep=0) == [versions[3], versions[4], versions[0]]
    assert store.prune("m", keep=9) == []


def test_what_a_dead_writer_left_is_swept_and_never_listed(tmp_path: Path) -> None:
    store = FolderArtifacts(tmp_path)
    version = store.put("m", ARRAYS, {})
    (tmp_path / "m" / ".tmp-version").mkdir()
    (tmp_path / "m" / ".tmp-version" / "half.npy").write_bytes(b"half")
    (tmp_path / "m" / ".tmp-aliases").write_bytes(b"{")
    assert store.versions("m") == [version]
    store.set_aliases("m", {"champion": version})
    assert [path.name for path in (tmp_path / "m").glob(".tmp-*")] == []


WRITER = """
import sys
from pathlib import Path
import numpy as np
from segue.storage.artifacts.folder import FolderArtifacts
store = FolderArtifacts(Path(sys.argv[1]))
n = int(sys.argv[2])
while True:
    n += 1
    version = store.put("m", {"a": np.full(20_000, n), "b": np.full(20_000, -n)}, {"n": n})
    store.set_aliases("m", {"champion": version, "previous": store.alias("m", "champion")})
    print(n, version, flush=True)
    store.prune("m", keep=3)
"""


def test_killed_at_any_point_the_champion_is_whole_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    store, acknowledged = FolderArtifacts(tmp_path, verify=True), (0, "")
    for cycle in range(6):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(1000 * cycle)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(1 + cycle)]
            os.kill(child.pid, signal.SIGKILL)
            lines += child.stdout.read().splitlines(keepends=True)
        n, version = [line for line in lines if line.endswith("\n")][-1].split()
        acknowledged = (int(n), version)
        champion = store.alias("m", "champion")
        assert champion is not None
        arrays, manifest = store.get("m", champion)
        shown = manifest["n"]
        assert shown in (acknowledged[0], acknowledged[0] + 1)  # what was said to be done, or the one that was under way
        assert np.all(arrays["a"] == shown)
        assert np.all(arrays["b"] == -arrays["a"])
        for each in store.versions("m"):
            store.get("m", each)
        previous = store.alias("m", "previous")
        assert previous is None or store.get("m", previous)
