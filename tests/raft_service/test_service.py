"""`RaftService`, as an embedder meets it: a machine of his own, on the reactor that runs the tests."""

from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel, capturedLogs, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.integration.ports import reserve_port
from tests.raft_service.certificates import make_certificate
from txraft.core.changes import Change, ChangeKind
from txraft.errors import (
    ChangeRefused,
    DirectoryLocked,
    InvariantViolated,
    ListenError,
    MemberRemoved,
    NotApplied,
    SettingsError,
    StartedBefore,
    TxraftError,
    WriteFailed,
    WrongThread,
)
from txraft.home import Home
from txraft.memory_machine import MemoryMachine
from txraft.raft_service import RaftService, endpoints, newcomer
from txraft.raft_service import service as service_module
from txraft.raft_service.arguments import founded_by
from txraft.raft_service.options import Options
from txraft.raft_service.threads import require_thread
from txraft.settings import LogLimits, Timing
from txraft.storage.identity import Bootstrap

LATER = "tcp:1:backlog=5"
"""Where nothing listens before it is started."""

QUICK = Options(Timing(election_timeout=60, heartbeat_interval=20))


class Names:
    """A set of names."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def apply(self, command: bytes) -> bytes:
        """Remember one more; gives how many there are."""
        self.names.append(command.decode())
        return b"%d" % len(self.names)

    def dump(self) -> Iterable[bytes]:
        return [name.encode() for name in self.names]

    def load(self, chunks: Iterable[bytes]) -> None:
        self.names = [chunk.decode() for chunk in chunks]


class Kept(MemoryMachine):
    """What is replicated."""

    def __init__(self, home: Home) -> None:
        self.plain = Names()
        super().__init__(self.plain, home.directory, home.cluster_id, home.worker)


def names_of(machine: Kept) -> list[str]:
    """A read."""
    return list(machine.plain.names)


class RefusedTests(SynchronousTestCase):
    """What is wrong is told when a service is made, and nothing is held on to."""

    def make(self, members: Any, node_id: Any = 0, **more: Any) -> RaftService[Kept]:
        return RaftService(MemoryReactorClock(), members, node_id, self.directory, Kept, **more)

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())

    def test_members(self) -> None:
        for members, node_id, line in (
            ({}, 0, "members: have no node 0; their ids are none"),
            ({1: "h:1", 2: "h:2"}, 0, "members: have no node 0; their ids are 1, 2"),
            ({0: "h:1", 2: "h:1"}, 0, "members: h:1 is both of node 0 and of node 2"),
            (
                {0: "h:1", -1: "h:2"},
                0,
                "members: the id of a node is a whole number from 0 to 9223372036854775807, not -1",
            ),
            ({0: 8080}, 0, "members: the address of node 0 is a text, host:port say, not 8080"),
            ({0: "tls:h:1"}, 0, 'listen: is missing: where a server listens that others reach at "tls:h:1"'),
        ):
            self.assertEqual(str(self.assertRaises(SettingsError, self.make, members, node_id)), line)
        self.assertRaises(SettingsError, self.make, {0: "h:1"}, name="")
        self.assertFalse(self.directory.exists())

    def test_listen(self) -> None:
        """What is no endpoint, and what cannot be listened on."""
        line = str(self.assertRaises(ListenError, self.make, {0: "192.0.2.1:1"}))
        advice = "say where else this node is to listen: listen="
        self.assertEqual(line, f"cannot listen on 192.0.2.1:1: Cannot assign requested address; {advice}")
        line = str(self.assertRaises(SettingsError, self.make, {0: "h:1"}, listen="nonsense"))
        self.assertIn('"nonsense" is neither host:port nor an endpoint as Twisted writes them', line)

    def test_a_port_of_its_own(self) -> None:
        """`tcp:PORT` is Twisted's, and no host that is called tcp: it is listened on at once, and others cannot dial
        it."""
        port = reserve_port()
        line = str(self.assertRaises(SettingsError, self.make, {0: f"tcp:{port}"}))
        self.assertIn(f"members: node 0 cannot be dialled: nobody reaches a server at 0.0.0.0:{port}", line)
        for listen, host in ((f"tcp:{port}", "0.0.0.0"), (f"tcp:{port}:interface=127.0.0.2", "127.0.0.2")):
            service = self.make({0: "127.0.0.1:1"}, listen=listen)
            line = str(self.assertRaises(ListenError, self.make, {0: "127.0.0.1:1"}, listen=listen))
            self.assertTrue(line.startswith(f"cannot listen on {host}:{port}: Address already in use"), line)
            service.let_go()
        self.make({0: f"tcp:{port}"}, listen=listen).let_go()  # what counted at the first start is no reason any more

    def test_options(self) -> None:
        """Each is of its class, and in that each number is one."""
        for kind, wrong, line in (
            (Options, {"timing": {"x": 1}}, "timing: is a `Timing`, of txraft, not {'x': 1}"),
            (Timing, {"election_timeout": "5"}, "election_timeout: must be a number, not '5'"),
            (LogLimits, {"keep_entries": 1.5}, "keep_entries: must be a whole number, not 1.5"),
        ):
            self.assertEqual(str(self.assertRaises(SettingsError, kind, **wrong)), line)

    def test_members_that_nobody_could_dial(self) -> None:
        """Each is looked at, whose ever it is: waiting for it would not help."""
        line = str(self.assertRaises(SettingsError, self.make, {0: "127.0.0.1:1", 1: "nonsense"}))
        self.assertIn('members: node 1 cannot be dialled: "nonsense" is neither host:port nor an endpoint', line)
        for address, what in (
            ("localhost:0", '"localhost:0" does not end in a port that can be dialled; give one from 1 to 65535'),
            ("[::1]:65536", '"[::1]:65536" does not end in a port that can be dialled; give one from 1 to 65535'),
            ("no such:1", '"no such" is not a host name; write letters, digits and hyphens'),
        ):
            line = str(self.assertRaises(SettingsError, self.make, {0: "127.0.0.1:1", 1: address}))
            self.assertTrue(line.startswith(f"members: node 1 cannot be dialled: {what}"), line)

        def endpoint_of(addresses: Any) -> Any:
            raise LookupError(f"no way to {addresses[0]}")

        line = str(self.assertRaises(SettingsError, self.make, {0: "a"}, endpoint_of=endpoint_of))
        self.assertEqual(line, "members: node 0 cannot be dialled at a: LookupError: no way to a")
        self.assertFalse(self.directory.exists())

    def test_files_that_are_missing(self) -> None:
        """Or have something else in them: what is wrong is the file, and not the text."""
        Path("nothing.pem").write_text("nothing")
        self.addCleanup(Path("nothing.pem").unlink)
        for text, problem in (
            ("ssl:1:privateKey=no/key", "names a file that cannot be read, .*/no/key: No such file or directory$"),
            ("ssl:1:privateKey=nothing.pem", "names a file without a certificate, or without a key"),
            ("systemd:domain=INET:index=0", "makes no endpoint: IndexError: "),
        ):
            line = str(self.assertRaises(SettingsError, self.make, {0: "h:1"}, listen=text))
            self.assertRegex(line, f'^"{text}" {problem}')
        line = str(self.assertRaises(SettingsError, self.make, {0: "tls:h:1:trustRoots=no/such"}, listen="127.0.0.1:1"))
        self.assertRegex(line, "names a file that cannot be read, .*/no/such: No such file or directory$")

    def test_wrong_types(self) -> None:
        """Each argument says what it is to be."""
        right: dict[str, Any] = {
            "reactor": MemoryReactorClock(),
            "members": {0: "127.0.0.1:1"},
            "node_id": 0,
            "directory": self.directory,
            "machine": Kept,
        }
        for name, wrong, line in (
            ("reactor", None, "reactor: is Twisted's reactor, of `from twisted.internet import reactor`, not None"),
            ("members", ["h:1"], """members: is a dict of ids and addresses, {0: "10.0.0.1:8080"} say, or what"""),
            ("node_id", "0", "node_id: is a whole number from 0 to 9223372036854775807, not '0'"),
            ("node_id", 10**5000, "node_id: is a whole number from 0 to 9223372036854775807, not <int>"),
            ("node_id", True, "node_id: is a whole number from 0 to 9223372036854775807, not True"),
            ("directory", 5, "directory: is a path, not 5"),
            ("directory", "", "directory: is a path, not ''"),
            ("directory", "a\0", "directory: is a path, not 'a"),
            ("directory", "\ud800", "directory: is a path, not '"),
            ("members", {10**5000: "h:1"}, "members: the id of a node is a whole number from 0 to"),
            ("machine", 5, "machine: is a class or function that makes the state machine, of a `Home`, not 5"),
            ("name", 5, "name: is a text, not 5"),
            ("listen", 9100, 'listen: is a text, "0.0.0.0:8080" say, or an endpoint of Twisted to listen on, not 9100'),
            ("options", {}, "options: is an `Options`, of txraft, not {}"),
            ("endpoint_of", "h:1", "endpoint_of: is a function of a member's addresses, not 'h:1'"),
            ("check_addresses", "h:1", "check_addresses: is a function of a member's addresses, not 'h:1'"),
            ("lock", self.directory, "lock: is a `DirectoryLock`, not "),
            ("members", newcomer(5, "c", [0]), "node_id: is 0, and `newcomer` was given 5"),
        ):
            given = right | {name: wrong}
            self.assertIn(line, str(self.assertRaises(SettingsError, lambda given=given: RaftService(**given))))
        self.assertFalse(self.directory.exists())

    def test_newcomers(self) -> None:
        for node_id, cluster, founders, line in (
            ("1", "c", [0], "node_id: is a whole number from 0 to"),
            (1, 5, [0], "cluster: is a text, as `status().cluster` has it, not 5"),
            (1, "c", 5, "founders: are ids, as `members().founders` has them, not 5"),
            (1, "c", "01", "founders: are ids, as `members().founders` has them, not '01'"),
            (1, "", [0], "cluster: is a text, as `status().cluster` has it, not ''"),
            (1, "a\nb", [0], "cluster: is a text, as `status().cluster` has it, not 'a"),
            (0, "c", [0, 1], "node_id: 0 is a founder's, and an id is not used twice: give the newcomer one of"),
            (1, "c", [[0]], "founders: are ids, as `members().founders` has them, not [[0]]"),
            (1, "c", [10**5000], "founders: are ids, as `members().founders` has them, not <list>"),
            (10**5000, "c", [0], "9223372036854775807, not <int>"),
            (1, "c", [], "founders: are ids, as `members().founders` has them, not []"),
        ):
            self.assertIn(line, str(self.assertRaises(SettingsError, newcomer, node_id, cluster, founders)))

    def test_without_tls(self) -> None:
        """Where its packages are not installed."""
        for error in (ImportError("OpenSSL"), NameError("optionsForClientTLS")):
            self.patch(endpoints, "serverFromString", Mock(side_effect=error))
            line = str(self.assertRaises(SettingsError, self.make, {0: "tls:h:1"}, listen="ssl:1:privateKey=k"))
            self.assertEqual(line, '"ssl:1:privateKey=k" needs a package that is not installed: twisted[tls], for TLS')

    def test_directory(self) -> None:
        """That another one has, which runs: the port is free again, and it too may be stopped without a start."""
        members = {0: f"127.0.0.1:{reserve_port()}"}
        first = self.make(members)
        self.addCleanup(first.let_go)
        other = {0: f"127.0.0.1:{reserve_port()}"}
        for _ in range(2):
            line = str(self.assertRaises(DirectoryLocked, self.make, other))
            self.assertTrue(line.endswith("give each cluster a data directory of its own"), line)

    def test_identity(self) -> None:
        """A name, or the members, identify the cluster."""
        one, two = founded_by({0: "h:1", 1: "h:2"}, 0), founded_by({1: "h:2", 0: "h:1"}, 1)
        self.assertEqual((one.cluster_id, one.named), (two.cluster_id, False))
        self.assertNotEqual(one.cluster_id, founded_by({0: "h:1"}, 0).cluster_id)
        named = founded_by({0: "h:1"}, 0, "ours")
        self.assertEqual((named.cluster_id, named.named), ("ours", True))
        self.assertEqual(dict(named.configuration.addresses), {0: ("h:1",)})


class ServingTests(TestCase):
    """Servers that serve, over loopback."""

    def setUp(self) -> None:
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        self.reactor = reactor
        self.directory = Path(self.mktemp())
        self.running: list[RaftService[Kept]] = []
        self.addCleanup(lambda: gatherResults([each.stopService() for each in self.running if each.running]))

    def start(self, members: dict[int, str] | Bootstrap, node_id: int, **more: Any) -> RaftService[Kept]:
        made = RaftService(self.reactor, members, node_id, self.directory / str(node_id), Kept, options=QUICK, **more)
        made.startService()
        self.running.append(made)
        return made

    @inlineCallbacks
    def test_three(self) -> Generator[Deferred[Any], Any, None]:
        """Any takes any request, what was acknowledged is read on all of them and after a restart of all, and who leads
        is told."""
        members = {id: f"127.0.0.1:{reserve_port()}" for id in range(3)}
        services = [self.start(members, id) for id in members]
        results = []
        for number, each in enumerate(services):
            results.append((yield each.propose(b"name %d" % number)))
        self.assertEqual(results, [b"1", b"2", b"3"])
        for each in services:
            self.assertEqual((yield each.read(names_of)), ["name 0", "name 1", "name 2"])
        leader, term = services[0].leadership
        assert leader is not None
        self.assertEqual({(each.leader_id, each.status().leader_id) for each in services}, {(leader, leader)})
        target = (leader + 1) % 3
        changed = services[0].leadership_changed((leader, term))
        yield services[leader].transfer_leadership(target)
        seen = yield changed
        while seen[0] is None:
            seen = yield services[0].leadership_changed(seen)
        self.assertEqual((seen[0], seen[1] > term), (target, True))
        yield gatherResults([each.stopService() for each in services])
        again = [self.start(members, id) for id in members]
        self.assertEqual((yield again[1].read(names_of)), ["name 0", "name 1", "name 2"])
        self.assertRaises(StartedBefore, services[0].startService)

    @inlineCallbacks
    def test_endpoints(self) -> Generator[Deferred[Any], Any, None]:
        """As Twisted writes them: a member at a socket in the file system, one that listens where it says, and one that
        is given an endpoint."""
        socket, two, three = Path(self.mktemp()).absolute(), reserve_port(), reserve_port()
        members = {0: f"unix:{socket.name}", 1: f"tcp:127.0.0.1:{two}", 2: f"localhost:{three}"}
        services = [
            self.start(members, 0),
            self.start(members, 1, listen=f"tcp:{two}:interface=127.0.0.1"),
            self.start(members, 2, listen=TCP4ServerEndpoint(self.reactor, three, interface="127.0.0.1")),
        ]
        for each in services:
            yield each.propose(b"a name")
        self.assertEqual((yield services[0].read(names_of)), ["a name"] * 3)
        self.assertTrue(Path(socket.name).exists())

    @inlineCallbacks
    def test_tls(self) -> Generator[Deferred[Any], Any, None]:
        """All servers dial and listen with TLS, and any takes any request, also large ones, many at a time."""
        make_certificate(its := Path(self.mktemp()).absolute())
        ports = [reserve_port() for _ in range(3)]
        members = {id: f"tls:localhost:{port}:trustRoots={its}" for id, port in enumerate(ports)}
        listen = f"interface=127.0.0.1:privateKey={its}/key:certKey={its}/certificate.pem"
        services = [self.start(members, id, listen=f"ssl:{port}:{listen}") for id, port in enumerate(ports)]
        large = b"a" * 300_000
        for _ in range(4):
            yield gatherResults([each.propose(name) for each in services for name in (b"small", large)])
        for each in services:
            self.assertEqual(sorted(map(len, (yield each.read(names_of)))), [5] * 12 + [300_000] * 12)

    @inlineCallbacks
    def test_a_certificate_that_is_not_trusted(self) -> Generator[Deferred[Any], Any, None]:
        """The log of the side that does not trust it says so, and not that the other has hung up."""
        lines, said = list[str](), Deferred[None]()

        def observe(event: dict[str, Any]) -> None:
            if event["log_namespace"] == "txraft.rpc.network" and event["log_level"] is LogLevel.warn:
                lines.append(formatEvent(event))
                if not said.called:
                    said.callback(None)

        observer: Any = observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        trusted, other = (Path(self.mktemp()).absolute() for _ in range(2))
        make_certificate(trusted)
        make_certificate(other)
        ports = [reserve_port() for _ in range(2)]
        members = {id: f"tls:localhost:{port}:trustRoots={trusted}" for id, port in enumerate(ports)}
        for id, (port, its) in enumerate(zip(ports, (trusted, other), strict=True)):
            its_files = f"interface=127.0.0.1:privateKey={its}/key:certKey={its}/certificate.pem"
            self.start(members, id, listen=f"ssl:{port}:{its_files}")
        yield said
        self.assertTrue(lines[0].startswith("TLS with what answers at tls:localhost:"), lines)
        self.assertTrue(lines[0].endswith(" failed: certificate verify failed"), lines)

    @inlineCallbacks
    def test_members(self) -> Generator[Deferred[Any], Any, None]:
        """They have one address each."""
        service = self.start({0: f"127.0.0.1:{reserve_port()}"}, 0)
        yield service.propose(b"a name")
        two = Change(ChangeKind.ADD_LEARNER, 1, ("h:1", "h:2"))
        yield self.assertFailure(service.change_members([two]), ChangeRefused)
        for address in ("", "h", "h:1\n"):
            yield self.assertFailure(service.add_member(1, address), ChangeRefused)
        yield service.change_members([Change(ChangeKind.ADD_LEARNER, 1, ("h:1",))])
        self.assertEqual(dict(service.configuration.addresses)[1], ("h:1",))
        self.assertEqual([member.id for member in service.members().members], [0, 1])

    @inlineCallbacks
    def test_grows_and_shrinks(self) -> Generator[Deferred[Any], Any, None]:
        """One that joins has everything, and takes the place of the first; which ends, told why."""
        first = self.start({0: f"127.0.0.1:{reserve_port()}"}, 0)
        yield first.propose(b"a name")
        its, port = newcomer(1, first.status().cluster, first.members().founders), reserve_port()
        self.assertRaises(SettingsError, RaftService, self.reactor, its, 1, self.directory / "1", Kept)
        yield self.assertFailure(first.add_member(1, "tls:h:1:trustRoots=/no/such"), ChangeRefused)
        for wrong in ("1", -1, True, None):
            for change, *more in ((first.add_member, "h:1"), (first.move_member, "h:1"), (first.remove_member,)):
                self.assertRaises(SettingsError, change, wrong, *more)
        yield first.add_member(1, "h:1", learner=True)
        yield first.move_member(1, address := f"127.0.0.1:{port}")
        yield first.add_member(1, address, replaces=0)
        told = first.when_failed()
        second = self.start(its, 1, listen=address)
        self.assertIsInstance((yield told), MemberRemoved)
        self.assertEqual((yield second.read(names_of)), ["a name"])
        yield second.propose(b"another")
        yield second.add_member(2, "h:2", learner=True)
        yield second.remove_member(2)
        self.assertEqual([member.id for member in second.members().members], [1])
        yield gatherResults([first.stopService(), second.stopService()])
        again = self.start(its, 1, listen=address)
        self.assertEqual((yield again.read(names_of)), ["a name", "another"])

    @inlineCallbacks
    def test_not_started(self) -> Generator[Deferred[Any], Any, None]:
        """What is stopped, or let go, without a start is closed for good: its directory may be another one's by now."""
        members = {0: f"127.0.0.1:{reserve_port()}"}
        directories = (self.directory / "stopped", self.directory / "let go")
        stopped, let_go = (RaftService(self.reactor, members, 0, each, Kept, listen=LATER) for each in directories)
        yield stopped.stopService()
        let_go.let_go()
        for each in (stopped, let_go):
            self.assertRaises(StartedBefore, each.startService)

    @inlineCallbacks
    def test_other_members_than_before(self) -> Generator[Deferred[Any], Any, None]:
        """Those of the log count, and a line says so (hazard E14)."""
        lines = []
        for members in ({0: f"127.0.0.1:{reserve_port()}"}, {0: f"127.0.0.1:{reserve_port()}", 1: "h:1"}):
            with capturedLogs() as events:
                yield self.start(members, 0).stopService()
            lines.append([str(formatEvent(each)) for each in events if each["log_level"] is LogLevel.warn])
        first, (second,) = lines
        self.assertEqual(first, [])
        self.assertRegex(
            second, r"^the members are what the log says.* \(node 0 is at 127.*, not at 127.*; node 1 is no m"
        )

    @inlineCallbacks
    def test_another_thread(self) -> Generator[Deferred[Any], Any, None]:
        """Whatever is asked there is refused at once, before it comes to the core, which goes on (hazard C13). Without
        a reactor that runs there is no other thread than this."""
        yield deferLater(self.reactor, 0)  # from here on it is the reactor that runs this
        service = self.start({0: f"127.0.0.1:{reserve_port()}"}, 0)
        asked: list[tuple[Any, ...]] = [
            (service.propose, b"a name"),
            (service.read_barrier,),
            (service.read, names_of),
            (service.change_members, []),
            (service.add_member, 1, "h:1"),
            (service.remove_member, 1),
            (service.move_member, 1, "h:1"),
            (service.transfer_leadership, 0),
            (service.members,),
            (service.status,),
            (service.startService,),
            (service.stopService,),
        ]
        for function, *arguments in asked:
            yield self.assertFailure(deferToThread(function, *arguments), WrongThread)
        (changed,) = yield deferToThread(lambda: [service.leadership_changed(service.leadership)])
        yield self.assertFailure(changed, WrongThread)
        self.assertEqual((yield service.propose(b"a name")), b"1")
        yield deferToThread(require_thread, MemoryReactorClock())

    @inlineCallbacks
    def test_fails(self) -> Generator[Deferred[Any], Any, None]:
        """Whoever asked is told why, before and after."""
        service = self.start({0: f"127.0.0.1:{reserve_port()}"}, 0)
        told = service.when_failed()
        self.assertNoResult(told)
        service._node._fail(Failure(WriteFailed("cannot write")))
        service._failed(WriteFailed("something else"))
        for each in (told, service.when_failed()):
            error: TxraftError = yield each
            self.assertEqual(str(error), "cannot write")

    @inlineCallbacks
    def test_cannot_listen(self) -> Generator[Deferred[Any], Any, None]:
        """Where that shows when it starts only, it fails as everything does then."""
        taken = TCP4ServerEndpoint(self.reactor, reserve_port(), interface="192.0.2.1")
        service = self.start({0: "h:1"}, 0, listen=taken)
        self.assertIsInstance((yield service.when_failed()), ListenError)
        yield self.assertFailure(service.propose(b"a name"), NotApplied)

    @inlineCallbacks
    def test_nobody_asked(self) -> Generator[Deferred[Any], Any, None]:
        """Why it cannot go on is in the log then."""
        logged = Mock()
        self.patch(service_module, "_log", logged)
        taken = TCP4ServerEndpoint(self.reactor, reserve_port(), interface="192.0.2.1")
        service = self.start({0: "h:1"}, 0, listen=taken)
        while service._failure is None:
            yield deferLater(self.reactor, 0)
        line = "node {id} cannot go on: {error}"
        logged.critical.assert_called_once_with(line, id=0, error=service._failure)

    @inlineCallbacks
    def test_stopped_twice(self) -> Generator[Deferred[Any], Any, None]:
        """By who stops it, and by the end of the reactor, say: the second call waits for the first."""
        members = {0: f"127.0.0.1:{reserve_port()}"}
        service = self.start(members, 0)
        first, second = service.stopService(), service.stopService()
        yield second
        self.start(members, 0)  # the port and the directory are free by then
        yield first
        yield service.stopService()

    @inlineCallbacks
    def test_leadership_cannot_be_handed_over(self) -> Generator[Deferred[Any], Any, None]:
        """It stops all the same."""
        service = self.start({0: f"127.0.0.1:{reserve_port()}"}, 0)

        def broken() -> None:
            raise InvariantViolated("broken")

        self.patch(service._node, "hand_over", broken)
        yield service.stopService()
        self.assertFalse(service.running)
        self.assertEqual(len(self.flushLoggedErrors(InvariantViolated)), 1)
