"""One random bit of one random file of a stopped node is flipped (hazards S4, S14, S15).

Either the start is refused in one line, or everything is as it was: the log, the vote, the data; and so is everything
that the node does from then on, and finds again at its next start.
"""

import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.kv.applying import apply_command
from tests.storage.contract import after, snapshot
from tests.storage.disk import storage_in
from tests.storage.worker import InlineWorker
from txraft.core.messages import Entry, EntryKind
from txraft.core.ready import Save, TermAndVote
from txraft.errors import StorageError, TxraftError
from txraft.interfaces import Stored
from txraft.kv.commands import Command, Delete, Set, encode
from txraft.kv.store import KeyValueStore
from txraft.kv.write_behind import FLUSH_SECONDS, WriteBehind
from txraft.storage.sqlite import SQLiteStorage
from txraft.testing.quick_disk import quick_directory


def done(deferred: "Deferred[Any]") -> None:
    """It has fired. Raises what it failed with."""
    results: list[object] = []
    deferred.addBoth(results.append)
    if isinstance(results[0], Failure):
        results[0].raiseException()


@define(eq=False)
class StoppedNode:
    """What a node has on its disk, as its next start reads it. Making one is the start; it raises TxraftError."""

    directory: Path
    storage: SQLiteStorage = field(init=False)
    stored: Stored = field(init=False)
    data: dict[bytes, bytes] = field(init=False, factory=dict)
    """What a client has been told of."""
    persisted: int = field(init=False)
    """Index of the last entry that the data included at the start."""
    clock: Clock = field(factory=Clock)
    _disk: WriteBehind = field(init=False)
    _store: KeyValueStore = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.storage = storage_in(self.directory)
        self.stored = self.storage.load()
        self._disk = WriteBehind(
            self.directory / "kv.sqlite", "ours", InlineWorker(), InlineWorker(), self.clock, self._failed
        )
        self._store = KeyValueStore(self._disk)
        try:
            self._store.load()
        except StorageError:
            done(self.storage.close())
            raise
        self.persisted = self._store.last_applied
        start = 0 if self.stored.log_start is None else self.stored.log_start.index
        last = start + len(self.stored.entries)
        assert start <= self.persisted <= last, f"the data are at {self.persisted}, the log goes from {start} to {last}"
        self.storage.count_start()
        self._disk.prepare()
        self._disk.start()
        for entry in self.stored.entries[self.persisted - start :]:
            apply_command(self._store, entry.index, entry.data)

    def get(self, key: bytes) -> bytes | None:
        """As a client's linearizable read."""
        return self._store.get(key)

    def save(self, term_and_vote: TermAndVote | None, *commands: Command) -> None:
        """Make the commands durable and apply them, as on a node that leads."""
        first = self.stored.entries[-1].index + 1 if self.stored.entries else self.persisted + 1
        term = (term_and_vote or self.stored.term_and_vote).current_term
        entries = tuple(
            Entry(index, term, EntryKind.COMMAND, encode(command)) for index, command in enumerate(commands, first)
        )
        self._save(Save(term_and_vote, entries))
        for entry, command in zip(entries, commands, strict=True):
            apply_command(self._store, entry.index, entry.data)
            match command:
                case Set(key, value):
                    self.data[key] = value
                case Delete(key):
                    self.data.pop(key, None)

    def compact(self, position: int) -> None:
        """Delete the first entries of the log, up to that position, as far as the data hold them."""
        entry = self.stored.entries[position]
        if entry.index <= self.persisted:
            self._save(Save(None, (), snapshot(entry.index, entry.term)))

    def _save(self, save: Save) -> None:
        done(self.storage.save([save]))
        self.stored = after(self.stored, save)

    def stop(self) -> None:
        """Write what is left, and close everything."""
        done(self._disk.stop())
        done(self.storage.close())

    def _failed(self, error: StorageError) -> None:
        raise error


def key(number: int) -> bytes:
    return b"key %d" % number * (1 + number % 3)


KEYS = 120


def make_node(directory: Path, random: Random) -> tuple[Stored, dict[bytes, bytes], list[Path]]:
    """What a node has saved, and its directory in two states: as `kill -9` leaves it, and after a clean stop."""
    node = StoppedNode(directory / "node")
    for number in range(120):
        commands: list[Command] = [Delete(key(random.randrange(KEYS)))]
        commands += (Set(key(random.randrange(KEYS)), random.randbytes(random.randrange(1, 300))) for _ in range(4))
        node.save(TermAndVote(number, number % 3) if number % 20 == 0 else None, *commands)
        if number % 20 == 10:
            node.clock.advance(FLUSH_SECONDS)
        if number == 60:
            node.stop()
            again = StoppedNode(node.directory)
            again.data = node.data
            node = again
        if number > 60 and number % 10 == 5:
            node.compact(30)
    assert node.stored.log_start is not None
    killed, stopped = directory / "killed", directory / "stopped"
    shutil.copytree(node.directory, killed)
    node.stop()
    shutil.copytree(node.directory, stopped)
    return node.stored, node.data, [killed, stopped]


@define
class Flips:
    """Flips bits of copies under `directory`."""

    directory: Path
    random: Random
    refused: int = 0
    harmless: int = 0

    def run(self, flips: int) -> None:
        """Raises AssertionError with the place where a flip is neither refused nor harmless."""
        stored, data, states = make_node(self.directory, self.random)
        for _ in range(flips):
            state = self.random.choice(states)
            copy = self.directory / "copy"
            shutil.copytree(state, copy)
            file = self.random.choice([path for path in sorted(copy.iterdir()) if path.stat().st_size])
            content = bytearray(file.read_bytes())
            place, bit = self.random.randrange(len(content)), self.random.randrange(8)
            content[place] ^= 1 << bit
            file.write_bytes(content)
            try:
                self._start(copy, stored, data)
            except BaseException as error:
                raise AssertionError(f"{state.name}/{file.name}, bit {bit} of byte {place}: {error!r}") from error
            shutil.rmtree(copy)

    def _start(self, directory: Path, stored: Stored, data: dict[bytes, bytes]) -> None:
        try:
            node = StoppedNode(directory)
        except TxraftError as error:
            self.refused += 1
            line = str(error)
            node = None
        if node is None:
            assert line.isprintable(), "the line is more than one"
            return
        self.harmless += 1
        node.data = dict(data)
        assert node.stored == stored, "the log or the vote is not what it was"
        self._check(node)
        node.save(TermAndVote(10_000, 1), *(Delete(key(number)) for number in range(0, KEYS, 3)))
        node.save(None, *(Set(key(number), b"new" * number) for number in range(1, KEYS, 3)))
        self._check(node)
        node.stop()
        again = StoppedNode(directory)
        assert again.stored == node.stored, "the log or the vote is not what it became"
        again.data = node.data
        self._check(again)
        again.stop()

    def _check(self, node: StoppedNode) -> None:
        for number in range(KEYS):
            assert node.get(key(number)) == node.data.get(key(number)), f"{key(number)!r} has another value"


def flip(flips: int) -> Flips:
    """Flip that many bits, one at a time. The seed is printed, and can be given as FLIP_SEED."""
    seed = int(os.environ.get("FLIP_SEED", "0")) or Random().randrange(1, 2**32)
    print(f"FLIP_SEED={seed}")
    with quick_directory() as directory:
        result = Flips(Path(directory), Random(seed))
        result.run(flips)
    return result


class FlipTests(SynchronousTestCase):
    def test_some(self) -> None:
        """Refused in one line, or harmless for ever."""
        result = flip(200)
        self.assertGreater(min(result.refused, result.harmless), 10)


@pytest.mark.simulation
def test_many() -> None:
    """1,500 flips are refused in one line each, or harmless for ever."""
    result = flip(1500)
    assert min(result.refused, result.harmless) > 100
