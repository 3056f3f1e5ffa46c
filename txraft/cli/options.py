"""The command line as a whole: which commands there are, and what a wrong one ends in."""

import sys
from collections.abc import Iterator, Sequence

from twisted.python.usage import Options, UsageError

from txraft.cli.backup import BackupOptions
from txraft.cli.forget import Forget
from txraft.cli.inspect import Inspect
from txraft.cli.member import MemberOptions
from txraft.cli.members import MembersOptions
from txraft.cli.recover import Recover
from txraft.cli.restore import Restore
from txraft.cli.status import StatusOptions
from txraft.cli.subcommand import Subcommand, VersionedOptions
from txraft.cli.transfer import Transfer
from txraft.cli.up import Up
from txraft.errors import TxraftError


class TxraftOptions(VersionedOptions):
    """The options before the command."""

    subCommands = [  # noqa: RUF012 - how Twisted has it
        ["backup", None, BackupOptions, "Take a backup of a running cluster."],
        ["forget", None, Forget, "Let a node start anew whose disk is lost."],
        ["inspect", None, Inspect, "See what a stopped node has, and whether all of it is whole."],
        ["member", None, MemberOptions, "Add, remove, promote, replace or move a member."],
        ["members", None, MembersOptions, "See who belongs to the cluster."],
        ["recover", None, Recover, "Make a new cluster of one node, where a majority is lost for good."],
        ["restore", None, Restore, "Make a node of a new cluster of a backup."],
        ["status", None, StatusOptions, "See how all nodes are doing."],
        ["transfer", None, Transfer, "Make another node lead."],
        ["up", None, Up, "Start a whole cluster on this machine, to try it."],
    ]
    longdesc = "A single node, as in production, is started by `twistd txraft`: see `twistd txraft --help`."
    subOptions: Subcommand

    def getSynopsis(self) -> str:
        return "Usage: txraft" if self.subCommand else "Usage: txraft COMMAND [options]"

    def postOptions(self) -> None:
        if self.subCommand is None:
            raise UsageError("no command was given")


def run(arguments: Sequence[str] | None) -> int:
    """As `txraft.cli.main`. `txraft help up` is `txraft up --help`."""
    options = TxraftOptions()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options.parseOptions([*words[1:], "--help"] if words[:1] == ["help"] else words)
        return options.subOptions.run()
    except UsageError as error:
        print(f"txraft: {error}; see {' '.join(['txraft', *_commands(options)])} --help", file=sys.stderr)
        return 2
    except TxraftError as error:
        print(f"txraft: {error}", file=sys.stderr)
        return 1


def _commands(options: Options) -> Iterator[str]:
    """The words that were understood as commands: `member`, `add`."""
    while options.subCommand is not None:
        yield options.subCommand
        options = options.subOptions
