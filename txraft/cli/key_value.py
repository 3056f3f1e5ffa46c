"""`txraft get|set|delete|cas|keys`: the key-value API from a shell, by the blocking client of `txraft.client`.

What a script reads from stdout is what is stored, byte for byte. Everything else goes to stderr, and what came of a
command is its exit status (`txraft.cli.options.status_of`).
"""

import json
import os
import sys
from abc import abstractmethod
from collections.abc import Iterable
from contextlib import closing
from random import SystemRandom
from typing import ClassVar
from uuid import UUID

from twisted.python.usage import UsageError

from txraft.cli.asking import MARGIN, AskingNodes
from txraft.cli.subcommand import SubcommandOn
from txraft.client.blocking import BlockingClient
from txraft.client.requests import ANY, Consistency, Revisions
from txraft.client.session import ATTEMPT_TIMEOUT, TIMEOUT
from txraft.errors import OutcomeUnknown, TooLarge
from txraft.kv.commands_in_json import text_or_base64
from txraft.kv.contents import KeyInfo
from txraft.settings import MAX_VALUE_SIZE

LONGEST_TIMEOUT = 86_400
"""Seconds."""
STATUSES = (
    "The exit status is 0 where it is done, 2 where the command line or the value is wrong, 3 where it was not done in"
    " time and may be run again"
)
STATUSES_OF_CHANGES = (
    f"{STATUSES}, and 4 where it may have been done, or may yet be: run it again soon, with the --idempotency-key that"
    " the line names, to be sure that it is done once."
)


class KeyValueCommand(AskingNodes, SubcommandOn):
    """What the commands have in common: what they are on, nodes to ask, and a time limit."""

    least: ClassVar[int]
    """How many of `things` have to be given. A value may be empty."""
    optParameters = [  # noqa: RUF012 - how Twisted has it
        [
            "timeout",
            None,
            None,
            f"Seconds to go on trying [default: {TIMEOUT:g}, or what --config wants].",
        ],
    ]

    def getSynopsis(self) -> str:
        words = [thing if number < self.least else f"[{thing}]" for number, thing in enumerate(self.things)]
        return " ".join([AskingNodes.getSynopsis(self), *words])

    def parseArgs(self, *arguments: str) -> None:
        """What it is on. Raises UsageError where that is more or less than there may be."""
        if not self.least <= len(arguments) <= len(self.things):
            wanted = " ".join(self.things) if self.least == len(self.things) else f"{self.getSynopsis()[7:]}"
            raise UsageError(
                f"{len(arguments) or 'no'} words are given; write {wanted}, and -- before what begins with a hyphen"
            )
        self.update(dict.fromkeys(self.things))
        self.update(zip(self.things, arguments, strict=False))

    def postOptions(self) -> None:
        super().postOptions()
        self.to_whole_number("timeout", 1, LONGEST_TIMEOUT)

    def given(self, thing: str) -> bytes:
        """One of the `things`, as it stands on the command line, whatever the locale is."""
        return os.fsencode(self[thing])

    def run(self) -> int:
        """Do it. Raises TxraftError."""
        addresses, patience = self.nodes()
        timeout, attempt = TIMEOUT, ATTEMPT_TIMEOUT
        if self["node"] is None:  # the settings say how long a node may take
            timeout, attempt = max(TIMEOUT, patience), max(ATTEMPT_TIMEOUT, patience - MARGIN / 2)
        if self["timeout"] is not None:
            timeout = float(self["timeout"])
        client = BlockingClient(*addresses, timeout=timeout, attempt_timeout=attempt, finds_leader=False)
        with closing(client), self.suggesting_config():
            return self.ask(client)

    @abstractmethod
    def ask(self, client: BlockingClient) -> int:
        """Ask the cluster. Gives the exit status; may raise TxraftError."""


class Reading(KeyValueCommand):
    """A command that changes nothing."""

    def run(self) -> int:
        """As KeyValueCommand. Raises UsageError where there is nowhere to write to."""
        if sys.stdout is None:
            raise UsageError("stdout is closed; send it to /dev/null to see the exit status alone")
        return super().run()

    optFlags = [  # noqa: RUF012 - how Twisted has it
        ["stale", None, "What the node asked has just now, also where it knows no leader."],
        ["json", None, 'Print JSON; what is not UTF-8 is written {"base64": "..."}.'],
    ]

    @property
    def consistency(self) -> Consistency:
        return "stale" if self["stale"] else "latest"


class Changing(KeyValueCommand):
    """A command that changes something."""

    value: ClassVar[str | None] = None
    """Which of `things` is the value to write, if any."""
    optParameters = [  # noqa: RUF012 - how Twisted has it
        ["idempotency-key", None, None, "Any text: whatever has the same one is done once [default: one of its own]."],
    ]

    def postOptions(self) -> None:
        super().postOptions()
        self.refuse_empty("idempotency-key")

    def ask(self, client: BlockingClient) -> int:
        """As KeyValueCommand. What Ctrl-C cuts off may be done all the same."""
        value = b"" if self.value is None else self._new_value(self.value)
        if self["idempotency-key"] is None:  # the line of an interrupted command names it, so it is drawn here
            self["idempotency-key"] = str(UUID(int=SystemRandom().getrandbits(128), version=4))
        try:
            return self.change(client, value)
        except KeyboardInterrupt as error:
            raise OutcomeUnknown(
                "interrupted: what was asked for may be done, or may yet be; soon sent again with the Idempotency-Key"
                f" {self['idempotency-key']}, it is done once"
            ) from error

    @abstractmethod
    def change(self, client: BlockingClient, value: bytes) -> int:
        """As `ask`. `value` is what is to be written."""

    def _new_value(self, thing: str) -> bytes:
        """What is to be written: on the command line, or on stdin. Raises UsageError and TooLarge."""
        if self[thing] not in (None, "-"):
            return self.given(thing)
        if sys.stdin is None or (self[thing] is None and sys.stdin.isatty()):
            raise UsageError(f"{thing} is missing; write it, or - to read it from stdin")
        value = sys.stdin.buffer.read(MAX_VALUE_SIZE + 1)
        if len(value) > MAX_VALUE_SIZE:
            raise TooLarge(f"stdin has more than {MAX_VALUE_SIZE} bytes, which is more than any value may have")
        return value


class Conditional(Changing):
    """One that may depend on the revision of its key."""

    optParameters = [  # noqa: RUF012 - how Twisted has it
        ["if-match", None, None, "Only where the key has this revision, or one of several, as in 7,9; '*' is any."],
        ["if-none-match", None, None, "Only where it has none of these; '*': only where there is no such key."],
    ]

    def postOptions(self) -> None:
        super().postOptions()
        for name in ("if-match", "if-none-match"):
            self[name] = _revisions(name, self[name])


class GetOptions(Reading):
    """The options of `txraft get`."""

    things = ("KEY",)
    least = 1
    longdesc = (
        "Writes the value of a key to stdout, byte for byte, with a newline behind it only on a terminal. --json has"
        f" its revision, too, for --if-match. {STATUSES}, and 1 where there is no such key."
    )

    def ask(self, client: BlockingClient) -> int:
        found = client.get(self.given("KEY"), consistency=self.consistency)
        if found is None:
            print("txraft: there is no such key", file=sys.stderr)
            return 1
        if self["json"]:
            _write_json({"value": text_or_base64(found.value), "revision": found.revision})
        else:
            ends_line = found.value.endswith(b"\n") or not sys.stdout.isatty()
            _write(found.value if ends_line else found.value + b"\n")
        return 0


class SetOptions(Conditional):
    """The options of `txraft set`."""

    things = ("KEY", "VALUE")
    least = 1
    value = "VALUE"
    longdesc = (
        "Gives a key a value. Where VALUE is -, or is left out and stdin is no terminal, it is all of stdin, with every"
        f" byte: `echo` adds a newline, `printf %s` none. {STATUSES_OF_CHANGES} It is 1 where --if-match or"
        " --if-none-match does not hold."
    )

    def change(self, client: BlockingClient, value: bytes) -> int:
        client.set(
            self.given("KEY"),
            value,
            if_match=self["if-match"],
            if_none_match=self["if-none-match"],
            idempotency_key=self["idempotency-key"],
        )
        return 0


class DeleteOptions(Conditional):
    """The options of `txraft delete`."""

    things = ("KEY",)
    least = 1
    longdesc = (
        f"Removes a key. {STATUSES_OF_CHANGES} It is 1 where there is no such key, or --if-match or --if-none-match"
        " does not hold."
    )

    def change(self, client: BlockingClient, _: bytes) -> int:
        was_there = client.delete(
            self.given("KEY"),
            if_match=self["if-match"],
            if_none_match=self["if-none-match"],
            idempotency_key=self["idempotency-key"],
        )
        if not was_there:
            print("txraft: there is no such key", file=sys.stderr)
        return 0 if was_there else 1


class CasOptions(Changing):
    """The options of `txraft cas`."""

    things = ("KEY", "OLD", "NEW")
    least = 3
    value = "NEW"
    longdesc = (
        "Gives a key the value NEW where its value is OLD. Where NEW is -, it is all of stdin."
        f" {STATUSES_OF_CHANGES} It is 1 where the value is not OLD."
    )

    def change(self, client: BlockingClient, value: bytes) -> int:
        is_set = client.cas(self.given("KEY"), self.given("OLD"), value, idempotency_key=self["idempotency-key"])
        if not is_set:
            print("txraft: the value is not OLD; nothing was done", file=sys.stderr)
        return 0 if is_set else 1


class KeysOptions(Reading):
    """The options of `txraft keys`."""

    things = ("PREFIX",)
    least = 0
    optParameters = [["limit", None, None, "How many at most [default: all]."]]  # noqa: RUF012 - how Twisted has it
    longdesc = (
        "Lists the keys that begin with PREFIX, or all, in order: each in a line, byte for byte, with backslashes for"
        " what a terminal cannot show; with --json, each as an object in a line, with its revisions. Many keys come in"
        f" several requests, each as of its own moment, with --timeout for each. {STATUSES}."
    )

    def postOptions(self) -> None:
        super().postOptions()
        self.to_whole_number("limit", 1)

    def ask(self, client: BlockingClient) -> int:
        prefix = b"" if self["PREFIX"] is None else self.given("PREFIX")
        self._print(client.keys(prefix, limit=self["limit"], consistency=self.consistency))
        return 0

    def _print(self, keys: Iterable[KeyInfo]) -> None:
        to_terminal = sys.stdout.isatty()
        for info in keys:
            if self["json"]:
                _write_json(
                    {
                        "key": text_or_base64(info.key),
                        "create_revision": info.create_revision,
                        "mod_revision": info.mod_revision,
                        "version": info.version,
                    }
                )
            else:
                _write((_for_a_terminal(info.key) if to_terminal else info.key) + b"\n")


def _revisions(name: str, text: str | None) -> Revisions | None:
    """What an option says. Raises UsageError."""
    if text is None:
        return None
    if text == ANY:
        return ANY
    numbers = text.split(",")
    if not all(each.isascii() and each.isdigit() and len(each) < 19 and int(each) > 0 for each in numbers):
        raise UsageError(f"--{name} takes a revision, several as in 7,9, or '*' in quotes, not {text!r}")
    return [int(each) for each in numbers]


def _for_a_terminal(key: bytes) -> bytes:
    text = key.decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text).encode()


def _write_json(value: object) -> None:
    _write(json.dumps(value, ensure_ascii=False).encode() + b"\n")


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
