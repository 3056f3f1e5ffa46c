"""Who leads, of programs that want to."""

from random import Random

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.recipes.world import REFUSED, STEP, World
from txraft import NotApplied
from txraft.recipes import Election, Held, Loss


class ElectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.elections = []
        random = Random(1)
        for candidate in ("candidate 0", "candidate 1"):
            program = self.world.program()
            service, bits = program.service, random.randbytes
            self.elections.append(Election(program.clock, service, "name", candidate, 3.0, random_bytes=bits))
        self.first, self.second = self.elections

    def leading(self, campaign: "Deferred[Held]") -> Held:
        self.world.run(1)
        return self.successResultOf(campaign)

    def leader(self, election: Election) -> str | None:
        asked = election.leader()
        self.world.run(2 * STEP)
        return self.successResultOf(asked)

    def test_leads(self) -> None:
        """One leads, and all can say which; the other does when it resigns."""
        self.assertIsNone(self.leader(self.first))
        leading = self.leading(self.first.campaign())
        campaign = self.second.campaign()
        self.world.run(10)
        self.assertNoResult(campaign)
        self.assertEqual([self.leader(each) for each in self.elections], ["candidate 0"] * 2)
        self.assertEqual([each.is_leading for each in self.elections], [True, False])
        resigned = self.first.resign()
        self.assertEqual((self.successResultOf(leading.lost), self.first.is_leading), (Loss.RELEASED, False))
        later = self.leading(campaign)
        self.successResultOf(resigned)
        self.assertGreater(later.token, leading.token)
        self.assertEqual(self.leader(self.first), "candidate 1")

    def test_lost(self) -> None:
        """A leader that is cut off says so before the other leads; it may campaign again."""
        leading = self.leading(self.first.campaign())
        campaign = self.second.campaign()
        lost = leading.lost.addCallback(lambda loss: (loss, campaign.called))
        self.world.run(1)
        self.world.programs[0].service.fate = REFUSED
        self.world.run(10)
        self.assertEqual(self.successResultOf(lost), (Loss.EXPIRED, False))
        self.assertTrue(self.second.is_leading)
        self.assertFalse(self.first.is_leading)
        asked = self.first.leader()
        self.world.run(1)
        self.failureResultOf(asked, NotApplied)
        self.assertNoResult(self.first.campaign())

    def test_resign_from_a_campaign(self) -> None:
        """It ends, and never leads."""
        for until in (0, 1):
            self.leading(self.first.campaign())
            campaign = self.second.campaign()
            self.world.run(until)
            self.successResultOf(self.second.resign())
            self.failureResultOf(campaign, CancelledError)
            self.first.resign()
            self.world.run(10)
            self.assertIsNone(self.leader(self.first))

    def test_campaigns_once(self) -> None:
        """It would wait for itself."""
        self.leading(self.first.campaign())
        self.second.campaign()
        for each in self.elections:
            line = str(self.assertRaises(RuntimeError, each.campaign))
            self.assertIn("campaigns or leads already; let it resign first", line)

    def test_resigns_twice(self) -> None:
        """Or without ever having led."""
        self.successResultOf(self.first.resign())
        self.leading(self.first.campaign())
        self.first.resign()
        self.successResultOf(self.first.resign())
