"""Shared by every test: the tests folder is importable, the real data is found through SEGUE_DATA."""

import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from segue.core.errors import NotReady

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data; the test is skipped, saying so, where it is absent."""
    folder = Path(os.environ.get("SEGUE_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set SEGUE_DATA")
    return folder


def _no_lightgbm() -> bool:
    """Its Linux wheel needs libgomp.so.1, which slim machines lack."""
    try:
        import lightgbm  # noqa: F401
    except (ImportError, OSError):
        return True
    return False


collect_ignore = ["ranking/test_shap.py", "ranking/test_trees.py"] if _no_lightgbm() else []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Where LightGBM cannot be loaded, what grows trees is skipped, and says so."""
    try:
        return (yield)
    except NotReady as error:
        if "LightGBM cannot be loaded" in str(error):
            pytest.skip(str(error))
        raise
