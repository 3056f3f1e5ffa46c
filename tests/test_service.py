"""How a node is wired: what its settings reach, and a whole one that serves and stops."""

import os
import resource
import socket
import sqlite3
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, cast
from unittest.mock import Mock, patch

import treq
from attrs import evolve, frozen
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, fail, gatherResults, inlineCallbacks, succeed
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from tests.clock import STARTS_AT
from tests.integration.ports import name_of, reserve_port, sockets_of
from tests.kv.applying import delta
from tests.storage.worker import InlineWorker
from txraft import service
from txraft.addresses import Address, Endpoint, Place
from txraft.bootstrap import founders_of, founding
from txraft.core.configuration import Configuration
from txraft.core.messages import Entry, EntryKind
from txraft.core.ready import Save, TermAndVote
from txraft.errors import (
    ChangeRefused,
    DataLost,
    DirectoryLocked,
    DirectoryRefused,
    JoinRefused,
    ListenError,
    MemberRemoved,
    SettingsError,
    StartedBefore,
    StorageError,
    TxraftError,
    WriteFailed,
    WrongDirectory,
)
from txraft.joining import Joiner
from txraft.kv import Set, encode
from txraft.kv.data_file import DataFile
from txraft.node.driver import Node
from txraft.node.replica import Replica
from txraft.ports import Ports, bind_ports, bind_so_far
from txraft.raft_service import endpoints
from txraft.raft_service import service as raft_service
from txraft.rpc import Network
from txraft.settings import Member, Settings, SizeLimits, Timing
from txraft.storage.directory import DirectoryLock
from txraft.storage.identity import Bootstrap
from txraft.storage.sqlite import SQLiteStorage
from txraft.web import site


def a_reactor() -> MemoryReactorClock:
    """One that does nothing by itself, and whose time is no special one."""
    reactor = MemoryReactorClock()
    reactor.advance(STARTS_AT)
    return reactor


def member(id: int) -> Member:
    """Of a cluster on this machine."""
    return Member(id, Address("127.0.0.1", reserve_port()), Address("127.0.0.1", reserve_port()))


class WiringTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.settings = Settings(
            (member(3), member(4), member(5)),
            Timing(slow_coefficient=2, election_timeout=400, heartbeat_interval=50, request_timeout=3000),
            SizeLimits(key_size=10, value_size=20, batch_size=30, uncommitted_size=12_345),
        )
        for module in (service, raft_service):
            self.patch(module, "ThreadWorker", lambda *_: InlineWorker())

    def ports(self) -> Ports:
        ports = bind_ports(self.settings, 4)
        for each in sockets_of(ports):
            self.addCleanup(each.close)
        return ports

    def wire(self, reactor: Any) -> MultiService:
        node = service.make_node_service(reactor, self.settings, 4, self.ports(), Path(self.mktemp()), self.fail)
        raft, *_ = node
        self.addCleanup(lambda: self.successResultOf(raft.stopService()))
        return node

    def test_no_member(self) -> None:
        """An id that the configuration does not have makes nothing."""
        ports, directory = self.ports(), Path(self.mktemp())
        self.assertRaises(
            SettingsError, service.make_node_service, a_reactor(), self.settings, 7, ports, directory, self.fail
        )
        self.assertFalse(directory.exists())
        ports.close()
        line = str(self.assertRaises(SettingsError, bind_ports, self.settings, "4"))
        self.assertEqual(line, "the id of a node is a number, and '4' is a str")

    def test_of_an_embedder(self) -> None:
        """To wire a node changes nothing of the reactor that it is given."""
        reactor = a_reactor()
        before = {name: repr(value) for name, value in vars(reactor).items()}
        self.wire(reactor)
        self.assertEqual({name: repr(value) for name, value in vars(reactor).items()}, before)

    def test_settings(self) -> None:
        """Each goes to the part that is to heed it, in seconds and bytes."""
        reactor = a_reactor()
        with (
            patch("txraft.raft_service.service.Node", wraps=Node) as node,
            patch("txraft.raft_service.service.Replica", wraps=Replica) as replica,
            patch("txraft.raft_service.service.Network", wraps=Network) as network,
            patch("txraft.service.site", wraps=site) as web,
        ):
            self.wire(reactor)
        given = node.call_args.kwargs
        self.assertEqual((given["node_id"], given["stored"].configuration.voters), (4, {3, 4, 5}))
        options = given["options"]
        self.assertAlmostEqual(options.election_timeout, 0.8)
        self.assertAlmostEqual(options.heartbeat_interval, 0.1)
        self.assertEqual(options.max_uncommitted_size, 12_345)
        self.assertIs(given["clock"], reactor)
        given["check_addresses"](("h:1", "h:2"))
        for wrong, why in ((("h:1",), "has two addresses"), (("unix:/a", "h:1"), "no member is at an endpoint like")):
            self.assertRaisesRegex(ChangeRefused, why, given["check_addresses"], wrong)

        self.assertIn(self.settings.cluster_id, replica.call_args.args)
        self.assertIn(frozenset({3, 4, 5}), replica.call_args.args)  # the founders
        given = replica.call_args.kwargs
        self.assertAlmostEqual(given["request_timeout"], 6)
        self.assertAlmostEqual(given["patience"], 0.8)
        self.assertEqual(given["max_held_size"], 12_345)

        _, identity, memory, *_ = network.call_args.args
        self.assertEqual((identity.node_id, identity.cluster_id), (4, self.settings.cluster_id))
        self.assertEqual(memory.own.starts, 1)  # counted before anybody can be dialled (hazard S6)
        self.assertIn(self.settings.limits, web.call_args.args)

    def test_applied_beyond_the_log(self) -> None:
        """What the core finds to be lost at the start comes with the directory, and with what to do. Nothing is held
        on to."""
        directory = Path(self.mktemp())
        bootstrap = Bootstrap(4, self.settings.cluster_id, founders_of(self.settings))
        storage = SQLiteStorage(directory, bootstrap, InlineWorker())
        storage.load()
        storage.unlock()
        data = DataFile(directory / "kv.sqlite", self.settings.cluster_id)
        data.load()
        data.prepare()
        data.open()
        data.write(delta(9, {}))
        data.close()
        ports = self.ports()
        with self.assertRaises(StorageError) as refused:
            service.make_node_service(a_reactor(), self.settings, 4, ports, directory, self.fail)
        self.assertEqual([each.fileno() for each in sockets_of(ports)], [-1, -1])
        lock = DirectoryLock(directory)
        lock.acquire()
        lock.release()
        line = str(refused.exception)
        self.assertIn(f"{directory} has lost data: the state machine has applied entry 9, but the log ends at 0", line)
        self.assertIn("; never start the node from a backup, and emptied only when the others have gone on", line)

    def test_refused(self) -> None:
        """A start that is refused for what only all the files together show changes none of them: what is in a `-wal`
        is evidence (hazards S15, S18)."""
        directory = Path(self.mktemp())
        bootstrap = Bootstrap(4, self.settings.cluster_id, founders_of(self.settings))
        storage = SQLiteStorage(directory, bootstrap, InlineWorker())
        storage.load()
        self.successResultOf(storage.save([Save(TermAndVote(1, None), (Entry(1, 1, EntryKind.NOOP, b""),))]))
        data = DataFile(directory / "kv.sqlite", self.settings.cluster_id)
        data.prepare()
        data.open()
        data.write(delta(9, {b"k": b"v"}))
        left = {path: path.read_bytes() for path in directory.iterdir()}
        data.close()
        self.successResultOf(storage.close())
        for path, content in left.items():
            path.write_bytes(content)
        self.assertGreater(len(left[directory / "raft.sqlite-wal"]), 0)
        with self.assertRaises(StorageError):
            service.make_node_service(a_reactor(), self.settings, 4, self.ports(), directory, self.fail)
        for path, content in left.items():
            if path.name not in ("lock", "raft.sqlite-shm", "kv.sqlite-shm"):
                self.assertEqual(path.read_bytes(), content, path)

    def test_edited_file(self) -> None:
        """The members and addresses of the first start are kept. A file that names others is not obeyed, and one line
        says so (hazard E14)."""
        directory = Path(self.mktemp())
        founded = self.settings
        for edited, warnings in ((founded, 0), (Settings((*founded.cluster[1:], member(6)), founded.timing), 1)):
            ports = self.ports()
            with patch("txraft.raft_service.service.Node", wraps=Node) as node, capturedLogs() as logged:
                raft, *_ = service.make_node_service(a_reactor(), edited, 4, ports, directory, self.fail)
            stored = node.call_args.kwargs["stored"]
            self.assertEqual(stored.configuration, founders_of(founded))
            lines = [formatEvent(event) for event in logged]
            self.assertEqual(len(lines), warnings)
            self.assertEqual([line for line in lines if "node 6 is no member" not in line], [])
            self.successResultOf(raft.stopService())
            ports.close()

    def test_listens_elsewhere(self) -> None:
        """Than the members and clients look for it: a line each says so, at the first start and at a later one."""
        directory, here = Path(self.mktemp()), member(4)
        for _ in range(2):
            ports = bind_ports(self.settings, 4, here.kvaddr, here.address)
            with capturedLogs() as logged:
                raft, *_ = service.make_node_service(a_reactor(), self.settings, 4, ports, directory, self.fail)
            self.successResultOf(raft.stopService())
            ports.close()
            first, second = (str(formatEvent(event)) for event in logged)
            self.assertIn(f"txraft member update 4 --address {here.address}", first)
            self.assertIn(f"clients look for this node at {self.settings.member(4).kvaddr}, ", second)

    def test_bootstrap(self) -> None:
        """What a new directory becomes need not be what the settings say of the members, and is not compared with that:
        a node that joins may be in no file."""
        directory = Path(self.mktemp())
        founders = Configuration({0, 1}, addresses={0: ("a:1", "a:2"), 7: ("b:1", "b:2")})
        with patch("txraft.raft_service.service.Node", wraps=Node) as node, capturedLogs() as logged:
            ports, bootstrap = self.ports(), Bootstrap(7, "c", founders)
            raft, *_ = service.make_node_service(a_reactor(), self.settings, 7, ports, directory, self.fail, bootstrap)
        self.successResultOf(raft.stopService())
        given = node.call_args.kwargs
        self.assertEqual((given["node_id"], given["stored"].configuration), (7, founders))
        self.assertEqual([formatEvent(event) for event in logged], [])
        ports.close()
        with capturedLogs() as logged:  # it is started again, with the file
            raft, *_ = service.make_node_service(a_reactor(), self.settings, 7, self.ports(), directory, self.fail)
        self.successResultOf(raft.stopService())
        (event,) = logged
        self.assertIn("node 0 is a member, and not in the configuration", str(formatEvent(event)))

    def test_removed(self) -> None:
        """A node that sees its removal in its log says so, and is not started again (hazard M7). Where others told it,
        it is: they may be no members, at addresses that are wrong, and then it is needed."""
        directory = Path(self.mktemp())
        for removed in (MemberRemoved(4, told_by=3), MemberRemoved(4, told_by=0), MemberRemoved(4)):
            ports, errors = self.ports(), list[TxraftError]()
            with patch("txraft.raft_service.service.Node", wraps=Node) as node:
                raft, *_ = service.make_node_service(a_reactor(), self.settings, 4, ports, directory, errors.append)
            node.call_args.kwargs["on_failure"](removed)
            self.successResultOf(raft.stopService())
            ports.close()
            self.assertEqual(errors, [removed])
        self.refuse_removed(directory)

    def test_removal_in_the_log(self) -> None:
        """Where it is committed, as far as the data tell, a start is refused. Where it may be truncated yet, it is not:
        the node may be needed (hazard M5)."""
        without = Configuration({3, 5}, removed={4})
        for applied in (1, 2):
            directory = Path(self.mktemp())
            storage = SQLiteStorage(directory, founding(self.settings, 4), InlineWorker())
            storage.load()
            noop, removal = Entry(1, 1, EntryKind.NOOP, b""), Entry(2, 1, EntryKind.CONFIGURATION, without.to_bytes())
            self.successResultOf(storage.save([Save(TermAndVote(1, None), (noop, removal))]))
            self.successResultOf(storage.close())
            data = DataFile(directory / "kv.sqlite", self.settings.cluster_id)
            data.load()
            data.prepare()
            data.open()
            data.write(delta(applied, {}))
            data.close()
            if applied == 2:
                self.refuse_removed(directory)
            else:
                ports = self.ports()
                raft, *_ = service.make_node_service(a_reactor(), self.settings, 4, ports, directory, self.fail)
                self.successResultOf(raft.stopService())
                ports.close()

    def refuse_removed(self, directory: Path) -> None:
        ports = self.ports()
        with self.assertRaises(MemberRemoved):
            service.make_node_service(a_reactor(), self.settings, 4, ports, directory, self.fail)
        self.assertEqual([each.fileno() for each in sockets_of(ports)], [-1, -1])
        lock = DirectoryLock(directory)
        lock.acquire()
        lock.release()

    def test_lost_what_it_acknowledged(self) -> None:
        """What the core finds to be lost later comes with the directory too, and other errors alone (hazard R7)."""
        directory, other = Path(self.mktemp()), WriteFailed("cannot write")
        line = str(self.failed_with(DataLost("entry 8 is committed, but this server's log ends at 0"), directory))
        self.assertIn(f"{directory} has lost data: entry 8 is committed, but this server's log ends at 0; never", line)
        self.assertIs(self.failed_with(other, directory), other)
        line = str(self.failed_with(DirectoryRefused("this directory is another"), directory))  # hazard S6
        self.assertEqual(line, f"{directory} is refused by the other nodes: this directory is another")

    def failed_with(self, error: TxraftError, directory: Path) -> TxraftError:
        """What the owner of a node is told, once, when the node and then something else fail."""
        ports, errors = self.ports(), list[TxraftError]()
        with patch("txraft.raft_service.service.Node", wraps=Node) as node:
            raft, *_ = service.make_node_service(a_reactor(), self.settings, 4, ports, directory, errors.append)
        node.call_args.kwargs["on_failure"](error)
        node.call_args.kwargs["on_failure"](WriteFailed("something else"))
        self.successResultOf(raft.stopService())
        ports.close()
        (told,) = errors
        return told

    def test_dials_where_the_others_are(self) -> None:
        """At their Raft addresses, and not for ever; that nobody listens there is seen at once."""
        with (
            patch("txraft.raft_service.endpoints.HostnameEndpoint", wraps=HostnameEndpoint) as endpoint,
            patch("txraft.raft_service.service.Network", wraps=Network) as network,
        ):
            self.wire(a_reactor())
            endpoint_of = network.call_args.args[3]
            endpoint_of(("[::1]:8080", "localhost:1"))
            with self.assertRaises(SettingsError):
                endpoint_of(("no address", "localhost:1"))
        *founders, call = endpoint.call_args_list
        self.assertEqual(
            [each.args[1:] for each in founders], [name_of(each.address) for each in self.settings.cluster]
        )
        self.assertEqual((*call.args[1:], call.kwargs["timeout"]), ("::1", 8080, endpoints.CONNECT_TIMEOUT))
        self.assertLess(call.kwargs["attemptDelay"], 0.02)


class OpenFilesTests(SynchronousTestCase):
    """How many clients a node serves follows from how many files its process may open (hazard N4)."""

    def served(self, open_files: int) -> tuple[int, list[str]]:
        """By a node that may serve 700, and the lines that it logs."""
        with (
            patch("resource.getrlimit", {resource.RLIMIT_NOFILE: (open_files, 1 << 20)}.__getitem__),
            capturedLogs() as logged,
        ):
            limits = service._within_open_files(SizeLimits(connections=700))
        return limits.connections, [str(formatEvent(event)) for event in logged]

    def test_enough(self) -> None:
        for open_files in (956, 1024, resource.RLIM_INFINITY):
            self.assertEqual(self.served(open_files), (700, []))

    def test_too_few(self) -> None:
        """One line says what limit to raise."""
        for open_files, clients in ((955, 699), (600, 344), (256, 64)):
            connections, (line,) = self.served(open_files)
            self.assertEqual(connections, clients)
            self.assertIn(f"may open {open_files} files, so it serves {clients} clients at once and not 700", line)


class Client(Protocol):
    """Asks once, and keeps its connection open."""

    received = b""

    def __init__(self, target: str) -> None:
        self._target = target.encode()
        self.answered: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % self._target)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if not self.answered.called:
            self.answered.callback(None)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's default is a constant
        self.lost.errback(reason)


class WholeNodeTests(TestCase):
    """One node, on the reactor that runs the tests."""

    @inlineCallbacks
    def test_never_started(self) -> Generator[Deferred[Any], Any, None]:
        """A stop closes the ports, and lets go of the directory."""
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        settings, directory = Settings((member(0),)), Path(self.mktemp())
        for _ in range(2):
            ports = bind_ports(settings, 0)
            yield service.make_node_service(reactor, settings, 0, ports, directory, self.fail).stopService()

    @inlineCallbacks
    def test_serves_and_stops(self) -> Generator[Deferred[Any], Any, None]:
        """What it said is on its disk when it has stopped: one file each, without a log of its own, and nobody's."""
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        settings = Settings((member(0),), Timing(election_timeout=30, heartbeat_interval=10))
        directory = Path(self.mktemp())
        failures: list[Any] = []
        ports = bind_ports(settings, 0)
        node = service.make_node_service(reactor, settings, 0, ports, directory, failures.append)
        node.startService()
        client = Agent(reactor)
        url = f"http://{settings.cluster[0].kvaddr}"
        answer = yield treq.get(f"{url}/set?key=a&val=1", agent=client, persistent=False)
        self.assertEqual((answer.code, (yield answer.text())), (200, "set value"))
        answer = yield treq.get(f"{url}/get?key=a", agent=client, persistent=False)
        self.assertEqual((yield answer.text()), "1")
        yield node.stopService()
        line = str(self.assertRaises(StartedBefore, node.startService))
        self.assertEqual(line, "this node was started or stopped before; make another one, of the same directory")
        yield deferLater(reactor, 0)  # for what the client still has to close

        self.assertEqual(failures, [])
        self.assertEqual(
            {path.name for path in directory.iterdir()},
            {"raft.sqlite", "raft.sqlite-durable", "kv.sqlite", "lock", "snapshots"},
        )
        lock = DirectoryLock(directory)
        lock.acquire()
        lock.release()
        for name, query in (("raft", "SELECT max(idx) FROM log"), ("kv", "SELECT last_applied FROM applied")):
            with closing(sqlite3.connect(f"file:{directory}/{name}.sqlite?mode=ro", uri=True)) as file:
                self.assertEqual(file.execute(query).fetchall(), [(2,)])  # the leader's own entry, and the value
        for address in (settings.cluster[0].address, settings.cluster[0].kvaddr):
            self.assertRaises(ConnectionRefusedError, socket.create_connection, name_of(address))

    @inlineCallbacks
    def test_clients_that_stay(self) -> Generator[Deferred[Any], Any, None]:
        """A stop ends the connections that clients keep open, and is done when they are closed: nobody is served by a
        node that has stopped, and nothing of it is left on the reactor, where trial looks. Who waits is answered."""
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        settings = Settings((member(0), member(1)), Timing(request_timeout=60_000))  # the other is not there
        ports = bind_ports(settings, 0)
        node = service.make_node_service(reactor, settings, 0, ports, self.mktemp(), self.fail)
        node.startService()
        where = settings.cluster[0].kvaddr
        served = [Client("/status"), Client("/get?key=a&consistency=stale")]
        waiting = [Client("/get?key=a"), Client("/set?key=a&val=1")]
        for client in waiting + served:  # so that those who wait have been read when the others are answered
            yield connectProtocol(HostnameEndpoint(reactor, where.host, where.port), client)
        yield gatherResults([client.answered for client in served])
        yield node.stopService()
        for client in served + waiting:
            yield self.assertFailure(client.lost, ConnectionDone)
        for client in waiting:
            self.assertIn(b"503 Service Unavailable", client.received)
            self.assertIn(b"X-Txraft-Outcome: not-applied", client.received)
            self.assertIn(b"Connection: close", client.received)

    @inlineCallbacks
    def test_failed(self) -> Generator[Deferred[Any], Any, None]:
        """A node that cannot go on says so to everybody, until it is stopped: what it has is not what there is."""
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        settings, failures = Settings((member(0),), Timing()), list[TxraftError]()
        ports = bind_ports(settings, 0)
        node = service.make_node_service(reactor, settings, 0, ports, self.mktemp(), failures.append)
        node.startService()
        yield node.replica.propose(encode(Set(b"a", b"1")))
        node.replica._node._fail(Failure(WriteFailed("cannot write")))
        self.assertEqual([str(failure) for failure in failures], ["cannot write"])
        for path in ("/status", "/get?key=a&consistency=stale", "/set?key=a&val=2", "/nothing"):
            url = f"http://{settings.cluster[0].kvaddr}{path}"
            answer = yield treq.get(url, agent=Agent(reactor), persistent=False)
            line = "this node has failed, and serves nothing; its log says why"
            self.assertEqual((answer.code, (yield answer.text())), (503, line), path)
        yield node.stopService()
        yield deferLater(reactor, 0)  # for what the clients still have to close

    @inlineCallbacks
    def test_endpoints(self) -> Generator[Deferred[Any], Any, None]:
        """Nodes reach each other, and clients reach them, at sockets in the file system. One that was left by a node
        that was killed is in nobody's way; one at which somebody listens is left to him."""
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        directory = Path(mkdtemp())  # a socket's name is 107 bytes at most
        self.addCleanup(rmtree, directory)
        at = f"unix:{directory}"
        members = (evolve(member(i), address=Endpoint(f"{at}/{i}"), kvbind=Endpoint(f"{at}/kv{i}")) for i in (0, 1))
        settings = Settings(tuple(members), Timing(request_timeout=60_000))
        with closing(socket.socket(socket.AF_UNIX)) as left:
            left.bind(f"{directory}/0")
        nodes = []
        for id in (0, 1):
            ports = bind_ports(settings, id)
            nodes.append(service.make_node_service(reactor, settings, id, ports, directory / f"data{id}", self.fail))
            nodes[-1].startService()
        for id in (0, 1):
            agent = Agent.usingEndpointFactory(reactor, At(UNIXClientEndpoint(reactor, f"{directory}/kv{id}")))
            answer = yield treq.get("http://localhost/set?key=a&val=1", agent=agent, persistent=False)
            self.assertEqual((answer.code, (yield answer.text())), (200, "set value"))
        for each in (settings.cluster[0], evolve(settings.cluster[0], address=member(0).address)):
            line = str(self.assertRaises(ListenError, bind_ports, Settings((each,)), 0))
            self.assertRegex(line, "^cannot listen on unix:.*: Address already in use; end what listens there, or say")
        yield gatherResults([node.stopService() for node in nodes])
        yield deferLater(reactor, 0)  # for what the clients still have to close

    def test_no_endpoint(self) -> None:
        """What Twisted makes none of is told when the node is made, and nothing is held on to."""
        plain, wrong = member(0), Endpoint("unix:a:b:c:d:e:f")
        for node in (evolve(plain, bind=wrong), evolve(plain, kvbind=wrong)):
            settings, directory = Settings((node,)), Path(self.mktemp())
            ports = bind_ports(settings, 0)
            with self.assertRaisesRegex(SettingsError, "unix:a:b:c:d:e:f.* makes no endpoint: TypeError"):
                service.make_node_service(a_reactor(), settings, 0, ports, directory, self.fail)
            bind_ports(settings, 0).close()
            if directory.exists():
                lock = DirectoryLock(directory)
                lock.acquire()
                lock.release()

    @inlineCallbacks
    def test_cannot_listen(self) -> Generator[Deferred[Any], Any, None]:
        """At an endpoint, which is known only when the node starts: then it fails with a line."""
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        plain, failures = member(0), list[TxraftError]()
        with closing(socket.create_server(("127.0.0.1", reserve_port()))) as taken:
            place = Endpoint(f"tcp:{taken.getsockname()[1]}:backlog=5")
            for node in (evolve(plain, bind=place), evolve(plain, kvbind=place)):
                settings = Settings((node,))
                ports = bind_ports(settings, 0)
                made = service.make_node_service(reactor, settings, 0, ports, Path(self.mktemp()), failures.append)
                made.startService()
                self.assertRegex(str(failures.pop()), "^cannot listen at port .*: Address already in use; say")
                yield made.stopService()
                self.assertEqual(failures, [])

    @inlineCallbacks
    def test_two_that_talk(self) -> Generator[Deferred[Any], Any, None]:
        """They decide together, and when both have stopped, nothing of them is left on the reactor: trial looks."""
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        settings = Settings((member(0), member(1)), Timing(request_timeout=60_000))
        nodes = []
        for id in (0, 1):
            ports = bind_ports(settings, id)
            nodes.append(service.make_node_service(reactor, settings, id, ports, Path(self.mktemp()), self.fail))
            nodes[-1].startService()
        for each in settings.cluster:
            url = f"http://{each.kvaddr}/set?key=a&val={each.id}"
            answer = yield treq.get(url, agent=Agent(reactor), persistent=False)
            self.assertEqual((answer.code, (yield answer.text())), (200, "set value"))
        yield gatherResults([node.stopService() for node in nodes])
        yield deferLater(reactor, 0)  # for what the clients still have to close


@implementer(IAgentEndpointFactory)
@frozen
class At:
    """Where an agent connects to, whatever it asks for."""

    endpoint: Any

    def endpointForURI(self, uri: object) -> Any:  # noqa: ARG002  IAgentEndpointFactory's signature
        return self.endpoint


class JoiningTests(TestCase):
    """A node that joins one that runs, on the reactor that runs the tests."""

    def setUp(self) -> None:
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs it

        self.reactor = reactor
        self.settings = Settings((member(0),), Timing(election_timeout=30, heartbeat_interval=10))
        self.first, self.new = self.settings.cluster[0], member(3)
        self.directory, self.failures = Path(self.mktemp()), list[TxraftError]()

    def get(self, kvaddr: Address, target: str, method: str = "GET") -> "Deferred[Any]":
        return treq.request(method, f"http://{kvaddr}{target}", agent=Agent(self.reactor), persistent=False)

    def start_first(self) -> service.NodeService:
        ports = bind_ports(self.settings, 0)
        node = service.make_node_service(self.reactor, self.settings, 0, ports, Path(self.mktemp()), self.fail)
        node.startService()
        return node

    def join(self, kvaddr: Place, asks: Address | None = None) -> MultiService:
        """A node that knows where it listens for clients, and not where the others reach it."""
        joiner = Joiner(3, asks or self.first.kvaddr, kvaddr if isinstance(kvaddr, Address) else None)
        ports = bind_so_far(None, kvaddr)
        return service.make_joining_service(
            self.reactor, self.settings, joiner, ports, self.directory, self.failures.append
        )

    def add(self) -> "Deferred[Any]":
        return self.get(
            self.first.kvaddr, f"/members?id=3&address={self.new.address}&kvaddr={self.new.kvaddr}&learner=true", "POST"
        )

    @inlineCallbacks
    def test_joins_before_its_parent_has_ended(self) -> Generator[Deferred[Any], Any, None]:
        """A process that this one forked from, as a daemon, has the lock's open file too, for as long as it lives."""
        first, new = self.start_first(), self.join(self.new.kvaddr)
        files = [each for each in Path("/proc/self/fd").iterdir() if each.exists()]
        (lock,) = [int(each.name) for each in files if each.samefile(self.directory / "lock")]
        self.addCleanup(os.close, os.dup(lock))
        new.startService()
        yield self.add()
        while not any(isinstance(each, service.NodeService) for each in new):
            self.assertEqual(self.failures, [])
            yield deferLater(self.reactor, 0.01)
        yield new.stopService()
        yield first.stopService()

    @inlineCallbacks
    def test_joins_at_endpoints(self) -> Generator[Deferred[Any], Any, None]:
        """Clients are told to wait where they are served later, and the others reach it where it was added."""
        port, sockets = reserve_port(), Path(mkdtemp())
        self.addCleanup(rmtree, sockets)
        self.first = evolve(self.first, address=Endpoint(f"unix:{sockets}/first"))
        self.settings = evolve(self.settings, cluster=(self.first,))
        self.new = evolve(self.new, address=Endpoint(f"unix:{sockets}/raft"))
        for place, client in (
            (f"tcp:{port}:interface=127.0.0.1:backlog=9", HostnameEndpoint(self.reactor, "127.0.0.1", port)),
            (f"unix:{sockets}/kv", UNIXClientEndpoint(self.reactor, f"{sockets}/kv")),
        ):
            self.directory, agent = Path(self.mktemp()), Agent.usingEndpointFactory(self.reactor, At(client))
            first, new = self.start_first(), self.join(Endpoint(place))
            new.startService()
            answer = yield treq.get("http://localhost/status", agent=agent, persistent=False)
            self.assertEqual((answer.code, (yield answer.text())[:28]), (503, "node 3 waits to join the clu"))
            yield self.get(self.first.kvaddr, "/set?key=a&val=1")
            self.assertEqual((yield self.add()).code, 200)
            while not any(isinstance(each, service.NodeService) for each in new):
                self.assertEqual(self.failures, [])
                yield deferLater(self.reactor, 0.01)
            answer = yield treq.get("http://localhost/get?key=a", agent=agent, persistent=False)
            self.assertEqual((answer.code, (yield answer.text())), (200, "1"))
            self.assertTrue((sockets / "raft").is_socket())
            yield gatherResults([node.stopService() for node in (new, first)])
            yield deferLater(self.reactor, 0)  # for what the clients still have to close
            self.assertEqual((self.failures, [*sockets.iterdir()]), ([], []))

    @inlineCallbacks
    def test_joins(self) -> Generator[Deferred[Any], Any, None]:
        """Until it is added, it has no directory but a lock, and says what it waits for. Then it serves as any node."""
        first, new = self.start_first(), self.join(self.new.kvaddr)
        cluster_id = first.replica.status().cluster
        new.startService()
        self.assertRaises(StartedBefore, new.startService)
        answer = yield self.get(self.new.kvaddr, "/status")
        self.assertEqual((answer.code, (yield answer.text())[:28]), (503, "node 3 waits to join the clu"))
        self.assertEqual([path.name for path in self.directory.iterdir()], ["lock"])
        self.assertRaises(DirectoryLocked, self.join, member(9).kvaddr)
        yield self.get(self.first.kvaddr, "/set?key=a&val=1")
        answer = yield self.add()
        self.assertEqual(answer.code, 200)
        while (answer := (yield self.get(self.new.kvaddr, "/get?key=a"))).code != 200:
            yield deferLater(self.reactor, 0.01)
        self.assertEqual((yield answer.text()), "1")
        yield gatherResults([node.stopService() for node in (new, first)])
        yield deferLater(self.reactor, 0)  # for what the clients still have to close
        self.assertEqual(self.failures, [])
        stored = SQLiteStorage(self.directory, Bootstrap(3, "", Configuration(())), InlineWorker())
        self.assertEqual(stored.load().log_start.configuration.voters, {0})
        stored.unlock()
        self.assertEqual(stored.identity.cluster_id, cluster_id)
        self.assertNotEqual(cluster_id, self.settings.cluster_id)  # it is not that of an emptied directory (hazard S6)

    @inlineCallbacks
    def test_no_member(self) -> Generator[Deferred[Any], Any, None]:
        """Where it asks the wrong one, it says so, in one line and once: itself, or the port of a node for others."""
        first, raft = self.start_first(), Address(*name_of(self.first.address))
        for asks, line in (
            (self.new.kvaddr, f"{self.new.kvaddr} is this node itself, or one with its id: --join takes the HTTP"),
            (raft, f"{raft} does not answer over HTTP, or ended while it did: --join"),
        ):
            new = self.join(self.new.kvaddr, asks)
            new.startService()
            text = ""
            while "has not asked yet" in text or not text:
                text = yield (yield self.get(self.new.kvaddr, "/status")).text()
            self.assertTrue(text.startswith(f"node 3 waits to join the cluster: {line}"), text)
            yield new.stopService()
        yield first.stopService()
        yield deferLater(self.reactor, 0)

    @inlineCallbacks
    def test_refused(self) -> Generator[Deferred[Any], Any, None]:
        """Its owner is told, once, and it makes nothing."""
        first = self.start_first()
        yield self.add()
        new = self.join(member(3).kvaddr)
        new.startService()
        while not self.failures:
            yield deferLater(self.reactor, 0.01)
        yield gatherResults([node.stopService() for node in (new, first)])
        yield deferLater(self.reactor, 0)
        (failure,) = self.failures
        self.assertIsInstance(failure, JoinRefused)
        self.assertEqual([path.name for path in self.directory.iterdir()], ["lock"])

    @inlineCallbacks
    def test_stopped(self) -> Generator[Deferred[Any], Any, None]:
        """Before it is a member, and before it is started: the ports and the directory are free, as trial sees."""
        for started in (True, False):
            new = self.join(self.new.kvaddr)
            if started:
                new.startService()
            yield new.stopService()
            bind_so_far(None, self.new.kvaddr).close()
        yield deferLater(self.reactor, 0)
        self.assertEqual(self.failures, [])

    @inlineCallbacks
    def test_of_a_node(self) -> Generator[Deferred[Any], Any, None]:
        """A directory that is enough by itself is not joined with again."""
        ports = bind_ports(self.settings, 0)
        yield service.make_node_service(self.reactor, self.settings, 0, ports, self.directory, self.fail).stopService()
        self.assertRaises(WrongDirectory, self.join, self.new.kvaddr)
        bind_so_far(None, self.new.kvaddr).close()

    def test_no_directory(self) -> None:
        """It is found out at once, and the ports are closed."""
        self.directory.write_text("a file")
        self.assertRaises(StorageError, self.join, self.new.kvaddr)
        bind_so_far(None, self.new.kvaddr).close()


class Server(Service):
    """Of a node that stops."""

    patience = 1.0

    def __init__(self) -> None:
        self.handed_over, self.left = Deferred[None](), Deferred[None]()
        self.asked: list[str] = []

    def require_not_started(self) -> None:
        """It was not."""

    def hand_over(self) -> "Deferred[None]":
        self.asked.append("hand over")
        return self.handed_over

    def leave(self) -> "Deferred[None]":
        self.asked.append("leave")
        return self.left


class Clients(Service):
    """Of such a node."""

    def stopService(self) -> "Deferred[None]":
        Service.stopService(self)
        return succeed(None)


class StopTests(SynchronousTestCase):
    """The end of a whole node."""

    def test_in_order(self) -> None:
        """Everything works until what was asked is answered."""
        server, clients, backups, worker = Server(), Clients(), Mock(), Mock()
        backups.stop.return_value = fail(WriteFailed("cannot write"))
        worker.stop.return_value = succeed(None)
        whole = service.NodeService(Clock(), cast(Any, server), cast(Any, clients), backups, worker)
        whole.startService()
        stopped = whole.stopService()
        self.assertEqual((server.running, clients.running, server.asked), (1, 1, ["hand over"]))
        server.handed_over.callback(None)
        self.assertEqual((server.running, clients.running, server.asked), (1, 0, ["hand over", "leave"]))
        backups.stop.assert_not_called()
        server.left.callback(None)
        self.failureResultOf(stopped, WriteFailed)
        self.assertFalse(server.running)
        worker.stop.assert_called_once_with()
