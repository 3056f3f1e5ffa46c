"""`txraft transfer`: make another node lead. One request, and nothing else to do meanwhile, so without a reactor.

The rule is the nodes' own (`txraft.node.replica`): until the request is sent, nothing has happened, and another node
may be asked. From then on no other is, whatever becomes of it (hazard C8); what is not answered is unknown.
"""

from collections.abc import Iterable

from twisted.python.usage import UsageError

from txraft.addresses import Address
from txraft.cli.asking import AskingNodes, NoAnswer, ask_first
from txraft.client.http import line_of
from txraft.errors import OutcomeUnknown, TransferFailed


class Transfer(AskingNodes):
    """The options of `txraft transfer`."""

    meant = "to"
    optParameters = [["to", None, None, "The id of the node that is to lead; required."]]  # noqa: RUF012 - how Twisted has it
    longdesc = "Hands leadership to another node, as before the leader's machine is taken down."

    def postOptions(self) -> None:
        if self["to"] is None:
            raise UsageError("--to is missing: which node is to lead")
        self.to_whole_number("to")
        super().postOptions()

    def run(self) -> int:
        addresses, patience = self.nodes()
        with self.suggesting_config():
            transfer(self["to"], addresses, patience)
        print(f"node {self['to']} leads")
        return 0


def transfer(target: int, addresses: Iterable[Address], patience: float) -> None:
    """Ask the first node that takes a connection, and wait `patience` seconds for its answer.

    Raises TransferFailed with what it said, OutcomeUnknown where it did not answer, and Unreachable where no node takes
    a connection.
    """
    try:
        answer = ask_first(addresses, patience, "/transfer", {"to": target})
    except NoAnswer as error:
        raise OutcomeUnknown(f"{error}; {_doubt(target)}") from error
    if (answer.status, line_of(answer.body)) != (200, "transferred leadership"):
        raise TransferFailed(answer.with_what_came_of_it(_doubt(target)))


def _doubt(target: int) -> str:
    return f"node {target} may lead or not, which `txraft status` tells"
