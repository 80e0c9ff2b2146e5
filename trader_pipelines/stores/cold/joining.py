"""Parquet files joined into one: their row groups one after the other under one new footer.

A footer is a Thrift struct in the compact protocol. It is read as it stands, the offsets in it are
moved, and everything else goes through untouched.

https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

import struct
from typing import Any, BinaryIO

MAGIC = b"PAR1"

# Types of the compact protocol.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)

#: By field id, ascending: its type and value. A list's value is the type of its elements and these.
_Fields = dict[int, tuple[int, Any]]

# Field ids.
_FILE_ROWS, _FILE_GROUPS = 3, 4
_GROUP_CHUNKS, _GROUP_ROWS, _GROUP_OFFSET, _GROUP_ORDINAL = 1, 3, 5, 7
_CHUNK_OFFSET, _CHUNK_META, _CHUNK_INDEXES = 2, 3, (4, 5, 6, 7)
_META_BYTES, _META_DATA, _META_INDEX, _META_WORDS = 7, 9, 10, 11


class Joined:
    """A Parquet file that grows by whole Parquet files of one schema.

    Of these only the footers stay in memory. Page indexes are left behind: the statistics of row
    groups are what a reader skips by.

    Parameters
    ----------
    sink : binary file
        Empty. What is written to it is a Parquet file once `close` was called.
    """

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._at = len(MAGIC)
        self._file: _Fields = {}
        self._groups: list[_Fields] = []
        self._rows = 0
        sink.write(MAGIC)

    def append(self, part: bytes) -> None:
        """Add the row groups of a file, which holds nothing but them between magic and footer."""
        footer = len(part) - 8 - int.from_bytes(part[-8:-4], "little")
        file, _ = _read_fields(part, footer)
        if not self._file:
            self._file = file
        end = len(MAGIC)
        for group in file[_FILE_GROUPS][1][1]:
            for chunk in group[_GROUP_CHUNKS][1][1]:
                end = max(end, _end(chunk[_CHUNK_META][1]))
            _move(group, self._at - len(MAGIC), len(self._groups))
            self._groups.append(group)
            self._rows += group[_GROUP_ROWS][1]
        self._sink.write(memoryview(part)[len(MAGIC) : end])
        self._at += end - len(MAGIC)

    def close(self) -> None:
        """Write the footer; the sink stays open."""
        self._file[_FILE_ROWS] = (_I64, self._rows)
        self._file[_FILE_GROUPS] = (_LIST, (_STRUCT, self._groups))
        footer = bytearray()
        _write_fields(footer, self._file)
        self._sink.write(bytes(footer) + len(footer).to_bytes(4, "little") + MAGIC)


def _end(meta: _Fields) -> int:
    """Where a column chunk ends."""
    starts = [meta[at][1] for at in (_META_DATA, _META_WORDS) if at in meta]
    return int(min(starts)) + int(meta[_META_BYTES][1])


def _move(group: _Fields, by: int, ordinal: int) -> None:
    for chunk in group[_GROUP_CHUNKS][1][1]:
        meta = chunk[_CHUNK_META][1]
        for at in (_META_DATA, _META_INDEX, _META_WORDS):
            if at in meta:
                meta[at] = (_I64, meta[at][1] + by)
        if chunk[_CHUNK_OFFSET][1]:
            chunk[_CHUNK_OFFSET] = (_I64, chunk[_CHUNK_OFFSET][1] + by)
        for at in _CHUNK_INDEXES:
            chunk.pop(at, None)
    if _GROUP_OFFSET in group:
        group[_GROUP_OFFSET] = (_I64, group[_GROUP_OFFSET][1] + by)
    if _GROUP_ORDINAL in group:
        group[_GROUP_ORDINAL] = (_I16, ordinal)


def _read_fields(data: bytes, at: int) -> tuple[_Fields, int]:
    fields: _Fields = {}
    number = 0
    while head := data[at]:
        at += 1
        kind, delta = head & 0x0F, head >> 4
        if delta:
            number += delta
        else:
            number, at = _read_signed(data, at)
        if kind in (_TRUE, _FALSE):  # the type is the value
            fields[number] = (kind, None)
        else:
            value, at = _read(data, at, kind)
            fields[number] = (kind, value)
    return fields, at + 1


def _read(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (_I16, _I32, _I64):
        return _read_signed(data, at)
    if kind == _BINARY:
        size, at = _read_unsigned(data, at)
        return data[at : at + size], at + size
    if kind == _STRUCT:
        return _read_fields(data, at)
    if kind in (_LIST, _SET):
        size, of = data[at] >> 4, data[at] & 0x0F
        at += 1
        if size == 0x0F:
            size, at = _read_unsigned(data, at)
        values = []
        for _ in range(size):
            value, at = _read(data, at, of)
            values.append(value)
        return (of, values), at
    if kind in (_TRUE, _FALSE, _BYTE):  # as an element
        return data[at], at + 1
    if kind == _DOUBLE:
        return struct.unpack_from("<d", data, at)[0], at + 8
    raise ValueError(f"type {kind} has no place in a Parquet footer")


def _read_unsigned(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _read_signed(data: bytes, at: int) -> tuple[int, int]:
    value, at = _read_unsigned(data, at)
    return (value >> 1) ^ -(value & 1), at


def _write_fields(out: bytearray, fields: _Fields) -> None:
    before = 0
    for number, (kind, value) in sorted(fields.items()):
        delta = number - before
        if 0 < delta < 0x10:
            out.append(delta << 4 | kind)
        else:
            out.append(kind)
            _write_signed(out, number)
        if kind not in (_TRUE, _FALSE):
            _write(out, kind, value)
        before = number
    out.append(0)


def _write(out: bytearray, kind: int, value: Any) -> None:
    if kind in (_I16, _I32, _I64):
        _write_signed(out, value)
    elif kind == _BINARY:
        _write_unsigned(out, len(value))
        out += value
    elif kind == _STRUCT:
        _write_fields(out, value)
    elif kind in (_LIST, _SET):
        of, values = value
        out.append(min(len(values), 0x0F) << 4 | of)
        if len(values) >= 0x0F:
            _write_unsigned(out, len(values))
        for each in values:
            _write(out, of, each)
    elif kind == _DOUBLE:
        out += struct.pack("<d", value)
    else:
        out.append(value)


def _write_unsigned(out: bytearray, value: int) -> None:
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _write_signed(out: bytearray, value: int) -> None:
    _write_unsigned(out, (value << 1) ^ (value >> 63))
