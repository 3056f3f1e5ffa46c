"""The two addresses of a member, for those who read JSON."""

from twisted.trial.unittest import SynchronousTestCase

from txraft.errors import ChangeRefused
from txraft.kv.member_addresses import member_from_json, member_in_json, two_addresses
from txraft.statuses import MemberStatus


class MemberAddressesTests(SynchronousTestCase):
    def test_in_json(self) -> None:
        """They have names there; a member of which the log has none has empty ones."""
        for addresses, shown in (
            (("h:1", "h:2"), {"address": "h:1", "kvaddr": "h:2"}),
            ((), {"address": "", "kvaddr": ""}),
        ):
            member = MemberStatus(7, addresses, voter=True, learner=False, joining=False)
            written = member_in_json(member)
            self.assertEqual(written, {"id": 7, **shown, "voter": True, "learner": False, "joining": False})
            self.assertEqual(member_from_json(written)["addresses"], [*shown.values()])

    def test_one_for_both(self) -> None:
        """Two ports are needed."""
        self.assertEqual(two_addresses("h:1", "h:2"), ("h:1", "h:2"))
        self.assertRaises(ChangeRefused, two_addresses, "h:1", "h:1")
