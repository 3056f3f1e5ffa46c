"""`txraft member`: changes of the membership, and what is shown while a new member catches up."""

from itertools import count
from typing import Any
from unittest.mock import patch

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.fake_cluster import LAST, NOBODY, FakeCluster, fake_cluster
from tests.cli.running import run
from tests.cli.test_progress import Terminal
from txraft.cli import asking, catching_up, progress
from txraft.errors import Unreachable

ADD = ("add", 3, "e:8080", "e:27004")


class MemberTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(catching_up, "POLL", 0)

    def member(self, cluster: FakeCluster, *words: object) -> tuple[int, str, str]:
        return run("member", *words, "--node", cluster.node)


class ChangeTests(MemberTestCase):
    """What is asked for, of which node, and what comes of the answer."""

    def test_requests(self) -> None:
        """Each command is one request to one node; addresses go as nodes write them."""
        for words, method, path, given in (
            (ADD, "POST", "/members", {"id": "3", "address": "e:8080", "kvaddr": "e:27004", "learner": "false"}),
            (
                ("add", "--learner", "3", "E:1", "[::1]:2"),
                "POST",
                "/members",
                {"id": "3", "address": "e:1", "kvaddr": "[::1]:2", "learner": "true"},
            ),
            (
                ("add", "3", "unix:/run/3", "e:2"),
                "POST",
                "/members",
                {"id": "3", "address": "unix:/run/3", "kvaddr": "e:2", "learner": "false"},
            ),
            (("remove", "2"), "DELETE", "/members", {"id": "2"}),
            (("promote", "3"), "POST", "/members/promote", {"id": "3"}),
            (
                ("replace", "1", "3", "e:1", "e:2"),
                "POST",
                "/members/replace",
                {"id": "1", "by": "3", "address": "e:1", "kvaddr": "e:2"},
            ),
            (("update", "1", "--address", "e:1"), "POST", "/members/update", {"id": "1", "address": "e:1"}),
            (("update", "--kvaddr", "e:2", "1"), "POST", "/members/update", {"id": "1", "kvaddr": "e:2"}),
        ):
            with fake_cluster() as cluster:
                waits = words[0] in ("add", "promote", "replace")
                status, out, err = self.member(cluster, *words, *(["--no-wait"] if waits else []))
            self.assertEqual((status, err), (0, ""))
            self.assertEqual(cluster.asked, [(1, method, path, given)])
            self.assertTrue(out.startswith("node "), out)

    def test_how_to_start_it(self) -> None:
        """The very command that starts a new member, on a node that answers."""
        for words, new in ((ADD, 3), (("replace", "0", "7", "e:1", "e:27004"), 7)):
            with fake_cluster() as cluster:
                _, out, _ = self.member(cluster, *words, "--no-wait")
            self.assertIn(f"twistd txraft --id {new} --kvaddr e:27004 --join {cluster.node}\n", out)

    def test_refused(self) -> None:
        """Its line, and status 1; nobody else is asked."""
        with fake_cluster() as cluster:
            cluster.refusal = 409, "node 3 has been removed", ""
            for words in (
                ADD,
                ("remove", 2),
                ("promote", 3),
                ("replace", 1, *ADD[1:]),
                ("update", 1, "--kvaddr", "e:2"),
            ):
                self.assertEqual(self.member(cluster, *words), (1, "", "txraft: node 3 has been removed\n"))
            self.assertEqual(len(cluster.asked), 5)
            cluster.refusal = 503, "no leader was found", "not-applied"
            self.assertEqual(
                self.member(cluster, *ADD),
                (1, "", f"txraft: {cluster.node} answered 503: no leader was found; nothing was changed\n"),
            )
            cluster.refusal = 400, "no parameter", None
            self.assertIn("400: no parameter\n", self.member(cluster, *ADD)[2])

    def test_unknown(self) -> None:
        """Where it may have been done, the line says how to find out (hazard C8)."""
        with fake_cluster() as cluster:
            cluster.refusal = 503, "the leader went away", "unknown"
            status, _, err = self.member(cluster, *ADD)
            self.assertEqual(status, 4)
            self.assertIn("the leader went away; the members may be changed or not: see `txraft members`\n", err)
            cluster.refusal = 500, "something else", None
            self.assertIn("something else; the members may be changed or not", self.member(cluster, *ADD)[2])
            with patch.object(asking, "ask", side_effect=KeyboardInterrupt):
                _, _, err = self.member(cluster, "remove", 1)
            self.assertIn("had not answered yet; the members may be changed or not", err)
            with patch.object(asking, "ask", side_effect=asking.NoAnswer("it is silent")):
                _, _, err = self.member(cluster, "remove", 1)
            self.assertIn("txraft: it is silent; the members may be changed or not", err)
            cluster.refusal = 200, "<html>", ""
            _, _, err = self.member(cluster, *ADD)
            self.assertIn("did not answer as a node of this version of txraft does", err)

    def test_nobody_there(self) -> None:
        """Nothing was asked, as the line says."""
        status, _, err = run("member", "remove", 1, "--node", NOBODY)
        self.assertEqual(status, 3)
        self.assertIn("no node can be reached, and nothing was asked", err)

    def test_wrong_command_lines(self) -> None:
        """Status 2, one line, and whose help to read."""
        for words, line in (
            ((), "say what to do: add, promote, remove, replace or update; see txraft member --help"),
            (("add", "3", "e:1"), "give 3 words, ID ADDRESS KVADDR, not 2; see txraft member add --help"),
            (("remove",), "give one ID, not none; see txraft member remove --help"),
            (("remove", "x"), "ID takes a whole number, not 'x'; see txraft member remove --help"),
            (
                ("replace", "1", "-2", "a:1", "b:1"),
                f"NEW takes a whole number from 0 to {2**63 - 1}, not '-2'; see txraft member replace --help",
            ),
            (
                ("add", 10**21, "a:1", "b:1"),
                f"ID takes a whole number from 0 to {2**63 - 1}, not '{10**21}'; see txraft member add --help",
            ),
            (("update", "1"), "give --address, --kvaddr, or both; see txraft member update --help"),
            (("update", "1", "--address="), "--address is empty: give it a value, or leave it out"),
            (("remove", "1", "--node", "a:1", "--config", "b"), "give --node or --config, not both"),
        ):
            status, _, err = run("member", *words)
            self.assertEqual(status, 2)
            self.assertIn(f"txraft: {line}", err)

    def test_wrong_addresses(self) -> None:
        """Are refused before anybody is asked."""
        for address in ("e", "0.0.0.0:1"):
            status, _, err = run("member", "add", 3, address, "e:2", "--node", NOBODY)
            self.assertEqual((status, err.count("\n")), (2, 1))
            self.assertIn(address, err)
        self.assertIn("address: 0.0.0.0:1 is no address at which others reach the node", err)
        status, _, err = run("member", "add", 3, "e:1", "unix:/run/3", "--node", NOBODY)
        self.assertEqual((status, err.count("\n")), (2, 1))
        self.assertIn('"unix:/run/3" is an endpoint as Twisted writes them; host:port is needed here', err)


class CatchingUpTests(MemberTestCase):
    """What is shown until a new member has caught up."""

    def follow(self, cluster: FakeCluster, *looks: dict[str, Any]) -> None:
        """At each look at the membership, member 3 is so; then it stays."""
        steps = iter(looks)

        def look() -> None:
            for parts in steps:
                cluster.have(3, **parts)
                return

        cluster.before_each_look = look

    def test_until_it_votes(self) -> None:
        """The lines say how far it is, and the last one that it is a voter."""
        self.patch(progress, "INTERVAL", 0)
        with fake_cluster() as cluster:
            joins = {"joining": True}
            # Node 1, which is asked first, does not lead, so each look asks two.
            self.follow(
                cluster, *({**joins, "match_index": at} for at in (0, 0, 40, 99)), {"voter": True, "learner": False}
            )
            status, out, err = self.member(cluster, *ADD)
        self.assertEqual(status, 0)
        self.assertEqual(out.splitlines()[-1], "node 3 is a voter")
        self.assertEqual(
            err.splitlines()[:2],
            [f"node 3 catches up: {at} of {LAST} entries" for at in (0, 40)],
        )

    def test_bar(self) -> None:
        """On a terminal."""
        terminal = Terminal()
        with fake_cluster() as cluster, patch("sys.stderr", terminal):
            self.follow(cluster, {"joining": True, "match_index": 50}, {}, {"voter": True})
            catching_up.watch(3, True, cluster.addresses)
        self.assertIn("node 3 catches up:  50%", terminal.getvalue())

    def test_until_the_old_one_has_gone(self) -> None:
        """A replacement is done when the joint configuration is left."""
        with fake_cluster() as cluster:
            cluster.members = evolve(cluster.members, joint=True)
            looks = iter(range(6))

            def look() -> None:
                if next(looks, None) is None:
                    cluster.members = evolve(cluster.members, joint=False)

            cluster.have(3, voter=True, learner=False)
            cluster.before_each_look = look
            status, out, _ = self.member(cluster, "replace", 1, *ADD[1:])
            self.assertEqual((status, next(looks, None), cluster.members.joint), (0, None, False))
        self.assertTrue(out.endswith("node 3 is a voter\n"))

    def test_a_learner(self) -> None:
        """Has caught up when it has what the leader had at the look before."""
        with fake_cluster() as cluster:
            self.follow(cluster, {"match_index": LAST - 1}, {}, {}, {}, {"match_index": LAST})
            status, out, _ = self.member(cluster, *ADD, "--learner")
        self.assertEqual((status, out.splitlines()[-1]), (0, "node 3 has caught up"))

    def test_another_leader(self) -> None:
        """Is found, and asked."""
        with fake_cluster() as cluster:
            looks = iter([False] * 4)

            def look() -> None:
                if next(looks, True):
                    cluster.members = evolve(cluster.members, leader_id=2)
                    cluster.have(3, voter=True, learner=False)

            cluster.have(3, joining=True)
            cluster.before_each_look = look
            self.assertEqual(self.member(cluster, *ADD)[0], 0)

    def test_nobody_answers_for_a_while(self) -> None:
        """It goes on until somebody does."""
        with fake_cluster() as cluster:
            answers = iter([False, False, True])
            answer = cluster.answer

            def silent(id: int, method: str, *others: Any) -> Any:
                return answer(id, method, *others) if method == "POST" or next(answers, True) else (503, "", None)

            self.patch(cluster, "answer", silent)
            cluster.have(3, voter=True, learner=False)
            self.assertEqual(self.member(cluster, "promote", 3)[0], 0)

    def test_silence(self) -> None:
        """A node that does not run, or is reached elsewhere, is named once."""
        with fake_cluster() as cluster:
            looks = [{"joining": True, "last_contact": seconds} for seconds in (9.0, 9.0, 11.0, 11.0, 12.0, 12.0)]
            cluster.have(3, address="\x1bh3\n:1")
            self.follow(cluster, *looks, {"voter": True})
            status, _, err = self.member(cluster, *ADD)
        self.assertEqual((status, err.count("\n")), (0, 1))
        self.assertIn("not heard from node 3 for 11 s: does it run, and is \\x1bh3\\n:1 its ADDRESS?", err)

    def test_asked_for_before(self) -> None:
        """Where the member joins as it was asked to, the command says so, and waits as the first one did."""
        for words, so in (
            (ADD, {"joining": True}),
            ((*ADD, "--learner"), {}),
            (("promote", 3), {"joining": True}),
            (("replace", 1, *ADD[1:]), {"joining": True, "replaces": 1}),
        ):
            with fake_cluster() as cluster:
                cluster.refusal = 409, "it is one already", None
                cluster.have(3, address="e:8080", kvaddr="e:27004", **so)
                self.assertEqual(self.member(cluster, *words, "--no-wait")[0], 0)
                self.follow(cluster, {}, {}, {}, {"voter": True, "learner": False, "joining": False})
                if "--learner" in words:
                    cluster.have(3, match_index=LAST)
                    cluster.before_each_look = lambda: None
                status, out, err = self.member(cluster, *words)
            self.assertEqual((status, err), (0, ""))
            self.assertTrue(out.startswith("this was asked for before: node 3 "), out)
            self.assertTrue(out.endswith("node 3 has caught up\n" if "--learner" in words else "node 3 is a voter\n"))

    def test_done_before(self) -> None:
        """It ends as the first one did."""
        with fake_cluster() as cluster:
            cluster.refusal = 409, "it is one already", None
            cluster.have(3, address="e:8080", kvaddr="e:27004", voter=True, learner=False)
            status, out, err = self.member(cluster, *ADD)
        self.assertEqual((status, err), (0, ""))
        self.assertTrue(out.startswith("this was asked for before, and done\n"))
        self.assertTrue(out.endswith("node 3 is a voter\n"))

    def test_another_is_there(self) -> None:
        """At other addresses, or as something else: it is refused. So it is where nobody can tell."""
        addresses = {"address": "e:8080", "kvaddr": "e:27004"}
        for words, so in (
            (ADD, {"joining": True}),
            (ADD, addresses),
            ((*ADD, "--learner"), {"joining": True, **addresses}),
            (ADD, {"joining": True, "replaces": 2, **addresses}),
            (("promote", 3), {}),
            (("promote", 3), {"joining": True, "replaces": 2}),
            (("replace", 1, *ADD[1:]), {"joining": True, "replaces": 2, **addresses}),
            (("add", 4, *ADD[2:]), {"joining": True, **addresses}),
        ):
            with fake_cluster() as cluster:
                cluster.refusal = 409, "it is one already", None
                cluster.have(3, **so)
                # Where it is not refused, that is seen at once.
                self.assertEqual(self.member(cluster, *words, "--no-wait"), (1, "", "txraft: it is one already\n"))
        for error in (asking.NoAnswer("silent"), Unreachable("gone")):
            with fake_cluster() as cluster, patch("txraft.cli.member.ask_for_members", side_effect=error):
                cluster.refusal = 409, "it is one already", None
                self.assertEqual(self.member(cluster, *ADD), (1, "", "txraft: it is one already\n"))

    def test_never_heard(self) -> None:
        """One that the leader has not heard since it was added is named when it has been waited for."""
        self.patch(catching_up, "SILENCE", 0)
        with fake_cluster() as cluster:
            self.follow(cluster, *[{"joining": True, "last_contact": None}] * 4, {"voter": True})
            status, _, err = self.member(cluster, *ADD)
        self.assertEqual((status, err.count("\n")), (0, 1))
        self.assertIn("not heard from node 3 yet: does it run, and is raft3:1 its ADDRESS?", err)

    def test_heard_by_the_leader_before(self) -> None:
        """A new leader, which has not heard from it yet, is given as much time as the first one had."""
        now = count()
        seconds = 0

        def sleep(_: float) -> None:
            nonlocal seconds
            seconds = next(now)

        self.patch(catching_up, "sleep", sleep)
        self.patch(catching_up, "monotonic", lambda: seconds)
        heard, not_yet = {"joining": True, "last_contact": 0}, {"joining": True, "last_contact": None}
        with fake_cluster() as cluster:
            self.follow(cluster, *[heard] * 30, *[not_yet] * 6, {"voter": True})
            self.assertEqual(self.member(cluster, *ADD)[::2], (0, ""))

    def test_problem(self) -> None:
        """Why it does not catch up is said once; another reason is said, too."""
        with fake_cluster() as cluster:
            looks = [{"joining": True, "last_contact": 0, "problem": each} for each in ("a\n", "a\n", "a\n", "b", "b")]
            self.follow(cluster, *looks, {"voter": True})
            status, _, err = self.member(cluster, *ADD)
        self.assertEqual(
            (status, err), (0, "node 3 a; the leader goes on trying\nnode 3 b; the leader goes on trying\n")
        )

    def test_removed_meanwhile(self) -> None:
        """There is nothing to wait for any more."""
        with fake_cluster() as cluster:
            status, _, err = self.member(cluster, *ADD)
        self.assertEqual(
            (status, err), (1, "txraft: node 3 is no member any more: it was removed while it caught up\n")
        )

    def test_interrupted(self) -> None:
        """Ctrl-C ends the watching, not the change, and says so."""
        for words, line in (
            (ADD, "node 3 goes on catching up, and gets its vote by itself: see `txraft status`"),
            ((*ADD, "--learner"), "node 3 goes on catching up: see"),
        ):
            with fake_cluster() as cluster, patch.object(catching_up, "sleep", side_effect=KeyboardInterrupt):
                cluster.have(3)
                status, out, err = self.member(cluster, *words)
            self.assertEqual(status, 130)
            self.assertIn(f"txraft: stopped watching; {line}", err)
            self.assertIn("node 3 is a learner", out)
