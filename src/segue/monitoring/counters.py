"""Counters and latency histograms in the process, printed in the Prometheus text format (version 0.0.4)."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Mapping

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

HELP: Mapping[str, str] = {
    "events_total": "Events by what became of them.",
    "rung_total": "Answers by the rung of the ladder that gave them.",
    "source_failed_total": "Sources left out because they raised.",
    "source_late_total": "Sources left out because the deadline came first.",
    "source_hanging_total": "Requests that went without a source because it has not returned yet.",
    "rung_failed_total": "Rungs of the ladder that failed, by the error.",
    "late_total": "Answers that took longer than the deadline.",
    "exposure_lost_total": "Slates answered whose exposure could not be written.",
    "requests_total": "HTTP requests by route and status.",
    "request_seconds": "Time to answer by route.",
    "experiment_moves_total": "Moves of running experiments: forward, back, hold, release, finish.",
    "swaps_total": "Models taken into service.",
}


class Counters:
    """Thread-safe counters; `count` has the shape that serving reports with, `observe` times requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str, str], int] = {}
        self._times: dict[str, list[float]] = {}
        self._sources: dict[str, list[float]] = {}
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}

    def count(self, event: str, label: str, by: int = 1) -> None:
        """Add to <event>_total{kind="<label>"}."""
        self.add(f"{event}_total", "kind", label, by)

    def add(self, name: str, label: str, value: str, by: int = 1) -> None:
        """Add to a counter with one label."""
        key = (name, label, value)
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + by

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A value that is read when the page is asked for."""
        self._gauges[name] = (text, read)

    def observe(self, route: str, status: int, seconds: float) -> None:
        """One answered request."""
        self.add("requests_total", "route", f"{route}:{status}")
        with self._lock:
            row = self._times.setdefault(route, [0.0] * (len(BUCKETS_S) + 2))
            row[bisect_left(BUCKETS_S, seconds)] += 1
            row[-1] += seconds

    def source(self, name: str, seconds: float) -> None:
        """One answer of a source."""
        with self._lock:
            row = self._sources.setdefault(name, [0.0, 0.0])
            row[0] += 1
            row[1] += seconds

    def value(self, name: str, value: str) -> int:
        """A counter's value by its label's value, 0 when it never moved."""
        with self._lock:
            return sum(n for (counter, _, label), n in self._counts.items() if counter == name and label == value)

    def render(self) -> str:
        """All of it as Prometheus text."""
        with self._lock:
            counts, times = dict(self._counts), {route: list(row) for route, row in self._times.items()}
            sources = {name: list(row) for name, row in self._sources.items()}
        lines: list[str] = []
        for name in sorted({name for name, _, _ in counts}):
            lines += [f"# HELP segue_{name} {HELP.get(name, name)}", f"# TYPE segue_{name} counter"]
            for (_, label, value), number in sorted(item for item in counts.items() if item[0][0] == name):
                if name == "requests_total":
                    route, _, status = value.rpartition(":")
                    lines.append(f'segue_{name}{{route="{_quoted(route)}",status="{status}"}} {number}')
                else:
                    lines.append(f'segue_{name}{{{label}="{_quoted(value)}"}} {number}')
        lines += _histograms(times)
        if sources:
            lines += ["# HELP segue_source_seconds Time that sources took to answer.", "# TYPE segue_source_seconds summary"]
        for name, (asked, seconds) in sorted(sources.items()):
            lines += [f'segue_source_seconds_sum{{source="{_quoted(name)}"}} {seconds:.6f}']
            lines += [f'segue_source_seconds_count{{source="{_quoted(name)}"}} {_number(asked)}']
        for name, (text, read) in sorted(self._gauges.items()):
            lines += [f"# HELP segue_{name} {text}", f"# TYPE segue_{name} gauge", f"segue_{name} {_number(read())}"]
        return "\n".join(lines) + "\n"


def _histograms(times: Mapping[str, list[float]]) -> list[str]:
    if not times:
        return []
    name = "segue_request_seconds"
    lines = [f"# HELP {name} {HELP['request_seconds']}", f"# TYPE {name} histogram"]
    for route, row in sorted(times.items()):
        total, quoted = 0.0, _quoted(route)
        for bound, number in zip((*BUCKETS_S, "+Inf"), row, strict=False):
            total += number
            lines.append(f'{name}_bucket{{route="{quoted}",le="{bound}"}} {_number(total)}')
        lines += [f'{name}_sum{{route="{quoted}"}} {row[-1]:.6f}', f'{name}_count{{route="{quoted}"}} {_number(total)}']
    return lines


def _number(value: float) -> str:
    """Every digit: a counter rounded to six of them stands still for ten thousand events, and its rate is 0 or absurd."""
    return f"{value:.0f}" if value.is_integer() else repr(value)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
