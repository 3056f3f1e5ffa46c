"""The application of a simulation by default: the real key-value store, over a copy on disk that lags behind."""

import struct
from collections.abc import Hashable, Iterable, Iterator
from copy import deepcopy
from random import Random
from typing import cast

import msgpack  # type: ignore[import-untyped]  # msgpack ships no type information
from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from txraft.errors import CorruptLog
from txraft.interfaces import ISnapshot, IWorker
from txraft.kv import Command, KeyValueStore, Set, WriteBehind, encode
from txraft.kv.answers import Answers, KeptAnswer
from txraft.kv.contents import Changes, Contents, Delta
from txraft.testing.application import Application, SimulatedHome
from txraft.testing.history import Operation
from txraft.testing.linearizability import check
from txraft.testing.violation import Violation

_NUMBER = struct.Struct(">Q")

PIECE = 150
"""Bytes of a chunk, at most."""


def numbered(number: int, command: bytes) -> bytes:
    """A command with the number of the operation that it belongs to, so that no two are the same."""
    return _NUMBER.pack(number) + command


def number_of(command: bytes) -> int:
    """The operation that a command belongs to."""
    return int(_NUMBER.unpack_from(command)[0])


def without_number(command: bytes) -> bytes:
    """A command as its state machine knows it."""
    return command[_NUMBER.size :]


def command_of(number: int, command: Command) -> bytes:
    """A command of the key-value store, with the number of its operation."""
    return numbered(number, encode(command))


@define(eq=False)
class Copy:
    """What a node's disk has. Data and index change together (S5)."""

    contents: Contents = field(factory=Contents)


@implementer(ISnapshot)
@frozen(eq=False)
class CopyTaken:
    """The data as they were."""

    index: int
    _data: bytes

    @property
    def size(self) -> int:
        """As ISnapshot."""
        return len(self._data)

    def chunks(self) -> Iterator[bytes]:
        """As ISnapshot."""
        for start in range(0, len(self._data), PIECE):
            yield self._data[start : start + PIECE]

    def close(self) -> "Deferred[None]":
        """As ISnapshot."""
        return succeed(None)


@define(eq=False)
class CopyBehind:
    """Writes a node's copy now and then, as `WriteBehind` does, and in its place."""

    _copy: Copy
    _random: Random
    _worker: IWorker
    _delta: Delta = field(factory=Delta)

    is_behind = False

    def load(self) -> Contents:
        """As WriteBehind. What was not written is lost; the log has it."""
        return deepcopy(self._copy.contents)

    def prepare(self) -> None:
        """As WriteBehind."""

    def start(self) -> None:
        """As WriteBehind."""

    def stop(self) -> "Deferred[None]":
        """As WriteBehind, of a process that dies at once."""
        return succeed(None)

    def applied(self, index: int, revision: int, changes: Changes, kept: KeptAnswer | None = None) -> None:
        """As WriteBehind."""
        self._delta.add(index, revision, changes, kept)
        if self._random.random() < 0.05:
            self._write()

    def persist(self) -> "Deferred[int]":
        """As WriteBehind, though at times content with what it has written already."""
        return self._worker.run(self._persist)

    def snapshot(self) -> "Deferred[CopyTaken]":
        """As WriteBehind. Of what the disk has."""
        return self._worker.run(lambda: CopyTaken(self._copy.contents.last_applied, _encoded(self._copy.contents)))

    def restore(self, index: int, chunks: Iterable[bytes]) -> "Deferred[Contents]":
        """As WriteBehind."""
        return self._worker.run(self._restore, index, chunks)

    def release(self, contents: Contents) -> None:
        """As WriteBehind: nothing is left to be done."""

    def _write(self) -> None:
        if self._delta.index:
            self._copy.contents.take(self._delta)
            self._delta = Delta()

    def _persist(self) -> int:
        if self._random.random() < 0.7:
            self._write()
        return self._copy.contents.last_applied

    def _restore(self, index: int, chunks: Iterable[bytes]) -> Contents:
        contents = _decoded(b"".join(chunks))
        if contents.last_applied != index:
            raise CorruptLog(f"the snapshot is of entry {contents.last_applied}, not {index}")
        self._copy.contents, self._delta = contents, Delta()
        return deepcopy(contents)


def _encoded(contents: Contents) -> bytes:
    answers = contents.answers
    kept = [(key, answers.get(key)) for key in answers._order]
    state = contents.last_applied, contents.revision, sorted(contents.records.items()), answers.first, kept
    return bytes(msgpack.packb(state))


def _decoded(data: bytes) -> Contents:
    last_applied, revision, records, first, kept = msgpack.unpackb(data, use_list=False)
    answers = Answers(first)
    for key, answer in kept:
        answers.keep(key, answer)
    return Contents(last_applied, revision, dict(records), answers)


class KeyValueApplication(Application):
    """The `Application` whose clients the simulation knows: their history is judged, too."""

    def machine(self, home: SimulatedHome) -> KeyValueStore:
        """As Application."""
        behind = CopyBehind(home.kept.setdefault("copy", Copy()), home.random, home.worker)
        store = KeyValueStore(cast(WriteBehind, behind))
        store.load()
        return store

    def command(self, random: Random) -> bytes:
        """As Application. The clients of the key-value store ask for more than this, and do not call it."""
        return encode(Set(key_of(random.randrange(8)), random.randbytes(4)))

    def state(self, machine: KeyValueStore) -> Hashable:
        """As Application."""
        contents = machine._contents
        answers = contents.answers
        return (
            contents.last_applied,
            contents.revision,
            *sorted(contents.records.items()),
            answers.first,
            *answers._kept.items(),
        )

    def judge(self, operations: Iterable[Operation]) -> None:
        """As Application: what clients saw is linearizable."""
        if not (verdict := check(operations)).ok:
            raise Violation("Linearizability", str(verdict))


def key_of(number: int) -> bytes:
    """The name of a key."""
    return b"k%d" % number
