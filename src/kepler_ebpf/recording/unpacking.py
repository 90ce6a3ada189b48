"""How much memory a recording asks for, told before it is given any.

Columns are compressed one by one, and begin with the length that they unpack to. Arrow makes room for as much, whatever
it says: half a gigabyte of one letter takes 20 KiB of a file. So each message's lengths are read first, from its
metadata, which is a flatbuffer: Message.fbs of https://arrow.apache.org/docs/format/Columnar.html and
https://flatbuffers.dev/internals. Arrow has verified the places in it by then.
"""

from __future__ import annotations

import struct
from typing import Any

_FREE_BYTES = 64 << 20
_MOST_TIMES = 100
"""As much as a recorder's own files unpack to; columns of lines in which little happens come to 20 times."""
_DICTIONARY, _BATCH = 2, 3  # MessageHeader
_MESSAGE_KIND, _MESSAGE_HEADER, _DICTIONARY_DATA, _BATCH_BUFFERS, _BATCH_COMPRESSION = 1, 2, 1, 2, 3
"""Numbers of fields in the tables Message, DictionaryBatch and RecordBatch."""
_STORED = -1  # in place of a length: this buffer is not compressed


class Unpacking:
    """Adds up what the messages of one recording unpack to."""

    def __init__(self) -> None:
        self._packed = self._unpacked = 0

    def add(self, message: Any) -> None:
        """Take the next ``pyarrow.ipc.Message``. Raises ValueError where all so far would take too much memory."""
        metadata, body = memoryview(message.metadata), memoryview(message.body or b"")
        self._packed += len(metadata) + len(body)
        try:
            self._unpacked += _unpacked_bytes(metadata, body)
        except (struct.error, IndexError) as error:
            raise ValueError("a length is missing") from error
        if self._unpacked > _FREE_BYTES + _MOST_TIMES * self._packed:
            raise ValueError(f"{self._packed} bytes unpack to {self._unpacked}, it says")


def _unpacked_bytes(metadata: memoryview, body: memoryview) -> int:
    """Raises ValueError, IndexError and struct.error where it does not say."""
    root = _u32(metadata, 0)
    kind, table = _field(metadata, root, _MESSAGE_KIND), _table(metadata, root, _MESSAGE_HEADER)
    header = metadata[kind] if kind else 0
    if table and header == _DICTIONARY:
        table = _table(metadata, table, _DICTIONARY_DATA)
    elif header != _BATCH:
        return 0
    buffers = _table(metadata, table, _BATCH_BUFFERS) if table else 0
    if not buffers or not _field(metadata, table, _BATCH_COMPRESSION):
        return 0
    total = 0
    for number in range(_u32(metadata, buffers)):
        offset, length = struct.unpack_from("<qq", metadata, buffers + 4 + 16 * number)
        if length:
            if not 0 <= offset <= len(body):
                raise ValueError("a column lies outside of its batch")
            (unpacked,) = struct.unpack_from("<q", body, offset)
            if unpacked < _STORED:
                raise ValueError(f"a column unpacks to {unpacked} bytes, it says")
            total += length if unpacked == _STORED else unpacked
    return total


def _field(data: memoryview, table: int, number: int) -> int:
    """Where a field of a table stands; 0 where it has none."""
    (back,) = struct.unpack_from("<i", data, table)
    names = table - back
    size, place = struct.unpack_from("<H", data, names)[0], 4 + 2 * number
    offset: int = struct.unpack_from("<H", data, names + place)[0] if place < size else 0
    return table + offset if offset else 0


def _table(data: memoryview, table: int, number: int) -> int:
    """Where the table, or vector, begins that a field refers to; 0 where there is none."""
    field = _field(data, table, number)
    return field + _u32(data, field) if field else 0


def _u32(data: memoryview, place: int) -> int:
    (found,) = struct.unpack_from("<I", data, place)
    return int(found)
