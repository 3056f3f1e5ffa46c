"""`txraft transfer`: make another node lead. One request, and nothing else to do meanwhile, so without a reactor."""

from collections.abc import Iterable
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from twisted.python.usage import UsageError

from txraft.cli.command import Command
from txraft.config import BUILT_IN, Address, load
from txraft.errors import TransferFailed

TIMEOUT = 30.0
"""Seconds to wait for a node's answer."""


class Transfer(Command):
    """The options of `txraft transfer`."""

    optParameters = [  # noqa: RUF012 - how Twisted has it
        ["to", None, None, "The id of the node that is to lead; required."],
        ["config", None, None, "A TOML file that describes the cluster; without it, three nodes on localhost."],
    ]
    longdesc = "Hands leadership to another node, as before the leader's machine is taken down."

    def postOptions(self) -> None:
        if self["to"] is None:
            raise UsageError("--to is missing: which node is to lead")

    def run(self) -> int:
        settings = BUILT_IN if self["config"] is None else load(self["config"])
        transfer(self["to"], [member.kvaddr for member in settings.cluster])
        print(f"node {self['to']} leads")
        return 0


def transfer(target: str, addresses: Iterable[Address]) -> None:
    """Ask the first node that answers at all. Raises TransferFailed with what it said, or where none answers."""
    reason = "the configuration has no nodes"
    for address in addresses:
        try:
            with urlopen(f"http://{address}/transfer", urlencode({"to": target}).encode(), TIMEOUT):
                return
        except HTTPError as error:
            raise TransferFailed(error.read().decode(errors="replace")) from error
        except (URLError, OSError) as error:
            reason = f"no node answers; the last one asked, {address}: {getattr(error, 'reason', error)}"
    raise TransferFailed(reason)
