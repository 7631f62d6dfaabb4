"""Reads a TensorFlow checkpoint (a tensor bundle) without TensorFlow: the index is a LevelDB table, the data are raw tensors.

`NAME.index` is a sorted string table (the layout of LevelDB's table_format.md): blocks of prefix-compressed entries, an index
block that points at them, and a footer of 48 bytes. Keys are names of tensors, values `BundleEntryProto` messages (tensorflow/
core/protobuf/tensor_bundle.proto) that give type, shape, and place in `NAME.data-00000-of-00001`. The empty key is the header.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segue.core.errors import BadInput

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
TRAILER = 5  # a byte that names the compression, four of checksum
TYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 2: np.dtype("<f8"), 3: np.dtype("<i4"), 9: np.dtype("<i8")}
"""By the numbers of tensorflow/core/framework/types.proto."""


def read_bundle(index: bytes, data: bytes) -> dict[str, NDArray[np.generic]]:
    """Every tensor of numbers in the bundle by its name: read-only views into `data`.

    Sliced tensors, big-endian or compressed bundles and bundles of several shards are refused with BadInput, as is an index
    that is damaged. Checksums are not verified here: a wheel is a zip, which has its own.
    """
    try:
        entries = dict(_entries(index))
    except (IndexError, UnicodeDecodeError) as error:
        raise BadInput(f"the index of the checkpoint is damaged: {error}", "checkpoint") from None
    header = _fields(entries.pop("", b""))
    if header.get(1, [1])[0] != 1 or header.get(2, [0])[0] != 0:
        raise BadInput("expected a little-endian checkpoint in one shard; save it again with tf.train.Saver", "checkpoint")
    return {name: _tensor(name, _fields(entry), data) for name, entry in entries.items()}


def _tensor(name: str, entry: dict[int, list[int | bytes]], data: bytes) -> NDArray[np.generic]:
    kind = TYPES.get(int(entry.get(1, [0])[0]))
    if kind is None or 7 in entry:
        raise BadInput(f"tensor {name!r}: expected whole tensors of float or int; this one has another type or is sliced", name)
    message = entry.get(2, [b""])[0]
    assert isinstance(message, bytes)
    shape = tuple(int(_fields(size).get(1, [0])[0]) for size in _fields(message).get(2, []) if isinstance(size, bytes))
    offset, size = int(entry.get(4, [0])[0]), int(entry.get(5, [0])[0])
    count = int(np.prod(shape, dtype=np.int64))
    if size != count * kind.itemsize or offset + size > len(data):
        raise BadInput(f"tensor {name!r}: {size} bytes at {offset} do not fit its shape {shape} or the data file", name)
    tensor: NDArray[np.generic] = np.frombuffer(data, kind, count, offset)
    return tensor.reshape(shape)


def _entries(table: bytes) -> Iterator[tuple[str, bytes]]:
    """(key, value) of every entry of a table, in order."""
    if len(table) < FOOTER or int.from_bytes(table[-8:], "little") != MAGIC:
        raise BadInput("expected the index of a TensorFlow checkpoint (a LevelDB table), found something else", "checkpoint")
    place = len(table) - FOOTER
    for _ in range(2):  # the handle of the metaindex, which is of no use here
        _, place = _varint(table, place)
    for _, handle in _block(table, *_handle(table, place)):
        for key, value in _block(table, *_handle(handle, 0)):
            yield key.decode(), value


def _handle(text: bytes, place: int) -> tuple[int, int]:
    """(offset, size) of a block."""
    offset, place = _varint(text, place)
    return offset, _varint(text, place)[0]


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The entries of a block: each key repeats `shared` bytes of the one before it."""
    if offset + size + TRAILER > len(table):
        raise IndexError(f"a block of {size} bytes at {offset} ends after the file")
    if table[offset + size] != 0:
        raise BadInput("expected an index that is not compressed", "checkpoint")
    block = table[offset : offset + size]
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")  # the places to restart at, and their number
    key, place = b"", 0
    while place < end:
        shared, place = _varint(block, place)
        fresh, place = _varint(block, place)
        length, place = _varint(block, place)
        key = key[:shared] + block[place : place + fresh]
        place += fresh
        yield key, block[place : place + length]
        place += length


def _fields(message: bytes) -> dict[int, list[int | bytes]]:
    """Field number -> its values, of a protocol buffer message: varints and fixed widths as int, the rest as bytes."""
    fields: dict[int, list[int | bytes]] = {}
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        value: int | bytes
        if tag & 7 == 0:
            value, place = _varint(message, place)
        elif tag & 7 == 2:
            length, place = _varint(message, place)
            value, place = message[place : place + length], place + length
        elif tag & 7 in (1, 5):
            width = 8 if tag & 7 == 1 else 4
            value, place = int.from_bytes(message[place : place + width], "little"), place + width
        else:
            raise IndexError(f"a field of unknown wire type {tag & 7}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _varint(text: bytes, place: int) -> tuple[int, int]:
    """(value, place after it): seven bits a byte, lowest first."""
    value = shift = 0
    while True:
        byte = text[place]
        value |= (byte & 127) << shift
        place += 1
        if byte < 128:
            return value, place
        shift += 7
        if shift > 63:
            raise IndexError("a number of more than 64 bits")
