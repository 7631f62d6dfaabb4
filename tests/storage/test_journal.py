"""A journal gives back every record that it took, whatever is in it but a line feed."""

from __future__ import annotations

from pathlib import Path

import pytest

from segue.storage.journal import Journal


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    records = [b"", b" ", b"plain", b"a\rb", b"\x0b\x0c\x1c\x85", b'{"a": 1}']
    for record in records:
        assert journal.append(record)
    found, end = journal.read()
    assert found == records
    assert journal.append(b"next", after=end)
    assert not journal.append(b"late", after=end)
    with pytest.raises(ValueError, match="one line"):
        journal.append(b"a\nb")
