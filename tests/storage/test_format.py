"""The format on disk: files that an earlier txraft wrote, byte for byte, must load.

Where one of these fails, data that is on disks already would be refused, or misread: raise FORMAT with every change. A
file of another format is refused in one line. Nothing reads an older one yet.
"""

import zlib
from base64 import b64decode
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.contract import after
from tests.storage.disk import storage_in
from txraft.core.configuration import Configuration, Snapshot
from txraft.core.messages import Entry, EntryKind
from txraft.core.ready import Save, TermAndVote
from txraft.interfaces import Incarnation, Stored
from txraft.storage.durable import DurableRecord, SaveNumbers
from txraft.storage.raft_rows import FORMAT

FILES_OF_FORMAT_4 = {
    "raft.sqlite": (
        "eNrt201PE0EYB/CZ7fTV1mKINJE2nYNJIakIciQYoW6QUEFqjXKQZtldYKXsmt1tI0fqS/gGnky8ePETGBJvfgIPHvDEB/BCPOnF2ZYCfYFGTm"
        "L+v8725Znd9HmezmWS7cPFvOHqfNWyNxWXj5M+IknkDueEEEkcAXLMLw524jMlvUlkRKUx7+JL70m8//JKbCe6LN4CAAAAAEAX2xP+YKK/n9ae"
        "uspKWS9ba2IEcgV5qijz4tR0XuYiwIciXDC0F3x2vijPyAX+oDB7f6qwxOfkpSx3dXvzaGZ+ocjnH+XzWb5hmFqXsKa4Cp/OL0yfiDlKVe88tf"
        "6t6rqubjiVzi+IDNcyLJhIp+mrVDP7kuMqtnv0xt9eSSN8VE+3cnjunpyb40NidpKPDmdbyj7O+JSaq5aYcHhRflJsq8OquGuWYa61zfGyrthm"
        "5zXc0fVu3Ttfp7Yf+4KJTIbWNuud8pIvKaZW8tJt+cBaOtYy9XddUyu2rZtu6Yw+aSWxL2zOnbuyESmYSCRobaJe2XNdtLL+5GuppB46swKxMA"
        "1bV13L3upYnd6icbr9GPXV1Hp2z4Sf0WAilaIvM/WEDU10yXC3mq9SS9rN6GHmh/vozkRMS9NLRrf1opYrjvgNvMm2BXb6Uu3ViLboGcV6e3Ma"
        "/0bEAAAAAAAAAIALZYiGaOjqYDLJmFWxndEsH8vyWzN3l8MHqrz4dmAm8m7vQMm9+aU19v/7RAwAAAAAAAAAuKhSNECSNOlv3DJgbwUbt0SYFi"
        "E/b75ONvb/B0QMAAAAAAAAAPhvREmAUEIZk6LGpw+N/f8eEQMAAAAAAAAALpzrJEJoeHDwCqNM8m7/z/Lxwz8CjI3e+Lj3nU3upH/H4vtEiu+S"
        "+Nf4rvdA3wAAAAAAAAD+JQMsKPb316ifKablruu2j5AfX/o+x3wiHopSxnwZf7UmzkyHwwNhtmrYjuvt+0UkFg5FwyzPb1f/AATBiZo="
    ),
    "raft.sqlite-durable": "eNpjYAADJgjFwBztYpTJMApGwSgYBaNgFIyCUTAKRsEoGAWjYBSMguEIYP1/lqMKy08BAAooA5w=",
}
"""Of node 0 of the cluster "ours", with the voters 0, 1, 2: zlib, base64."""


class GoldenTests(SynchronousTestCase):
    """A directory after its first start and four saves: the third replaced an entry, the last deleted two. Node 1 was
    met."""

    stored = Stored(
        TermAndVote(4, None),
        (
            Entry(3, 4, EntryKind.NOOP, b""),
            Entry(4, 4, EntryKind.COMMAND, b"another"),
        ),
        Snapshot(2, 1, Configuration(voters={1, 2, 3}, outgoing={0, 1, 2}, learners={10})),
    )

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        for name, content in FILES_OF_FORMAT_4.items():
            (self.directory / name).write_bytes(zlib.decompress(b64decode(content)))

    def test_loads(self) -> None:
        """It holds what was saved."""
        self.assertEqual(FORMAT, 4)
        self.assertEqual(DurableRecord(self.directory / "raft.sqlite-durable").read(), SaveNumbers(vote=2, log=4))
        storage = storage_in(self.directory)
        self.assertEqual(storage.load(), self.stored)
        bits = bytes.fromhex("47445e09f2634551"), bytes.fromhex("9716470a9ddaf261")
        self.assertEqual((storage.own.directory, storage.drawn_at(1)), bits)
        self.assertEqual(storage.own.starts, 1)
        self.assertEqual(storage.known(1), Incarnation(b"directry", 7, b"start no"))

    def test_goes_on(self) -> None:
        """What is saved now follows on what was saved then."""
        storage = storage_in(self.directory)
        storage.load()
        new = Entry(5, 5, EntryKind.COMMAND, b"new")
        saves = [Save(TermAndVote(5, 1), (new,)), Save(None, (), Snapshot(3, 4, Configuration({1, 2, 3})))]
        for save in saves:
            self.successResultOf(storage.save([save]))
        self.successResultOf(storage.close())
        again = storage_in(self.directory)
        self.assertEqual(again.load(), after(after(self.stored, saves[0]), saves[1]))
