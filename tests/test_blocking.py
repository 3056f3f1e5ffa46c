"""A service in a program that blocks."""

import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from threading import Barrier
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, gatherResults, inlineCallbacks, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.integration.ports import reserve_port
from txraft.blocking import BlockingService
from txraft.errors import NotApplied, SettingsError, StartedBefore, WrongThread

PROGRAM = """\
from twisted.application.service import Service
import os, sys, threading
from twisted.internet import reactor
from txraft import BlockingService, ObjectService
from txraft.examples.counter import Counter

made = [BlockingService(reactor, lambda reactor, port=port: ObjectService(
    reactor, {0: f"localhost:{port}"}, 0, f"data-{port}", Counter)) for port in sys.argv[1:]]
for each in made:
    each.start()

def add():
    for _ in range(5):
        for each in made:
            each.run(lambda service: service.call(Counter.add, "apples", 1))

threads = [threading.Thread(target=add) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print([each.run(lambda service: service.query(Counter.count, "apples")) for each in made], flush=True)
if os.fork() == 0:
    try:
        made[0].run(lambda service: service.query(Counter.count, "apples"))
    except Exception as error:
        print(error, flush=True)
    def start():
        try:
            BlockingService(reactor, lambda reactor: Service()).start()
        except Exception as error:
            print(error, flush=True)

    # Threads of this process, of which one may be told by the same number as the reactor's in the other.
    threads = [threading.Thread(target=threading.Event().wait, daemon=True) for _ in range(8)]
    threads.append(threading.Thread(target=start, daemon=True))
    for thread in threads:
        thread.start()
    threads[-1].join(10)
    made[0].stop()
    os._exit(0)
os.wait()
made[1].stop()
reactor.callFromThread(reactor.stop)
while reactor.running:
    pass
for ask in (made[1].start, lambda: made[0].run(print)):
    try:
        ask()
    except Exception as error:
        print(error, flush=True)
"""

OF_A_FOREIGN_THREAD = """\
import _thread, time
from twisted.application.service import Service
from twisted.internet import reactor
from txraft import BlockingService

_thread.start_new_thread(reactor.run, (False,))
while not reactor.running:
    time.sleep(0.01)
with BlockingService(reactor, lambda reactor: Service()) as service:
    print(service.run(lambda service: service.running))
"""


STOPPED_MEANWHILE = """\
import threading
from twisted.application.service import Service
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from txraft import BlockingService, OutcomeUnknown

def ask():
    try:
        service.run(lambda its: (asked.release(), Deferred())[1])
    except OutcomeUnknown as error:
        print(f"{error}\\n", end="")  # in one piece

service, asked = BlockingService(reactor, lambda reactor: Service()), threading.Semaphore(0)
service.start()
threads = [threading.Thread(target=ask) for _ in range(3)]
for each in threads:
    each.start()
for each in threads:
    asked.acquire()
reactor.callFromThread(reactor.stop)
for each in threads:
    each.join()
"""

ENDS = """\
from twisted.application.service import Service
from twisted.internet import reactor
from txraft import BlockingService

class Stopped(Service):
    def stopService(self):
        print("stopped")

BlockingService(reactor, lambda _: Stopped()).start()
"""


class BlockingTests(TestCase):
    """With the reactor that runs already."""

    def setUp(self) -> None:
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        self.reactor, self.service = reactor, Service()
        self.blocking = BlockingService(reactor, lambda _: self.service)

    @inlineCallbacks
    def test_asks(self) -> Generator[Deferred[Any], Any, None]:
        """It gives results, at once or later, and raises failures. It runs for as long as it is asked."""

        def program() -> list[object]:
            with self.blocking as blocking:
                results: list[object] = [blocking.run(lambda service: (service is self.service, service.running))]
                results.append(blocking.run(lambda _: succeed(2)))
                try:
                    blocking.run(lambda _: fail(NotApplied("no")))
                except NotApplied as error:
                    results.append(str(error))
                return results

        self.assertEqual((yield deferToThread(program)), [(True, 1), 2, "no"])
        self.assertFalse(self.service.running)

    @inlineCallbacks
    def test_where_nobody_would_answer(self) -> Generator[Deferred[Any], Any, None]:
        """It does not wait for itself, nor for what does not run."""
        yield deferLater(self.reactor, 0)  # from here on it is the reactor that runs this
        self.assertRaises(WrongThread, self.blocking.start)
        self.assertRaises(WrongThread, self.blocking.run, lambda _: None)
        self.assertRaises(WrongThread, self.blocking.stop)
        yield self.assertFailure(deferToThread(self.blocking.run, lambda _: None), WrongThread)
        yield deferToThread(self.blocking.stop)

    @inlineCallbacks
    def test_started_twice(self) -> Generator[Deferred[Any], Any, None]:
        """It runs once at a time, also where several threads start it: all are there before any goes on."""
        made, barrier = list[Service](), Barrier(3)

        def make(_: object) -> Service:
            made.append(self.service)
            return self.service

        def start() -> bool:
            barrier.wait()
            try:
                self.blocking.start()
            except StartedBefore:
                return False
            return True

        self.blocking = BlockingService(self.reactor, make)
        began = yield gatherResults([deferToThread(start) for _ in range(3)])
        self.assertEqual((sorted(began), len(made)), ([False, False, True], 1))
        yield self.assertFailure(deferToThread(self.blocking.start), StartedBefore)
        self.assertTrue((yield deferToThread(self.blocking.run, lambda service: service.running)))
        yield deferToThread(self.blocking.stop)
        self.assertFalse(self.service.running)

    @inlineCallbacks
    def test_cannot_start(self) -> Generator[Deferred[Any], Any, None]:
        """What has begun to start is stopped."""

        class Broken(Service):
            def startService(self) -> None:
                super().startService()
                raise NotApplied("no")

        broken = Broken()
        blocking = BlockingService(self.reactor, lambda _: broken)
        yield self.assertFailure(deferToThread(blocking.start), NotApplied)
        self.assertFalse(broken.running)
        yield self.assertFailure(deferToThread(blocking.run, lambda _: None), WrongThread)

    @inlineCallbacks
    def test_wrong_arguments(self) -> Generator[Deferred[Any], Any, None]:
        """Each says what it is to be."""
        for reactor, make, line in (
            (
                self.reactor,
                Service(),
                "make: is a function that makes the service, `lambda reactor: ...`, not a Ser",
            ),
            (None, Service, "reactor: is Twisted's reactor, of `from twisted.internet import reactor`"),
        ):
            arguments: tuple[Any, Any] = reactor, make
            self.assertIn(line, str(self.assertRaises(SettingsError, BlockingService, *arguments)))
        nothing: Any = BlockingService(self.reactor, lambda _: cast(Service, None))
        error = yield self.assertFailure(deferToThread(nothing.start), SettingsError)
        self.assertEqual(str(error), "make: has to return a service, not a NoneType")

    def test_reactor_of_a_foreign_thread(self) -> None:
        """The program may run the reactor itself, also on a thread that the threading module has not made: it is not
        taken for that of another process."""
        command = [sys.executable, "-c", OF_A_FOREIGN_THREAD]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("1\n", "", 0))

    def test_the_reactor_is_stopped(self) -> None:
        """Whoever waits is told that nobody answers any more, and the program ends."""
        command = [sys.executable, "-c", STOPPED_MEANWHILE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        line = "this may be done, or not: the reactor of this process was stopped, and none runs twice: start another"
        self.assertEqual((done.stdout, done.stderr, done.returncode), (f"{line} process\n" * 3, "", 0))

    def test_the_program_ends(self) -> None:
        """What still runs is stopped then."""
        done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, check=False)
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("stopped\n", "", 0))

    def test_program(self) -> None:
        """Two services in one program that blocks, on many threads. They are stopped when it ends, so that another
        start finds their directories free, and a process that it forks is told that it has none."""
        directory = Path(self.mktemp())
        directory.mkdir()
        command = [sys.executable, "-c", PROGRAM, *(str(reserve_port()) for _ in range(2))]
        for count in (20, 40):
            done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
            self.assertEqual(
                (done.stdout, done.stderr, done.returncode),
                (
                    f"[{count}, {count}]\n"
                    + 2 * "the reactor ran before this process was forked: fork first, and start a service then\n"
                    + 2 * "the reactor of this process was stopped, and none runs twice: start another process\n",
                    "",
                    0,
                ),
            )
