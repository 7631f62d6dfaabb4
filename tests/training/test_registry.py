"""Aliases that move together: a promotion and a rollback of one instant happen one after the other, never half of each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from segue.core.errors import NotFound
from segue.storage.artifacts.folder import FolderArtifacts
from segue.training.registry import CHALLENGER, CHAMPION, PREVIOUS, Registry


def versions_of(registry: Registry, n: int) -> list[str]:
    return [registry.put({"m": {"a": np.arange(3)}}, {"n": number}) for number in range(n)]


def state(registry: Registry) -> tuple[str | None, str | None]:
    return registry.version(CHAMPION), registry.version(PREVIOUS)


def test_whoever_moves_at_the_same_instant_no_move_is_lost(tmp_path: Path) -> None:
    """The night promotes while somebody rolls back: two stores on one folder stand for the two processes."""
    night, person = Registry(FolderArtifacts(tmp_path)), Registry(FolderArtifacts(tmp_path))
    old, now, new = versions_of(night, 3)

    def at_once(barrier: Barrier, move: Callable[[], Any]) -> None:
        barrier.wait()
        move()

    with ThreadPoolExecutor(2) as pool:
        for _ in range(60):
            night.store.set_aliases(night.name, {CHAMPION: now, PREVIOUS: old})
            barrier = Barrier(2)
            moves = [pool.submit(at_once, barrier, move) for move in (lambda: night.promote(new), person.rollback)]
            for move in moves:
                move.result()
            assert state(night) in {(now, new), (new, old)}, "promoted and gone back, or gone back and promoted"


def test_moves_by_hand(tmp_path: Path) -> None:
    registry = Registry(FolderArtifacts(tmp_path))
    first, second = versions_of(registry, 2)
    with pytest.raises(NotFound, match="previous"):
        registry.rollback()
    registry.promote(first)
    assert state(registry) == (first, None)
    registry.challenge(second)
    registry.promote(second)
    assert (*state(registry), registry.version(CHALLENGER)) == (second, first, None)
    registry.promote(second)
    assert state(registry) == (second, first), "the champion again: what went before it stays"
    assert registry.rollback() == first
    assert registry.rollback() == second
    assert state(registry) == (second, first)
