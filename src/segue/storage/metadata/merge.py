"""How a new record joins a stored one: field by field, None keeps."""

from __future__ import annotations

from typing import TypeVar

from segue.core.records import ItemRecord, UserRecord

R = TypeVar("R", ItemRecord, UserRecord)


def merged(old: R | None, new: R) -> R:
    """`new` over `old`: a field that is None keeps what was, "" clears a text, `extra` is joined key by key (null removes)."""
    values = {name: getattr(new, name) for name in new.__struct_fields__}
    if old is not None:
        values = {name: getattr(old, name) if value is None else value for name, value in values.items()}
    if isinstance(new, ItemRecord) and new.extra is not None:
        before = old.extra if isinstance(old, ItemRecord) else None
        values["extra"] = {key: value for key, value in {**(before or {}), **new.extra}.items() if value is not None}
    values.update({name: None for name, value in values.items() if value == "" and name != "id"})
    return type(new)(**values)
