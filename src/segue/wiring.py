"""The table from names to classes, and a home opened by it: the only file that knows every name."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from segue import config
from segue.catalogue.duplicates import join_duplicates
from segue.catalogue.works import work_key
from segue.core.errors import BadConfig, NotReady, SegueError
from segue.core.ports import ArtifactStore, Catalogue, EventLog, OnlineState, Recordings, Vectors
from segue.core.records import AGE_BANDS, Audio
from segue.core.stages import CandidateSource, Ranker
from segue.core.types import Candidates, Items, Query, Scored
from segue.events.ingest import Ingest
from segue.experiments.book import Book
from segue.experiments.desk import Desk
from segue.experiments.plan import Plan, Treatment
from segue.features.compute import Features, remember
from segue.filtering import rules
from segue.monitoring.alarms import Ledger
from segue.monitoring.counters import Counters
from segue.monitoring.monitor import Around, Monitor
from segue.monitoring.retraining import Facts
from segue.reranking.radio import Radio
from segue.serving.arms import Arms, House
from segue.serving.discovery import Discovery, segment_of
from segue.serving.explain import Explain
from segue.serving.query import QueryMaker, RecommendIn
from segue.serving.recommender import Model, Recommender, Stages
from segue.serving.reference import REFERENCE, Reference
from segue.storage.durable import replace_file
from segue.storage.journal import Journal
from segue.training import nightly
from segue.training.registry import BUNDLE, CHALLENGER, CHAMPION, PREVIOUS, Bundle, Registry, features_of, ranker_of
from segue.training.report import NightReport, Progress
from segue.training.shown import Judging
from segue.training.window import Window, choose
from segue.web.service import Service, Uploading

if TYPE_CHECKING:
    from segue.library.ears import Ears
    from segue.library.shelf import Shelf
    from segue.sound.encoder import Encoder

logger = logging.getLogger("segue")

BACKENDS: Mapping[str, Mapping[str, str]] = {
    "log": {"sqlite": "segue.storage.event_log.sqlite:SqliteEventLog"},
    "catalogue": {"sqlite": "segue.storage.metadata.sqlite:SqliteCatalogue"},
    "state": {"mmap": "segue.storage.online_state.arrays:ArrayState"},
    "artifacts": {"file": "segue.storage.artifacts.folder:FolderArtifacts"},
    "vectors": {
        "file": "segue.storage.vectors.file:FileVectors",
        "exact": "segue.storage.vectors.file:ExactVectors",
        "postgres": "segue.storage.vectors.postgres:PostgresVectors",
        "postgresql": "segue.storage.vectors.postgres:PostgresVectors",
    },
    "recordings": {"sqlite": "segue.storage.recordings.sqlite:SqliteRecordings"},
}
"""What each port may be, by the scheme of its URL in [storage]."""

SOURCES: Mapping[str, str] = {
    "popular": "segue.candidates.popularity:Popularity",
    "artist": "segue.candidates.artist:Artist",
    "cooccurrence": "segue.candidates.cooccurrence:Cooccurrence",
    "als": "segue.candidates.als:Als",
    "fresh": "segue.candidates.fresh:Fresh",
    "session_knn": "segue.candidates.session_knn:SessionKnn",
    "user_knn": "segue.candidates.user_knn:UserKnn",
    "item_knn": "segue.candidates.item_knn:ItemKnn",
    "graph_filter": "segue.candidates.graph_filter:GraphFilter",
    "ease": "segue.candidates.ease:Ease",
    "sparse_ease": "segue.candidates.sparse_ease:SparseEase",
    "sound": "segue.candidates.sound:Sound",
    "content": "segue.candidates.content:Content",
    "two_tower": "segue.candidates.two_tower:TwoTower",
    "session_factors": "segue.candidates.session_factors:SessionFactors",
}
"""The sources of the radio, the cheapest and surest first: the deadline takes from the end."""

OPTIONAL = frozenset({"session_factors"})
"""Sources that are neither trained nor asked unless [radio] sources names them."""
ELECTIVE = frozenset({"item_knn", "graph_filter", "ease", "sparse_ease", "content", "two_tower"})
"""Sources that serve only where the night has shown that the radio is better with them (training.election)."""
DISPENSABLE = frozenset({"session_knn", "user_knn"})
"""Sources that serve unless the night has shown that the radio is no better with them."""
UNTRAINED = frozenset({"popular", "sound"})
"""Sources that may speak before a night: of live counts, and of sound. Others are asked only where the champion holds them."""
EASE_UP_TO = 5_000
"""Songs up to which `ease` is solved as a whole; above it `sparse_ease` takes its place at less than a tenth of the cost."""
ELECTIVE_UP_TO = 20_000_000
"""Events in the log up to which elective sources are tried unasked: all pairs of all listeners cost beyond it."""

RANKERS: Mapping[str, str] = {
    "blend": "segue.ranking.blend:Blend",
    "logistic": "segue.ranking.logistic:Logistic",
    "boosting": "segue.ranking.boosting:Boosting",
    "forest": "segue.ranking.forest:Forest",
    "deep": "segue.ranking.deep:Deep",
}

ENCODERS: Mapping[str, str] = {
    "lda": "segue.sound.lda:ClipLda",
    "pretrained": "segue.sound.network_encoder:Pretrained",
    "autoencoder": "segue.sound.autoencoder:Autoencoder",
    "denoising": "segue.sound.autoencoder:DenoisingAutoencoder",
    "contrastive": "segue.sound.autoencoder:Contrastive",
    "concatenated": "segue.sound.concatenated:Concatenated",
    "cues": "segue.sound.baselines:RecordingCues",
    "mfcc": "segue.sound.baselines:Mfcc",
}
"""What turns sound into vectors, "lda" by default; "cues" and "mfcc" are what it must beat.

`encoder_of` makes one from what is stored.
"""


class NoCounts:
    """The live counts by night: silent, since what is live knows the days that the night holds out."""

    def popular(self, region: int, age_band: int, hour_of_week: int, limit: int) -> Scored:
        """Nothing."""
        return Scored.none()

    def popularity(self, items: NDArray[np.int32], region: int, hour_of_week: int) -> NDArray[np.float32]:
        """Nothing, (n, 2) zeros."""
        return np.zeros((len(items), 2), np.float32)


NEWCOMERS: Mapping[str, float] = {"popular": 1.0, "fresh": 0.3}
"""Rank fusion for listeners of whom nothing is known: what is loved here and now, with some that is new."""


def named(table: Mapping[str, str], name: str, what: str) -> Any:
    """The class behind a name of a table."""
    if name not in table:
        raise BadConfig(f"{what}: expected one of {', '.join(sorted(table))}, found {name!r}", what)
    module, _, attribute = table[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def encoder_of(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> Encoder:
    """The encoder that was stored as these arrays and this manifest, the parts of a concatenated one included."""
    loaded: Encoder = _unfitted(manifest).load(arrays, manifest)
    return loaded


def _unfitted(manifest: Mapping[str, Any]) -> Any:
    kind = named(ENCODERS, str(manifest["name"]), "encoder")
    if manifest["name"] != "concatenated":
        return kind()
    return kind([_unfitted(part) for part in manifest["hyperparameters"]["parts"]])


def encoder(name: str) -> Callable[..., Any]:
    """The class of an encoder of sound."""
    return cast(Callable[..., Any], named(ENCODERS, name, "encoder"))


NETWORKS = "networks"
"""The artifact that holds imported networks: each version is one, an alias its name."""


def wanted_encoder(setting: str, artifacts: ArtifactStore) -> Encoder:
    """A fresh encoder as [sound] encoder names it: a kind that learns, an imported network, or several joined by "+"."""
    parts = [_part(name, artifacts, alone="+" not in setting) for name in setting.split("+")]
    if len(parts) == 1:
        return parts[0]
    from segue.sound.concatenated import Concatenated

    return Concatenated(parts)


def _part(name: str, artifacts: ArtifactStore, *, alone: bool) -> Encoder:
    if name in ENCODERS and name not in ("pretrained", "concatenated"):
        plain = {} if alone or name != "lda" else {"shrinkage": 0.1, "emphasis": 0.0}  # beside another (docs/encoders.md)
        made: Encoder = named(ENCODERS, name, "sound.encoder")(**plain)
        return made
    version = artifacts.alias(NETWORKS, name)
    if version is None:
        kinds = ", ".join(sorted(ENCODERS.keys() - {"pretrained", "concatenated"}))
        found = f"expected one of {kinds}, or a network of `segue encoder list`, found {name!r}"
        raise BadConfig(f"sound.encoder: {found}; `segue encoder import` takes one in", "sound.encoder")
    from segue.sound.network import NetworkSpec
    from segue.sound.network_encoder import Pretrained

    arrays, facts = artifacts.get(NETWORKS, version)
    return Pretrained().serve(np.asarray(arrays["onnx"], np.uint8).tobytes(), msgspec.convert(facts["network"], NetworkSpec))


def given_what_it_takes(make: Callable[..., Any], offers: Mapping[str, Any]) -> Callable[..., Any]:
    """The class with those of the offers bound that its __init__ names."""
    return partial(make, **{name: offers[name] for name in inspect.signature(make).parameters if name in offers})


class Home:
    """One home folder: each part is opened when it is first asked for, closed with the rest."""

    def __init__(self, path: Path, settings: config.Settings, *, writer: bool) -> None:
        self.path, self.settings, self._writer = path, settings, writer
        self._opened: list[Any] = []
        self.sounds: list[Callable[[int], Audio | None]] = [self.scanned]  # who may have the sound of an item, asked in order
        self._folds = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened, the last first."""
        while self._opened:
            self._opened.pop().close()

    def _open(self, port: str, **given: Any) -> Any:
        url = getattr(self.settings.storage, port)
        scheme, _, rest = url.partition(":")
        make = named(BACKENDS[port], scheme, f"storage.{port}")
        place = url if rest.startswith("//") else self.path / (rest or port)  # the URL of a server, or a folder of this home
        opened = make(place, **given)
        if hasattr(opened, "close"):
            self._opened.append(opened)
        return opened

    @cached_property
    def log(self) -> EventLog:
        """The durable truth."""
        opened: EventLog = self._open("log")
        return opened

    @cached_property
    def catalogue(self) -> Catalogue:
        """Names and facts."""
        opened: Catalogue = self._open("catalogue", today=lambda: int(time.time() // 86_400), work_key=work_key)
        return opened

    @cached_property
    def artifacts(self) -> ArtifactStore:
        """Models."""
        opened: ArtifactStore = self._open("artifacts")
        return opened

    @cached_property
    def vectors(self) -> Vectors:
        """Vectors of items, by encoder version: what a song sounds like."""
        opened: Vectors = self._open("vectors")
        return opened

    @cached_property
    def recordings(self) -> Recordings:
        """Files that were scanned, and what encoders learn from."""
        from segue.sound.statistics import STATISTICS_VERSION

        opened: Recordings = self._open("recordings", version=STATISTICS_VERSION)
        return opened

    @cached_property
    def ears(self) -> Ears:
        """The worker processes that listen; none runs before the first file."""
        from segue.library.ears import Ears

        opened = Ears(self.settings.sound.workers or os.cpu_count() or 1, niceness=5)
        self._opened.append(opened)
        return opened

    @cached_property
    def shelf(self) -> Shelf:
        """The library: what was heard, and the encoder that it is heard with."""
        from segue.library.shelf import Shelf

        wanted = self.settings.sound.encoder
        return Shelf(
            recordings=self.recordings, catalogue=self.catalogue, vectors=self.vectors, artifacts=self.artifacts,
            put=self.put_vectors, make=partial(wanted_encoder, wanted, self.artifacts), load=encoder_of, setting=wanted,
            ears=self.ears, lock=self.path / "encoder.lock",
        )  # fmt: skip

    def uploading(self) -> Uploading:
        """What hears the files that are posted."""
        from segue.library.uploads import Uploads

        folder = self.path / "incoming"
        folder.mkdir(exist_ok=True)
        for left in folder.iterdir():  # by a server that was killed
            left.unlink()
        uploads = Uploads(self.shelf)
        self._opened.append(uploads)
        return Uploading(uploads, folder, self.settings.sound.upload_mib << 20)

    def scanned(self, item: int) -> Audio | None:
        """The file that holds an item, as long as it lies in a scanned folder."""
        from segue.library.scan import file_of

        files = self.recordings.files_of(self.catalogue.items.name(item))
        file = file_of(files, self.recordings.folders()) if files else None
        return Audio(Path(os.fsdecode(file.path)), file.mime) if file is not None else None

    def put_vectors(self, version: str, items: NDArray[np.int32], vectors: NDArray[np.float32]) -> int:
        """Store what songs sound like, durably, and make one work of those that are near-duplicates; how many were joined.

        Only vectors of the version that serves are compared: a new encoder's are when all of them are there (`vectors.use`).
        """
        self.vectors.put(version, items, vectors)
        return join_duplicates(items, self.vectors, self.catalogue) if version == self.vectors.version else 0

    @cached_property
    def state(self) -> OnlineState:
        """The present: ours to write when no other process has it, else read as that process keeps it."""
        wanted = self.settings.state
        given = {
            "recent_plays": wanted.recent_plays,
            "half_life_days": wanted.half_life_days,
            "utc_offsets": self.utc_offsets,
        }
        try:
            opened: Any = self._open("state", **given)
            self._folds = True
        except NotReady:
            if self._writer:
                raise NotReady(f"a server already runs on {self.path}: stop it first, or choose another --home") from None
            opened = self._open("state", **given, read_only=True)
            self._folds = False
        if self._folds:
            opened.catch_up(self.log)
        state: OnlineState = opened
        return state

    def catch_up(self) -> None:
        """Fold what the log has and the state has not, when the state is ours to write; else its writer does."""
        state: Any = self.state
        if self._folds:
            state.catch_up(self.log)

    @cached_property
    def utc_offsets(self) -> dict[int, int]:
        """Minutes east of UTC of the regions that [regions] names; naming one makes it known."""
        names = list(self.settings.regions)
        if not names:
            return {}
        dense = self.catalogue.regions.intern(names)
        return {int(region): self.settings.regions[name] for region, name in zip(dense, names, strict=True)}

    def facts(self) -> Items:
        """The item columns as of now."""
        return self.catalogue.facts

    def registry(self) -> Registry:
        """Champion, previous, challenger."""
        return Registry(self.artifacts)

    def factories(self, *, live: bool, **more: Any) -> dict[str, Callable[..., Any]]:
        """A factory for each source; without `live` those that the night trains, which know no state."""
        training = self.settings.training
        offers: dict[str, Any] = {
            "embedding_size": training.embedding_size,
            "epochs": training.epochs,
            "top_k": training.top_k,
            "threads": training.threads or os.cpu_count() or 1,
        }
        offers |= more
        offers |= {"state": self.state, "facts": self.facts} if live else {"state": NoCounts(), "bands": self.bands}
        offers["vectors"] = self.vectors
        known = [name for name in SOURCES if name not in OPTIONAL or name in self.settings.radio.sources]
        names = known if live else self._trained(known)
        return {name: given_what_it_takes(named(SOURCES, name, "source"), offers) for name in names}

    def _trained(self, known: Sequence[str]) -> list[str]:
        """Of the known sources those that a night trains: the named ones, less those that cannot speak or cost much here."""
        wanted = self.settings.training.sources
        for name in wanted:
            named(SOURCES, name, "training.sources")
        useless = {"sparse_ease" if len(self.catalogue.items) <= EASE_UP_TO else "ease"}
        if not len(self.vectors):
            useless.add("sound")
        if not wanted and (self.log.last > ELECTIVE_UP_TO or self.settings.radio.weights):
            useless |= ELECTIVE
        elif not wanted and len(self.catalogue.items) > EASE_UP_TO:
            useless |= {"item_knn", "graph_filter"}
        return [name for name in known if name not in useless and (not wanted or name in wanted)]

    def bands(self) -> NDArray[np.int8]:
        """The age band of every user, MISSING unknown."""
        contexts = (self.catalogue.user_context(user)[1] for user in range(len(self.catalogue.users)))
        return np.fromiter(contexts, np.int8, len(self.catalogue.users))

    def groups(self) -> dict[str, Callable[[NDArray[np.int32]], list[str]]]:
        """How listeners fall into groups: by region and by age band, "" where that is not known."""

        def of(users: NDArray[np.int32], place: int) -> NDArray[np.int32]:
            return np.array([self.catalogue.user_context(user)[place] for user in users.tolist()], np.int32)

        def regions(users: NDArray[np.int32]) -> list[str]:
            codes = of(users, 0)
            known, where = np.unique(codes[codes >= 0], return_inverse=True)
            names = dict(zip(known.tolist(), self.catalogue.regions.all(known), strict=True)) if len(where) else {}
            return [names.get(code, "") for code in codes.tolist()]

        def bands(users: NDArray[np.int32]) -> list[str]:
            return [AGE_BANDS[band] if band >= 0 else "" for band in of(users, 1).tolist()]

        return {"region": regions, "age band": bands}

    def book(self) -> Book:
        """The experiments."""
        return Book(Journal(self.path / "experiments" / "journal"))

    def resolved(self, plan: Plan) -> Plan:
        """The plan with the version that an alias means now, and its settings checked: what is locked does not move."""
        if plan.new.radio:
            config.changed(self.settings.radio, plan.new.radio)
        if plan.new.model == CHAMPION:
            return plan
        known = plan.new.model in (PREVIOUS, CHALLENGER)
        version = (self.registry().bundle if known else self.registry().open)(plan.new.model).version
        return msgspec.structs.replace(plan, new=msgspec.structs.replace(plan.new, model=version))

    def arms(self, recommender: Recommender) -> Arms:
        """The experiments as this server serves them."""

        def make(treatment: Treatment) -> Model:
            model = recommender.model if treatment.model == CHAMPION else self.model(treatment.model)
            if treatment.radio:
                model = replace(model, reranker=self._reranker(config.changed(self.settings.radio, treatment.radio)))
            warm(self, recommender, model)
            return model

        def newest() -> int:
            tail = self.log.read(max(self.log.last - 100, 0), 100)
            return int(tail["at"].max()) if len(tail) else 0

        health, deadline_s = self.path / "experiments" / "health.json", self.settings.server.deadline_ms / 1000

        def keep(counts: bytes) -> None:
            replace_file(health, counts, health.with_name(".tmp-health"))

        def recall() -> bytes:
            return health.read_bytes() if health.exists() else b""

        judged = self.settings.server.experiments_judged
        house = House(make, newest, self.resolved, self.ship, recommender.chances, judged, deadline_s, keep, recall)
        arms = Arms(self.book(), Desk(secret(self.path)), self.log, house)
        arms.refresh()
        return arms

    def ship(self, new: Treatment) -> str:
        """Promote the model of a new arm that shipped; what was done, or what is left for a person to do."""
        said = []
        if new.model != CHAMPION:
            if self.registry().version() != new.model:
                self.registry().promote(new.model)
            said.append(f"{new.model} is the champion now")
        if new.radio:
            settings = ", ".join(f"{name} = {value:g}" for name, value in new.radio.items())
            said.append(f"write under [radio] of segue.toml, and restart: {settings}")
        return "; ".join(said) or "nothing to promote: the new arm was the champion"

    def model(self, which: str | None = None) -> Model:
        """The champion, live counts beneath it; before the first night its sources have nothing to say.

        Or another of the registry, by alias or version: NotReady or NotFound where there is none.
        """
        bundle, ranker = self._bundle() if which is None else self._named_bundle(which)
        return self._model_of(bundle, ranker)

    def _model_of(self, bundle: Bundle | None, ranker: Ranker) -> Model:
        sources = [
            self._source(name, factory, bundle)
            for name, factory in self.factories(live=True).items()
            if name in UNTRAINED or (name not in ELECTIVE if bundle is None else name in bundle.arrays)
        ]
        blend = named(RANKERS, "blend", "ranker")
        newcomers: Ranker = blend(here=NEWCOMERS, away=NEWCOMERS)
        if bundle is None:
            return Model(tuple(sources), ranker, newcomers=newcomers)
        features = features_of(bundle)
        return Model(
            tuple(sources),
            ranker,
            newcomers=newcomers,
            versions={"bundle": bundle.version},
            rows=partial(self._rows, features),
            feature_names=features.names,
        )

    def _bundle(self) -> tuple[Bundle | None, Ranker]:
        """The champion, else the one before it, else none: a damaged model must not keep a server from answering."""
        registry = self.registry()
        for alias in (CHAMPION, PREVIOUS):
            version = registry.version(alias)
            if version is None:
                continue
            try:
                bundle = registry.open(version)
                return bundle, ranker_of(bundle, self.rankers())
            except (SegueError, KeyError, TypeError, ValueError) as error:
                logger.warning("the %s %s cannot be served (%s); `segue train` makes a new one", alias, version, error)
        plain: Ranker = self.fusion()()
        return None, plain

    def fusion(self) -> Callable[..., Ranker]:
        """Rank fusion, inside a session with the weights of [radio] weights where it names any."""
        blend = named(RANKERS, "blend", "ranker")
        chosen = self.settings.radio.weights
        return partial(blend, here={**blend().here, **chosen}) if chosen else partial(blend)

    def _named_bundle(self, which: str) -> tuple[Bundle, Ranker]:
        registry = self.registry()
        known = which in (CHAMPION, PREVIOUS, CHALLENGER)
        bundle = registry.bundle(which) if known else registry.open(which)
        return bundle, ranker_of(bundle, self.rankers())

    @staticmethod
    def _source(name: str, factory: Callable[..., Any], bundle: Bundle | None) -> CandidateSource:
        """A source as the bundle has it; one that this version cannot read is silent rather than in the way."""
        source: CandidateSource
        if bundle is not None and name in bundle.arrays:
            try:
                source = bundle.revive(name, factory)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                logger.warning("model %s: %s cannot be read (%r); `segue train` makes it anew", bundle.version, name, error)
            else:
                return source
        source = factory()
        return source

    def _rows(self, features: Features, query: Query, candidates: Candidates) -> NDArray[np.float32]:
        """The features by day: what the state remembers where the night asks its history."""
        return features.rows(query, candidates, self.facts(), remember(self.state, query, candidates.items))

    def rankers(self) -> dict[str, Callable[..., Ranker]]:
        """Every ranker by its name, imported when it is asked for."""
        return {name: partial(_later, name) for name in RANKERS}

    def maker(self) -> QueryMaker:
        """Requests to queries."""
        return QueryMaker(self.catalogue, self.state, self.discovery(), self.utc_offsets)

    def discovery(self) -> Discovery:
        """The sampler of the share of new songs, with the priors that up to SAMPLED listeners give, evenly spaced by id."""
        plain = Discovery(self.settings.radio.discovery, secret(self.path))
        n = len(self.catalogue.users)
        some = np.unique(np.linspace(0, n - 1, min(n, SAMPLED)).astype(np.int64)).tolist() if n else []
        counts = np.array([self.state.novelty(user) for user in some]).reshape(-1, 4)
        segments = np.array([segment_of(*self.catalogue.user_context(user)) for user in some], np.int64)
        return plain.learn(counts, segments)

    def recommender(self, counters: Counters | None = None) -> Recommender:
        """One request, top to bottom."""
        radio, counters = self.settings.radio, counters or Counters()
        filters = (
            rules.playable(self.facts),
            rules.excluded(self.facts),
            rules.heard_in_session(self.facts, self.state),
            rules.refused(self.state),
            rules.turned_away(self.facts),
        )
        reranker = self._reranker(radio)
        return Recommender(
            self.model(),
            Stages(filters, reranker),
            self.catalogue,
            self.state,
            key=secret(self.path),
            count=counters.count,
            timed=counters.source,
            per_source=radio.per_source,
            deadline_ms=self.settings.server.deadline_ms,
        )

    def explain(self, recommender: Recommender) -> Explain:
        """What made a slate, and where a song dropped out."""

        def ranker_then(version: str) -> Ranker:
            return self._named_bundle(version)[1]

        return Explain(self.log, self.catalogue, recommender, ranker_then)

    def _reranker(self, radio: config.Radio) -> Radio:
        """The radio's reranker with these settings."""
        return Radio(
            self.facts,
            self.state,
            artist_gap=radio.artist_gap,
            max_per_artist=radio.max_per_artist,
            explore=radio.explore,
            explore_pool=radio.explore_pool,
            temperature=radio.temperature,
            newcomers=radio.newcomers,
            max_per_album=radio.max_per_album,
            diversity=radio.diversity,
            calibration=radio.calibration,
            fatigue=radio.fatigue,
            freshness=radio.freshness,
            vectors=self.vectors.get,
        )

    def audio_of(self, item: int) -> Audio | None:
        """What plays an item by dense id, None where nothing does."""
        for source in self.sounds:
            if (found := source(item)) is not None:
                return found
        return None

    def reference(self) -> Reference:
        """The policy that no night changes: what is popular here and now, by live counts, under the usual filters."""
        popular: CandidateSource = self.factories(live=True)["popular"]()
        ranker: Ranker = named(RANKERS, "blend", "ranker")(here=NEWCOMERS, away=NEWCOMERS)
        model = Model((popular,), ranker, policy=REFERENCE, versions={"bundle": REFERENCE})
        return Reference(self.settings.monitoring.reference, self._known, model)

    def _known(self) -> int:
        """How many listeners there are."""
        return len(self.catalogue.users)

    def monitor(self, overlap: Callable[[], float | None] = lambda: None) -> Monitor:
        """What watches this home; `overlap` asks two models the same, so only a server offers it."""
        around = Around(
            facts=_Known(self, overlap),
            names=self._groups,
            reference=Reference(self.settings.monitoring.reference, self._known).of,
            stale_days=self.settings.monitoring.stale_days,
        )
        return Monitor(self.log, Ledger(Journal(self.path / "monitoring" / "journal")), around)

    def _groups(self, groups: Sequence[tuple[str, int]]) -> dict[tuple[str, int], str]:
        """Names of segments, for people."""
        regions = [code for kind, code in groups if kind == "region"]
        names = self.catalogue.regions.all(np.array(regions, np.int32)) if regions else []
        told = {("region", code): name for code, name in zip(regions, names, strict=True)}
        devices = [code for kind, code in groups if kind == "device"]
        kinds = self.catalogue.devices.all(np.array(devices, np.int32)) if devices else []
        told |= {("device", code): name for code, name in zip(devices, kinds, strict=True)}
        return told | {("reference", 0): "the reference policy"}

    def ingest(self) -> Ingest:
        """The one that writes."""
        made = Ingest(self.log, self.state, self.catalogue)
        self._opened.append(made)
        return made

    def seal(self) -> None:
        """Closed days into Parquet: what arrived before today."""
        day = 86_400_000
        self.log.seal(time.time_ns() // 1_000_000 // day * day)


def _later(name: str, /, **hyperparameters: Any) -> Ranker:
    ranker: Ranker = named(RANKERS, name, "ranker")(**hyperparameters)
    return ranker


def open_home(path: Path, config_path: Path | None = None, *, writer: bool) -> Home:
    """The home at a path, made when it is not there; `writer` insists on being the one process that serves it."""
    if path.exists() and not path.is_dir():
        raise BadConfig(f"--home: expected a folder, found a file at {path}", "home")
    settings = config.load(path, config_path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfig(f"--home: {path} cannot be made: {error.strerror}", "home") from None
    return Home(path, settings, writer=writer)


def secret(path: Path) -> bytes:
    """The key that exploration draws are seeded with: made once, readable by its owner only."""
    file = path / "secret.key"
    if not file.exists():
        handle = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(secrets.token_bytes(32))
    return file.read_bytes()


def keys(path: Path) -> frozenset[str]:
    """API keys: one a line in keys.txt of the home, # starts a comment."""
    file = path / "keys.txt"
    if not file.exists():
        return frozenset()
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return frozenset(line for line in lines if line)


def service(home: Home, api_keys: frozenset[str]) -> Service:
    """Everything that the routes need."""
    counters = Counters()
    counters.gauge("log_last_seq", "Newest event in the log.", lambda: float(home.log.last))
    counters.gauge("state_applied_seq", "Newest event folded into the online state.", lambda: float(home.state.applied))
    counters.gauge("users", "Users known.", lambda: float(len(home.catalogue.users)))
    counters.gauge("items", "Items known.", lambda: float(len(home.catalogue.items)))
    recommender = home.recommender(counters)
    warm(home, recommender, recommender.model)
    return Service(
        catalogue=home.catalogue,
        state=home.state,
        writer=home.ingest(),
        maker=home.maker(),
        recommender=recommender,
        counters=counters,
        keys=api_keys,
        audio_of=home.audio_of,
        uploading=home.uploading(),
        quality=partial(quality, home),
        botify=(home.settings.botify.item, home.settings.botify.user) if home.settings.botify.enabled else None,
        arms=home.arms(recommender),
        explain=home.explain(recommender),
        reference=home.reference(),
        monitor=home.monitor(),
    )


def warm(home: Home, recommender: Recommender, model: Model) -> None:
    """Put some listeners' questions to a model before it serves, so that no listener waits for a page or a kernel."""
    maker = home.maker()
    names = home.catalogue.users.all(np.arange(min(len(home.catalogue.users), 20), dtype=np.int32))
    now = time.time_ns() // 1_000_000
    for user in ("", *names):
        query, _ = maker.make(RecommendIn(user=user, discovery=0.5), now, now)
        for source in model.sources:
            with suppress(Exception):  # a source that fails here fails in service too, where it is counted
                source.retrieve(query, recommender.per_source)
    with suppress(Exception):  # the ladder answers for what is broken
        recommender.try_out(query, model)


def questions(home: Home) -> dict[str, Any]:
    """How models are tested: what nightly.Settings takes for it."""
    training = home.settings.training
    return {
        "test_ms": config.duration_ms(training.holdout, "training.holdout"),
        "test_users": training.test_users,
        "per_source": home.settings.radio.per_source,
        "judging": judging(training),
        "workspace": home.path / "night",
    }


def judging(training: config.Training) -> Judging:
    """How slates as they were shown become examples, by the settings."""
    return Judging(
        back_ms=0 if training.shown == "0" else config.duration_ms(training.shown, "training.shown"),
        within_ms=config.duration_ms(training.outcome, "training.outcome"),
        finished=training.finished,
        skipped=training.skipped,
        negatives=training.negatives,
        by_time=training.weigh_by_time,
        clip=float(training.propensity_clip),
    )


def recipe_of(home: Home, **more: Any) -> nightly.Recipe:
    """What the night trains."""
    sources, asks = home.factories(live=False, **more), partial(rehearse, home)
    if home.settings.radio.weights:  # weights that somebody chose are not for the night to overrule
        return nightly.Recipe(sources, home.fusion(), groups=home.groups(), rehearse=asks)
    plain, *learned = (partial(named(RANKERS, name, "ranker")) for name in ("blend", *home.settings.training.rankers))
    roles = {"elective": ELECTIVE, "dispensable": DISPENSABLE}
    return nightly.Recipe(sources, plain, learned, **roles, groups=home.groups(), rehearse=asks)


def rehearse(home: Home, bundle: Bundle) -> str:
    """Ask a finished model as serving would, for a newcomer and for listeners with a past; what is wrong, "" nothing."""
    factories, now = home.factories(live=True), time.time_ns() // 1_000_000
    asked = answered = 0
    recommender = None
    try:
        for name in bundle.arrays.keys() & factories.keys():
            bundle.revive(name, factories[name])
        model = home._model_of(bundle, ranker_of(bundle, home.rankers()))
        recommender = home.recommender()
        maker = home.maker()
        some = np.linspace(0, len(home.catalogue.users) - 1, min(len(home.catalogue.users), REHEARSED)).astype(np.int32)
        for user in ("", *home.catalogue.users.all(some)):
            query, _ = maker.make(RecommendIn(user=user, discovery=0.5), now, now)
            exposure = recommender.try_out(query, model)
            asked += len(query.recent) > 0
            answered += len(query.recent) > 0 and exposure is not None and len(exposure.slate.items) > 0
    except Exception as error:  # whatever serving would have met
        return f"{type(error).__name__}: {error}"
    finally:
        if recommender is not None:
            recommender.close()
    return f"none of {asked} listeners with a past gets a song" if asked and not answered else ""


SAMPLED = 20_000
"""Listeners that the priors of the discovery share are learned from: about 40 ms, when a server starts or swaps a model."""
REHEARSED = 50
"""Listeners that a finished model must answer before it may serve."""
JUDGED, LATEST = "judged", "latest"
"""Under which name and alias the latest judgement of days after training is stored."""


def quality(home: Home) -> dict[str, Any]:
    """What is known of the quality of the champion: its night's test, and a later judgement (`since`) where there is one.

    NotReady before the first night.
    """
    version = home.registry().version()
    if version is None:
        raise NotReady("nothing was trained yet: run `segue train`")
    manifest = home.artifacts.get(BUNDLE, version)[1]
    latest = home.artifacts.alias(JUDGED, LATEST)
    since = home.artifacts.get(JUDGED, latest)[1] if latest else None
    return {
        "version": version,
        "data": manifest.get("data", {}),
        "figures": manifest.get("figures", []),
        "quality": manifest.get("quality"),
        "since": since if since is not None and since["version"] == version else None,
    }


class _Known:
    """Facts of the models, read again when an alias has moved: manifests are small, but checking what they name is not."""

    def __init__(self, home: Home, overlap: Callable[[], float | None]) -> None:
        self._home, self._overlap = home, overlap
        self._of: tuple[str | None, ...] = ()
        self._facts: Facts | None = None

    def __call__(self) -> Facts | None:
        """What is known now; None before the first night."""
        registry = self._home.registry()
        latest = self._home.artifacts.alias(JUDGED, LATEST)
        asked = (registry.version(), registry.version(PREVIOUS), latest)
        if asked != self._of:
            self._facts = _facts(self._home, self._overlap())
            self._of = asked
        return self._facts


def _facts(home: Home, overlap: float | None) -> Facts | None:
    """What the nights and the latest judgement said of the champion and of the model before it."""
    registry = home.registry()
    version, before = registry.version(), registry.version(PREVIOUS)
    if version is None:
        return None
    manifest: dict[str, Any] = home.artifacts.get(BUNDLE, version)[1]
    told = quality(home)["since"] or {}
    calibration = (manifest.get("ranker_facts") or {}).get("calibration") or {}
    return Facts(
        version=version,
        trained_to=int(manifest.get("data", {}).get("to_ms", 0)),
        figures=manifest.get("figures", []),
        since=told.get("figures", []),
        days=((told.get("quality") or manifest.get("quality")) or {}).get("days", []),
        calibration=calibration,
        coverage=_covered(manifest),
        coverage_before=_covered(home.artifacts.get(BUNDLE, before)[1]) if before else None,
        overlap=overlap,
    )


def _covered(manifest: Mapping[str, Any]) -> float | None:
    """The share of the catalogue that the radio's lists of a night showed."""
    spreads = (manifest.get("quality") or {}).get("spreads", [])
    return next((float(s["coverage"]) for s in spreads if s["model"] == "radio"), None)


def night(home: Home, now: int, progress: Progress, *, window: str | None = None, force: bool = False) -> NightReport:
    """Train, evaluate, promote or not. A window that is named is kept; the one of the settings widens when it holds little."""
    training = home.settings.training
    length = config.duration_ms(window or training.window, "window")
    chosen = Window(now, length) if window else choose(home.log, now, length, training.enough)
    settings = nightly.Settings(**questions(home), window_ms=chosen.length_ms, force=force)
    recipe = recipe_of(home, window_days=chosen.length_ms / 86_400_000)
    report = nightly.run_night(home.log, home.catalogue, home.artifacts, recipe, settings, now=chosen.now, progress=progress)
    home.artifacts.prune(BUNDLE, training.keep, spare=home.book().versions())
    return report if chosen.note is None else msgspec.structs.replace(report, notes=[chosen.note, *report.notes])
