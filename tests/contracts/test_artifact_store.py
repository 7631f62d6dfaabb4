"""Every store of artifacts keeps the promises of core.ports.ArtifactStore: the suite finds the implementations by itself."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as stn

import segue.storage
from segue.core.errors import BadInput, NotFound
from segue.core.ports import ArtifactStore
from segue.core.types import EVENT
from segue.storage.artifacts.folder import FolderArtifacts

Open = Callable[[Path], ArtifactStore]
MAKERS: dict[str, Open] = {"FolderArtifacts": FolderArtifacts}
FACTORS = {"users": np.arange(12, dtype=np.float32).reshape(4, 3), "ids": np.array([3, 1, 2], np.int32)}


def implementations() -> list[str]:
    found = set()
    for module in pkgutil.walk_packages(segue.storage.__path__, "segue.storage."):
        for name, thing in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            promised = ("put", "get", "alias", "set_aliases", "versions")
            if thing.__module__ == module.name and all(callable(getattr(thing, method, None)) for method in promised):
                found.add(name)
    return sorted(found)


@pytest.fixture(params=implementations())
def opened(request: pytest.FixtureRequest) -> Open:
    assert request.param in MAKERS, f"{request.param} keeps artifacts: tell MAKERS how to open one in a folder"
    return MAKERS[request.param]


@pytest.fixture
def store(opened: Open, tmp_path: Path) -> ArtifactStore:
    return opened(tmp_path / "artifacts")


def test_what_was_put_comes_back_also_after_opening_again(store: ArtifactStore, opened: Open, tmp_path: Path) -> None:
    version = store.put("als", FACTORS, {"ndcg": 0.25, "days": [1, 2], "of": {"name": "é"}, "none": None})
    for each in (store, opened(tmp_path / "artifacts")):
        arrays, manifest = each.get("als", version)
        assert manifest == {"ndcg": 0.25, "days": [1, 2], "of": {"name": "é"}, "none": None}
        assert list(arrays) == sorted(FACTORS)
        for name, array in FACTORS.items():
            assert arrays[name].dtype == array.dtype
            assert np.array_equal(arrays[name], array)
            assert not arrays[name].flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 7), np.float32), np.array(3.5), np.array([True, False]), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(20)[::3], np.zeros(2, EVENT), np.array(["rock", "jazz é"]), np.array([np.nan, np.inf]),
        np.array([b"x", b"yz"]),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)  # fmt: skip
def test_every_shape_and_type_comes_back(store: ArtifactStore, array: np.ndarray) -> None:
    back = store.get("m", store.put("m", {"a/b c": array}, {}))[0]["a/b c"]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_the_version_is_the_content(store: ArtifactStore) -> None:
    version = store.put("m", FACTORS, {"a": 1, "b": 2})
    assert store.put("m", dict(reversed(FACTORS.items())), {"b": 2, "a": 1}) == version
    assert store.put("m", {name: np.array(array) for name, array in FACTORS.items()}, {"a": 1, "b": 2}) == version
    others = [
        store.put("m", FACTORS, {"a": 1, "b": 3}),
        store.put("m", {**FACTORS, "ids": FACTORS["ids"].astype(np.int64)}, {"a": 1, "b": 2}),
        store.put("m", {**FACTORS, "users": FACTORS["users"].reshape(3, 4)}, {"a": 1, "b": 2}),
        store.put("m", {"users": FACTORS["users"], "id": FACTORS["ids"]}, {"a": 1, "b": 2}),
        store.put("m", {}, {"a": 1, "b": 2}),
    ]
    assert len({version, *others}) == 6
    assert store.versions("m") == [version, *others]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    one=stn.arrays(np.int16, stn.array_shapes(max_dims=2, max_side=3)), other=stn.arrays(np.int16, stn.array_shapes(max_dims=2))
)
def test_equal_versions_exactly_when_equal_content(store: ArtifactStore, one: np.ndarray, other: np.ndarray) -> None:
    same = store.put("m", {"a": one}, {}) == store.put("m", {"a": other}, {})
    assert same == (one.shape == other.shape and np.array_equal(one, other))


def test_nothing_known_is_empty_or_not_found(store: ArtifactStore) -> None:
    assert store.versions("m") == []
    assert store.alias("m", "champion") is None
    version = store.put("m", FACTORS, {})
    for name, wanted in (("m", "0" * 16), ("m", "../m"), ("other", version)):
        with pytest.raises(NotFound):
            store.get(name, wanted)


def test_aliases_move_together_and_only_to_what_exists(store: ArtifactStore, opened: Open, tmp_path: Path) -> None:
    old, new = store.put("m", FACTORS, {"n": 1}), store.put("m", FACTORS, {"n": 2})
    store.set_aliases("m", {"champion": old})
    store.set_aliases("m", {"champion": new, "previous": old})
    again = opened(tmp_path / "artifacts")
    assert (again.alias("m", "champion"), again.alias("m", "previous")) == (new, old)
    with pytest.raises(NotFound):
        store.set_aliases("m", {"champion": old, "previous": "f" * 16})
    assert (store.alias("m", "champion"), store.alias("m", "previous")) == (new, old)
    store.set_aliases("m", {"previous": None, "never": None})
    assert (store.alias("m", "champion"), store.alias("m", "previous")) == (new, None)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", ".hidden", "a\x00", "x" * 200])
def test_a_name_cannot_leave_the_store(store: ArtifactStore, name: str) -> None:
    with pytest.raises(BadInput):
        store.put(name, FACTORS, {})


def test_objects_are_refused_and_leave_nothing(store: ArtifactStore) -> None:
    with pytest.raises(BadInput, match="Python objects"):
        store.put("m", {"a": np.array([{}, None], object)}, {})
    with pytest.raises(BadInput, match="manifest"):
        store.put("m", FACTORS, {"a": object()})
    assert store.versions("m") == []
