"""One frozen configuration, read from segue.toml in the home or from --config; unknown keys are refused."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from segue.core.clock import calendar_days, zone
from segue.core.errors import BadConfig

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]
Weight = Annotated[float, Meta(ge=0.0)]
Numbered = Annotated[str, Meta(pattern=r"^[^{}]*\{\}[^{}]*$")]
Count = Annotated[int, Meta(ge=1)]
Size = Annotated[int, Meta(ge=0)]
Length = Annotated[str, Meta(pattern=r"^[1-9]\d*[hdw]$")]


class Storage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[storage]: one URL each; the scheme chooses the backend, a path is relative to the home."""

    log: str = "sqlite:log"
    catalogue: str = "sqlite:catalogue"
    state: str = "mmap:state"
    artifacts: str = "file:artifacts"
    vectors: str = "file:vectors"
    recordings: str = "sqlite:recordings"


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[server]: where it listens and how long an answer may take."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    deadline_ms: Positive = 80.0
    train_at: Annotated[str, Meta(pattern=r"^([01]?\d|2[0-3]):[0-5]\d$")] | None = (
        None  # "03:00" UTC: train every night in a child process
    )
    experiments_every_s: Positive = 10.0  # how often running experiments are looked at
    experiments_judged: Share = 0.05  # share of slates that log how likely the new arms would have shown them
    seal_every_s: Positive = 3600.0


class Radio(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[radio]: how a slate is made."""

    per_source: Count = 80
    discovery: Share = 0.7  # share of never-heard songs before a listener has shown a taste for them
    artist_gap: Size = 2  # other artists between two songs of one artist
    max_per_artist: Count = 2  # songs of one artist in a slate of ten, in proportion for longer ones
    max_per_album: Size = 0  # songs of one album in a slate of ten; 0 = as many as the artist may have
    diversity: Weight = 0.0  # how much a song loses for being like one before it in the slate, in deviations of the scores
    diversity_by: Literal["mmr", "dpp"] = "mmr"  # like the most alike song before it, or like all of them together
    calibration: Weight = 0.0  # how much a slate loses for not having the tags that the listener plays, in their shares
    fatigue: Weight = 0.0  # how much a song loses that was shown and passed over
    freshness: Weight = 0.0  # how much a song gains that has just come out
    explore: Share = 0.05  # chance that a place is drawn from the near-top instead of the top
    explore_pool: Count = 40
    newcomers: Share = 0.5  # of those draws, the share for songs with few plays that are near by sound
    temperature: Positive = 1.0
    sources: list[Literal["session_factors"]] = []  # more sources than the usual ones
    weights: dict[str, Weight] = {}  # rank fusion inside a session: weights of sources that differ from the usual ones


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[state]: what serving remembers of the present."""

    recent_plays: Count = 64
    half_life_days: Positive = 14.0


class Sound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[sound]: how songs are heard."""

    encoder: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]+(\+[A-Za-z0-9_.-]+)*$")] = (
        "lda"  # or an imported network, or "lda+NAME"
    )
    workers: Size = 0  # processes that listen; 0 = all cores
    upload_mib: Count = 256  # the largest file that POST /v1/items/{id}/audio takes
    keep_gib: Size = 20  # how much of what is posted is kept, to be played and heard again; 0 keeps nothing


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[training]: what the night learns from."""

    window: Length = "90d"
    enough: Size = 1_000_000  # a window with fewer events widens until it has so many, or all
    holdout: Length = "2d"
    test_users: Count = 4000
    sources: list[str] = []  # what is trained, of wiring.tables.SOURCES; none named = all that apply
    embedding_size: Count = 64
    epochs: Count = 8
    top_k: Count = 100
    threads: Size = 0  # 0 = all cores
    rankers: tuple[Literal["logistic", "boosting", "forest", "deep"], ...] = ("logistic", "boosting")
    shown: Annotated[str, Meta(pattern=r"^(0|[1-9]\d*[hdw])$")] = (
        "4w"  # slates as they were shown that teach rankers; "0" = none
    )
    outcome: Length = "6h"  # what a listener did with a song within this of being shown it counts
    finished: Share = 0.8  # heard above this share: positive
    skipped: Share = 0.1  # below this one: negative; between: neither
    negatives: Positive = 4.0  # kept for each positive, at most
    weigh_by_time: bool = True  # positives weigh by the seconds listened
    propensity_clip: Size = 0  # weigh by 1 / propensity, at most this; 0 = no
    keep: Count = 5  # models kept on disk; the ones that aliases point at are always kept


class Features(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[features]: what rankers look at."""

    groups: tuple[
        Literal["tags", "habits", "clock", "audience", "wishes", "shelf", "language", "holidays", "hours"], ...
    ] = ()  # beside the usual columns
    holidays: tuple[Annotated[str, Meta(pattern=r"^(\d{4}-)?\d{2}-\d{2}$")], ...] = ()  # of one year, or of every year

    def __post_init__(self) -> None:
        """ValueError, which becomes a BadConfig, for a day that no calendar has."""
        for text in self.holidays:
            try:
                calendar_days([text])
            except ValueError:
                raise ValueError(f"holidays: expected dates such as 2026-12-25 or 12-25, found {text!r}") from None


class Botify(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[botify]: the routes of the public course simulator, POST /next/{user} and POST /last/{user}."""

    enabled: bool = False
    item: Numbered = "{}"  # the external id of track N, {} is the number
    user: Numbered = "{}"


class Monitoring(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[monitoring]: what is watched, and who is told."""

    every_s: Positive = 60.0  # how often the log is looked at
    webhook: Annotated[str, Meta(pattern=r"^https?://[^\s]+$")] | None = None  # alarms are POSTed there as JSON
    stale_days: Positive = 7.0  # a model that learned from nothing newer is an alarm
    reference: Share = 0.01  # share of listeners who get the reference policy, once 10,000 listeners are known


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set. [regions] maps a region's name to its minutes east of UTC or its time zone (0 where it is
    not named)."""

    storage: Storage = Storage()
    server: Server = Server()
    radio: Radio = Radio()
    state: State = State()
    training: Training = Training()
    features: Features = Features()
    sound: Sound = Sound()
    botify: Botify = Botify()
    monitoring: Monitoring = Monitoring()
    regions: dict[str, Annotated[int, Meta(ge=-720, le=840)] | str] = {}

    def __post_init__(self) -> None:
        """ValueError, which becomes a BadConfig, for a time zone that this machine does not know."""
        for name, place in self.regions.items():
            try:
                zone(place) if isinstance(place, str) else place
            except ValueError as error:
                raise ValueError(f"regions: {name}: {error}") from None


def changed(radio: Radio, changes: Mapping[str, float]) -> Radio:
    """[radio] with some settings changed, checked like a file; BadConfig names what is wrong."""
    whole = {k: int(v) if float(v).is_integer() and isinstance(getattr(radio, k, 0), int) else v for k, v in changes.items()}
    try:
        return msgspec.convert({**msgspec.to_builtins(radio), **whole}, Radio)
    except msgspec.ValidationError as error:
        raise BadConfig(f"radio: {error}; docs/configuration.md lists every key", "new.radio") from None


def load(home: Path, config: Path | None = None) -> Settings:
    """Settings of --config, else of segue.toml in the home, else the defaults; BadConfig names the key and what it expects."""
    path = config or home / "segue.toml"
    if not path.exists():
        if config is not None:
            raise BadConfig(f"no configuration file at {config}: leave out --config to use the defaults", "config")
        return Settings()
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Settings)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} is not TOML: {error}", "config") from None
    except msgspec.ValidationError as error:
        raise BadConfig(f"{path}: {error}; docs/configuration.md lists every key", "config") from None


_UNITS = {"h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}


def duration_ms(text: str, field: str) -> int:
    """Milliseconds of "36h", "90d" or "12w"; BadInput otherwise."""
    match = re.fullmatch(r"\s*(\d+)\s*([hdw])\s*", text)
    if not match or int(match[1]) == 0:
        raise BadConfig(f'{field}: expected a length of time such as "90d", "36h" or "12w", found {text!r}', field)
    return int(match[1]) * _UNITS[match[2]]
