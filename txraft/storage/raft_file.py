"""The SQLite file: how it is made, read and written. Every call blocks.

Each SQL statement gives up the interpreter's lock and takes it again, which beside a busy reactor costs more than the
work it does. So a write is as few statements as can be: many rows each, and `executemany`, a statement a row, never.
"""

import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from attrs import evolve

from txraft import wal
from txraft.core.configuration import Snapshot
from txraft.core.messages import NodeId
from txraft.core.ready import Save, TermAndVote
from txraft.errors import REMEDY_FOR_LOST_DATA, StorageError, TxraftError, WriteFailed
from txraft.interfaces import Identity, Incarnation, Stored
from txraft.storage.durable import DurableRecord, SaveNumbers
from txraft.storage.identity import BITS, Bootstrap, History, require_same
from txraft.storage.merging import require_no_gap, require_stored
from txraft.storage.raft_reading import (
    Contents,
    OtherFormat,
    corrupt,
    is_new,
    read_contents,
    read_owner,
    require_durable,
    require_there,
)
from txraft.storage.raft_rows import (
    TABLES,
    Statement,
    delete_peer,
    insert_entries,
    insert_identity,
    make_again,
    refound,
    write_peer,
    write_start,
    write_start_of_node,
    write_vote,
)
from txraft.values import value_class
from txraft.wal import sync_directory

ROW_SIZE = 40
"""Bytes of an entry's row beside its data."""

DELETED_SIZE = 512
"""Bytes in the `-wal` for each entry that is deleted: 400 where entries have 300 bytes, 550 where they have 1,000, and
next to nothing where they are longer than half a page."""

Connect: TypeAlias = Callable[[Path], sqlite3.Connection]


def connect(path: Path) -> sqlite3.Connection:
    """Open a file so that a commit is durable when it returns."""
    return wal.connect(path, "FULL")


@value_class
class _Log:
    """Where the log in the file begins and ends."""

    start: int = 0
    """Index of the last entry that it does not hold any more."""
    seed: int = 0
    """What its first entry's checksum is seeded with."""
    last: int = 0
    checksum: int = 0
    """The last entry's; the seed where it is empty."""


class RaftFile:
    """The file at `path`. `load` is called once and leaves nothing open; the calls after it all come from one thread.

    `bootstrap` is what it becomes where it is not there yet. Without one, the file is there, a command has it, and it
    is taken for whose it says that it is. `connect`, with which the file is written, is for tests."""

    identity: Identity
    history: History
    """After `load`: what was drawn for the directory and its starts."""
    peers: Mapping[NodeId, Incarnation]
    """After `load`: which directories the other nodes had."""

    def __init__(self, path: Path, bootstrap: Bootstrap | None, connect: Connect = connect) -> None:
        self._given = bootstrap
        self._again = wal.RUN_AGAIN if bootstrap is None else wal.START_AGAIN
        self._path = path
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._guard: sqlite3.Connection | None = None
        """Reads only. While it is open no other is the last to close, so SQLite does not checkpoint by itself."""
        self._opened: wal.Inodes = {}
        self._durable = DurableRecord(Path(f"{path}-durable"))
        # What the file holds.
        self._saves = SaveNumbers()
        self._log = _Log()
        self._old: tuple[Snapshot, int, int] | None = None
        """Of a file in an earlier format: what the log begins after, its seed, and the number of the save."""
        self._not_checkpointed = 0
        """Bytes in the `-wal`, roughly."""

    def load(self) -> Stored:
        """Read everything and check it; make the file where there is none. A file that is refused is left as it was,
        so the next start is refused too.

        Raises CorruptLog, WrongDirectory, or StorageError where the file cannot be used for another reason."""
        remedy = f"put back what was there; where it is gone, {REMEDY_FOR_LOST_DATA}"
        wal.require_files(self._path, self._durable.path, remedy=remedy)
        if os.path.lexists(journal := f"{self._path}-journal"):
            raise StorageError(f"{journal} is no file of txraft's, and SQLite would heed it; move it elsewhere")
        try:
            if self._given is not None and is_new(self._path, self._durable):
                self._create(self._given.new_identity, Snapshot(0, 0, self._given.configuration), TermAndVote(0, None))
            contents = self._read()
        except TxraftError:
            raise
        except OtherFormat as error:
            raise StorageError(f"{self._path} is in format {error}: start the txraft that wrote it") from error
        except sqlite3.Error as error:
            if wal.is_damage(error):
                raise corrupt(self._path, error) from error
            raise StorageError(
                f"cannot use {self._path}: {error}; {wal.remedy_for_start(self._path, self._again)}"
            ) from error
        except OSError as error:
            raise StorageError(f"cannot use {self._path}: {error.strerror}; see to the disk and its room") from error
        except Exception as error:  # a bit that flipped has made something else of a value
            raise corrupt(self._path, error) from error
        stored, self.peers = contents.stored, contents.peers
        self._saves = contents.saves
        if contents.owner.is_old:
            self._old = stored.log_start, contents.seed, contents.start_save
        self._log = _Log(stored.log_start.index, contents.seed, stored.last_index, contents.checksum)
        return stored

    @property
    def is_old(self) -> bool:
        """After `load`: whether it is in an earlier format, in which nothing is written but what `count_start` does."""
        return self._old is not None

    def create(self, start: Snapshot, term: int) -> None:
        """In place of the first `load`, where there is no file: make one whose log begins after `start`, in `term`.

        Raises StorageError."""
        assert self._given is not None
        try:
            self._create(self._given.identity, start, TermAndVote(term, None))
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"cannot make {self._path}: {error}; see to the disk and its room") from error

    def count_start(self) -> None:
        """After `load`: a node starts, and others may hear of it when this is done: it is durable then, and with it, in
        one transaction, that the file is in the present format. Nothing is open afterwards. Raises StorageError."""
        self.history = evolve(self.history, starts=self.history.starts + os.urandom(BITS))
        try:
            with closing(wal.connect_to_read(self._path)) as guard, closing(self._connect(self._path)) as connection:
                guard.execute("PRAGMA user_version").fetchall()  # the last to close, so SQLite checkpoints nothing
                for sql, parameters in self._count_start():
                    connection.execute(sql, parameters)
                wal.checkpoint(connection, "TRUNCATE")
        except sqlite3.Error as error:
            raise StorageError(
                f"cannot write {self._path}: {error}; {wal.remedy_for_start(self._path, self._again)}"
            ) from error

    def _count_start(self) -> list[Statement]:
        if self._old is None:
            return [write_start_of_node(self.identity, self.history)]
        statements = make_again(self.identity, self.history, *self._old)
        return [("BEGIN IMMEDIATE", ()), *statements, ("COMMIT", ())]

    def open(self) -> None:
        """Open everything that `write` needs (hazard S19), and checkpoint what is there. Raises WriteFailed."""
        try:
            self._connection = self._connect(self._path)
            wal.checkpoint(self._connection, "TRUNCATE")
            self._guard = wal.connect_to_read(self._path)
            self._guard.execute("PRAGMA user_version").fetchall()  # a first look takes the lock
            self._durable.open()
            self._opened = wal.inodes(self._path)
        except (sqlite3.Error, OSError) as error:
            raise WriteFailed(
                f"cannot open {self._path}: {error}; {wal.remedy_for_start(self._path, self._again)}"
            ) from error

    def write(self, save: Save) -> None:
        """Write `save` in one transaction, durably.

        Raises InvariantViolated before it does anything where the entries would leave a gap, and WriteFailed."""
        self._write(save, [])

    def refound(self, identity: Identity, save: Save) -> None:
        """While no node runs: the file becomes that of `identity`, in a directory that nobody has met, and `save` is
        written, all in one transaction, durably. Raises WriteFailed."""
        history = History(os.urandom(BITS))
        self._write(save, refound(identity, history))
        self.identity, self.history, self.peers = identity, history, {}

    def _write(self, save: Save, others: list[Statement]) -> None:
        require_no_gap(save, self._log.start, self._log.last)
        assert self._connection is not None
        number = self._saves.last + 1
        try:
            statements, log = self._statements(self._connection, save, number, others)
            for sql, parameters in statements:
                self._connection.execute(sql, parameters)
            self._saves = SaveNumbers(
                vote=self._saves.vote if save.term_and_vote is None else number,
                log=number if save.entries or save.log_start is not None else self._saves.log,
            )
            self._durable.write(self._saves)
        except (sqlite3.Error, OSError) as error:
            raise self._cannot_write(error) from error
        self._not_checkpointed += 2 * wal.PAGE_SIZE + sum(ROW_SIZE + len(entry.data) for entry in save.entries)
        self._not_checkpointed += DELETED_SIZE * (log.start - self._log.start)
        self._log = log

    def meet(self, peer: NodeId, incarnation: Incarnation) -> None:
        """Keep, durably, which directory a peer has. Raises WriteFailed."""
        self._write_of_peers(write_peer(peer, incarnation))

    def forget(self, peer: NodeId) -> None:
        """Keep nothing of a peer any more, durably. Raises WriteFailed."""
        self._write_of_peers(delete_peer(peer))

    def _write_of_peers(self, statement: Statement) -> None:
        assert self._connection is not None
        try:
            self._connection.execute(*statement)
        except sqlite3.Error as error:
            raise self._cannot_write(error) from error
        self._not_checkpointed += 2 * wal.PAGE_SIZE

    @property
    def is_checkpoint_due(self) -> bool:
        """Whether the `-wal` is long."""
        return self._not_checkpointed >= wal.CHECKPOINT_SIZE

    def checkpoint(self) -> None:
        """Copy the rest of the `-wal` into the file, so that the next write begins it again. Raises WriteFailed."""
        assert self._connection is not None
        try:
            wal.require_in_place(self._opened)
            wal.checkpoint(self._connection)
        except (sqlite3.Error, OSError) as error:
            raise self._cannot_write(error) from error
        self._not_checkpointed = 0

    def close(self, failed: bool) -> None:
        """Stop writing. Nothing is left in the `-wal` then. Where something has `failed`, or does so here, the `-wal`
        stays as it is, for the next start: SQLite takes pages whose sync failed for copied (hazard S1). `release` is
        called afterwards. Raises WriteFailed."""
        connection, self._connection = self._connection, None
        try:
            if connection is not None and not failed:
                wal.finish(connection, self._opened)
                self.release()
        except (sqlite3.Error, OSError) as error:
            raise self._cannot_write(error) from error
        finally:
            if connection is not None:
                connection.close()
            self._close_durable()

    def release(self) -> None:
        """Let go of the file, after every connection that writes it has."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.close()

    def _close_durable(self) -> None:
        try:
            self._durable.close()
        except OSError as error:
            path = self._durable.path
            raise WriteFailed(
                f"cannot write {path}: {error}; {wal.remedy_for_write(path, error, self._again)}"
            ) from error

    def _create(self, identity: Identity, start: Snapshot, vote: TermAndVote) -> None:
        """Make the file under another name, whole, then give it its own. What is durable in it is said first.

        It has its journal mode from here on: SQLite keeps a rollback journal while it changes the mode, and `_read`,
        which may not write, could not roll back one that a crash left behind."""
        self._durable.create()
        new = Path(f"{self._path}.new")
        for leftover in new.parent.glob(f"{new.name}*"):  # of a start that was cut off
            leftover.unlink()
        with closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = MEMORY")  # no second file that a crash could leave behind
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            for table in TABLES.values():
                connection.execute(table)
            connection.execute(*insert_identity(identity, History(os.urandom(BITS))))
            connection.execute(*write_vote(vote, save=0))
            connection.execute(*write_start(start, seed=0, save=0))
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")
        new.rename(self._path)
        sync_directory(self._path.parent)

    def _read(self) -> Contents:
        require_there(self._path)
        with closing(wal.connect_to_read(self._path)) as connection:
            owner, addresses = read_owner(connection), {}
            if self._given is not None:
                require_same(self._path.parent, owner.identity, self._given)
                addresses = dict(self._given.configuration.addresses)
            self.identity, self.history = owner.identity, owner.history
            contents = read_contents(connection, owner, addresses)
        require_durable(contents.saves, self._durable.read())
        return contents

    def _statements(
        self, connection: sqlite3.Connection, save: Save, number: int, others: list[Statement]
    ) -> tuple[list[Statement], _Log]:
        """What writes `save`, with `others`, and what the log is then."""
        log, entries = self._log, save.entries
        statements = others if save.term_and_vote is None else [*others, write_vote(save.term_and_vote, number)]
        if save.log_start is not None:
            log, delete = self._begin(connection, save.log_start, save.replaces_log)
            statements = [*statements, delete, write_start(save.log_start, log.seed, number)]
        if entries:
            first, checksum = entries[0].index, log.checksum
            if first <= log.last:
                checksum = self._checksum_of(connection, first - 1)
                statements = [*statements, ("DELETE FROM log WHERE idx >= ?", (first,))]
            inserts, checksum = insert_entries(entries, checksum, number)
            statements = [*statements, *inserts]
            log = _Log(log.start, log.seed, entries[-1].index, checksum)
        if len(statements) > 1:  # one statement is a transaction by itself
            statements = [("BEGIN IMMEDIATE", ()), *statements, ("COMMIT", ())]
        return statements, log

    def _begin(self, connection: sqlite3.Connection, log_start: Snapshot, replaces_log: bool) -> tuple[_Log, Statement]:
        """The log as it begins after `log_start`, and what deletes the rest."""
        index = log_start.index
        if replaces_log:
            return _Log(start=index, last=index), ("DELETE FROM log", ())
        term, seed = connection.execute("SELECT term, checksum FROM log WHERE idx = ?", (index,)).fetchone()
        require_stored(log_start, term)
        return _Log(index, seed, self._log.last, self._log.checksum), ("DELETE FROM log WHERE idx <= ?", (index,))

    def _checksum_of(self, connection: sqlite3.Connection, index: int) -> int:
        """As the next entry's is seeded with it."""
        if index == self._log.start:
            return self._log.seed
        ((checksum,),) = connection.execute("SELECT checksum FROM log WHERE idx = ?", (index,))
        return int(checksum)

    def _cannot_write(self, error: Exception) -> WriteFailed:
        return WriteFailed(
            f"cannot write {self._path}: {error}; {wal.remedy_for_write(self._path, error, self._again)}"
        )
