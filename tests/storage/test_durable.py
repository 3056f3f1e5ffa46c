"""What is known to be on the disk (hazard S15)."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txraft.storage.durable import SLOT_SIZE, DurableRecord, SaveNumbers


class DurableRecordTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.record = DurableRecord(self.path)
        self.record.create()
        self.record.open()

    def read(self) -> SaveNumbers | None:
        """As a process that starts would."""
        return DurableRecord(self.path).read()

    def damage(self, *offsets: int) -> None:
        """Flip a bit in each of these bytes."""
        content = bytearray(self.path.read_bytes())
        for offset in offsets:
            content[offset] ^= 1
        self.path.write_bytes(content)

    def slots(self) -> tuple[bytes, bytes]:
        content = self.path.read_bytes()
        return content[:SLOT_SIZE], content[SLOT_SIZE:]

    def test_numbers(self) -> None:
        """The last numbers that were written count, in this process and in the next ones."""
        self.assertEqual(self.read(), SaveNumbers(0, 0))
        for numbers in (SaveNumbers(1, 0), SaveNumbers(1, 2), SaveNumbers(3, 3), SaveNumbers(3, 2**40)):
            self.record.write(numbers)
            self.assertEqual(self.read(), numbers)
        self.record.close()
        again = DurableRecord(self.path)
        again.read()
        again.open()
        for numbers in (SaveNumbers(2**41, 2**40), SaveNumbers(2**41, 2**42)):
            again.write(numbers)
            self.assertEqual(self.read(), numbers)
        again.close()

    def test_torn(self) -> None:
        """A write that was cut off leaves the numbers before; the slot that it damaged is the next to be written."""
        for written in range(1, 5):
            self.record.write(SaveNumbers(written, written))
            before = self.path.read_bytes()
            for offset in (written % 2 * SLOT_SIZE + byte for byte in range(20)):
                self.damage(offset)
                self.assertEqual(self.read(), SaveNumbers(written, written), offset)
                self.path.write_bytes(before)
            self.damage((written + 1) % 2 * SLOT_SIZE)
            self.assertEqual(self.read(), SaveNumbers(written - 1, written - 1))
            after = DurableRecord(self.path)
            after.read()
            after.open()
            after.write(SaveNumbers(written, written))
            self.assertEqual(self.read(), SaveNumbers(written, written))
            after.close()
            self.path.write_bytes(before)
        self.record.close()

    def test_the_newest_slot_is_not_the_first_to_be_written(self) -> None:
        """A process writes first where the numbers are damaged, or older. A power cut may tear that write, and then the
        other slot alone says what is durable (hazard S15)."""
        for newest in (0, 1):
            self.record.write(SaveNumbers(newest + 1, newest + 1))
            for damaged in (False, True):
                if damaged:
                    self.damage((1 - newest) * SLOT_SIZE)
                before = self.slots()
                after = DurableRecord(self.path)
                after.read()
                after.open()
                after.write(SaveNumbers(9, 9))
                after.close()
                self.assertEqual(self.slots()[newest], before[newest])
                self.assertNotEqual(self.slots(), before)
                self.path.write_bytes(b"".join(before))
        self.record.close()

    def test_unreadable(self) -> None:
        """Both slots damaged, the file too short, or no file."""
        self.damage(0, SLOT_SIZE)
        self.assertIsNone(self.read())
        for content in (b"", bytes(10), bytes(SLOT_SIZE + 20)):
            self.path.write_bytes(content)
            self.assertIsNone(self.read())
        self.path.unlink()
        self.assertIsNone(self.read())

    def test_syncs(self) -> None:
        """A write costs no fsync, but the first, which may mend a torn slot; a clean end does one, so that the numbers
        are exact after it."""
        synced: list[int] = []
        self.patch(os, "fsync", synced.append)
        counts = []
        for number in range(1, 4):
            self.record.write(SaveNumbers(number, number))
            counts.append(len(synced))
        self.assertEqual(counts, [1, 1, 1])
        self.record.close()
        self.assertEqual(len(synced), 2)
