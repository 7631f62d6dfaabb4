"""How each genre of the town plays: tempo, scales, chords, instruments, and the figures of its bands, 16 steps a bar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SCALES: Mapping[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
}

# drum -> 16 steps: x loud, o soft, - a ghost, . nothing
DRUMS: Mapping[str, Mapping[str, str]] = {
    "none": {},
    "ride": {"ride": "x...x.ox...ox.o", "hat": "....x.......x...", "kick": "o.......-.......", "rim": "..........-....."},
    "brushes": {"brush": "x...x.o.x...x.o.", "kick": "o.......o.......", "ride": "....-.......-..."},
    "backbeat": {"kick": "x.....x.x.......", "snare": "....x.......x..-", "hat": "x.o.x.o.x.o.x.o."},
    "laid back": {"kick": "x..o....x.x.....", "snare": "....x..-....x...", "hat": "o.x.o.x.o.x.o.xo"},
    "boom bap": {"deep kick": "x......xx.o.....", "snare": "....x.......x...", "hat": "x.x.x.xox.x.x.x."},
    "trap": {"deep kick": "x.....x...x.....", "clap": "........x.......", "hat": "x.x.xxx.x.x.xoxo"},
    "salsa": {
        "clave": "x..x..x...x.x...",
        "conga": "....o...o.....oo",
        "high conga": "..o...x...o.x...",
        "shaker": "x.o.x.o.x.o.x.o.",
        "kick": "o.....o.......o.",
    },
    "bossa": {
        "rim": "x..x..x...x..x..",
        "shaker": "xoxoxoxoxoxoxoxo",
        "kick": "x..o..x.x..o..x.",
        "high conga": "......o.....o...",
    },
    "four": {"kick": "x...x...x...x...", "clap": "....x.......x...", "hat": "..x...x...x...x."},
    "pop": {"kick": "x.....x.x..o....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x.", "clap": "............o..."},
    "dance pop": {
        "kick": "x...x...x...x...",
        "snare": "....x.......x...",
        "open hat": "..x...x...x...x.",
        "shaker": "o.o.o.o.o.o.o.o.",
    },
    "rock": {"kick": "x.....x.x.x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
    "motorik": {
        "kick": "x.x...x.x.x...x.",
        "snare": "....x.......x...",
        "open hat": "x...x...x...x...",
        "hat": "..x...x...x...x.",
    },
    "blast": {"kick": "x.x.x.x.x.x.x.x.", "snare": "..x...x...x...x.", "ride": "x...x...x...x..."},
    "double kick": {
        "kick": "xoxoxoxoxoxoxoxo",
        "snare": "....x.......x...",
        "crash": "o...............",
        "ride": "x...x...x...x...",
    },
    "gallop": {"kick": "x.xxx.xxx.xxx.xx", "snare": "....x.......x...", "open hat": "x...x...x...x..."},
    "warehouse": {
        "deep kick": "x...x...x...x...",
        "hat": "..x...x...x...x.",
        "tick": "oxoxoxoxoxoxoxox",
        "rim": "......o....o....",
    },
    "hammer": {
        "kick": "x...x...x...x...",
        "open hat": "..x...x...x...x.",
        "clap": "....o.......o...",
        "tom": "..........o..o..",
    },
    "house": {
        "kick": "x...x...x...x...",
        "clap": "....x.......x...",
        "open hat": "..x...x...x...x.",
        "shaker": "oxoxoxoxoxoxoxox",
    },
    "garage": {
        "kick": "x...x...x...x.o.",
        "rim": "...x..x....x..x.",
        "open hat": "..x...x...x...x.",
        "clap": "....x.......x...",
    },
    "stomp": {"stomp": "x.......x.......", "shaker": "..o...o...o...o.", "tick": "....o.......o..."},
    "waltz": {"stomp": "x...........", "shaker": "....o...o...", "brush": "....o...o..."},
}

ALL = -1
# (step, steps, which tone of the chord, ALL together)
COMPS: Mapping[str, tuple[tuple[int, int, int], ...]] = {
    "block": ((0, 16, ALL),),
    "halves": ((0, 8, ALL), (8, 8, ALL)),
    "alberti": tuple((2 * i, 2, (0, 2, 1, 2)[i % 4]) for i in range(8)),
    "arpeggio": tuple((2 * i, 3, (0, 1, 2, 3, 2, 1, 2, 1)[i]) for i in range(8)),
    "sixteenths": tuple((i, 1, (0, 1, 2, 3)[i % 4]) for i in range(16)),
    "strum": ((0, 4, ALL), (4, 2, ALL), (6, 4, ALL), (10, 2, ALL), (12, 2, ALL), (14, 2, ALL)),
    "travis": ((0, 4, 0), (2, 2, 2), (4, 4, 1), (6, 2, 3), (8, 4, 0), (10, 2, 2), (12, 4, 1), (14, 2, 2)),
    "charleston": ((0, 3, ALL), (6, 4, ALL)),
    "sparse": ((2, 2, ALL), (10, 3, ALL)),
    "offbeats": ((2, 1, ALL), (6, 1, ALL), (10, 1, ALL), (14, 1, ALL)),
    "piano house": ((0, 2, ALL), (3, 2, ALL), (6, 2, ALL), (10, 2, ALL), (13, 2, ALL)),
    "stabs": ((3, 1, ALL), (6, 1, ALL), (11, 1, ALL)),
    "montuno": ((0, 2, 0), (2, 2, ALL), (5, 1, 1), (6, 2, 2), (8, 1, 3), (9, 2, ALL), (12, 1, 0), (13, 2, ALL)),
    "chug": tuple((i, 1, ALL) for i in (0, 2, 3, 4, 6, 7, 8, 10, 11, 12, 14)),
    "riff": ((0, 3, ALL), (3, 3, ALL), (6, 2, ALL), (8, 1, ALL), (9, 1, ALL), (10, 2, ALL), (12, 4, ALL)),
    "eighths": tuple((2 * i, 2, ALL) for i in range(8)),
    "jangle": tuple((2 * i, 4, (0, 2, 3, 1, 2, 3, 2, 1)[i]) for i in range(8)),
    "oom pah": ((0, 3, 0), (4, 2, ALL), (8, 2, ALL), (12, 2, ALL)),
}

# (step, steps, degrees above the root of the chord; 7 is the octave)
BASSES: Mapping[str, tuple[tuple[int, int, int], ...]] = {
    "none": (),
    "roots": ((0, 15, 0),),
    "halves": ((0, 7, 0), (8, 7, 4)),
    "walking": ((0, 4, 0), (4, 4, 2), (8, 4, 4), (12, 4, 5)),
    "two": ((0, 6, 0), (8, 6, 4)),
    "motown": ((0, 3, 0), (3, 2, 0), (6, 2, 4), (8, 3, 0), (11, 1, 6), (12, 2, 7), (14, 2, 4)),
    "pocket": ((0, 3, 0), (6, 1, 0), (7, 3, 4), (10, 3, 0), (14, 2, 6)),
    "booming": ((0, 6, 0), (7, 2, 0), (10, 5, 0)),
    "tumbao": ((3, 3, 4), (6, 6, 7), (12, 4, 0)),
    "bossa": ((0, 5, 0), (6, 2, 4), (8, 5, 4), (14, 2, 0)),
    "eighths": tuple((2 * i, 2, 0) for i in range(8)),
    "octaves": tuple((2 * i, 2, 0 if i % 2 == 0 else 7) for i in range(8)),
    "off": ((2, 2, 0), (6, 2, 0), (10, 2, 0), (14, 2, 7)),
    "rolling": tuple((i, 1, 0) for i in range(16) if i % 4),
    "syncopated": ((0, 2, 0), (3, 2, 0), (6, 2, 0), (10, 2, 4), (13, 2, 6)),
    "chug": tuple((i, 1, 0) for i in (0, 2, 3, 4, 6, 7, 8, 10, 11, 12, 14)),
}


@dataclass(frozen=True)
class Style:
    """A genre as a band plays it; several of a kind are choices of the artist or the song.

    tempo: beats a minute. chords: degrees of the scale, one a bar. extra: how many thirds are stacked above the triad.
    swing: share of a beat by which the second eighth comes late. lead: share of beats in which the melody moves; register
    and room: MIDI pitch, seconds. levels of (chords, bass, lead, drums).
    """

    tempo: tuple[float, float]
    scales: tuple[str, ...]
    chords: tuple[tuple[int, ...], ...]
    drums: tuple[str, ...]
    comps: tuple[str, ...]
    comp_voices: tuple[str, ...]
    basses: tuple[str, ...]
    bass_voices: tuple[str, ...]
    lead_voices: tuple[str, ...]
    lead: float = 0.6
    register: int = 74
    extra: int = 0
    swing: float = 0.0
    pads: tuple[str, ...] = ()
    room: float = 1.2
    wet: float = 0.3
    pump: float = 0.0
    tone: float = 0.0
    hiss: float = 0.0
    power: bool = False  # roots and fifths, low, instead of chords
    levels: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)


STYLES: Mapping[str, Style] = {
    "classical": Style(
        (66, 126),
        ("major", "minor", "harmonic minor"),
        ((0, 4, 5, 3), (0, 3, 4, 0), (0, 5, 1, 4), (0, 4, 0, 4)),
        ("none",),
        ("alberti", "halves", "arpeggio", "block"),
        ("strings", "piano"),
        ("roots", "halves"),
        ("strings", "upright bass"),
        ("violin", "flute", "piano"),
        lead=0.75,
        register=76,
        pads=("strings",),
        room=2.4,
        wet=0.5,
        tone=-1.0,
        levels=(0.8, 0.7, 1.0, 0.0),
    ),
    "jazz": Style(
        (104, 196),
        ("dorian", "major", "mixolydian"),
        ((1, 4, 0, 5), (1, 4, 0, 0), (0, 5, 1, 4), (2, 5, 1, 4)),
        ("ride", "brushes"),
        ("charleston", "sparse"),
        ("piano", "electric piano", "vibraphone"),
        ("walking",),
        ("upright bass",),
        ("reed", "trumpet", "piano"),
        lead=0.8,
        register=70,
        extra=2,
        swing=0.16,
        room=0.9,
        wet=0.22,
        tone=-2.0,
        levels=(0.65, 1.1, 1.0, 0.8),
    ),
    "soul": Style(
        (70, 104),
        ("major", "mixolydian", "dorian"),
        ((0, 5, 3, 4), (0, 2, 3, 4), (3, 2, 1, 0), (0, 3, 0, 4)),
        ("laid back", "backbeat"),
        ("strum", "charleston", "halves"),
        ("electric piano", "organ"),
        ("motown", "pocket"),
        ("bass guitar",),
        ("horns", "reed", "organ"),
        lead=0.55,
        register=70,
        extra=1,
        swing=0.05,
        pads=("organ",),
        room=1.0,
        wet=0.25,
        tone=-1.0,
        levels=(0.9, 1.2, 0.9, 0.9),
    ),
    "hip hop": Style(
        (74, 98),
        ("minor", "phrygian", "harmonic minor"),
        ((0, 5, 0, 6), (0, 0, 5, 4), (0, 3, 0, 5)),
        ("boom bap", "trap"),
        ("sparse", "block", "arpeggio"),
        ("electric piano", "bell", "piano"),
        ("booming", "syncopated"),
        ("sub",),
        ("pluck", "bell", "flute"),
        lead=0.3,
        register=72,
        swing=0.07,
        room=0.6,
        wet=0.15,
        tone=-3.0,
        hiss=0.012,
        levels=(0.6, 1.5, 0.6, 1.5),
    ),
    "latin": Style(
        (92, 118),
        ("harmonic minor", "major", "minor"),
        ((0, 3, 4, 0), (0, 4, 4, 0), (0, 5, 3, 4), (0, 3, 0, 4)),
        ("salsa", "bossa"),
        ("montuno", "strum"),
        ("piano", "nylon guitar"),
        ("tumbao", "bossa"),
        ("upright bass", "bass guitar"),
        ("trumpet", "flute", "nylon guitar"),
        lead=0.65,
        register=74,
        room=0.8,
        wet=0.2,
        tone=1.5,
        levels=(1.1, 1.0, 0.9, 1.2),
    ),
    "pop": Style(
        (98, 128),
        ("major",),
        ((0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (3, 0, 4, 5)),
        ("pop", "dance pop"),
        ("eighths", "halves", "sixteenths"),
        ("super saw", "pluck", "piano"),
        ("octaves", "eighths"),
        ("synth bass", "bass guitar"),
        ("square", "super saw"),
        lead=0.7,
        register=76,
        pads=("super saw", "pad"),
        room=1.1,
        wet=0.25,
        pump=0.35,
        tone=2.5,
        levels=(0.8, 1.0, 1.0, 1.1),
    ),
    "indie rock": Style(
        (112, 152),
        ("major", "mixolydian", "minor"),
        ((0, 3, 5, 4), (0, 4, 3, 3), (5, 3, 0, 4), (0, 2, 3, 3)),
        ("rock", "motorik"),
        ("jangle", "strum", "eighths"),
        ("electric guitar", "steel guitar"),
        ("eighths",),
        ("picked bass",),
        ("electric guitar", "organ"),
        lead=0.5,
        register=71,
        room=0.9,
        wet=0.22,
        tone=1.0,
        levels=(1.1, 1.0, 0.95, 1.0),
    ),
    "metal": Style(
        (132, 196),
        ("phrygian", "harmonic minor", "minor"),
        ((0, 0, 1, 0), (0, 5, 6, 4), (0, 0, 5, 6), (0, 1, 0, 6)),
        ("double kick", "gallop", "blast"),
        ("chug", "riff", "eighths"),
        ("distorted guitar",),
        ("chug", "eighths"),
        ("picked bass",),
        ("distorted guitar",),
        lead=0.45,
        register=69,
        room=0.7,
        wet=0.12,
        tone=2.0,
        power=True,
        levels=(1.5, 0.9, 0.8, 1.0),
    ),
    "techno": Style(
        (126, 140),
        ("minor", "phrygian"),
        ((0, 0, 0, 0), (0, 0, 0, 5), (0, 0, 1, 0)),
        ("warehouse", "hammer"),
        ("stabs", "offbeats"),
        ("stab", "pluck"),
        ("rolling",),
        ("synth bass", "sub"),
        ("acid",),
        lead=0.95,
        register=50,
        room=1.6,
        wet=0.3,
        pump=0.6,
        tone=-0.5,
        levels=(0.6, 1.2, 0.55, 1.5),
    ),
    "house": Style(
        (118, 126),
        ("dorian", "minor"),
        ((0, 3, 0, 3), (0, 5, 3, 4), (1, 4, 0, 5), (0, 6, 3, 3)),
        ("house", "garage", "four"),
        ("piano house", "offbeats"),
        ("piano", "organ", "stab"),
        ("off", "syncopated"),
        ("synth bass",),
        ("vibraphone", "pluck"),
        lead=0.3,
        register=74,
        extra=1,
        swing=0.05,
        pads=("pad",),
        room=1.2,
        wet=0.28,
        pump=0.55,
        tone=0.5,
        levels=(1.0, 1.2, 0.6, 1.3),
    ),
    "ambient": Style(
        (54, 72),
        ("lydian", "major"),
        ((0, 3, 0, 4), (0, 0, 3, 3), (5, 3, 0, 0)),
        ("none",),
        ("block",),
        ("pad", "choir"),
        ("none", "roots"),
        ("sub", "pad"),
        ("bell", "vibraphone", "flute"),
        lead=0.2,
        register=79,
        extra=1,
        pads=("choir", "pad"),
        room=4.5,
        wet=0.9,
        tone=-2.5,
        hiss=0.004,
        levels=(1.0, 0.5, 0.5, 0.0),
    ),
    "folk": Style(
        (84, 124),
        ("major", "mixolydian", "dorian"),
        ((0, 3, 0, 4), (0, 5, 3, 4), (0, 4, 5, 3), (0, 6, 3, 0)),
        ("none", "stomp", "waltz"),
        ("travis", "strum", "oom pah"),
        ("steel guitar", "nylon guitar"),
        ("two", "none"),
        ("upright bass",),
        ("violin", "flute", "reed"),
        lead=0.6,
        register=74,
        room=0.7,
        wet=0.18,
        tone=0.5,
        levels=(1.3, 0.8, 0.7, 0.8),
    ),
}

MOODS: Mapping[str, tuple[float, float]] = {
    "energetic": (1.05, 1.0),
    "workout": (1.05, 0.5),
    "party": (1.03, 1.0),
    "aggressive": (1.06, 1.0),
    "sunny": (1.02, 1.5),
    "uplifting": (1.02, 1.0),
    "serene": (0.94, -0.5),
    "sleep": (0.88, -2.0),
    "melancholy": (0.94, -1.0),
    "dark": (0.98, -2.0),
    "late night": (0.96, -1.5),
    "dreamy": (0.95, -0.5),
    "smoky": (0.95, -1.5),
    "warm": (0.98, -1.0),
}
"""What a mood does: to the tempo, and to the tone in dB."""
