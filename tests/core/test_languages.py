"""Languages: the primary part of a BCP 47 tag in its shortest form, and its number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.core.languages import _SHORT, SILENT, language_code, primary
from segue.core.types import MISSING


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("en", "en"),
        ("EN-us", "en"),
        ("pt-BR", "pt"),
        ("zh-Hant-TW", "zh"),
        ("eng", "en"),
        ("ger", "de"),
        ("deu", "de"),
        ("yue", "yue"),
        ("iw", "he"),
        ("zxx", "zxx"),
    ],
)
def test_primary(text: str, want: str) -> None:
    assert primary(text) == want


@pytest.mark.parametrize("text", ["", "English", "xx", "e", "en_US", "en-", "-en", "pt-BR-", "日本", "en us", "en\n", "12"])
def test_what_is_no_tag(text: str) -> None:
    assert primary(text) is None


def test_codes_are_distinct_fit_into_16_bits_and_are_their_own_primary() -> None:
    tags = sorted(set(_SHORT.values()))
    assert len(tags) == 184
    codes = [language_code(tag) for tag in tags]
    assert len(set(codes)) == len(tags)
    assert all(primary(tag) == tag for tag in tags)


@given(st.from_regex(r"[a-z]{3}", fullmatch=True), st.from_regex(r"[a-z]{3}", fullmatch=True))
def test_equal_codes_are_equal_tags(a: str, b: str) -> None:
    one, other = primary(a), primary(b)
    assert one is not None
    assert other is not None
    assert 0 <= language_code(one) < 2**15 or one in SILENT
    if one not in SILENT and other not in SILENT:
        assert (language_code(one) == language_code(other)) == (one == other)


def test_what_tells_no_language_has_no_number() -> None:
    assert {language_code(tag) for tag in (None, "", *SILENT)} == {MISSING}
