"""The process of a node ends with the process that started it."""

import os
import signal
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from txraft.cli.child import main, terminate_at_end_of


class MainTests(SynchronousTestCase):
    def setUp(self) -> None:
        """SIGINT is blocked until then, by `txraft up`."""
        self.addCleanup(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT))
        self.addCleanup(signal.pthread_sigmask, signal.SIG_SETMASK, signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def test_an_interrupt_from_before_it_started_is_forgotten(self) -> None:
        signal.raise_signal(signal.SIGINT)
        with patch("threading.Thread"), patch("twisted.scripts.twistd.run") as run:
            main()
        run.assert_called_once_with()
        self.assertEqual(signal.getsignal(signal.SIGINT), signal.SIG_IGN)
        self.assertEqual((signal.sigpending(), signal.pthread_sigmask(signal.SIG_BLOCK, ())), (set(), set()))

    def test_a_node_that_fails_ends(self) -> None:
        """Python waits for every thread but daemons, and the one that reads the pipe is at it as long as `txraft up`
        runs."""
        with patch("threading.Thread") as thread, patch("twisted.scripts.twistd.run"):
            main()
        thread.assert_called_once_with(target=terminate_at_end_of, args=(0,), daemon=True)


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
