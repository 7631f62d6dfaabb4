"""The outside of a body: {"<field>": [...]} parted into its rows, few enough of them, before any row is read."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from segue.core.actions import ACTIONS
from segue.core.errors import BadInput
from segue.events.checks import printable

MOST_ROWS: Final = 1_000
LARGE: Final = 1 << 18
"""A body of so many bytes could hold enough rows to be worth counting first: smaller ones are cheap whatever they hold."""
_QUOTE, _BACKSLASH, _COMMA = ord('"'), ord("\\"), ord(",")
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = ord("{"), ord("}"), ord("["), ord("]")
_ERROR_LENGTH: Final = 300
UNREADABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What decoding one row can raise, explained() in words; the encoding error comes of a lone surrogate in a field's name."""

_rows: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    field: msgspec.json.Decoder(
        msgspec.defstruct(f"_{field.title()}", [(field, list[msgspec.Raw])], forbid_unknown_fields=True)
    )
    for field in ("events", "items", "users")
}


def check_rows(body: bytes, field: str) -> None:
    """BadInput when a large body holds more than 1,000 rows: found by counting commas, without an object a row."""
    if len(body) >= LARGE and not _at_most(np.frombuffer(body, np.uint8), MOST_ROWS):
        raise BadInput(f"{field}: expected at most {MOST_ROWS}, found more; send several bodies", field)


def rows_of_body(body: bytes, field: str) -> list[Any]:
    """The rows of {"<field>": [...]}: raw where msgspec can part them, decoded where only the lenient parser of the standard
    library can (a lone surrogate, NaN), so that one broken row does not cost the others. BadInput for any other body, and
    for more than 1,000 rows."""
    check_rows(body, field)
    rows = _parted(body, field)
    if len(rows) > MOST_ROWS:
        raise BadInput(f"{field}: expected at most {MOST_ROWS}, found {len(rows)}; send several bodies", field)
    return rows


def _parted(body: bytes, field: str) -> list[Any]:
    try:
        return list(getattr(_rows[field].decode(body), field))
    except UnicodeDecodeError:
        raise BadInput("the body is not valid UTF-8: expected JSON in UTF-8") from None
    except msgspec.ValidationError as error:
        raise BadInput(f'expected {{"{field}": [...]}}: {explained(error)}', field) from None
    except UNREADABLE as error:
        reason = printable(str(error), _ERROR_LENGTH)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise BadInput(f'expected JSON {{"{field}": [...]}}, found: {reason}', field) from None
    if not (isinstance(found, dict) and list(found) == [field] and isinstance(found[field], list)):
        raise BadInput(f'expected {{"{field}": [...]}} and nothing else', field)
    rows: list[Any] = found[field]
    return rows


@njit(cache=True, nogil=True)
def _at_most(body: NDArray[np.uint8], most: int) -> bool:
    """Whether the list inside {"...": [ ]} has at most so many rows, by the commas between them; stops at the first too many.

    Exact for JSON of that shape; anything else is refused by whoever reads it next.
    """
    depth, rows = 0, 1
    quoted = escaped = False
    for byte in body:
        if quoted:
            if escaped:
                escaped = False
            elif byte == _BACKSLASH:
                escaped = True
            elif byte == _QUOTE:
                quoted = False
        elif byte == _QUOTE:
            quoted = True
        elif byte in (_OPEN, _OPEN_LIST):
            depth += 1
        elif byte in (_CLOSE, _CLOSE_LIST):
            depth -= 1
        elif byte == _COMMA and depth == 2:
            rows += 1
            if rows > most:
                return False
    return True


def warm_up() -> None:
    """Compile what counts the rows, so that the first large body does not wait for it."""
    _at_most(np.zeros(0, np.uint8), MOST_ROWS)


def explained(error: Exception) -> str:
    """A decoding error as one line that can be sent: where first, then what was expected and found."""
    if isinstance(error, UnicodeError):
        return "not valid UTF-8: expected JSON in UTF-8"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return printable(_in_words(str(error)), _ERROR_LENGTH)


def _in_words(message: str) -> str:
    what, _, where = message.partition(" - at `$")
    field = where.rstrip("`").lstrip(".")
    if "unknown field" in what:
        name = what.partition("`")[2].rpartition("`")[0]
        return f"{field + '.' if field else ''}{name} is not a field: leave it out or correct its name"
    if "Invalid enum value" in what:
        return f"{field} is {what.removeprefix('Invalid enum value ')}: expected one of {', '.join(ACTIONS)}"
    if "missing required field" in what:
        return f"{what.split('`')[1]} is missing"
    return f"{field}: {what[:1].lower()}{what[1:]}" if field else what
