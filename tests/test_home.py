"""What a home keeps beside its stores."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from segue.wiring.home import secret


def test_the_key_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(n: int) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(secrets, "token_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            secret(tmp_path)
    assert list(tmp_path.iterdir()) == [], "half a key would seed everything for ever"
    key = secret(tmp_path)
    assert len(key) == 32
    assert secret(tmp_path) == key
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600


def test_two_processes_that_make_the_key_at_once_have_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[bytes] = []
    random = secrets.token_bytes

    def another_is_faster(n: int) -> bytes:
        monkeypatch.setattr(secrets, "token_bytes", random)
        found.append(secret(tmp_path))
        return random(n)

    monkeypatch.setattr(secrets, "token_bytes", another_is_faster)
    assert secret(tmp_path) == found[0] == (tmp_path / "secret.key").read_bytes()
