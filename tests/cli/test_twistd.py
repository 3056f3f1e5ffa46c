"""What `twistd txraft` does to its process: the reactor's clock."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.pollreactor import PollReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import SynchronousTestCase

from txraft.cli import twistd
from txraft.cli.twistd import run_on_monotonic_time

MINUTE = 60.0


class Clocks:
    """The wall's, which can be set, and the monotonic one."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.monotonic = 1_000.0

    def pass_by(self, seconds: float) -> None:
        """Both go on."""
        self.wall += seconds
        self.monotonic += seconds


class MonotonicTimeTests(SynchronousTestCase):
    """On each of twistd's reactors, made for the test and not installed."""

    def setUp(self) -> None:
        self.clocks = Clocks()
        self.patch(time, "monotonic", lambda: self.clocks.monotonic)

    def reactors(self) -> "list[Any]":
        """Each with the wall's clock, as Twisted makes them."""
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        made: list[Any] = [SelectReactor(), PollReactor(), EPollReactor(), AsyncioSelectorReactor(loop)]
        for reactor in made:
            self.assertIs(reactor.seconds, time.time)  # or there is nothing to be done any more
            reactor.seconds = lambda: self.clocks.wall
            self.addCleanup(self.take_apart, reactor)
        return made

    def take_apart(self, reactor: Any) -> None:
        for reader in list(reactor._internalReaders):  # its waker, which removeAll spares
            reactor._internalReaders.remove(reader)
            reactor.removeReader(reader)
            reader.connectionLost(None)

    def on_each(self, test: "Callable[[Any, list[str]], None]") -> None:
        """Run it with a reactor, and a list to which it may append what happened."""
        for reactor in self.reactors():
            happened: list[str] = []
            test(reactor, happened)

    def test_set_back(self) -> None:
        """What is due in a second happens in a second, not in a minute and a second."""

        def test(reactor: Any, happened: list[str]) -> None:
            run_on_monotonic_time(reactor)
            reactor.callLater(1, happened.append, "due")
            self.clocks.wall -= MINUTE
            self.clocks.pass_by(0.99)
            reactor.runUntilCurrent()
            self.assertEqual(happened, [])
            self.assertAlmostEqual(reactor.timeout(), 0.01, 3)
            self.clocks.pass_by(0.02)
            reactor.runUntilCurrent()
            self.assertEqual(happened, ["due"])

        self.on_each(test)

    def test_set_forward(self) -> None:
        """What is due in a second is not due at once."""

        def test(reactor: Any, happened: list[str]) -> None:
            run_on_monotonic_time(reactor)
            reactor.callLater(1, happened.append, "due")
            self.clocks.wall += MINUTE
            self.clocks.pass_by(0.99)
            reactor.runUntilCurrent()
            self.assertEqual(happened, [])

        self.on_each(test)

    def test_heartbeats(self) -> None:
        """A LoopingCall neither stops nor skips."""

        def test(reactor: Any, happened: list[str]) -> None:
            run_on_monotonic_time(reactor)
            beat = LoopingCall(happened.append, "beat")
            beat.clock = reactor
            beat.start(1)
            for change in (-MINUTE, MINUTE):
                self.clocks.wall += change
                self.clocks.pass_by(1.01)
                reactor.runUntilCurrent()
            self.assertEqual(happened, ["beat"] * 3)
            beat.stop()

        self.on_each(test)

    def test_what_was_scheduled_before(self) -> None:
        """It stays due when it was, in its order, and can be put off and cancelled."""

        def test(reactor: Any, happened: list[str]) -> None:
            calls = [reactor.callLater(delay, happened.append, str(delay)) for delay in (3, 2, 1, 5)]
            reactor.runUntilCurrent()  # into the heap
            calls[2].cancel()  # and stays in it
            run_on_monotonic_time(reactor)
            reactor.callLater(2.5, happened.append, "2.5")
            self.clocks.wall -= MINUTE
            calls[3].reset(0.5)
            calls[0].reset(4)
            for _ in range(5):
                self.clocks.pass_by(1.01)
                reactor.runUntilCurrent()
            self.assertEqual(happened, ["5", "2", "2.5", "3"])
            self.assertEqual(reactor.getDelayedCalls(), [])

        self.on_each(test)

    def test_from_the_epoch(self) -> None:
        """The time does not jump when the clock is changed, twice included, and is the wall's until that is set."""

        def test(reactor: Any, _: list[str]) -> None:
            run_on_monotonic_time(reactor)
            self.clocks.pass_by(1)
            now = self.clocks.wall
            self.assertAlmostEqual(reactor.seconds(), now, 3)
            self.clocks.wall -= MINUTE
            run_on_monotonic_time(reactor)
            self.assertAlmostEqual(reactor.seconds(), now, 3)
            self.clocks.wall += MINUTE

        self.on_each(test)


class WiredError(Exception):
    """It came as far as that."""


class ParsedOptions(dict[str, Any]):
    """A command line."""

    def directory(self) -> Path:
        return Path("nowhere")


class WhoseReactorTests(SynchronousTestCase):
    """Only the reactor of a process that twistd runs is changed."""

    def test_of_twistd(self) -> None:
        """Before anything is wired, and so before anything is scheduled."""
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        options: Any = ParsedOptions(config=None, kvaddr=None, id=0)
        with (
            patch.object(twistd, "run_on_monotonic_time") as changed,
            patch.object(twistd, "make_node_service", side_effect=WiredError),
            self.assertRaises(WiredError),
        ):
            twistd.makeService(options)
        changed.assert_called_once_with(reactor)
