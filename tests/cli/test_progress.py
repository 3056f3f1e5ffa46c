"""What is shown of long work."""

from io import StringIO
from threading import Event
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from txraft.cli import progress
from txraft.cli.progress import progress as show
from txraft.cli.progress import waiting


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


class ProgressTests(SynchronousTestCase):
    def test_terminal(self) -> None:
        """A bar that moves, and is gone afterwards."""
        terminal = Terminal()
        with show("receiving", 1000, "B", terminal) as report:
            report(500)
        self.assertIn("receiving", terminal.getvalue())

    def test_no_total(self) -> None:
        """Where nobody knows how much there is, what has been done is shown."""
        log, terminal = StringIO(), Terminal()
        for stream in (log, terminal):
            with show("checking", None, "B", stream) as report, patch.object(progress, "INTERVAL", 0):
                report(1500)
        self.assertEqual(log.getvalue(), "checking: 1,500 B\n")
        self.assertIn("checking", terminal.getvalue())

    def test_another_total(self) -> None:
        """What there is to do may grow meanwhile."""
        log, terminal = StringIO(), Terminal()
        with show("catching up", None, " entries", log) as report, patch.object(progress, "INTERVAL", 0):
            report(1, 2)
            report(2, 4)
            report(3)
        self.assertEqual(
            [line.split(":")[1] for line in log.getvalue().splitlines()],
            [" 1 of 2 entries", " 2 of 4 entries", " 3 of 4 entries"],
        )
        with show("catching up", None, " entries", terminal) as report:
            report(1, 4)
            report(4, 5)
        for share in (" 25%", " 80%"):
            self.assertIn(share, terminal.getvalue())

    def test_waiting(self) -> None:
        """What does not say how far it is shows for how long it has been waited for: at once on a terminal, after a
        while elsewhere."""
        for stream, name, shown in (
            (Terminal(), "TICK", "making: 00:00"),
            (StringIO(), "INTERVAL", "making: for 0 s\n"),
        ):
            told = Event()
            write = stream.write

            def tell(text: str, told: Event = told, write: Any = write) -> int:
                told.set()
                return int(write(text))

            with patch.object(progress, name, 0.001), patch.object(stream, "write", tell), waiting("making", stream):
                self.assertTrue(told.wait(60))
            self.assertIn(shown, stream.getvalue())
        log = StringIO()
        with waiting("making", log):
            pass
        self.assertEqual(log.getvalue(), "")

    def test_elsewhere(self) -> None:
        """A line now and then, and none for what is soon done."""
        log = StringIO()
        with show("checking", 2000, " keys", log) as report:
            report(5)
            self.assertEqual(log.getvalue(), "")
            with patch.object(progress, "INTERVAL", 0):
                report(1500)
        self.assertEqual(log.getvalue(), "checking: 1,500 of 2,000 keys\n")
