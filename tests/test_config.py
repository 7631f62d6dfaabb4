"""The configuration: defaults, refusals in words."""

from pathlib import Path

import msgspec
import pytest

from segue.config import Features, Settings, duration_ms, load
from segue.core.errors import BadConfig
from segue.features.compute import EXTRA


def test_defaults_without_a_file(tmp_path: Path) -> None:
    assert load(tmp_path) == Settings()


def test_reads_the_file_of_the_home(tmp_path: Path) -> None:
    text = '[radio]\ndiscovery = 0.3\n[regions]\nPunjab = 330\nHessen = "Europe/Berlin"\n'
    (tmp_path / "segue.toml").write_text(text)
    settings = load(tmp_path)
    assert settings.radio.discovery == 0.3
    assert settings.regions == {"Punjab": 330, "Hessen": "Europe/Berlin"}


def test_groups_of_features_are_those_that_there_are() -> None:
    for group in EXTRA:
        assert msgspec.convert({"groups": [group]}, Features).groups == (group,)
    assert Features(groups=tuple(EXTRA), holidays=("12-25", "2026-04-05")).holidays == ("12-25", "2026-04-05")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[radio]\ndiscovry = 0.3\n", "discovry"),
        ("[radio]\ndiscovery = 3\n", "discovery"),
        ("[radio\n", "TOML"),
        ('[features]\ngroups = ["moods"]\n', "moods"),
        ('[features]\nholidays = ["Christmas"]\n', "holidays"),
        (
            '[regions]\nHessen = "Europe/Atlantis"\n',
            "regions: Hessen: .* time zone such as Europe/Berlin, found 'Europe/Atlantis'",
        ),
        ("[regions]\nHessen = 1000\n", "regions"),
        ('[features]\nholidays = ["2026-02-30"]\n', "holidays: expected dates such as 2026-12-25 or 12-25, found '2026-02-30'"),
    ],
)
def test_wrong_settings_are_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "segue.toml").write_text(text)
    with pytest.raises(BadConfig, match=named):
        load(tmp_path)


def test_a_config_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="no configuration file"):
        load(tmp_path, tmp_path / "other.toml")


def test_durations() -> None:
    assert duration_ms("90d", "window") == 90 * 86_400_000
    assert duration_ms("36h", "window") == 36 * 3_600_000
    for bad in ("", "90", "0d", "-1d", "soon"):
        with pytest.raises(BadConfig, match="window"):
            duration_ms(bad, "window")
