"""What a node does to its process: the reactor's clock, its signals, its user, and its end."""

import asyncio
import gc
import os
import pwd
import signal
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from attrs import define, field
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ReactorNotRunning
from twisted.internet.pollreactor import PollReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import LoopingCall
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.descriptors import open_files
from tests.lacking import do_without
from txraft.cli import process
from txraft.cli.process import Ending, FilesOfUser, acting_as, sparing_what_stays
from txraft.errors import MemberRemoved, SettingsError, WriteFailed
from txraft.monotonic import run_on_monotonic_time

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


@define(eq=False)
class FakeReactor:
    """As much of a reactor as `Ending` uses; it runs from the start."""

    stops: int = 0
    before_shutdown: list[Callable[[], None]] = field(factory=list)

    def sigTerm(self, *_: object) -> None:
        """What Twisted does at a signal."""
        raise AssertionError("Twisted's own handler was left")

    def callWhenRunning(self, function: Callable[[], None]) -> None:
        function()

    def addSystemEventTrigger(self, phase: str, event: str, function: Callable[[], None]) -> None:
        assert (phase, event) == ("before", "shutdown")
        self.before_shutdown.append(function)

    def callFromThread(self, function: Callable[..., None], *arguments: Any) -> None:
        function(*arguments)

    def stop(self) -> None:
        self.stops += 1
        if self.stops > 1:
            raise ReactorNotRunning()
        for function in self.before_shutdown:
            function()


class EndingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.ending = Ending(self.reactor, patience=3600)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
            signal.signal(number, self.reactor.sigTerm)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def test_signals_stop_the_reactor(self) -> None:
        """Ours and not Twisted's, which would end by the signal once it has stopped. A second one does no harm."""
        self.ending.prepare()
        for number in (signal.SIGTERM, signal.SIGINT):
            with capturedLogs() as logged:
                signal.raise_signal(number)
            self.assertEqual([formatEvent(event) for event in logged], [f"received {number.name}: the node stops"])
        self.assertEqual(self.reactor.stops, 2)

    def test_signals_of_others_are_left_to_them(self) -> None:
        """Ctrl-C in a child of `txraft up`, which ignores it, or under a debugger; SIGHUP under nohup."""

        def debugger(*_: object) -> None:
            """Breaks."""

        for theirs in (signal.SIG_IGN, debugger):
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, theirs)
            self.ending.prepare()
            for number in (signal.SIGINT, signal.SIGHUP):
                self.assertIs(signal.getsignal(number), theirs)

    def test_sighup(self) -> None:
        """The end of its terminal ends a node; elsewhere SIGHUP asks for a reload, which nothing needs."""
        for on_a_terminal, stops, said in ((False, 0, "changes nothing"), (True, 1, "the node stops")):
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            with patch("os.isatty", return_value=on_a_terminal), capturedLogs() as logged:
                self.ending.prepare()
                signal.raise_signal(signal.SIGHUP)
            self.assertEqual(self.reactor.stops, stops)
            self.assertIn(said, formatEvent(logged[0]))

    def test_failure(self) -> None:
        """One line, status 1 when all is over, and a stop; what fails after that is not told."""
        with redirect_stderr(StringIO()) as errors, patch("atexit.register") as register, capturedLogs() as logged:
            self.patch(sys, "__stderr__", errors)
            for what in ("the log is lost", "and the data too"):
                self.ending.fail(WriteFailed(what))
        self.assertEqual(errors.getvalue(), "txraft: the log is lost\n")
        self.assertEqual([formatEvent(event) for event in logged], ["txraft ends: the log is lost"])
        register.assert_called_once_with(os._exit, 1)
        self.assertEqual(self.reactor.stops, 1)

    def test_removed(self) -> None:
        """A status of its own, upon which systemd does not start the node again."""
        self.patch(sys, "__stderr__", StringIO())
        with patch("atexit.register") as register:
            self.ending.fail(MemberRemoved(3))
        register.assert_called_once_with(os._exit, process.REMOVED)

    def test_a_stop_that_takes_too_long(self) -> None:
        """The process ends with status 1 and says so; a log on the disk that hangs does not keep it."""
        happened: list[Any] = []

        class FakeTimer:
            """Says when it is started, and that nothing waits for it."""

            daemon = False

            def __init__(self, *arguments: Any) -> None:
                self.arguments = arguments

            def start(self) -> None:
                happened.append((*self.arguments, self.daemon))

        self.patch(process, "Timer", FakeTimer)
        self.patch(process.log, "critical", lambda text, **values: happened.append(text.format(**values)))
        self.patch(os, "_exit", happened.append)
        self.ending.prepare()
        self.assertEqual(happened, [])
        self.reactor.stop()
        ((patience, end, arguments, daemon),) = happened
        self.assertEqual((patience, arguments, daemon), (3600, (), True))
        happened.clear()
        end()
        last_resort, line, status = happened
        self.assertEqual(last_resort, (process.LAST_WORDS, os._exit, (1,), True))
        self.assertIn("did not stop within 3600 s", line)
        self.assertEqual(status, 1)


class CollectionTests(SynchronousTestCase):
    def test_what_is_there_is_not_looked_through_again(self) -> None:
        """New objects are looked through in small portions, and then never again, or reactors stop for 200 ms."""
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)
        frozen = gc.get_freeze_count()
        with sparing_what_stays():
            self.assertFalse(gc.isenabled())
        self.assertTrue(gc.isenabled())
        self.assertGreater(gc.get_freeze_count(), frozen + 1000)
        young, middle, old = gc.get_threshold()
        self.assertLess(young * (middle + 1), 50_000)  # looked through at once
        self.assertGreater(young * (middle + 1) * old, 100_000_000)

    def test_a_start_that_is_refused(self) -> None:
        """The process that is left is as it was."""
        before = gc.get_freeze_count(), gc.get_threshold()
        with self.assertRaises(SettingsError), sparing_what_stays():
            raise SettingsError("it is not ours")
        self.assertEqual((gc.isenabled(), gc.get_freeze_count(), gc.get_threshold()), (True, *before))


NOBODY = 65534


class ActingAsTests(SynchronousTestCase):
    def test_what_is_made_is_theirs(self) -> None:
        """The user's and the group's; afterwards all is as it was."""
        if os.geteuid() != 0:
            do_without("only root can act as others")
        with TemporaryDirectory() as made:
            directory = Path(made)
            directory.chmod(0o777)
            with acting_as(NOBODY, 1):
                (directory / "theirs").touch()
            (directory / "ours").touch()
            for name, owner in (("theirs", (NOBODY, 1)), ("ours", (0, os.getegid()))):
                stat = (directory / name).stat()
                self.assertEqual((stat.st_uid, stat.st_gid), owner)

    def test_without_a_user(self) -> None:
        """Nothing is changed, which only root may."""
        with patch("os.seteuid") as user, patch("os.setegid") as group, patch("os.setgroups") as groups:
            with acting_as(None, None):
                pass
            self.assertEqual((user.mock_calls, group.mock_calls, groups.mock_calls), ([], [], []))

    def test_their_groups(self) -> None:
        """As twistd has them later: not root's, which would open other directories meanwhile."""
        if os.geteuid() != 0:
            do_without("only root can act as others")
        before = os.getgroups()
        self.addCleanup(os.setgroups, before)
        os.setgroups([0, 4])
        user = pwd.getpwuid(NOBODY).pw_name
        with acting_as(NOBODY, 1):
            self.assertEqual({*os.getgroups()}, {*os.getgrouplist(user, 1)})
        self.assertEqual(os.getgroups(), [0, 4])

    def test_who_may_not(self) -> None:
        """One line, and the groups are what they were."""
        before = os.getegid(), os.getgroups()
        with (
            patch("os.seteuid", side_effect=PermissionError(1, "Operation not permitted")),
            self.assertRaisesRegex(SettingsError, "^cannot run as user 5, group 6: Operation not permitted; only root"),
            acting_as(5, 6),
        ):
            self.fail("it may")
        self.assertEqual((os.getegid(), os.getgroups()), before)

    def test_ids_that_are_none(self) -> None:
        with self.assertRaisesRegex(SettingsError, "group 5000000000: no id is so large"), acting_as(0, 5_000_000_000):
            self.fail("there is none")


class FilesOfUserTests(SynchronousTestCase):
    """For another user than root, in a directory that this user can reach."""

    def setUp(self) -> None:
        if os.geteuid() != 0:
            do_without("only root can give files away")
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.directory = Path(made.name)
        self.directory.chmod(0o755)

    def warned(self, files: dict[Path, str]) -> str:
        """What it says at the start, on the terminal and in the log."""
        with redirect_stderr(StringIO()) as out, capturedLogs() as logged:
            FilesOfUser(NOBODY, 1, files).warn()
        logs = "".join(f"txraft: {formatEvent(event)}\n" for event in logged)
        self.assertEqual(out.getvalue(), logs)
        return logs

    def test_what_the_user_may_not(self) -> None:
        """One line, which names what is in a directory of another's."""
        theirs = self.directory / "theirs"
        theirs.mkdir()
        os.chown(theirs, NOBODY, 0)
        files = {theirs / "l": "will not be rotated", self.directory / "p": "will not be removed"}
        self.assertEqual(
            self.warned(files),
            f"txraft: {self.directory}/p will not be removed, because the user nobody may not write in its directory;"
            " name a file in a directory of theirs with twistd's --logfile and --pidfile\n",
        )
        self.directory.chmod(0o775)  # for root's group, which the user is not in
        self.assertIn("/p will not be removed", self.warned(files))
        self.directory.chmod(0o777)
        self.assertEqual(self.warned(files), "")

    def test_given_away(self) -> None:
        """Plain files, and neither what is missing nor what the user linked there. None stays open: it would keep the
        space of a log that is removed."""
        names = [*"abcdef"]
        plain, other, linked, hard, pipe, missing = paths = [self.directory / name for name in names]
        plain.touch()
        other.touch()
        linked.symlink_to(other)
        hard.touch()
        os.link(hard, self.directory / "hard")
        os.mkfifo(pipe)
        FilesOfUser(NOBODY, 1, dict.fromkeys([plain, linked, hard, pipe, missing], "")).privilegedStartService()
        owners = [(path.stat().st_uid, path.stat().st_gid) for path in paths if path != missing]
        ours = (0, os.getegid())
        self.assertEqual(owners, [(NOBODY, 1), ours, ours, ours, ours])
        self.assertEqual(open_files(self.directory), set())
