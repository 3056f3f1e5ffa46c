"""Which node is asked next, and how the leader is found."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.client.scripted import (
    NO_ANSWER,
    NO_CONNECTION,
    NO_LEADER,
    SET,
    A,
    Answer,
    B,
    C,
    D,
    ScriptedCluster,
    run,
    status_of,
)
from txraft.addresses import Address
from txraft.client import requests
from txraft.client.http import HttpAnswer
from txraft.client.nodes import FORGIVEN_AFTER, addresses_of
from txraft.client.session import LOOK_AGAIN, LOOK_EVERY, Session
from txraft.errors import NotApplied, SettingsError


class AddressTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        """host:port, or as they are; none is an error with a line."""
        self.assertEqual(addresses_of(["A:1", B]), (A, B))
        self.assertRaises(SettingsError, addresses_of, [])
        self.assertRaises(SettingsError, addresses_of, ["a"])
        error = self.assertRaises(SettingsError, addresses_of, [["a:1", "b:1"]])
        self.assertEqual(str(error), "a node is host:port, as a text, and not ['a:1', 'b:1']; give each by itself")


class LookTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = ScriptedCluster(dict.fromkeys((A, B, C, D), SET))
        self.session = self.of(A)

    def of(self, *given: Address, **options: Any) -> Session:
        return self.cluster.session(*given, finds_leader=True, **options)

    def say(self, **statuses: Answer) -> None:
        """What nodes answer to /status, from now on, by their names."""
        self.cluster.statuses = {Address(name, 1): answer for name, answer in statuses.items()}

    def set(self) -> None:
        run(self.session.perform(requests.set("k", "v")))

    def asked(self) -> list[Address]:
        """Who was sent the requests since the last call."""
        asked = self.cluster.asked
        self.cluster.attempts.clear()
        return asked

    def looked(self) -> list[Address]:
        """Who was asked for its status since the last call."""
        looked = [look.address for look in self.cluster.looks]
        self.cluster.looks.clear()
        return looked

    def test_the_leader_is_given(self) -> None:
        """One look, and the leader is asked first from then on."""
        self.session = self.of(A, B)
        self.say(a=status_of(1, A, B))
        for _ in range(3):
            self.set()
        self.assertEqual((self.asked(), self.looked()), ([B, B, B], [A]))

    def test_the_leader_is_learned(self) -> None:
        """Its own word is needed: it says that it belongs to the cluster before it is asked for anything."""
        status = status_of(2, A, B, C)
        self.say(a=status, c=status)
        self.set()
        self.assertEqual((self.asked(), self.looked()), ([C], [A, C]))

    def test_an_address_of_another_cluster(self) -> None:
        """What nodes call localhost may be another cluster here: it is sent nothing, also where no other is left."""
        self.say(a=status_of(1, A, B), b=status_of(1, A, B, cluster="theirs"))
        self.set()
        self.assertEqual(self.asked(), [A])
        self.cluster.scripts[A] = NO_CONNECTION
        self.say(b=status_of(1, A, B, cluster="theirs"))
        self.assertRaises(NotApplied, self.set)
        self.assertEqual(set(self.asked()), {A})

    def test_a_learned_address_that_says_nothing(self) -> None:
        """It is sent nothing; the node that is known is."""
        self.say(a=status_of(1, A, B))
        self.set()
        self.assertEqual(self.asked(), [A])

    def test_the_cluster_has_moved(self) -> None:
        """All nodes that were given are gone; those that were learned are still found."""
        status = status_of(1, A, B, C)
        self.say(a=status, b=status, c=status)
        self.set()
        moved = status_of(0, C, D)
        self.say(c=moved, d=moved)
        for gone in (A, B):
            self.cluster.scripts[gone] = NO_CONNECTION
        self.asked()
        self.set()
        self.assertEqual(self.asked(), [B, C])
        self.cluster.scripts[C] = NO_CONNECTION
        self.say(d=status_of(1, C, D))
        self.set()
        self.assertEqual(self.asked()[-1], D)

    def test_a_new_leader(self) -> None:
        """A failure is a reason to look, and who failed is not asked who leads, nor taken for the leader again."""
        self.session = self.of(A, B, C)
        self.say(a=status_of(0, A, B, C))
        self.set()
        self.cluster.scripts[A] = NO_CONNECTION
        self.say(b=status_of(0, A, B, C), c=status_of(2, A, B, C))  # b has not heard of it yet
        self.looked()
        self.asked()
        self.set()
        self.assertEqual((self.asked(), self.looked()), ([A, B], [B]))
        self.say(b=status_of(2, A, B, C))
        self.cluster.time += LOOK_EVERY
        self.set()
        self.assertEqual(self.asked(), [C])

    def test_no_leader(self) -> None:
        """While nobody leads, any node is asked, and soon somebody who leads."""
        self.session = self.of(A, B)
        self.say(a=status_of(None, A, B))
        self.set()
        self.cluster.time += LOOK_AGAIN
        self.say(a=status_of(1, A, B))
        self.set()
        self.assertEqual(self.asked(), [A, B])

    def test_leadership_moves_without_a_failure(self) -> None:
        """It is seen at the next look."""
        self.session = self.of(A, B)
        self.say(a=status_of(0, A, B))
        self.set()
        self.say(a=status_of(1, A, B), b=status_of(1, A, B))
        self.cluster.time += LOOK_EVERY - 1
        self.set()
        self.cluster.time += 1
        self.set()
        self.assertEqual((self.asked(), self.looked()), ([A, A, B], [A, A]))

    def test_a_node_that_waits_to_join(self) -> None:
        """It knows no members, and another one is asked for them."""
        for waiting in (status_of(None, known=False), NO_LEADER, HttpAnswer(200, {}, b"<html>")):
            self.session = self.of(A, B, C)
            self.say(a=waiting, b=status_of(2, A, B, C))
            self.set()
            self.assertEqual((self.asked(), self.looked()), ([C], [A, B]))

    def test_a_recovered_cluster(self) -> None:
        """Where the nodes given have become another cluster, by `txraft recover`, its word counts."""
        self.say(a=status_of(0, A, B))
        self.set()
        new = status_of(1, A, C, cluster="ours (recovered)")
        self.say(a=new, c=new)
        self.cluster.time += LOOK_EVERY
        self.set()
        self.assertEqual(self.asked(), [A, C])

    def test_members_without_an_address(self) -> None:
        """What cannot be an address is passed over."""
        self.session = self.of(A, B)
        self.say(a=status_of(2, "", "nonsense", B))
        self.set()
        self.assertEqual(self.asked(), [B])

    def test_only_the_nodes_given(self) -> None:
        """Where the caller wants that, nobody is asked who leads."""
        self.session = self.cluster.session(A, B, finds_leader=False)
        self.say(a=status_of(1, A, B))
        self.set()
        self.assertEqual((self.asked(), self.looked()), ([A], []))

    def test_a_node_that_says_nothing(self) -> None:
        """Who does not answer when it is asked who leads is asked for nothing else either, where others are."""
        self.session = self.of(A, B)
        self.say(a=NO_ANSWER, b=status_of(None, A, B))
        self.set()
        self.assertEqual(self.asked(), [B])

    def test_order(self) -> None:
        """The leader, the others, and then those that failed, the last one of them last; a success makes that good."""
        nodes = self.of(A, B, C, D).nodes
        nodes.leader = B
        self.assertEqual(nodes.in_order(), [B, A, C, D])
        self.assertEqual(nodes.in_order(leader_first=False), [A, B, C, D])
        for failed in (C, B):
            nodes.failed(failed)
            self.cluster.time += 1
        self.assertEqual(nodes.in_order(), [A, D, C, B])
        nodes.succeeded(B)
        self.assertEqual(nodes.in_order(), [B, A, D, C])

    def test_one_looks_for_all(self) -> None:
        """Requests that are made meanwhile do not look too, and do not wait."""
        self.session = self.of(A, B)
        inner: list[Address] = []

        class Slow(ScriptedCluster):
            async def send(slow, address: Address, request: Any, timeout: float) -> HttpAnswer:  # noqa: N805 - `self` is the test
                if request.target == "/status":
                    await self.session.perform(requests.set("inner", "v"))
                    inner.extend(self.cluster.asked)
                return await ScriptedCluster.send(slow, address, request, timeout)

        self.cluster = Slow(self.cluster.scripts, {A: status_of(1, A, B)})
        self.session = self.of(A, B)
        self.set()
        self.assertEqual((inner, self.asked(), self.looked()), ([A], [A, B], [A]))

    def test_a_failure_is_forgiven(self) -> None:
        """A leader that failed a while ago, and still leads, is asked again."""
        self.session = self.of(A, B)
        self.say(a=status_of(1, A, B), b=status_of(1, A, B))
        self.cluster.scripts[B] = [NO_LEADER, SET]
        self.set()
        self.set()
        self.cluster.time += FORGIVEN_AFTER
        self.set()
        self.assertEqual(self.asked(), [B, A, A, B])
