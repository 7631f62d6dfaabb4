"""Listening history from files: readers of several formats, a mapping language for tables, and one sink."""

from segue.events.importers.batch import ImportBatch, Reader, Rejected
from segue.events.importers.opening import FORMATS, open_reader
from segue.events.importers.sink import Append, ImportSummary, Progress, run_import

__all__ = [
    "FORMATS",
    "Append",
    "ImportBatch",
    "ImportSummary",
    "Progress",
    "Reader",
    "Rejected",
    "open_reader",
    "run_import",
]
