"""How a node is started, by what its command line, its file and its directory say."""

from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.storage.disk import storage_in
from txraft.addresses import Address, Endpoint
from txraft.bootstrap import founding
from txraft.cli.starting import Command, Start, start_of
from txraft.core.configuration import Configuration
from txraft.core.messages import Entry, EntryKind
from txraft.core.ready import Save
from txraft.errors import CorruptLog, SettingsError, WrongDirectory
from txraft.joining import Joiner
from txraft.settings import BUILT_IN, Member, Settings
from txraft.storage.identity import Bootstrap

FILE = Settings((Member(4, Address("h", 1), Address("h", 2), kvbind=Address("0.0.0.0", 2)),), name="mine")
ASKED = Address("m", 1)


class StartTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())

    def start(self, id: int, settings: Settings | None = None, **given: Any) -> Start:
        """As a command line says it; without settings, there is no file."""
        return start_of(Command(id, self.directory, settings is not None, **given), settings or BUILT_IN)

    def refused(self, id: int, settings: Settings | None = None, **given: Any) -> str:
        return str(self.assertRaises((SettingsError, WrongDirectory), self.start, id, settings, **given))

    def begun(self, bootstrap: Bootstrap, *memberships: Configuration) -> None:
        """The directory is one of a node, which has these in its log."""
        storage = storage_in(self.directory, bootstrap)
        storage.load()
        entries = (Entry(i, 1, EntryKind.CONFIGURATION, each.to_bytes()) for i, each in enumerate(memberships, 1))
        self.successResultOf(storage.save([Save(None, tuple(entries))]))
        self.successResultOf(storage.close())

    # A directory that is new

    def test_founder(self) -> None:
        """Of the file's cluster, or of the built-in one; which is compared with the membership."""
        self.assertEqual(self.start(4, FILE), Start(FILE, FILE.cluster[0]))
        self.assertEqual(self.start(1), Start(BUILT_IN, BUILT_IN.cluster[1]))

    def test_unknown_id(self) -> None:
        """The line says how a node is added."""
        for settings in (FILE, None):
            self.assertIn("no node 7 in the configuration; its ids are ", self.refused(7, settings))
            self.assertIn("; to join a cluster that runs, it needs --join HOST:PORT", self.refused(7, settings))

    def test_single(self) -> None:
        """A cluster of this node alone, at its addresses in the file or the built-in cluster."""
        start = self.start(1, single=True)
        alone = evolve(BUILT_IN, cluster=BUILT_IN.cluster[1:2])
        self.assertEqual(start, Start(alone, alone.cluster[0], founding(alone, 1)))
        assert start.bootstrap is not None
        self.assertEqual(start.bootstrap.configuration.voters, {1})
        self.assertEqual(self.start(4, FILE, single=True), Start(FILE, FILE.cluster[0], founding(FILE, 4)))
        self.assertNotIn("--join", self.refused(7, single=True))
        address, kvaddr = Address("a", 4), Address("k", 3)
        start = self.start(7, single=True, address=address, kvaddr=kvaddr)
        self.assertEqual(start.member, Member(7, address, kvaddr))

    def test_single_with_address(self) -> None:
        """That is where the others reach it, unless it only says where to listen."""
        given = {"kvaddr": Address("k", 3), "address": Address("a", 4)}
        start = self.start(4, FILE, single=True, **given)
        assert start.bootstrap is not None
        self.assertEqual(dict(start.bootstrap.configuration.addresses), {4: ("a:4", "k:3")})
        start = self.start(4, FILE, single=True, address=Address("::", 4))
        assert start.bootstrap is not None
        self.assertEqual(dict(start.bootstrap.configuration.addresses), {4: ("h:1", "h:2")})

    def test_single_with_kvaddr(self) -> None:
        """That is where clients reach it, unless it only says where to listen."""
        start = self.start(4, FILE, single=True, kvaddr=Address("k", 3))
        assert start.bootstrap is not None
        self.assertEqual(dict(start.bootstrap.configuration.addresses), {4: ("h:1", "k:3")})
        start = self.start(4, FILE, single=True, kvaddr=Address("0.0.0.0", 3))
        assert start.bootstrap is not None
        self.assertEqual(dict(start.bootstrap.configuration.addresses), {4: ("h:1", "h:2")})

    def test_join(self) -> None:
        """Where it listens, the cluster tells, or the file, which does not make it a founder."""
        self.assertEqual(
            self.start(7, join=ASKED), Start(BUILT_IN, None, joiner=Joiner(7, ASKED, addresses="HOST:PORT HOST:PORT"))
        )
        kvaddr = Address("k", 3)
        self.assertEqual(
            self.start(1, join=ASKED, kvaddr=kvaddr).joiner, Joiner(1, ASKED, kvaddr, addresses="HOST:PORT k:3")
        )
        self.assertEqual(
            self.start(4, FILE, join=ASKED),
            Start(FILE, FILE.cluster[0], joiner=Joiner(4, ASKED, None, "mine", "h:1 h:2")),
        )
        self.assertEqual(
            self.start(4, FILE, join=ASKED, address=Address("a", 3)).joiner,
            Joiner(4, ASKED, None, "mine", "a:3 h:2", Address("a", 3)),
        )
        anywhere = Address("0.0.0.0", 3)
        self.assertEqual(self.start(7, join=ASKED, kvaddr=anywhere, address=anywhere).joiner, Joiner(7, ASKED))

    # One that is there

    def test_in_the_file(self) -> None:
        """It listens where that says, whatever the log says."""
        self.begun(founding(FILE, 4), Configuration({4}, addresses={4: ("x:1", "x:2")}))
        self.assertEqual(self.start(4, FILE), Start(FILE, FILE.cluster[0]))

    def test_not_in_the_file(self) -> None:
        """It has joined, and listens where the membership says. The file is compared with that."""
        founders = Configuration({0}, addresses={0: ("a:1", "a:2"), 7: ("b:1", "b:2")})
        self.begun(Bootstrap(7, "c", founders))
        here = Member(7, Address("b", 1), Address("b", 2))
        self.assertEqual(self.start(7), Start(BUILT_IN, here, founding(BUILT_IN, 7)))
        self.assertEqual(self.start(7, FILE), Start(FILE, here))

    def test_at_an_endpoint(self) -> None:
        """That others dial. Where it cannot be listened at, the node has to be told where to listen."""
        dialled = "tls:b:1:trustRoots=/etc/ca"
        self.begun(Bootstrap(7, "c", Configuration({7}, addresses={7: (dialled, "b:2")})))
        self.assertIn(f"bind: is missing: where node 7 listens, which others reach at {dialled}", self.refused(7))
        for place in (Address("c", 1), Endpoint("ssl:1:privateKey=k"), Endpoint("unix:/run/7")):
            here = self.start(7, address=place).member
            assert here is not None
            self.assertEqual((str(here.address), here.listens_on), (dialled, place))

    def test_at_a_socket(self) -> None:
        """In the file system, it listens where others dial it."""
        self.begun(Bootstrap(7, "c", Configuration({7}, addresses={7: ("unix:/run/7", "b:2")})))
        here = self.start(7).member
        assert here is not None
        self.assertEqual(here.listens_on, Endpoint("unix:/run/7"))

    def test_moved(self) -> None:
        moved = Configuration({0, 7}, addresses={0: ("a:1", "a:2"), 7: ("c:1", "c:2")})
        self.begun(Bootstrap(7, "c", Configuration({0})), moved, Configuration({0}, removed={7}))
        self.assertEqual(self.start(7).member, Member(7, Address("c", 1), Address("c", 2)))

    def test_wrong_addresses(self) -> None:
        """A membership that has the node where it cannot listen keeps no node from its start, which says where."""
        self.begun(Bootstrap(7, "c", Configuration({0, 7}, addresses={7: ("b:1", "b:1")})))
        self.assertIn("cannot listen on b:1 both", self.refused(7))
        here = self.start(7, address=Address("c", 1)).member
        assert here is not None
        self.assertEqual((here.listens_on, here.kv_listens_on), (Address("c", 1), Address("b", 1)))
        here = self.start(7, kvaddr=Address("c", 2)).member
        assert here is not None
        self.assertEqual((here.listens_on, here.kv_listens_on), (Address("b", 1), Address("c", 2)))

    def test_addresses_nobody_knows(self) -> None:
        """Those of a directory that an earlier version made are the built-in ones."""
        self.begun(Bootstrap(1, "c", Configuration({0, 1, 2})))
        self.assertEqual(self.start(1).member, BUILT_IN.cluster[1])

    def test_joined(self) -> None:
        """It is not asked again, as one line says."""
        self.begun(founding(FILE, 4))
        with capturedLogs() as logged:
            self.assertEqual(self.start(4, FILE, join=ASKED), Start(FILE, FILE.cluster[0]))
        (event,) = logged
        self.assertIn("--join is ignored", str(formatEvent(event)))

    def test_single_again(self) -> None:
        """It is no matter then who has joined since, or is in the file."""
        alone = evolve(BUILT_IN, cluster=BUILT_IN.cluster[:1])
        self.begun(founding(alone, 0), Configuration({0, 1}, addresses={0: ("a:1", "a:2"), 1: ("b:1", "b:2")}))
        with capturedLogs() as logged:
            self.assertEqual(self.start(0, single=True).member, Member(0, Address("a", 1), Address("a", 2)))
        (event,) = logged
        self.assertIn("leave --single out from now on: others have joined", str(formatEvent(event)))
        self.assertIsNotNone(self.start(0, BUILT_IN, single=True).bootstrap)

    def test_single_of_three(self) -> None:
        """It cannot take a cluster from the others (hazard E14)."""
        self.begun(founding(BUILT_IN, 0))
        self.assertIn("belongs to a cluster that began with the nodes 0, 1, 2, and", self.refused(0, single=True))

    def test_damaged(self) -> None:
        self.begun(founding(BUILT_IN, 0))
        (self.directory / "raft.sqlite").write_bytes(b"")
        self.assertRaises(CorruptLog, self.start, 0)
