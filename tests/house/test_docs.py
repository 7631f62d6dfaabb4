"""The docs are checked: every command, route and setting is named, and every setting's default is true."""

import argparse
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from segue import config
from segue.cli import parser
from segue.cli.bench import BENCHMARKS
from segue.web.app import ROUTES
from segue.web.openapi import document

ROOT = Path(__file__).parents[2]
DOCS = {path: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
ALL = "\n".join(DOCS.values())


def commands() -> list[str]:
    subparsers = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return list(subparsers.choices)


@pytest.mark.parametrize("command", commands())
def test_every_command_is_in_the_docs(command: str) -> None:
    assert re.search(rf"segue (--\S+ \S+ )*{command}\b", ALL), f"no doc shows `segue {command}`"


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_benchmark_is_in_the_docs(benchmark: str) -> None:
    assert re.search(rf"benchmark {benchmark}\b", ALL), f"no doc shows `segue benchmark {benchmark}`"


@pytest.mark.parametrize("route", sorted({f"{method} {path}" for method, path, _ in ROUTES}))
def test_every_route_is_in_the_docs(route: str) -> None:
    assert f"`{route}" in ALL, f"no doc names `{route}`"


def test_every_api_route_is_in_the_openapi_document() -> None:
    described = {(method.upper(), path) for path, methods in document()["paths"].items() for method in methods}
    served = {
        (method, path)
        for method, path, _ in ROUTES
        if path not in ("/", "/quality", "/experiments", "/monitor") and not path.startswith("/static")
    }
    assert described == served


def test_the_configuration_page_names_every_setting_with_its_default() -> None:
    page = DOCS[ROOT / "docs" / "configuration.md"]
    block = re.search(r"```toml\n(.*?)```", page, re.S)
    assert block
    shown = tomllib.loads(block[1])
    msgspec.convert(shown, config.Settings)
    real = msgspec.to_builtins(config.Settings())
    for section, settings in real.items():
        if section == "regions":
            continue
        assert shown[section].keys() == settings.keys(), f"[{section}]"
        for key, value in settings.items():
            if value is not None:
                assert shown[section][key] == (list(value) if isinstance(value, tuple) else value), f"{section}.{key}"


def test_links_between_docs_lead_somewhere() -> None:
    for path, text in DOCS.items():
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_no_page_names_a_path_of_somebodys_machine() -> None:
    for path, text in DOCS.items():
        assert "/home/" not in text, path
        assert "/work/" not in text, path
