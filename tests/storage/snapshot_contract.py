"""What every `ISnapshotFiles` must do, whichever it is. Imported as a module, as `contract` is."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.storage.contract import snapshot
from txraft.core.configuration import Configuration, Snapshot
from txraft.errors import BadSnapshot, StorageError
from txraft.interfaces import ISnapshotFiles, SnapshotFile

DATA = bytes(range(256)) * 20


def file_of(snapshot: Snapshot, data: bytes = DATA) -> SnapshotFile:
    return SnapshotFile(snapshot, len(data), hashlib.sha256(data).digest())


class SnapshotContract(SynchronousTestCase):
    """A twin says how to open its files on a new disk, and again on the same one."""

    @abstractmethod
    def new_disk(self) -> None:
        """Take a disk with nothing on it."""

    @abstractmethod
    def open(self) -> ISnapshotFiles:
        """What a process that starts on this disk gets; not yet opened."""

    def setUp(self) -> None:
        self.new_disk()
        self.files = self.open()
        self.assertEqual(self.files.open(), ())

    def restart(self) -> tuple[Snapshot, ...]:
        """As after `kill -9`."""
        self.files = self.open()
        return self.files.open()

    def receive(self, file: SnapshotFile, data: bytes, chunk: int = 1000) -> None:
        """All of it that is not here yet."""
        for start in range(self.successResultOf(self.files.offered(file)), len(data), chunk):
            self.successResultOf(self.files.received(file, start, data[start : start + chunk]))

    def data_of(self, snapshot: Snapshot) -> bytes:
        return b"".join(self.files.chunks(snapshot))

    def test_interface(self) -> None:
        """It is an ISnapshotFiles in deed."""
        verifyObject(ISnapshotFiles, self.files)

    def test_made(self) -> None:
        """One is made, and read in parts of any size. The next takes its place; a restart leaves none."""
        first = self.successResultOf(self.files.make(snapshot(5), iter([DATA[:100], b"", DATA[100:]])))
        self.assertEqual(first, file_of(snapshot(5)))
        parts = [self.successResultOf(self.files.read(first, start, 999)) for start in range(0, len(DATA), 999)]
        self.assertEqual(b"".join(parts), DATA)
        self.assertEqual(self.successResultOf(self.files.read(first, first.size, 10)), b"")
        second = self.successResultOf(self.files.make(snapshot(5), [b"other"]))
        self.assertEqual(self.successResultOf(self.files.read(second, 1, 3)), b"the")
        self.failureResultOf(self.files.read(first, 0, 10), BadSnapshot)
        self.assertEqual(self.restart(), ())
        self.failureResultOf(self.files.read(second, 0, 10), BadSnapshot)

    def test_made_in_vain(self) -> None:
        """Where the state machine's chunks end early, the one before stays."""

        def chunks() -> Iterator[bytes]:
            yield b"half"
            raise ZeroDivisionError

        first = self.successResultOf(self.files.make(snapshot(5), [DATA]))
        self.failureResultOf(self.files.make(snapshot(6), chunks()), ZeroDivisionError)
        self.assertEqual(self.successResultOf(self.files.read(first, 0, len(DATA))), DATA)

    def test_received(self) -> None:
        """It is whole once it is finished, with its membership, and stays so until it is discarded (hazard M6)."""
        file = file_of(snapshot(5, term=2))
        self.receive(file, DATA)
        self.successResultOf(self.files.finished(file))
        self.assertEqual(self.data_of(file.snapshot), DATA)
        for _ in range(2):
            self.assertEqual(self.restart(), (file.snapshot,))
        self.assertEqual(self.data_of(file.snapshot), DATA)
        self.successResultOf(self.files.discard(file.snapshot))
        self.assertRaises(StorageError, self.data_of, file.snapshot)
        self.assertEqual(self.restart(), ())

    def test_empty(self) -> None:
        """A state machine without any data has a snapshot too."""
        file = file_of(snapshot(5), b"")
        self.receive(file, b"")
        self.successResultOf(self.files.finished(file))
        self.assertEqual(self.data_of(snapshot(5)), b"")

    def test_resumed(self) -> None:
        """hazard S10: after a cut, the next offer of the same one says where to go on."""
        file = file_of(snapshot(5))
        self.assertEqual(self.successResultOf(self.files.offered(file)), 0)
        self.successResultOf(self.files.received(file, 0, DATA[:1000]))
        self.assertEqual(self.successResultOf(self.files.offered(file)), 1000)
        self.receive(file, DATA)
        self.successResultOf(self.files.finished(file))
        self.assertEqual(self.data_of(snapshot(5)), DATA)

    def test_answer_lost(self) -> None:
        """hazard S10: offered again, and finished again, when it is whole: nothing more is needed."""
        file = file_of(snapshot(5))
        self.receive(file, DATA)
        self.successResultOf(self.files.finished(file))
        self.assertEqual(self.successResultOf(self.files.offered(file)), file.size)
        self.successResultOf(self.files.finished(file))
        other = file_of(snapshot(5), b"from another node")  # whose bytes differ and mean the same
        self.assertEqual(self.successResultOf(self.files.offered(other)), other.size)
        self.successResultOf(self.files.finished(other))
        self.assertEqual(self.data_of(snapshot(5)), DATA)

    def test_cut_off(self) -> None:
        """hazard S10: a half one is not there after a restart, and begins again."""
        file = file_of(snapshot(5))
        self.receive(file, DATA[:3000])
        self.failureResultOf(self.files.finished(file), BadSnapshot)
        self.assertEqual(self.successResultOf(self.files.offered(file)), 3000)
        self.assertEqual(self.restart(), ())
        self.assertRaises(StorageError, self.data_of, snapshot(5))
        self.failureResultOf(self.files.finished(file), BadSnapshot)
        self.assertEqual(self.successResultOf(self.files.offered(file)), 0)

    def test_never_mixed(self) -> None:
        """hazard S10: another offer drops what is here of the one before, also where only the bytes, or the membership,
        differ; what still arrives of that one is refused."""
        first = file_of(snapshot(5))
        members = Snapshot(5, 1, Configuration({1}))
        for second in (file_of(snapshot(6)), file_of(snapshot(5), DATA[::-1]), file_of(members)):
            self.receive(first, DATA[:2000])
            self.assertEqual(self.successResultOf(self.files.offered(second)), 0)
            self.failureResultOf(self.files.received(first, 2000, DATA[2000:3000]), BadSnapshot)
            self.failureResultOf(self.files.received(first, 0, DATA), BadSnapshot)
            self.failureResultOf(self.files.finished(first), BadSnapshot)
            self.successResultOf(self.files.received(second, 0, DATA[:100]))
            self.assertEqual(self.successResultOf(self.files.offered(first)), 0)

    def test_out_of_order(self) -> None:
        """hazard S10: what does not follow on what is here, or goes beyond the end, changes nothing."""
        file = file_of(snapshot(5))
        self.failureResultOf(self.files.received(file, 0, DATA), BadSnapshot)
        self.receive(file, DATA[:2000])
        for offset in (0, 1999, 2001):
            self.failureResultOf(self.files.received(file, offset, b"x"), BadSnapshot)
        self.failureResultOf(self.files.received(file, 2000, DATA), BadSnapshot)
        self.receive(file, DATA)
        self.successResultOf(self.files.finished(file))
        self.assertEqual(self.data_of(snapshot(5)), DATA)

    def test_other_checksum(self) -> None:
        """hazard S10: what arrived is not what was offered: it is dropped, and begins again."""
        file = file_of(snapshot(5))
        self.receive(file, DATA[:-1] + b"x")
        self.failureResultOf(self.files.finished(file), BadSnapshot)
        self.assertEqual(self.restart(), ())
        self.assertEqual(self.successResultOf(self.files.offered(file)), 0)

    def test_several(self) -> None:
        """One that is being restored stays whole while the next arrives; the later one stays when it is discarded."""
        for index in (20, 5, 100):
            file = file_of(snapshot(index), b"%d" % index)
            self.receive(file, b"%d" % index)
            self.successResultOf(self.files.finished(file))
        self.assertEqual(self.restart(), (snapshot(5), snapshot(20), snapshot(100)))
        self.successResultOf(self.files.discard(snapshot(20)))
        self.assertEqual(self.restart(), (snapshot(100),))
        self.assertEqual(self.data_of(snapshot(100)), b"100")

    def test_discarded_half(self) -> None:
        """One that is not whole goes too, where it is not needed any more, and begins again where it is offered."""
        file = file_of(snapshot(20))
        self.receive(file, DATA[:2000])
        self.successResultOf(self.files.discard(snapshot(19)))
        self.assertEqual(self.successResultOf(self.files.offered(file)), 2000)
        self.successResultOf(self.files.discard(snapshot(20)))
        self.failureResultOf(self.files.received(file, 2000, DATA[2000:]), BadSnapshot)
        self.assertEqual(self.successResultOf(self.files.offered(file)), 0)

    def test_discarded_made(self) -> None:
        """The one that was made is gone, until the next is made; where there is none, nothing happens."""
        self.successResultOf(self.files.discard_made())
        file = self.successResultOf(self.files.make(snapshot(5), [DATA]))
        self.successResultOf(self.files.discard_made())
        self.failureResultOf(self.files.read(file, 0, 10), BadSnapshot)
        again = self.successResultOf(self.files.make(snapshot(5), [DATA]))
        self.assertEqual(self.successResultOf(self.files.read(again, 0, 10)), DATA[:10])

    def test_missing(self) -> None:
        """One that was never received, or is of another term, is not there."""
        file = file_of(snapshot(5, term=2))
        self.receive(file, DATA)
        self.successResultOf(self.files.finished(file))
        for missing in (snapshot(4, term=2), snapshot(5, term=1)):
            self.assertRaises(StorageError, self.data_of, missing)

    def test_closed(self) -> None:
        """Whatever is under way, it can be closed."""
        self.receive(file_of(snapshot(5)), DATA[:10])
        self.successResultOf(self.files.make(snapshot(5), [DATA]))
        self.successResultOf(self.files.close())
        self.assertEqual(self.restart(), ())
