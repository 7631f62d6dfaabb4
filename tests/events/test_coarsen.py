import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.core.errors import BadInput
from segue.core.records import AGE_BAND_STARTS, AGE_BANDS
from segue.events.coarsen import age_band, band_of_birth, cell, refuse_personal, region_name, zip_region

NOW = 1_795_000_000_000  # 2026-11-18


@settings(deadline=None)
@given(st.integers(0, 130))
def test_a_band_is_the_same_for_all_its_ages(age: int) -> None:
    band = age_band(age)
    assert AGE_BAND_STARTS[band] <= age
    assert band == len(AGE_BANDS) - 1 or age < AGE_BAND_STARTS[band + 1]
    assert age_band(age + 0.9) == band, "months of age do not show"


@pytest.mark.parametrize("age", [-1, 131, math.nan, math.inf])
def test_impossible_ages_are_refused(age: float) -> None:
    with pytest.raises(BadInput, match="age"):
        age_band(age)


@pytest.mark.parametrize(
    ("born", "band"), [("2026-11-01", 0), ("2008-11-19", 1), ("2008-11-18", 2), ("1990", 4), ("1950-01-01T00:00:00Z", 7)]
)
def test_a_date_of_birth_is_a_band(born: str, band: int) -> None:
    assert band_of_birth(born, NOW) == band


@pytest.mark.parametrize("born", ["", "31.1.1990", "1850-01-01", "2031-01-01", "1990-13-01"])
def test_a_bad_date_of_birth_is_refused_and_not_repeated(born: str) -> None:
    with pytest.raises(BadInput) as error:
        band_of_birth(born, NOW)
    assert not born or born not in str(error.value)


@pytest.mark.parametrize(
    ("lat", "lon", "name"),
    [
        (52.52, 13.40, "geo:52N012E"), (-33.9, 151.2, "geo:34S150E"), (40.7, -74.0, "geo:40N074W"), (0.0, 0.0, "geo:00N000E"),
        (-0.1, -0.1, "geo:02S002W"), (69.6, 18.9, "geo:68N016E"), (78.2, 15.6, "geo:78N012E"), (90.0, 7.0, "geo:88N"),
        (10.0, 180.0, "geo:10N180W"),
    ],
)  # fmt: skip
def test_places_fall_into_named_cells(lat: float, lon: float, name: str) -> None:
    assert cell(lat, lon) == name


@settings(deadline=None)
@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(0, 1), st.floats(0, 1))
def test_nothing_finer_than_the_cell_can_be_told(lat: float, lon: float, up: float, along: float) -> None:
    name = cell(lat, lon)
    south = int(name[4:6]) * (1 if name[6] == "N" else -1)
    inside = min(south + 2 * min(up, 0.999), 90)
    if len(name) == 7:
        assert cell(inside, lon * along) == name
        return
    west = int(name[7:10]) * (1 if name[10] == "E" else -1)
    assert cell(inside, west + 1.999 * along) == name, "every place in the cell has its name, and only that"


@settings(deadline=None)
@given(st.floats(-90, 90), st.floats(-180, 180))
def test_a_cell_is_never_narrower_than_90_km(lat: float, lon: float) -> None:
    name = cell(lat, lon)
    if len(name) > 7:
        edge = max(abs(int(name[4:6]) * (1 if name[6] == "N" else -1) + d) for d in (0, 2))
        width = 2 if edge <= 60 else 4 if edge <= 76 else 12
        assert width * 111.3 * math.cos(math.radians(edge)) > 90


@settings(deadline=None)
@given(st.text("0123456789", min_size=5, max_size=5), st.text("0123456789", min_size=4, max_size=4))
def test_only_the_first_character_of_a_postal_code_stays(code: str, rest: str) -> None:
    assert zip_region(code) == f"zip:{code[0]}xxxx"
    assert zip_region(code[0] + rest) == zip_region(code)


def test_letters_in_postal_codes() -> None:
    assert zip_region("sw1a 1aa") == "zip:Sxxxxxx"
    for bad in ("", "-", "1", "x" * 13):
        with pytest.raises(BadInput):
            zip_region(bad)


@pytest.mark.parametrize("name", ["DE", "Bavaria", "US-CA", "FR-75", "Côte d'Ivoire", "geo:52N012E", "zip:9xxxx"])
def test_names_of_regions_pass(name: str) -> None:
    assert region_name(name) == name


@pytest.mark.parametrize("name", ["", "94043", "52.52,13.4", "Main St 123", "a@b.c", "x" * 65, "52.5 13.4", "12 34 56"])
def test_what_is_finer_than_a_region_is_refused(name: str) -> None:
    with pytest.raises(BadInput):
        region_name(name)


def test_personal_fields_are_refused() -> None:
    refuse_personal({"id": "a", "age": 3, "tags": []})
    for field in ("name", "E-Mail", "EMAIL", "ip_address", "phone_number", "Street"):
        with pytest.raises(BadInput, match="personal"):
            refuse_personal({"id": "a", field: "x"})
