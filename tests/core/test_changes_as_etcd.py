"""Changes of the membership give the voters and learners that etcd gives, on every change of up to four servers.

What etcd answers is in `changes_of_etcd.txt`, whose head says how it was asked. What txraft alone refuses is in
`test_changes`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import product
from pathlib import Path

from attrs import evolve, frozen
from twisted.trial.unittest import SynchronousTestCase

from txraft.core.changes import Change, ChangeKind, changed, enter_joint, leave_joint, simple
from txraft.core.configuration import Configuration, NodeId
from txraft.errors import ChangeRefused

KINDS = {
    "v": ChangeKind.ADD_VOTER,
    "l": ChangeKind.ADD_LEARNER,
    "r": ChangeKind.REMOVE,
    "u": ChangeKind.UPDATE,
}
REFUSALS = {
    "no-voter-left": "no voter would be left",
    "no-voter-yet": "there is no voter yet",
    "several-voters": "more than one voter would come or go",
    "joint": "another change of the membership has not ended",
    "not-joint": "no change of the membership is under way",
}
"""How etcd's are called in the file, and how ours begin."""


@frozen
class Answers:
    """What etcd answers to some changes of a configuration."""

    before: str
    changes: Sequence[str]
    simple: str
    joint: str


def configuration_of(text: str) -> Configuration:
    """Of what the file calls it."""
    sets = {each[0]: map(int, each[1:]) for each in text.split() if each != "nobody"}
    return Configuration(
        voters=sets.get("V", ()),
        outgoing=sets.get("O", ()),
        learners=sets.get("L", ()),
        learners_next=sets.get("N", ()),
        auto_leave="A" in sets,
    )


def changes_of(text: str) -> list[Change]:
    """Of a list as the file has it."""
    return [Change(KINDS[kind], int(server)) for kind, server in re.findall(r"([a-z])(\d)", text)]


@cache
def answers_of_etcd() -> tuple[dict[str, str], tuple[Answers, ...]]:
    """What leaving each configuration gives, and what changes of those that are not joint give."""
    leaving: dict[str, str] = {}
    answers: list[Answers] = []
    before, simple_answer, joint_answer = "", "", ""
    for line in (Path(__file__).parent / "changes_of_etcd.txt").read_text().splitlines():
        if line.startswith("from "):
            before, leaving[before] = line.removeprefix("from ").split(": leave ")
        elif line.startswith("   "):
            answers.append(Answers(before, line.split(), simple_answer, joint_answer))
        elif line.startswith(" "):
            simple_answer, joint_answer = line.strip().split("; ")
    return leaving, tuple(answers)


def answer(function: Callable[[], Configuration]) -> Configuration | str:
    """What ours gives, without what etcd does not have; or the name that the file has for the refusal."""
    try:
        return evolve(function(), removed=())
    except ChangeRefused as error:
        return next(name for name, start in REFUSALS.items() if str(error).startswith(start))


def expected(text: str) -> Configuration | str:
    """What the file says, likewise."""
    return text.removeprefix("refused ") if text.startswith("refused ") else configuration_of(text)


def with_auto_leave(result: Configuration | str) -> Configuration | str:
    return evolve(result, auto_leave=result.is_joint) if isinstance(result, Configuration) else result


def renamed(configuration: Configuration, new: Mapping[NodeId, NodeId]) -> Configuration:
    """With other ids for its servers."""
    return Configuration(
        voters=map(new.__getitem__, configuration.voters),
        outgoing=map(new.__getitem__, configuration.outgoing),
        learners=map(new.__getitem__, configuration.learners),
        learners_next=map(new.__getitem__, configuration.learners_next),
    )


def lists_up_to(length: int) -> Iterator[tuple[Change, ...]]:
    """Every list of changes of the servers 1 to 4 that change who votes."""
    every = [Change(KINDS[kind], server) for kind in "vlr" for server in range(1, 5)]
    return (changes for count in range(length + 1) for changes in product(every, repeat=count))


def last_of_each(changes: Iterable[Change]) -> list[Change]:
    """The last change of each server, in the order of the servers."""
    last = {change.server: change for change in changes}
    return [last[server] for server in sorted(last)]


class EtcdTests(SynchronousTestCase):
    """Every line of the file, and that what it leaves out follows from it here as it does there."""

    def test_the_file_is_whole(self) -> None:
        """Eleven configurations that are not joint, with 256 lists each, and 162 joint ones."""
        leaving, answers = answers_of_etcd()
        self.assertEqual(len(leaving), 11 + 162)
        self.assertEqual(len({(each.before, text) for each in answers for text in each.changes}), 11 * 256)

    def test_changes(self) -> None:
        """Simple ones, and joint ones that are left by hand or automatically."""
        for each in answers_of_etcd()[1]:
            before = configuration_of(each.before)
            simple_answer, joint_answer = expected(each.simple), expected(each.joint)
            for text in each.changes:
                changes, where = changes_of(text), f"from {each.before}: {text}"
                self.assertEqual(answer(partial(simple, before, changes)), simple_answer, where)
                self.assertEqual(answer(partial(enter_joint, before, changes, False)), joint_answer, where)
                automatic = answer(partial(enter_joint, before, changes, True))
                self.assertEqual(automatic, with_auto_leave(joint_answer), where)
                chosen = joint_answer if each.simple == "refused several-voters" else simple_answer
                self.assertEqual(answer(partial(changed, before, changes)), with_auto_leave(chosen), where)

    def test_leaving(self) -> None:
        """Every configuration, and those that are joint refuse all else."""
        for before, after in answers_of_etcd()[0].items():
            configuration = configuration_of(before)
            self.assertEqual(answer(partial(leave_joint, configuration)), expected(after), before)
            if configuration.is_joint:
                for changes in lists_up_to(1):
                    for way in (simple, changed, partial(enter_joint, auto_leave=True)):
                        self.assertEqual(answer(partial(way, configuration, changes)), "joint", before)

    def test_the_last_change_of_a_server_counts(self) -> None:
        """Every list of up to three changes, so also repeated ones, and ones that take back what an earlier one did."""
        for before in answers_of_etcd()[0]:
            configuration = configuration_of(before)
            for changes in () if configuration.is_joint else lists_up_to(3):
                last = last_of_each(changes)
                if list(changes) != last:
                    one, other = (answer(partial(changed, configuration, each)) for each in (changes, last))
                    self.assertEqual(one, other, (before, changes))

    def test_updates_change_no_set(self) -> None:
        """Of members, before and after every single change."""
        for each in answers_of_etcd()[1]:
            before = configuration_of(each.before)
            for text, server in product(each.changes, before.members):
                if f"r{server}" not in text:
                    plain = answer(partial(changed, before, changes_of(text)))
                    updated = answer(partial(changed, before, changes_of(f"u{server}{text}u{server}")))
                    self.assertEqual(updated, plain, (each.before, text))

    def test_ids_are_only_names(self) -> None:
        """The servers by other ids, in another order, 0 among them."""
        new: dict[NodeId, NodeId] = {1: 70, 2: 0, 3: 9, 4: 3}
        for each in answers_of_etcd()[1]:
            before, after = configuration_of(each.before), expected(each.joint)
            for text in each.changes:
                changes = [evolve(change, server=new[change.server]) for change in changes_of(text)]
                got = answer(partial(enter_joint, renamed(before, new), changes, False))
                self.assertEqual(got, after if isinstance(after, str) else renamed(after, new), (each.before, text))


SCENARIOS = {
    "a joint configuration is left automatically, and entered once": """
        simple v1 -> V1
        auto v2v3 -> V123 O1 A
        joint - -> refused joint
        leave -> V123
    """,
    "changes that are said twice, or of servers that are not there": """
        simple v1 -> V1
        joint r1r2r9v2v3v4v2v3v4l2l2r4r4l1l1 -> V3 O1 L2 N1
        leave -> V3 L12
    """,
    "a voter that loses its vote becomes a learner when the joint configuration is left": """
        simple v1 -> V1
        joint v2l1 -> V2 O1 N1
        leave -> V2 L1
    """,
    "what is refused on the way into and out of joint configurations": """
        leave -> refused not-joint
        joint - -> refused no-voter-yet
        joint v1 -> refused no-voter-yet
        simple v1 -> V1
        leave -> refused not-joint
        joint - -> V1 O1
        joint - -> refused joint
        leave -> V1
        leave -> refused not-joint
        joint r1v2v3l4 -> V23 O1 L4
        joint - -> refused joint
        joint v8 -> refused joint
        simple l7 -> refused joint
        leave -> V23 L4
        simple l9 -> V23 L49
    """,
    "simple changes said twice": """
        simple v1 -> V1
        simple v1 -> V1
        simple v2 -> V12
        simple l1 -> V2 L1
        simple l1 -> V2 L1
        simple r1 -> V2
        simple r1 -> V2
        simple v3 -> V23
        simple r3 -> V2
        simple r3 -> V2
        simple r4 -> V2
    """,
    "a voter becomes a learner and a voter again, also at once": """
        simple v1 -> V1
        simple v2 -> V12
        simple v3 -> V123
        simple l1v1 -> V123
        simple l2 -> V13 L2
        simple v2l2 -> V13 L2
        simple v2 -> V123
    """,
    "more voters than one come or go, or none is left": """
        simple l1 -> refused no-voter-left
        simple v1 -> V1
        simple v2l3 -> V12 L3
        simple r1v5 -> refused several-voters
        simple r1r2 -> refused no-voter-left
        simple v3v4 -> refused several-voters
        simple l1v5 -> refused several-voters
        simple l1l2 -> refused no-voter-left
        simple l2l3l4l5 -> V1 L2345
        simple r1 -> refused no-voter-left
        simple r2r3r4r5 -> V1
    """,
    "updates": """
        simple v1 -> V1
        simple v2u1 -> V12
        simple u1u2u1u2 -> V12
    """,
}
"""Those of etcd's tests, step by step. In etcd's last one, who is no member is updated, too: see `test_changes`. One is
left out, in which the id 0 is nobody's."""


class ScenarioTests(SynchronousTestCase):
    def test_scenarios(self) -> None:
        """One configuration after the other, and what is refused leaves all as it was."""
        for name, steps in SCENARIOS.items():
            configuration = Configuration(voters=())
            for step in filter(None, map(str.strip, steps.splitlines())):
                asked, after = step.split(" -> ")
                way, _, text = asked.partition(" ")
                changes = changes_of(text)
                ways = {
                    "simple": partial(simple, configuration, changes),
                    "joint": partial(enter_joint, configuration, changes, False),
                    "auto": partial(enter_joint, configuration, changes, True),
                    "leave": partial(leave_joint, configuration),
                }
                got = answer(ways[way])
                self.assertEqual(got, expected(after), f"{name}: {step}")
                configuration = got if isinstance(got, Configuration) else configuration
