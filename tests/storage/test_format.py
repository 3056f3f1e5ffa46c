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
from txraft.interfaces import Stored
from txraft.storage.durable import DurableRecord, SaveNumbers
from txraft.storage.raft_rows import FORMAT

FILES_OF_FORMAT_3 = {
    "raft.sqlite": (
        "eNrt2c9r02AYB/DnTdN1Ha1Rhys6xp7bNijSueOwuI6gY3XTWtEdpMQmtmFdAkla9OaK4MWDBy/+AV499yj+BZ4EQVBvnsWLnnzTH5v9scl2cvr99A"
        "1tnych7/Pk9JBbN/N2YPED19sxAl6i06QodIWZiBR5RGmf2j16BP2ZQhfLIhlemHhMWu5UNZmVPwAAAAAA4L+0u6zGUpOTonkvMO7XrJpbkSu6WtBX"
        "ijoXV3J5nWWA5ydYss2HvLZR1K/qBb5RWLu+UtjidX0rzYHl7exlNjaLvHE7n0/ztu2YI8KmERicy2/mfov5RsMaPrV913LVKm/79eEbTCw05yKx1O"
        "yseDLT233JDwwv2PuhDlbSCe/VM6ocXr2mr67zvMxe5sxCuq/s/R0fUHPDlQmfi/rd4kAdbj2ouLZTGchxzTI8Z/ga9i1rVPeO16ndO0osNTcnmjvt"
        "ToWbLxmOWQq32/cn0texvtTRulaue57lBKVD+mSW5Nzbyx27smURS83MiOZauzLblDe1g0e9b6Wvnl60W0p37B7eneOaVske1f5yre7LksLkwPM6+M"
        "kfsvtwNhfaV5ILAAAAAAAAAE64KTEmxs9NqxG37vmZNC+m+ZLy7OfLzvz/jeQCAAAAAAAAgH9GgsZIkFBVJWG3XnXm//ckFwAAAAAAAACcKPM0QSI+"
        "PX0mKqJK+Ko/zUvdl/6LGaLvCy+yKtHbp68/JbUvpGgt0t5prfCD3gEAAAAAAAD8PabUmJzwL4ioajhuULW8CNHzD2/OaxEZH0/IuAz8+Oh+lufOxu"
        "Nn41HXsTqTv4wk4+OJuJrnbOMXOSg2ig=="
    ),
    "raft.sqlite-durable": "eNpjYAADJgjFwBztYpTJMApGwSgYBaNgFIyCUTAKRsEoGAWjYBSMguEIYP1/lqMKy08BAAooA5w=",
}
"""Of node 0 of the cluster "ours", with the voters 0, 1, 2: zlib, base64."""


class GoldenTests(SynchronousTestCase):
    """A directory after four saves: the third replaced an entry, the last deleted two."""

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
        for name, content in FILES_OF_FORMAT_3.items():
            (self.directory / name).write_bytes(zlib.decompress(b64decode(content)))

    def test_loads(self) -> None:
        """It holds what was saved."""
        self.assertEqual(FORMAT, 3)
        self.assertEqual(DurableRecord(self.directory / "raft.sqlite-durable").read(), SaveNumbers(vote=2, log=4))
        self.assertEqual(storage_in(self.directory).load(), self.stored)

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
