"""Format 4, which has three lists of ids in place of a membership. A file in it is read as it is, until a node starts:
`RaftFile.count_start` makes it one of the present format.

Its members have no addresses. Those that the configuration file has at that start are taken, for the ids that it knows.
"""

import struct
from collections.abc import Mapping
from typing import Final
from zlib import crc32

from txraft.core.configuration import Addresses, Configuration, Snapshot
from txraft.core.messages import NodeId
from txraft.interfaces import Identity
from txraft.storage import raft_rows
from txraft.storage.identity import ids_in

FORMAT: Final = 4

TABLES: Final = raft_rows.TABLES | {
    "identity": """CREATE TABLE identity (
    format INTEGER NOT NULL, node_id INTEGER NOT NULL, cluster_id TEXT NOT NULL, voters TEXT NOT NULL,
    directory BLOB NOT NULL, starts BLOB NOT NULL, checksum INTEGER NOT NULL
)""",
    "log_start": """CREATE TABLE log_start (
    id INTEGER PRIMARY KEY CHECK (id = 0), idx INTEGER NOT NULL, term INTEGER NOT NULL, voters TEXT NOT NULL,
    outgoing TEXT NOT NULL, learners TEXT NOT NULL, seed INTEGER NOT NULL, save INTEGER NOT NULL,
    checksum INTEGER NOT NULL
)""",
}

COLUMNS: Final = ("index", "term", "voters", "outgoing", "learners")
"""What a snapshot's file has in its first line."""

_START = struct.Struct(">qqqq")


def checksum_of_start(index: int, term: int, voters: str, outgoing: str, learners: str, seed: int, save: int) -> int:
    """CRC-32 of the numbers, and of the members."""
    members = "\n".join((voters, outgoing, learners))
    return crc32(members.encode(), crc32(_START.pack(index, term, seed, save)))


def snapshot_of(index: int, term: int, voters: str, outgoing: str, learners: str) -> Snapshot:
    """What was stored as these columns. Where the log begins at 1, they are 0 and empty. May raise anything where they
    are not what was stored."""
    return Snapshot(index, term, Configuration(ids_in(voters), ids_in(outgoing), ids_in(learners)))


def start_of(stored: Snapshot, identity: Identity, addresses: Mapping[NodeId, Addresses]) -> Snapshot:
    """What the log begins after, as the present format has it: with the members of a log that begins at 1, and with
    the addresses of those that have some."""
    members = stored.configuration if stored.index else Configuration(identity.founders)
    known = {server: addresses[server] for server in members.members & addresses.keys()}
    return Snapshot(
        stored.index, stored.term, Configuration(members.voters, members.outgoing, members.learners, addresses=known)
    )
