"""The process of a node ends with the process that started it."""

import os
import signal
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from txraft.cli.child import terminate_at_end_of


class TerminateTests(SynchronousTestCase):
    def test_terminates_itself_at_the_end_and_not_before(self) -> None:
        """What is written to the pipe, which nobody should do, is passed over."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.write(writing, b"x" * 3000)
        os.close(writing)
        with patch("os.kill") as kill:
            terminate_at_end_of(reading)
            kill.assert_called_once_with(os.getpid(), signal.SIGTERM)
            self.assertEqual(os.read(reading, 1), b"")
