"""`txraft member`: change who belongs to a cluster.

A change is asked for as leadership is in `txraft.cli.transfer`: of one node, once. The rest is watching, which changes
nothing.
"""

from collections.abc import Callable, Mapping, Sequence

from twisted.python.usage import UsageError

from txraft.addresses import Address, parse_place, require_reachable
from txraft.cli.asking import Answer, AskingNodes, NoAnswer, ask_first
from txraft.cli.catching_up import watch
from txraft.cli.membership import NotUnderstood, addresses_in, ask_for_members, member_of, read
from txraft.cli.subcommand import Subcommand, SubcommandOn, VersionedOptions
from txraft.client.http import line_of
from txraft.errors import ChangeRefused, OutcomeUnknown, Unreachable
from txraft.statuses import MemberDetails, Members

DOUBT = "the members may be changed or not: see `txraft members`"


class Changing(AskingNodes, SubcommandOn):
    """What the commands have in common: an id, and most of them addresses."""

    def postOptions(self) -> None:
        super().postOptions()
        for name in self.things:
            if name in ("ID", "OLD", "NEW"):
                self.to_whole_number(name)

    def address(self, name: str) -> str:
        """An address that is given, as the nodes write it. Raises SettingsError."""
        address = (parse_place if name.lower() == "address" else Address.parse)(self[name])
        require_reachable(name.lower(), address)
        return str(address)

    def change(self, target: str, form: Mapping[str, object], method: str = "POST") -> tuple[Members, list[Address]]:
        """Have it done. Gives the membership then, and where its members can be asked, first the one that did it.

        Raises ChangeRefused where the nodes refuse, OutcomeUnknown where it may have been done, and Unreachable where
        no node takes a connection."""
        addresses, patience = self.nodes()
        with self.suggesting_config():
            try:
                answer = ask_first(addresses, patience, target, form, method)
            except NoAnswer as error:
                raise OutcomeUnknown(f"{error}; {DOUBT}") from error
        members = _done(answer)
        return members, [answer.address, *addresses_in(members)]


class Joining(Changing):
    """A change after which a member has to catch up. What was asked for before is not asked for again: it is waited
    for."""

    optFlags = [["no-wait", None, "Do not wait until the member has caught up."]]  # noqa: RUF012 - how Twisted has it

    def join(
        self, id: int, line: str, target: str, form: Mapping[str, object], is_done: Callable[[MemberDetails], bool]
    ) -> list[Address]:
        """Have it done, and say so in `line`. `is_done` says of member `id` whether it was done before. Gives where the
        members can be asked. Raises as `change`."""
        try:
            _, addresses = self.change(target, form)
        except ChangeRefused:
            found = self._find_member(id)
            if found is None or not is_done(found[0]):
                raise
            member, addresses = found
            line = "this was asked for before, and done" if member.voter else f"this was asked for before: {line}"
        print(line, flush=True)
        return addresses

    def _find_member(self, id: int) -> tuple[MemberDetails, list[Address]] | None:
        """Who it is, and where its members can be asked, by what the node that refused knows: it has the latest."""
        addresses, patience = self.nodes()
        for address in addresses:
            try:
                members = ask_for_members(address, patience, stale=True)
            except Unreachable:
                continue
            except (NoAnswer, NotUnderstood):
                return None
            member = member_of(members, id)
            return None if member is None else (member, [address, *addresses_in(members)])
        return None

    def report(self, id: int, becomes_voter: bool, addresses: Sequence[Address]) -> None:
        """Wait until it has, unless that is not wanted."""
        if self["no-wait"]:
            return
        watch(id, becomes_voter, addresses)
        print(f"node {id} is a voter" if becomes_voter else f"node {id} has caught up")

    def say_how_to_start(self, id: int, kvaddr: str, addresses: Sequence[Address]) -> None:
        """For a new member, which may run already and wait."""
        print(
            f"start it on its machine, unless it waits there already:"
            f" twistd txraft --id {id} --kvaddr {kvaddr} --join {addresses[0]}",
            flush=True,
        )


class Add(Joining):
    """The options of `txraft member add`."""

    things = ("ID", "ADDRESS", "KVADDR")
    optFlags = [["learner", None, "It stays without a vote, for reading only."]]  # noqa: RUF012 - how Twisted has it
    longdesc = (
        "Adds a member: ID is a number that no member has or had, ADDRESS where the other nodes reach it (Raft),"
        " host:port or an endpoint as Twisted writes them (unix:PATH), and KVADDR where clients do (HTTP), host:port."
        " It receives all data first, while the cluster goes on as before, and gets its vote by itself when it has"
        " caught up. The command waits for that; it may be ended meanwhile."
    )

    def run(self) -> int:
        id, kvaddr = self["ID"], self.address("KVADDR")
        learner = bool(self["learner"])
        form = {"id": id, "address": self.address("ADDRESS"), "kvaddr": kvaddr, "learner": str(learner).lower()}
        addresses = self.join(
            id,
            f"node {id} is a learner{'' if learner else ', and gets its vote when it has caught up'}",
            "/members",
            form,
            lambda it: (
                (it.addresses, it.joining or it.voter, it.replaces) == ((form["address"], kvaddr), not learner, None)
            ),
        )
        self.say_how_to_start(id, kvaddr, addresses)
        self.report(id, not learner, addresses)
        return 0


class Remove(Changing):
    """The options of `txraft member remove`."""

    things = ("ID",)
    longdesc = (
        "Removes a member, whether it runs or not. A node that runs ends by itself when it hears of that. The id is"
        " never used again: a machine that comes back is added under another id, with an empty data directory. Refused"
        " where the voters that remain are not in contact with the leader."
    )

    def run(self) -> int:
        self.change("/members", {"id": self["ID"]}, "DELETE")
        print(f"node {self['ID']} is no member any more; its data directory may be deleted")
        return 0


class Promote(Joining):
    """The options of `txraft member promote`."""

    things = ("ID",)
    longdesc = "Gives a learner a vote, as soon as it has caught up. The command waits for that."

    def run(self) -> int:
        id = self["ID"]
        line = f"node {id} gets its vote when it has caught up"
        addresses = self.join(id, line, "/members/promote", {"id": id}, lambda it: it.joining and it.replaces is None)
        self.report(self["ID"], True, addresses)
        return 0


class Replace(Joining):
    """The options of `txraft member replace`."""

    things = ("OLD", "NEW", "ADDRESS", "KVADDR")
    longdesc = (
        "Replaces member OLD, whose machine may be dead, by a new one, whose id is NEW and which is reached at ADDRESS"
        " (Raft) and KVADDR (HTTP). The new one receives all data first. When it has caught up, it gets the vote and"
        " OLD loses it, in one step. The command waits for that."
    )

    def run(self) -> int:
        old, new, kvaddr = self["OLD"], self["NEW"], self.address("KVADDR")
        form = {"id": old, "by": new, "address": self.address("ADDRESS"), "kvaddr": kvaddr}
        addresses = self.join(
            new,
            f"node {new} is a learner, and takes the place of node {old} when it has caught up",
            "/members/replace",
            form,
            lambda it: (it.addresses, it.joining, it.replaces) == ((form["address"], kvaddr), True, old),
        )
        self.say_how_to_start(new, kvaddr, addresses)
        self.report(new, True, addresses)
        return 0


class Update(Changing):
    """The options of `txraft member update`."""

    things = ("ID",)
    optParameters = [  # noqa: RUF012 - how Twisted has it
        ["address", None, None, "Where the other nodes reach it (Raft): host:port, or an endpoint (unix:PATH)."],
        ["kvaddr", None, None, "host:port where clients reach it (HTTP)."],
    ]
    longdesc = (
        "Tells the cluster that a member is reached elsewhere. What is not given stays as it is. Where the node itself"
        " listens is said at its start: restart it at the new place."
    )

    def postOptions(self) -> None:
        super().postOptions()
        self.refuse_empty("address", "kvaddr")
        if self["address"] is None and self["kvaddr"] is None:
            raise UsageError("give --address, --kvaddr, or both")

    def run(self) -> int:
        given = {name: self.address(name) for name in ("address", "kvaddr") if self[name] is not None}
        self.change("/members/update", {"id": self["ID"], **given})
        print(f"node {self['ID']} is reached at {' and '.join(given.values())}")
        return 0


class MemberOptions(VersionedOptions):
    """The options of `txraft member`, before what is to be done."""

    subCommands = [  # noqa: RUF012 - how Twisted has it
        ["add", None, Add, "Add a member."],
        ["promote", None, Promote, "Give a learner a vote."],
        ["remove", None, Remove, "Remove a member."],
        ["replace", None, Replace, "Replace a member by a new one."],
        ["update", None, Update, "Change a member's addresses."],
    ]
    longdesc = "Changes who belongs to the cluster, while it serves. See `txraft members` for who does."
    subOptions: Subcommand

    def getSynopsis(self) -> str:
        return "Usage: txraft member" if self.subCommand else "Usage: txraft member COMMAND [options]"

    def postOptions(self) -> None:
        if self.subCommand is None:
            raise UsageError("say what to do: add, promote, remove, replace or update")

    def run(self) -> int:
        """As `Subcommand.run`."""
        return self.subOptions.run()


def _done(answer: Answer) -> Members:
    """The membership, where the answer is that it is changed. Raises ChangeRefused and OutcomeUnknown."""
    match answer.status:
        case 200:
            try:
                return read(answer, Members)
            except NotUnderstood as error:
                raise OutcomeUnknown(str(error)) from error
        case 409:
            raise ChangeRefused(line_of(answer.body))
    line = answer.with_what_came_of_it(DOUBT)
    raise OutcomeUnknown(line) if answer.is_doubtful else ChangeRefused(line)
