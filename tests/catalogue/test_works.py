"""Near-duplicates share a key, other music does not: a table of known cases and what must hold for any title."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.catalogue.works import plain, work_key

SAME = {
    "Let It Be": [
        "let it be!", "LET IT BE", "Let It Be - Remastered 2009", "Let It Be - 2009 Remaster", "Let It Be (Remastered)",
        "Let It Be (2011 - Remaster)", "Let It Be - 2015 Digital Remaster", "Let It Be (Live at Wembley, 1986)",
        "Let It Be - Live", "Let It Be - Live from Abbey Road / 2010", "Let It Be [Mono]",
        "Let It Be - Remastered 2009 / Mono Mix", "Let It Be (Radio Edit)",
        "Let It Be - Single Version", "Let It Be - Album Version", "Let It Be (Acoustic)",
        "Let It Be - Acoustic Version", "Let It Be (feat. Billy Preston)", "Let It Be ft. Billy Preston",
        "Let It Be (with Billy Preston)", "Let It Be (Deluxe Edition)", "Let It Be (Remastered 2009) [Live]",
        "Let It Be (Demo)", "Let It Be - Take 28", "Let It Be (50th Anniversary Edition)", "Let It Be (Official Video)",
        "Let It Be (En Vivo)", "Let It Be - BBC Session", "Let It Be - Remasterizado 2007",
        'Let It Be - 7" Version', "Let It Be (Extended)", "Let It Be - Album Version (Edited)", "Let It Be - Acústico",
        "Let It Be - Recorded at Spotify Studios NYC", "Let It Be - Remastered Album Version",
        "Let It Be (feat. A) - Single Version; 2007 Remaster", "  Let  It   Be ",
    ],
    "(I Can't Get No) Satisfaction": ["I Can’t Get No Satisfaction", "(I Can't Get No) Satisfaction - Mono Version"],
    "Déjà Vu": ["Deja vu", "De\u0301ja\u0300 Vu (feat. Jay-Z)"],
    "Rock & Roll": ["Rock and Roll", "ROCK + ROLL - Live"],
    "Straße": ["STRASSE"],
}  # fmt: skip
OTHER = [
    ("Another Brick in the Wall, Pt. 1", "Another Brick in the Wall, Pt. 2"),
    ("Shine On (Part 1)", "Shine On (Part 2)"),
    ("Blue", "Blue (Someone Remix)"),
    ("Blue (This Remix)", "Blue (That Remix)"),
    ("Blue", "Blue - Instrumental"),
    ("Satisfaction", "(I Can't Get No) Satisfaction"),
    ("Live Forever", "Forever"),
    ("Live and Let Die", "And Let Die"),
    ("Video Killed the Radio Star", "Star"),
    ("Acoustic", "Live"),
    ("Blue - Club Mix", "Blue"),
    ("Blue (Interlude)", "Blue"),
    ("Blue - 7", "Blue"),
    ("Symphony No. 5", "Symphony No. 6"),
    ("99 Problems", "100 Problems"),
    ("Blue (Karaoke)", "Blue"),
    ("Delivered Live", "Delivered"),
]


@pytest.mark.parametrize(("title", "variant"), [(title, v) for title, variants in SAME.items() for v in variants])
def test_editions_of_a_song_are_one_work(title: str, variant: str) -> None:
    assert work_key(variant, "Somebody") == work_key(title, "Somebody") != ""


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_other_music_stays_another_work(one: str, other: str) -> None:
    assert work_key(one, "Somebody") != work_key(other, "Somebody")


def test_the_artist_counts_without_guests_article_case_and_marks() -> None:
    assert work_key("Under Pressure", "Queen feat. David Bowie") == work_key("Under Pressure", "QUEEN")
    assert work_key("Help!", "The Beatles") == work_key("Help!", "Beatles")
    assert work_key("Halo", "Beyonce") == work_key("Halo", "Beyoncé")
    assert work_key("Hurt", "Johnny Cash") != work_key("Hurt", "Nine Inch Nails")
    assert work_key("The Sound", "Simon & Garfunkel") != work_key("The Sound", "Simon")
    assert work_key("Uncertain Smile", "The The") != ""


def test_a_title_that_is_nothing_but_an_edition_keeps_its_words() -> None:
    assert work_key("Live", "A") == work_key("(Live)", "A")
    assert work_key("Live", "A") != work_key("Demo", "A")


@pytest.mark.parametrize(("title", "artist"), [("", "A"), ("!!!", "A"), ("A", ""), ("A", "???"), ("", "")])
def test_without_letters_there_is_no_key(title: str, artist: str) -> None:
    assert work_key(title, artist) == ""


def test_scripts_without_case_have_keys() -> None:
    assert work_key("東京", "椎名林檎") != work_key("大阪", "椎名林檎")
    assert work_key("Группа крови (Live)", "Кино") == work_key("группа крови", "КИНО")


@given(st.text())
def test_plain_is_idempotent(text: str) -> None:
    assert plain(plain(text)) == plain(text)


@given(st.text(st.characters(codec="ascii")), st.text(st.characters(codec="ascii"), min_size=1))
def test_case_and_space_around_never_matter(title: str, artist: str) -> None:
    assert work_key(title.upper(), artist.lower()) == work_key(f" {title.lower()} ", artist.upper())


@given(st.text(), st.text())
def test_any_text_has_a_key_or_none_and_the_artist_is_in_it(title: str, artist: str) -> None:
    key = work_key(title, artist)
    assert key == "" or key.count("\x1f") == 1


@given(st.lists(st.sampled_from(["blue", "moon", "river", "seven"]), min_size=1).map(" ".join), st.sampled_from(
    [" (Live)", " - Remastered 2011", " [Mono]", " (Radio Edit)", " feat. X", " - Acoustic", " (Deluxe)"]
))  # fmt: skip
def test_an_edition_behind_any_title_changes_nothing(title: str, edition: str) -> None:
    assert work_key(title + edition, "A") == work_key(title, "A")
    assert work_key(title + edition + " [Live]", "A") == work_key(title, "A")
