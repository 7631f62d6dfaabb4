"""The words of the town: genres with their vocabulary, and names for artists, songs, albums, regions and listeners.

Every name is put together from word lists; likeness to a real artist or song is an accident.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Genre:
    """A genre's vocabulary and habits; `minutes` is the median length of its songs."""

    name: str
    minutes: float
    moods: tuple[str, ...]
    bands: tuple[str, ...]
    titles: tuple[str, ...]
    adjectives: tuple[str, ...]
    nouns: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# A ring: each genre is a neighbour of the one before and the one after, the last of the first.
GENRES: tuple[Genre, ...] = (
    Genre(
        "classical",
        5.4,
        ("serene", "grand", "melancholy", "focus"),
        ("{first} {last}", "{last} Quartet", "{place} Chamber Players", "{last} & {last}", "Ensemble {noun}"),
        ("{form} No. {n} in {key}", "{form} for {noun}", "The {adj} {noun}", "{noun}: {form}", "{form} in {key}"),
        _words("Silver Quiet Distant Solemn Pale Winter Marble Hidden Gentle Last"),
        _words("Cygnet Garden Orchard Fountain Evening Harvest Chapel Lantern River Mirror Aurora Threnody"),
    ),
    Genre(
        "jazz",
        5.2,
        ("late night", "warm", "restless", "smoky"),
        ("{first} {last} Trio", "{first} {last}", "The {adj} {noun} Quintet", "{last}'s {noun}", "{place} Six"),
        ("{adj} {noun} Blues", "Round the {noun}", "{noun} at {place}", "{noun} for {first}", "{adj} {noun}"),
        _words("Crooked Velvet Slow Amber Blue Lazy Second Hazy Loose Copper"),
        _words("Corner Trolley Ashtray Stairwell Saxophone Umbrella Taxi Waltz Pocket Alley Window Cinnamon"),
    ),
    Genre(
        "soul",
        3.9,
        ("warm", "romantic", "uplifting", "late night"),
        ("{first} {last}", "{first} & the {noun}s", "The {adj} {noun}s", "{first} {last} Band", "{place} Soul Choir"),
        ("{adj} {noun}", "Give Me That {noun}", "{verb} Me {adv}", "Your {adj} {noun}", "When the {noun} Comes Down"),
        _words("Honey Golden Tender Sweet Steady Faithful Sunday Burning Natural Brighter"),
        _words("Mercy Feeling Letter Promise Kitchen Heartbeat Testimony Daylight Rain Caramel Devotion Shelter"),
    ),
    Genre(
        "hip hop",
        3.2,
        ("energetic", "confident", "street", "restless"),
        ("{adj} {last}", "MC {noun}", "{noun} Theory", "Young {last}", "{place} Cypher", "{first} Numbers"),
        ("{noun} Talk", "{adj} {noun} Freestyle", "{noun} on {noun}", "No {noun}", "{place} to {place}", "{adj} Season"),
        _words("Concrete Midnight Gold Heavy Paper Cold Northside Loud Certified Broken"),
        _words("Ledger Rooftop Sneaker Corner Currency Payphone Elevator Gravity Static Receipt Crown Block"),
    ),
    Genre(
        "latin",
        3.6,
        ("sunny", "romantic", "party", "warm"),
        ("{first} {last}", "Los {last}", "Orquesta {place}", "{first} y su {noun}", "Sonora {noun}"),
        ("{noun} de {noun}", "La {noun}", "{noun} y {noun}", "Mi {noun} {adj}", "Baila, {first}", "{noun} en {place}"),
        _words("Dulce Azul Lejana Morena Eterna Salvaje Secreta Ardiente Triste Libre"),
        _words("Luna Canela Marea Ventana Palmera Fiesta Sombra Candela Brisa Corriente Guitarra Vereda"),
    ),
    Genre(
        "pop",
        3.3,
        ("uplifting", "party", "romantic", "sunny"),
        ("{first} {last}", "{first}", "{adj} {noun}", "{noun} Club", "{first} & {first}", "Hey {noun}"),
        ("{verb} Me {adv}", "{adj} {noun}", "{noun}", "Almost {adj}", "{noun}s and {noun}s", "{verb} the {noun}"),
        _words("Neon Electric Sugar Perfect Reckless Glitter Pastel Summer Dizzy Invisible"),
        _words("Firework Polaroid Cherry Satellite Heartline Confetti Ribbon Parachute Lipstick Balcony Magnet Echo"),
    ),
    Genre(
        "indie rock",
        3.8,
        ("restless", "melancholy", "road trip", "dreamy"),
        ("The {adj} {noun}s", "{noun} Weather", "{place} {noun}s", "{adj} {noun}", "{first} and the {noun}s"),
        ("{noun} Weather", "{place}, {year}", "{adj} {noun}s", "{verb} the {noun} {adv}", "All My {noun}s", "{noun} Song"),
        _words("Faded Crooked Nervous Borrowed Paper Plastic Tangled Foreign Sleepless Minor"),
        _words("Telescope Bicycle Postcard Swimmer Cousin Antenna Sweater Orchard Basement Ferry Kite Motel"),
    ),
    Genre(
        "metal",
        4.9,
        ("dark", "aggressive", "energetic", "epic"),
        ("{adj} {noun}", "{noun} of {place}", "{noun}forge", "{adj} Throne", "{noun} Eater", "Grim{noun}"),
        ("{noun} of the {adj}", "{adj} {noun}", "Beneath the {noun}", "{verb} the {noun}", "{noun} and {noun}", "{adj} Rites"),
        _words("Iron Ashen Hollow Black Frozen Wretched Ancient Molten Eternal Scarlet"),
        _words("Wolf Obelisk Plague Raven Cathedral Hammer Serpent Abyss Tempest Crypt Anvil Dominion"),
    ),
    Genre(
        "techno",
        6.3,
        ("hypnotic", "dark", "workout", "late night"),
        ("{noun}.{noun}", "{last}", "{adj} Unit", "DJ {last}", "{place} System", "{noun} Operator"),
        ("{noun} {n}", "{adj} {noun}", "{noun} Sequence", "{place} {n}:00", "{noun} (Version {n})", "Sub{noun}"),
        _words("Parallel Binary Raw Static Infra Opaque Linear Double Vacant Subsonic"),
        _words("Voltage Circuit Turbine Grid Strobe Oxide Vector Piston Module Tunnel Phase Warehouse"),
    ),
    Genre(
        "house",
        5.8,
        ("party", "uplifting", "workout", "sunny"),
        ("{first} {last}", "DJ {first}", "{adj} {noun}", "{place} Dance Society", "{noun} Motion", "{last} & {last}"),
        ("{verb} Me {adv}", "{noun} (Feel It)", "{adj} {noun}", "{noun} in the {noun}", "Can You {verb}", "{place} Groove"),
        _words("Deep Sunset Liquid Endless Soulful Balearic Lucid Tropical Glass Lunar"),
        _words("Groove Terrace Cascade Mirage Rhythm Paradise Horizon Piano Floor Pulse Lagoon Affair"),
    ),
    Genre(
        "ambient",
        6.8,
        ("serene", "focus", "sleep", "dreamy"),
        ("{adj} {noun}", "{last}", "{noun} Archive", "{place} Observatory", "{first} {last}", "{noun}s"),
        ("{noun}, {adj}", "{adj} {noun}", "{noun} {n}", "{noun}s Over {place}", "After the {noun}", "Slow {noun}"),
        _words("Weightless Drifting Still Faint Glacial Pale Dissolving Tidal Remote Luminous"),
        _words("Fog Estuary Moss Lichen Harbor Snowfall Breath Dune Halo Current Meadow Signal"),
    ),
    Genre(
        "folk",
        3.7,
        ("melancholy", "warm", "road trip", "serene"),
        ("{first} {last}", "{first} & {first} {last}", "The {place} {noun}s", "{last} Family", "{adj} {noun}"),
        (
            "{noun} on the {noun}",
            "The {noun} of {place}",
            "{adj} {noun}",
            "{first}'s {noun}",
            "Old {noun} Road",
            "{verb} {adv}",
        ),
        _words("Wayward Rusty Mossy Lonesome Kindly Weathered Barefoot Homespun Gentle Wandering"),
        _words("Sparrow Hollow Cradle Lantern Furrow Willow Thistle Ferryman Fiddle Bramble Hearth Letter"),
    ),
)

FIRST = _words(
    "Ada Mara Ines Otis Leona Theo Nadia Silas Yara Jonas Wren Amadou Priya Luca Freya Tomas Odette Malik Sunniva Ravi "
    "Celia Hugo Noor Idris Paloma Emil Keiko Dario Linnea Kofi Marisol Anton Zadie Felix Amaya Rune Soraya Caspian Elif Bram"
)
LAST = _words(
    "Marlowe Okafor Lindqvist Vance Delacroix Ferreira Hale Nakamura Brandt Osei Castellan Winslow Aramburu Thorne Petrov "
    "Sandoval Whitlock Haddad Moreau Ekström Calloway Rourke Varga Ashby Bellweather Kimura Solano Draper Iversen Quill "
    "Achterberg Montrose Teixeira Farrow Novak Peregrine Abara Lund Sinclair Zielinski"
)
PLACES = _words(
    "Larkhaven Tessera Oldbridge Marisport Kestrel Dunmere Valderra Northgate Solace Pinemoor Estrella Quarry Hollis "
    "Brightwater Coldwell Ravensea Amberley Castelo Fennick Windrush"
)
VERBS = _words("Hold Carry Follow Call Leave Find Burn Remember Raise Break Chase Forget Move Keep Wake")
ADVERBS = ("Slowly", "Tonight", "Home", "Again", "Anyway", "Closer", "Forever", "Like Before", "Down", "Easy")
FORMS = _words("Nocturne Prelude Sonata Étude Elegy Intermezzo Variations Serenade Fantasia Partita")
KEYS = ("C minor", "D major", "E-flat major", "F minor", "G major", "A minor", "B-flat minor", "F-sharp minor")
VERSIONS = ("(Live at {place})", "(Remastered {year})", "(Acoustic)", "(Radio Edit)", "(Live)")
ALBUMS = ("The {noun} Sessions", "{adj} {noun}s", "{noun}", "{place}", "{adj} Hours", "{noun} & {noun}", "Letters to {place}")

REGIONS = (
    "Harbour Quarter", "Old Town", "Northside", "Riverbend", "Hillcrest", "Lakeshore",
    "Market Cross", "Westgate", "The Orchards", "Mill Valley", "Saltmarsh", "University Hill",
)  # fmt: skip
COLOURS = _words(
    "amber azure bronze carmine cedar cobalt copper coral crimson cyan ebony emerald fern flax garnet ginger hazel indigo "
    "ivory jade lilac lime maroon mauve mint navy ochre olive opal pearl plum quartz rose ruby saffron sable scarlet sienna "
    "silver teal topaz umber violet walnut"
)
ANIMALS = _words(
    "badger bison condor crane cricket curlew dolphin dove egret falcon ferret finch fox gecko gull hare hawk heron ibis "
    "jackdaw kestrel kiwi lark lemur linnet lynx marten mole moth newt orca oriole osprey otter owl panda pika plover puffin "
    "quail raven robin seal shrew sparrow stoat stork swallow swift tapir tern thrush toad vole walrus weasel wren yak zebra"
)


def _pick(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def fill(pattern: str, genre: Genre, rng: np.random.Generator) -> str:
    """The pattern with every {slot} replaced by a word of the genre, each drawn on its own and none twice."""
    slots: dict[str, Callable[[], str]] = {
        "first": lambda: _pick(FIRST, rng),
        "last": lambda: _pick(LAST, rng),
        "place": lambda: _pick(PLACES, rng),
        "adj": lambda: _pick(genre.adjectives, rng),
        "noun": lambda: _pick(genre.nouns, rng),
        "verb": lambda: _pick(VERBS, rng),
        "adv": lambda: _pick(ADVERBS, rng),
        "form": lambda: _pick(FORMS, rng),
        "key": lambda: _pick(KEYS, rng),
        "year": lambda: str(int(rng.integers(1974, 2025))),
        "n": lambda: str(int(rng.integers(1, 24))),
    }
    out, rest = "", pattern
    while "{" in rest:
        before, _, rest = rest.partition("{")
        slot, _, rest = rest.partition("}")
        word = slots[slot]()
        while word in out:  # Harbor & Harbor
            word = slots[slot]()
        out += before + word
    return out + rest


def unique(patterns: Sequence[str], genre: Genre, rng: np.random.Generator, taken: set[str], attempts: int = 40) -> str:
    """A filled pattern that is not in `taken`, and adds it; a numeral is added when the words have run out."""
    for _ in range(attempts):
        name = fill(_pick(patterns, rng), genre, rng)
        if name not in taken:
            taken.add(name)
            return name
    number = 2
    while f"{name} {number}" in taken:
        number += 1
    taken.add(f"{name} {number}")
    return f"{name} {number}"


def handles(n: int, rng: np.random.Generator) -> list[str]:
    """n distinct pseudonyms such as amber-heron; a number follows once the pairs have run out."""
    pairs = len(COLOURS) * len(ANIMALS)
    order = rng.permutation(pairs)
    out = []
    for i in range(n):
        colour, animal = divmod(int(order[i % pairs]), len(ANIMALS))
        lap = i // pairs
        out.append(f"{COLOURS[colour]}-{ANIMALS[animal]}" + (f"-{lap + 1}" if lap else ""))
    return out
