"""The music of the town: a song is composed from its genre, its artist and its title, and played for half a minute."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segue.core.hashing import hash64
from segue.core.records import ItemRecord
from segue.core.types import Float32
from segue.simulator.styles import ALL, BASSES, COMPS, DRUMS, MOODS, SCALES, STYLES, Style
from segue.simulator.synth import Beats, Mix, Part, render

SECONDS = 26.0
"""About how long a song is played: whole bars, and the last chord rings out."""
RATE = 32_000
_VERSION = re.compile(r"\s*\((Live|Remastered|Acoustic|Radio Edit)\b[^)]*\)$")
_FORCE = {"x": 1.0, "o": 0.55, "-": 0.3}
_CELLS = ((1.0,), (0.5, 0.5), (0.5, 0.25, 0.25), (0.75, 0.25), (0.25, 0.25, 0.5))
"""How a beat of melody is divided."""


@dataclass(frozen=True)
class Band:
    """An artist: the style of their genre with their own choices, some taken from the genre beside it."""

    style: Style
    tempo: float
    comp_voice: str
    bass_voice: str
    lead_voice: str
    pad: str | None
    tone: float
    room: float
    kit: float


@dataclass(frozen=True)
class Plan:
    """One song: who plays, in which key and tempo, over which chords."""

    band: Band
    tempo: float
    root: int
    scale: tuple[int, ...]
    chords: tuple[int, ...]
    drums: str
    comp: str
    bass: str
    steps: int  # of a bar: 16, or 12 in three-four time
    bars: int
    tone: float

    @property
    def step_s(self) -> float:
        """Seconds of a sixteenth note."""
        return 15.0 / self.tempo

    @property
    def bar_s(self) -> float:
        """Seconds of a bar."""
        return self.steps * self.step_s

    def pitch(self, degree: int) -> int:
        """MIDI pitch of a degree of the scale counted from the root, 7 an octave."""
        octave, place = divmod(degree, 7)
        return self.root + 12 * octave + self.scale[place]

    def chord(self, bar: int) -> int:
        """The degree that the chord of a bar stands on; the last bar comes home."""
        return 0 if bar == self.bars - 1 else self.chords[bar % len(self.chords)]


def song_of(record: ItemRecord, rate: int = RATE, *, start: float = 0.0, seconds: float | None = None) -> Float32:
    """(2, n) float32 in (-1, 1): the song of a catalogue record, or a part of it; same record, same sound.

    Genre and neighbouring genre are the tags that STYLES knows (pop where none is), the artist's name makes the band, the
    title without "(Live ...)" and its like the composition, so that versions are the same song played otherwise.
    """
    return render(mix_of(record), rate, start=start, seconds=seconds)


def mix_of(record: ItemRecord) -> Mix:
    """Everything that is played in a song."""
    tags = record.tags or []
    genres = [tag for tag in tags if tag in STYLES] or ["pop"]
    title, artist = record.title or record.id, record.artist or record.id
    version = _VERSION.search(title)
    rng = np.random.default_rng(hash64(f"song {artist} / {_VERSION.sub('', title)}"))
    band = _band(genres, np.random.default_rng(hash64(f"artist {artist}")))
    if version is not None:
        band = _in_version(band, version[1])
    plan = _plan(band, [MOODS[tag] for tag in tags if tag in MOODS], rng)
    return _mixed(plan, rng, intro=version is None or version[1] != "Radio Edit")


def opening_s(record: ItemRecord) -> float:
    """Seconds until everybody plays: where an excerpt tells most."""
    tags = record.tags or []
    genres = [tag for tag in tags if tag in STYLES] or ["pop"]
    return 2 * 240.0 / STYLES[genres[0]].tempo[1]


def _of(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _band(genres: list[str], rng: np.random.Generator) -> Band:
    style = STYLES[genres[0]]
    low, high = style.tempo
    tempo = low + (high - low) * float(rng.beta(2, 2))
    picks = [_of(style.comp_voices, rng), _of(style.bass_voices, rng), _of(style.lead_voices, rng)]
    drums = (_of(style.drums, rng), _of(style.drums, rng))
    comps = (_of(style.comps, rng), _of(style.comps, rng))
    basses = (_of(style.basses, rng), _of(style.basses, rng))
    pad = _of(style.pads, rng) if style.pads and rng.random() < 0.7 else None
    tone, room, kit = float(rng.normal(0, 1.5)), float(np.exp(rng.normal(0, 0.2))), float(np.exp(rng.normal(0, 0.1)))
    if len(genres) > 1:  # a band between two genres borrows an instrument and some of the pace
        other = STYLES[genres[1]]
        borrowed = int(rng.integers(3))
        picks[borrowed] = _of((other.comp_voices, other.bass_voices, other.lead_voices)[borrowed], rng)
        tempo = 0.75 * tempo + 0.25 * float(np.clip(tempo, *other.tempo))
        tone += 0.4 * (other.tone - style.tone)
    own = replace(style, drums=drums, comps=comps, basses=basses)
    return Band(own, tempo, picks[0], picks[1], picks[2], pad, style.tone + tone, style.room * room, kit)


def _in_version(band: Band, version: str) -> Band:
    """The same band on a stage, without its amplifiers, or at another desk."""
    if version == "Live":
        style = replace(band.style, hiss=band.style.hiss + 0.012, wet=band.style.wet + 0.12)
        return replace(band, style=style, tempo=band.tempo * 1.03, room=band.room * 1.5)
    if version == "Acoustic":
        style = replace(band.style, drums=("none",), pump=0.0, power=False, comps=("strum", "travis"))
        return replace(
            band, style=style, comp_voice="steel guitar", bass_voice="upright bass", pad=None, tempo=band.tempo * 0.94
        )
    return replace(band, tone=band.tone + 1.0) if version == "Remastered" else band


def _plan(band: Band, moods: list[tuple[float, float]], rng: np.random.Generator) -> Plan:
    style = band.style
    tempo = band.tempo * float(np.exp(rng.normal(0, 0.03)))
    for faster, _ in moods:
        tempo *= faster
    tempo = float(np.clip(tempo, 0.9 * style.tempo[0], 1.05 * style.tempo[1]))
    drums = _of(style.drums, rng)
    steps = 12 if drums == "waltz" else 16
    bars = max(4, round(SECONDS / (steps * 15.0 / tempo)))
    chords = style.chords[int(rng.integers(len(style.chords)))]
    return Plan(
        band, tempo, int(rng.integers(-5, 7)) + 60, SCALES[_of(style.scales, rng)], chords, drums, _of(style.comps, rng),
        _of(style.basses, rng), steps, bars, band.tone + sum(brighter for _, brighter in moods) / max(len(moods), 1),
    )  # fmt: skip


@dataclass
class _Notes:
    """Notes of one part while they are being written."""

    rows: list[tuple[float, float, int, float]]

    def add(self, start: float, length: float, pitch: int, force: float) -> None:
        self.rows.append((start, length, pitch, force))

    def part(self, voice: str, rng: np.random.Generator, loose: float, **how: float) -> Part:
        """The part, played by hand: `loose` is the deviation of the starts in seconds."""
        columns = np.array(self.rows, np.float64).reshape(-1, 4)
        start = np.maximum(columns[:, 0] + loose * rng.standard_normal(len(columns)), 0)
        force = columns[:, 3] * (1 + 0.08 * rng.standard_normal(len(columns)))
        return Part(voice, start, columns[:, 1], columns[:, 2].astype(np.int64), np.clip(force, 0.05, 1.2), **how)


def _mixed(plan: Plan, rng: np.random.Generator, *, intro: bool) -> Mix:
    band, style = plan.band, plan.band.style
    chords, bass, lead, drums = style.levels
    loose = 0.0 if style.pump > 0.3 else 0.006
    intro_bars = 2 if intro and plan.bars >= 8 else 0
    parts = [
        _comp(plan).part(band.comp_voice, rng, loose, gain=0.3 * chords, pan=-0.3, send=0.4, ducked=style.pump),
        _bass(plan).part(band.bass_voice, rng, loose, gain=0.55 * bass, send=0.05, ducked=0.6 * style.pump),
        _lead(plan, intro_bars, rng).part(band.lead_voice, rng, 2 * loose, gain=0.42 * lead, pan=0.2, send=0.5),
    ]
    if band.pad is not None:
        parts.append(_pad(plan).part(band.pad, rng, 0.0, gain=0.13 * chords, pan=0.35, send=0.8, ducked=style.pump))
    return Mix(
        [part for part in parts if len(part.start)], _beats(plan, intro_bars, rng), plan.bars * plan.bar_s + 1.5,
        room=_like_room(band.room), wet=style.wet, tone=plan.tone, kit=band.kit, drums_gain=0.62 * drums, hiss=style.hiss,
    )  # fmt: skip


def _like_room(seconds: float) -> float:
    """The nearest of a few rooms, four to each doubling of the echo: songs that share one share its spectrum (synth._room)."""
    return float(2.0 ** (round(4 * math.log2(seconds)) / 4))


def _at(plan: Plan, bar: int, step: float) -> float:
    """Seconds of a step of a bar, swung."""
    late = plan.band.style.swing * 4 * plan.step_s if step % 4 == 2 else 0.0
    return bar * plan.bar_s + step * plan.step_s + late


def _tones(plan: Plan, bar: int) -> list[int]:
    """Pitches of the chord of a bar, low to high, in the octave about middle C, so that voices move little."""
    degree = plan.chord(bar)
    if plan.band.style.power and plan.band.comp_voice == "distorted guitar":
        low = plan.pitch(degree) % 12 + 36 + (12 if plan.pitch(degree) % 12 < 4 else 0)
        return [low, low + 7, low + 12]
    pitches = [plan.pitch(degree + 2 * i) % 12 for i in range(3 + plan.band.style.extra)]
    placed = sorted(53 + (p - 53) % 12 for p in pitches)
    return placed if len(placed) > 3 else [*placed, placed[0] + 12]


def _comp(plan: Plan) -> _Notes:
    notes = _Notes([])
    for bar in range(plan.bars):
        tones = _tones(plan, bar)
        figure = COMPS[plan.comp] if bar < plan.bars - 1 else COMPS["block"]
        for step, steps, which in figure:
            if step >= plan.steps:
                continue
            length = min(steps, plan.steps - step) * plan.step_s * 0.95
            chosen = tones[:4] if which == ALL else [tones[which % len(tones)]]
            for i, pitch in enumerate(chosen):
                late = 0.012 * i if plan.comp == "strum" else 0.0
                notes.add(_at(plan, bar, step) + late, length, pitch, (1.0 if step % 8 == 0 else 0.8) / len(chosen) ** 0.5)
    return notes


def _pad(plan: Plan) -> _Notes:
    notes = _Notes([])
    for bar in range(plan.bars):
        for pitch in _tones(plan, bar)[:3]:
            notes.add(bar * plan.bar_s, plan.bar_s, pitch + 12 if pitch < 60 else pitch, 0.6)
    return notes


def _bass(plan: Plan) -> _Notes:
    notes = _Notes([])
    figure = BASSES[plan.bass]
    for bar in range(plan.bars):
        for step, steps, above in figure if bar < plan.bars - 1 else figure[:1]:
            if step >= plan.steps:
                continue
            pitch = plan.pitch(plan.chord(bar) + above)
            low = 33 + (pitch - 33) % 12 + (12 if above == 7 else 0)
            length = min(steps, plan.steps - step) * plan.step_s * 0.92
            notes.add(_at(plan, bar, step), length, low, 1.0 if step == 0 else 0.85)
    return notes


def _lead(plan: Plan, first: int, rng: np.random.Generator) -> _Notes:
    """A melody in phrases of two bars: a, a varied to the chords, b, and a again that ends on the root."""
    notes, beats = _Notes([]), plan.steps // 4
    phrases = [_phrase(plan.band.style.lead, beats, rng) for _ in range(2)]
    centre = _nearest(plan, plan.band.style.register)
    for place, bar in enumerate(range(first, plan.bars - 1, 2)):
        phrase = phrases[(0, 0, 1, 0)[place % 4]]
        if place % 8 == 7 and plan.band.style.lead < 0.9:
            continue  # a breath
        _sing(plan, notes, phrase, bar, centre)
    if notes.rows:
        notes.add((plan.bars - 1) * plan.bar_s, 0.9 * plan.bar_s, plan.pitch(centre - centre % 7), 0.8)
    return notes


def _phrase(busy: float, beats: int, rng: np.random.Generator) -> list[tuple[float, float, int]]:
    """(beat, beats, steps of the scale from the centre) of a phrase of two bars: a walk that leans back to where it began."""
    out: list[tuple[float, float, int]] = []
    height = int(rng.integers(-2, 3))
    for beat in range(2 * beats):
        if rng.random() > busy + (0.25 if beat % beats == 0 else 0.0):
            continue
        at = float(beat)
        for part in _CELLS[int(rng.integers(len(_CELLS)))] if busy > 0.4 else _CELLS[int(rng.integers(2))]:
            out.append((at, part, height))
            at += part
            height += int(rng.choice([-2, -1, -1, 0, 1, 1, 2])) - (1 if height > 4 else -1 if height < -4 else 0)
    out = out or [(0.0, 1.0, height)]
    return [
        (at, max(part, min(out[i + 1][0] - at, 2.0) if i + 1 < len(out) else 1.5), height)
        for i, (at, part, height) in enumerate(out)
    ]


def _sing(plan: Plan, notes: _Notes, phrase: list[tuple[float, float, int]], bar: int, centre: int) -> None:
    beats = plan.steps // 4
    for at, length, height in phrase:
        here = bar + int(at // beats)
        if here >= plan.bars - 1:
            return
        degree = centre + height
        if at % 1 == 0:  # on the beat it belongs to the chord
            tones = {(plan.chord(here) + 2 * i) % 7 for i in range(3)}
            degree = min(range(degree - 2, degree + 3), key=lambda d: (d % 7 not in tones, abs(d - degree), d))
        force = 1.0 if at % beats == 0 else 0.8
        notes.add(_at(plan, here, 4 * (at % beats)), 0.93 * length * 4 * plan.step_s, plan.pitch(degree), force)


def _nearest(plan: Plan, register: int) -> int:
    """The degree whose pitch is nearest to a MIDI pitch; ties: the lower."""
    return min(range(-21, 22), key=lambda degree: (abs(plan.pitch(degree) - register), degree))


def _beats(plan: Plan, intro: int, rng: np.random.Generator) -> list[Beats]:
    """The drums: hats alone in the intro, a roll at the end of every eighth bar, a crash where the melody enters."""
    hits: dict[str, list[tuple[float, float]]] = {}
    pattern = DRUMS[plan.drums]
    for bar in range(plan.bars - 1):
        roll = bar % 8 == 7 and "snare" in pattern
        for drum, steps in pattern.items():
            if bar < intro and ("kick" in drum or drum in ("snare", "clap")):
                continue
            for step, mark in enumerate(steps[: plan.steps]):
                if mark in _FORCE and not (roll and drum == "snare" and step >= 12):
                    hits.setdefault(drum, []).append((_at(plan, bar, step), _FORCE[mark]))
        if roll:
            hits.setdefault("snare", []).extend((_at(plan, bar, s), 0.5 + 0.12 * (s - 12)) for s in range(12, 16))
        if pattern and bar in (intro, intro + 8) and "snare" in pattern:
            hits.setdefault("crash", []).append((_at(plan, bar, 0), 0.6))
    return [_drummed(drum, rows, rng, plan.band.style.pump > 0.3) for drum, rows in sorted(hits.items())]


def _drummed(drum: str, rows: list[tuple[float, float]], rng: np.random.Generator, machine: bool) -> Beats:
    columns: NDArray[np.float64] = np.array(rows)
    loose, uneven = (0.0, 0.03) if machine else (0.004, 0.12)
    start = np.maximum(columns[:, 0] + loose * rng.standard_normal(len(columns)), 0)
    return Beats(drum, start, np.clip(columns[:, 1] * (1 + uneven * rng.standard_normal(len(columns))), 0.05, 1.2))
