"""The tree of errors: every failure that a caller may want to tell apart has a class here.

SegueError
 ├── BadInput         what the caller gave cannot be used (HTTP 422, exit code 2)
 │    ├── BadConfig   segue.toml or a mapping file is wrong
 │    └── BadSound    a file that cannot be read as music
 ├── NotFound         a name that nothing knows (HTTP 404, exit code 2)
 ├── NotReady         nothing trained, or a home that another process holds (HTTP 503, exit code 1)
 └── Corrupt          stored bytes do not match their checksum (exit code 1)
"""

from __future__ import annotations


class SegueError(Exception):
    """The root: catch it to catch everything that Segue raises on purpose."""


class BadInput(SegueError):
    """What the caller gave cannot be used; `field` names where, the message says expected, found and what to change."""

    def __init__(self, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


class BadConfig(BadInput):
    """A setting or a mapping that cannot be used."""


class BadSound(BadInput):
    """A file that cannot be read as music: damaged, no sound at all, or beyond the limits of decoding."""


class NotFound(SegueError):
    """A user, item, artifact or file that nothing knows."""


class NotReady(SegueError):
    """The thing exists but cannot answer now: nothing trained yet, or another process holds it."""


class Corrupt(SegueError):
    """Stored bytes do not match their checksum."""
