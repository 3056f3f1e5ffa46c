"""`txraft transfer`: make another node lead. One request, and nothing else to do meanwhile, so without a reactor.

The rule is the nodes' own (`txraft.node.replica`): until the request is sent, nothing has happened, and another node
may be asked. From then on no other is, whatever becomes of it (hazard C8); what is not answered is unknown.
"""

from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlencode

from twisted.python.usage import UsageError

from txraft.cli.asking import READ_OF_LINE, connect, line_of, suggesting_config
from txraft.cli.subcommand import Subcommand
from txraft.errors import OutcomeUnknown, TransferFailed, Unreachable
from txraft.settings import BUILT_IN, Address
from txraft.settings_file import load

MARGIN = 5.0
"""Seconds for an answer to arrive in, after the time that the node has for it."""


class Transfer(Subcommand):
    """The options of `txraft transfer`."""

    meant = "to"
    optParameters = [  # noqa: RUF012 - how Twisted has it
        ["to", None, None, "The id of the node that is to lead; required."],
        ["config", None, None, "A TOML file that describes the cluster; without it, three nodes on localhost."],
    ]
    longdesc = "Hands leadership to another node, as before the leader's machine is taken down."

    def postOptions(self) -> None:
        if self["to"] is None:
            raise UsageError("--to is missing: which node is to lead")
        self.to_whole_number("to")
        self.refuse_empty("config")

    def run(self) -> int:
        settings = BUILT_IN if self["config"] is None else load(self["config"])
        patience = settings.timing.request_seconds + MARGIN
        with suggesting_config(is_built_in=self["config"] is None):
            transfer(self["to"], [member.kvaddr for member in settings.cluster], patience)
        print(f"node {self['to']} leads")
        return 0


def transfer(target: int, addresses: Iterable[Address], patience: float) -> None:
    """Ask the first node that takes a connection, and wait `patience` seconds for its answer.

    Raises TransferFailed with what it said, OutcomeUnknown where it did not answer, and Unreachable where no node takes
    a connection.
    """
    reason = "there are none"
    for address in addresses:
        try:
            connection = connect(address)
        except OSError as error:
            reason = f"the last one asked, {address}: {line_of(error)}"
            continue
        try:
            _ask(connection, target, address, patience)
        finally:
            connection.close()
        return
    raise Unreachable(f"no node can be reached, and nothing was asked; {reason}")


def _ask(connection: HTTPConnection, target: int, address: Address, patience: float) -> None:
    connection.sock.settimeout(patience)
    try:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/transfer", urlencode({"to": target}), headers)
        answer = connection.getresponse()
        said = line_of(answer.read(READ_OF_LINE))
    except (OSError, HTTPException, KeyboardInterrupt) as error:
        what = _what_happened(error, patience)
        raise OutcomeUnknown(f"{address} {what}; node {target} may lead or not, which /status tells") from error
    if (answer.status, said) != (200, "transferred leadership"):
        raise TransferFailed(f"{address} answered {answer.status}: {said or 'nothing more'}")


def _what_happened(error: BaseException, patience: float) -> str:
    """What a node did in place of answering."""
    match error:
        case TimeoutError():
            return f"did not answer within {patience:g} s"
        case KeyboardInterrupt():
            return "had not answered yet"
        case ConnectionError():
            return f"did not answer: {line_of(error)}"
    return f"did not answer as a node does: {line_of(error) or type(error).__name__}"
