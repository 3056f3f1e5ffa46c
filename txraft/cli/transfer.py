"""`txraft transfer`: make another node lead. One request, and nothing else to do meanwhile, so without a reactor.

The rule is the nodes' own (`txraft.node.replica`): until the request is sent, nothing has happened, and another node
may be asked. From then on no other is, whatever becomes of it (hazard C8); what is not answered is unknown.

It uses http.client: urllib would ask for localhost through the proxy that `http_proxy` names, and follow redirects.
"""

from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlencode

from twisted.python.usage import UsageError

from txraft.cli.subcommand import Subcommand
from txraft.errors import OutcomeUnknown, TransferFailed, Unreachable
from txraft.settings import BUILT_IN, Address
from txraft.settings_file import load

CONNECT_TIMEOUT = 5.0
"""Seconds in which a node must take the connection; its kernel does, however busy the node is."""
MARGIN = 5.0
"""Seconds for an answer to arrive in, after the time that the node has for it."""
SHOWN = 300
"""Characters of an answer that are shown; a node's is one short line."""


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
            connection = HTTPConnection(address.host, address.port, timeout=CONNECT_TIMEOUT)
            connection.connect()
        except OSError as error:
            reason = f"the last one asked, {address}: {_line(str(error))}"
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
        said = _line(answer.read(4 * SHOWN).decode(errors="replace"))
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
            return f"did not answer: {_line(str(error))}"
    return f"did not answer as a node does: {_line(str(error)) or type(error).__name__}"


def _line(text: str) -> str:
    """What somebody else wrote, in one line that does no harm to a terminal."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= SHOWN else line[:SHOWN] + "..."
