"""What is kept of a key: a record, one bytes object of the value and three numbers behind it.

- `create_revision`: the revision of the store in which the key came to be, or came again after a delete;
- `mod_revision`: the one in which it was set last;
- `version`: how often it has been set since it came to be, which is 1 for the first time.

These are etcd's. One object a key, and no container, takes 24 bytes more than the value alone, and the garbage
collector never looks at it. It stands in memory and in the file as it is. A program for SQLite shows the value, since
it takes the zeros of the first number for the end of a text.
"""

import struct

NUMBERS = struct.Struct(">QQQ")
"""create_revision, mod_revision, version: what a record ends with."""

NO_REVISION = 0
"""The `mod_revision` of a key that is not there, as conditions have it."""

_SIZE = NUMBERS.size
_VALUE = slice(-_SIZE)


def record_of(value: bytes, revision: int, current: bytes | None) -> bytes:
    """The record of a key that is given this value in this revision, where its record is `current`; None for none."""
    if current is None:
        return value + NUMBERS.pack(revision, revision, 1)
    create_revision, _, version = NUMBERS.unpack_from(current, len(current) - _SIZE)
    return value + NUMBERS.pack(create_revision, revision, version + 1)


def value_of(record: bytes) -> bytes:
    """The value."""
    return record[_VALUE]


def mod_revision_of(record: bytes | None) -> int:
    """The revision in which the key was set last; NO_REVISION where there is no record."""
    return NO_REVISION if record is None else numbers_of(record)[1]


def numbers_of(record: bytes) -> tuple[int, int, int]:
    """All three, in their order."""
    return NUMBERS.unpack_from(record, len(record) - _SIZE)
