"""The format on disk: files that an earlier txraft wrote, byte for byte, must load.

Where one of these fails, data that is on disks already would be refused, or misread: raise FORMAT with every change. A
file of another format is refused in one line. Nothing reads an older one yet.
"""

import zlib
from base64 import b64decode
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.disk import storage_in
from txraft.core.messages import Entry, EntryKind
from txraft.core.ready import Save, TermAndVote
from txraft.interfaces import Stored
from txraft.storage.durable import DurableRecord, SaveNumbers
from txraft.storage.raft_rows import FORMAT

FILES_OF_FORMAT_2 = {
    "raft.sqlite": (
        "eNrt2r9u01AUBvBzbVMnJcVIBSKBKh2xtJUsVGCjApFEFkQ1KQQj6EAtYxtiNbEl24lgbGZeAHYWBmYegqeABTHCxsR1aAr5A5WYAH0/3ejK5y"
        "S591OmI+XuHTvKQ36cpD0v58t0khSFrjMTkSJfGv2gTj0LOppCF3yxVHx46TUZ9RMduQEAAAAAAMBv7W+qenV5WQwf5t6jbthNnsilNdpWzbHY"
        "qdVti2WB1xZZioKn3Gw51g2rzbfbzVu19g5vWTsm52HaO+y0th1u3bNtk/eiOJhTDrzc47q9Xf+plnmDcPato1P9TujvZf3ZAxbX9+8renV1VQ"
        "x7o9sX13C9OHAHST75oE4kmmgdZpsXjRs3rcYWr8nuVd5YN9nvp2kY5+4vEhdfGLhy7h33/jjZptCrKyti2BwliwJ5aJQ/G+/KRJ5x9SDKwdg9"
        "e7s4CUI3mveT+N1+JiMVTcd64EwlSrOp6lG3L2ZzYXwkuQAAAAAAAADgH3dGLIjS6XOakvTTbMPkiyZfUp5/ffF9/v9McgEAAAAAAADAf6NCCy"
        "RIaJpSid6+Gv0333hHxhfjvdwAAAAAAAAA4C93StVJlM/K0d6Lk7wTpur5K/EHQ5HVUkUc01SiN592Xx4XOpVLlbJm87XBN5k30ME="
    ),
    "raft.sqlite-durable": "eNrt1zENwCAUQMEPOEJDWbp2RAEC8dcEgglytzwNL2LJO1H6U0cAAAAANzr/n+b7tR8JKgLa",
}
"""Of node 0 of the cluster "ours", with the voters 0, 1, 2: zlib, base64."""


class GoldenTests(SynchronousTestCase):
    """A directory after three saves, the last of which replaced an entry."""

    stored = Stored(
        TermAndVote(4, None),
        (
            Entry(1, 1, EntryKind.NOOP, b""),
            Entry(2, 4, EntryKind.NOOP, b""),
            Entry(3, 4, EntryKind.COMMAND, b"another"),
        ),
    )

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        for name, content in FILES_OF_FORMAT_2.items():
            (self.directory / name).write_bytes(zlib.decompress(b64decode(content)))

    def test_loads(self) -> None:
        """It holds what was saved."""
        self.assertEqual(FORMAT, 2)
        self.assertEqual(DurableRecord(self.directory / "raft.sqlite-durable").read(), SaveNumbers(vote=2, log=3))
        self.assertEqual(storage_in(self.directory).load(), self.stored)

    def test_goes_on(self) -> None:
        """What is saved now follows on what was saved then."""
        storage = storage_in(self.directory)
        storage.load()
        new = Entry(4, 5, EntryKind.COMMAND, b"new")
        self.successResultOf(storage.save([Save(TermAndVote(5, 1), (new,))]))
        self.successResultOf(storage.close())
        again = storage_in(self.directory)
        self.assertEqual(again.load(), Stored(TermAndVote(5, 1), (*self.stored.entries, new)))
