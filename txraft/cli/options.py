"""The command line as a whole: which commands there are, and what a wrong one ends in."""

import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module

from twisted.python.usage import Options, UsageError

from txraft.cli.subcommand import Subcommand, VersionedOptions
from txraft.errors import BadRequest, NotApplied, OutcomeUnknown, SettingsError, TxraftError


def _of(module: str, name: str) -> Callable[[], VersionedOptions]:
    """What makes the options of a command. Its module is imported only then: each needs much that others do not."""

    def make() -> VersionedOptions:
        options: VersionedOptions = getattr(import_module(f"txraft.cli.{module}"), name)()
        return options

    return make


class TxraftOptions(VersionedOptions):
    """The options before the command."""

    subCommands = [  # noqa: RUF012 - how Twisted has it
        ["backup", None, _of("backup", "BackupOptions"), "Take a backup of a running cluster."],
        ["cas", None, _of("key_value", "CasOptions"), "Change a key's value, if it is what you think."],
        ["delete", None, _of("key_value", "DeleteOptions"), "Remove a key."],
        ["forget", None, _of("forget", "Forget"), "Let a node start anew whose disk is lost."],
        ["get", None, _of("key_value", "GetOptions"), "Write the value of a key to stdout."],
        ["inspect", None, _of("inspect", "Inspect"), "See what a stopped node has, and whether all of it is whole."],
        ["keys", None, _of("key_value", "KeysOptions"), "List the keys."],
        ["member", None, _of("member", "MemberOptions"), "Add, remove, promote, replace or move a member."],
        ["members", None, _of("members", "MembersOptions"), "See who belongs to the cluster."],
        [
            "recover",
            None,
            _of("recover", "Recover"),
            "Make a new cluster of one node, where a majority is lost for good.",
        ],
        ["restore", None, _of("restore", "Restore"), "Make a node of a new cluster of a backup."],
        ["set", None, _of("key_value", "SetOptions"), "Give a key a value, from the command line or from stdin."],
        ["status", None, _of("status", "StatusOptions"), "See how all nodes are doing."],
        ["transfer", None, _of("transfer", "Transfer"), "Make another node lead."],
        ["up", None, _of("up", "Up"), "Start a whole cluster on this machine, to try it."],
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
        return status_of(error)


def status_of(error: TxraftError) -> int:
    """The exit status of a command that ends so.

    | status | |
    | --- | --- |
    | 0 | done |
    | 1 | it is decided, and the answer is no: refused, failed, no such key, a condition that does not hold |
    | 2 | the command line, the configuration file or a value is wrong |
    | 3 | nothing was done, as where no node answers or none leads: the same command may be run again |
    | 4 | nobody knows whether it was done |
    """
    match error:
        case OutcomeUnknown():
            return 4
        case NotApplied():
            return 3
        case BadRequest() | SettingsError():
            return 2
    return 1


def _commands(options: Options) -> Iterator[str]:
    """The words that were understood as commands: `member`, `add`."""
    while options.subCommand is not None:
        yield options.subCommand
        options = options.subOptions
