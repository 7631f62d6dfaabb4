"""CPU of a request by stage: the real application in this process, every stage in a stopwatch."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from segue import wiring
from segue.benchmarks import night
from segue.core.clock import iso
from segue.serving.recommender import Model
from segue.web import app as web


class Stopwatch:
    """CPU seconds of each stage, those of a stage within it not counted twice; a thread each has its own stack."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._inside = threading.local()

    def timed(self, stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same work, timed."""

        def run(*given: Any, **named: Any) -> Any:
            outer = getattr(self._inside, "spent", 0.0)
            self._inside.spent, began = 0.0, time.thread_time()
            try:
                return work(*given, **named)
            finally:
                took = time.thread_time() - began
                self.spent[stage] = self.spent.get(stage, 0.0) + took - self._inside.spent
                self._inside.spent = outer + took

        return run


class Timed:
    """An object one of whose methods is timed; all else is its own."""

    def __init__(self, inner: Any, method: str, work: Callable[..., Any]) -> None:
        self._inner = inner
        setattr(self, method, work)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def stages_of(home: Path, config: Path | None, users: Sequence[str], limit: int) -> dict[str, object]:
    """CPU milliseconds a request by stage, means over a request a listener, one after the other, each exposure logged."""
    watch = Stopwatch()
    with wiring.open_home(home, config, writer=True) as opened:
        service = wiring.service(opened, frozenset())
        written = _instrument(service, watch)
        application = web.create(service)
        some = len(users) // 5
        gc.collect()
        gc.freeze()
        try:
            asyncio.run(_ask(application, users[:some], limit))  # pages and kernels come in
            wait(written)
            watch.spent.clear()
            began = time.process_time(), time.thread_time()
            asyncio.run(_ask(application, users[some:], limit))
            wait(written)
            whole, here = time.process_time() - began[0], time.thread_time() - began[1]
        finally:
            gc.unfreeze()
            service.recommender.close()
            if service.monitor is not None:
                service.monitor.close()
        lost = sum(future.exception() is not None for future in written)
    n = max(len(users) - some, 1)
    spent = {name: seconds for name, seconds in watch.spent.items() if name != "ranked"}
    spent["writing the log (its own thread)"] = whole - here
    spent["the rest: union, slate, JSON, routing"] = here - sum(watch.spent.values())
    parts = {name: round(1000 * seconds / n, 4) for name, seconds in spent.items()}
    return {"requests": n, "exposures_lost": lost, "whole_cpu_ms": round(1000 * whole / n, 3), "by_stage_cpu_ms": parts}


def _instrument(service: Any, watch: Stopwatch) -> list[Future[None]]:
    """Put every stage of a service into the stopwatch; the exposures on their way into the log."""
    recommender = service.recommender
    model: Model = recommender.model
    sources: list[Any] = [Timed(one, "retrieve", watch.timed(f"source {one.name}", one.retrieve)) for one in model.sources]
    ranker: Any = Timed(model.ranker, "score", watch.timed("ranking", model.ranker.score))
    recommender.swap(
        replace(
            model,
            sources=tuple(sources),
            rows=watch.timed("features", model.rows),
            ranker=ranker,
        )
    )
    stages = recommender._stages
    reranker = Timed(stages.reranker, "select", watch.timed("reranking", stages.reranker.select))
    timed = replace(stages, filters=tuple(watch.timed("filtering", rule) for rule in stages.filters), reranker=reranker)
    recommender._stages = timed
    explainer = recommender._explainer
    recommender._explainer = Timed(explainer, "reasons", watch.timed("reasons", explainer.reasons))
    maker, state = service.maker, service.state
    maker.make = watch.timed("query", maker.make)
    for method in ("recent", "heard", "marks", "popularity", "novelty"):
        setattr(state, method, watch.timed("online state, wherever it is asked", getattr(state, method)))
    submit, written = service.writer.submit_exposure, list[Future[None]]()

    def kept(exposure: Any) -> Future[None]:
        written.append(submit(exposure))
        return written[-1]

    service.writer.submit_exposure = watch.timed("handing the exposure over", kept)
    return written


async def _ask(application: Any, users: Sequence[str], limit: int) -> None:
    """A request for each listener, through the routes but no socket."""
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": "/v1/recommendations", "raw_path": b"",
        "root_path": "", "scheme": "http", "query_string": b"", "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1),
    }  # fmt: skip
    for place, user in enumerate(users):
        body = {"user": user, "limit": limit, "session": f"s{place % 1000}", "context": {"at": iso(night.END)}}
        sent: list[dict[str, Any]] = []
        message = {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

        async def receive(message: dict[str, Any] = message) -> dict[str, Any]:
            return message

        async def send(part: Any, sent: list[dict[str, Any]] = sent) -> None:
            sent.append(part)

        await application(dict(scope), receive, send)
        if sent[0]["status"] != 200:
            raise RuntimeError(f"a request was answered {sent[0]['status']}")
