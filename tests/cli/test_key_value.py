"""`txraft get|set|delete|cas|keys`, on a thread beside a real API: the commands have no reactor."""

import json
import os
import sys
from contextlib import redirect_stderr
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.client.serving import ServingTestCase
from tests.web.wire import FakeReplica
from txraft.cli import main
from txraft.cli.key_value import CasOptions, Changing, DeleteOptions, GetOptions, KeysOptions, SetOptions
from txraft.client import BlockingClient, Set
from txraft.client.blocking_transport import BlockingTransport
from txraft.errors import NotApplied, OutcomeUnknown

EVERY_BYTE = bytes(range(256))
NOBODY = "127.0.0.1:1"


class Terminal(BytesIO):
    """What stdin or stdout may be."""

    def isatty(self) -> bool:
        return True


class Interrupted(BytesIO):
    """A stdin at which Ctrl-C comes."""

    def read(self, size: int | None = -1, /) -> bytes:  # noqa: ARG002 - as BytesIO has it
        raise KeyboardInterrupt


class KeyValueTestCase(ServingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.replica = FakeReplica()
        address, _ = self.serve(self.replica)
        self.node = str(address)

    def run_main(
        self, *words: str | bytes, stdin: BytesIO | None = None, stdout: BytesIO | None = None
    ) -> "Deferred[tuple[int, bytes, str]]":
        """Exit status, stdout and stderr."""
        arguments = [os.fsdecode(word) for word in words]
        return deferToThread(self._run_main, arguments, stdin or Terminal(), stdout or BytesIO())

    def ask(
        self, command: str, *words: str | bytes, stdin: BytesIO | None = None, stdout: BytesIO | None = None
    ) -> "Deferred[tuple[int, bytes, str]]":
        """The node."""
        return self.run_main(command, "--node", self.node, *words, stdin=stdin, stdout=stdout)

    def _run_main(self, arguments: list[str], stdin: BytesIO, stdout: BytesIO) -> tuple[int, bytes, str]:
        given, written = TextIOWrapper(stdin), TextIOWrapper(stdout, write_through=True)
        with (
            patch.object(sys, "stdin", given),
            patch.object(sys, "stdout", written),
            redirect_stderr(StringIO()) as err,
        ):
            status = main(arguments)
        given.detach()
        written.detach()
        return status, stdout.getvalue(), err.getvalue()

    async def wrong(self, line: str, *words: str, status: int = 2) -> None:
        """One line says so, and nothing is asked."""
        proposals = self.replica.proposals
        ended, out, err = await self.run_main(*words)
        self.assertEqual((ended, out, err.count("\n")), (status, b"", 1), err)
        self.assertIn(line, err)
        self.assertEqual(self.replica.proposals, proposals)


class GetTests(KeyValueTestCase):
    async def test_bytes(self) -> None:
        """What is stored, and not a byte more; nothing is said of it."""
        for value in (EVERY_BYTE, b"", b"a\n", b"a"):
            self.assertEqual(await self.ask("set", "k", "-", stdin=BytesIO(value)), (0, b"", ""))
            self.assertEqual(await self.ask("get", "k"), (0, value, ""))

    async def test_terminal(self) -> None:
        """A newline comes behind it, unless there is one."""
        for value, shown in (("a", b"a\n"), ("a\n", b"a\n"), ("", b"\n")):
            await self.ask("set", "k", value)
            self.assertEqual(await self.ask("get", "k", stdout=Terminal()), (0, shown, ""))

    async def test_no_such_key(self) -> None:
        """Status 1, and a line on stderr."""
        self.assertEqual(await self.ask("get", "k"), (1, b"", "txraft: there is no such key\n"))

    async def test_json(self) -> None:
        """With the revision, which `set --if-match` takes."""
        await self.ask("set", "k", "ä")
        _, out, _ = await self.ask("get", "--json", "k")
        self.assertEqual(json.loads(out), {"value": "ä", "revision": 2})
        await self.ask("set", "k", b"\xff")
        _, out, _ = await self.ask("get", "k", "--json")
        self.assertEqual(json.loads(out), {"value": {"base64": "/w=="}, "revision": 3})

    async def test_stale(self) -> None:
        """It needs no leader."""
        await self.ask("set", "k", "v")
        self.replica.failure = NotApplied("no leader was found")
        self.assertEqual(await self.ask("get", "k", "--stale"), (0, b"v", ""))
        status, out, err = await self.ask("get", "k", "--timeout", "1")
        self.assertEqual((status, out), (3, b""))
        self.assertEqual(err, f"txraft: /get was not done, and may be sent again: {self.node}: no leader was found\n")


class SetTests(KeyValueTestCase):
    async def test_words(self) -> None:
        """A value on the command line may be empty, begin with a hyphen, and not be UTF-8."""
        for words, value in ((("k", ""), b""), (("--", "k", "-1"), b"-1"), (("k", b"\xff"), b"\xff")):
            self.assertEqual(await self.ask("set", *words), (0, b"", ""))
            self.assertEqual((await self.ask("get", "k"))[1], value)

    async def test_stdin(self) -> None:
        """All of it, where the value is - or left out."""
        for words in (("k", "-"), ("k",)):
            await self.ask("set", *words, stdin=BytesIO(b"from stdin\n"))
            self.assertEqual((await self.ask("get", "k"))[1], b"from stdin\n")
        await self.wrong("VALUE is missing; write it, or - to read it from stdin", "set", "--node", self.node, "k")
        with patch("txraft.cli.key_value.MAX_VALUE_SIZE", 3):
            status, _, err = await self.ask("set", "k", stdin=BytesIO(b"1234"))
        self.assertEqual(
            (status, err), (2, "txraft: stdin has more than 3 bytes, which is more than any value may have\n")
        )

    async def test_conditions(self) -> None:
        """Status 1 where they do not hold."""
        self.assertEqual((await self.ask("set", "k", "1", "--if-none-match", "*"))[0], 0)
        status, _, err = await self.ask("set", "k", "2", "--if-none-match", "*")
        self.assertEqual((status, err.count("\n")), (1, 1))
        self.assertEqual((await self.ask("set", "k", "2", "--if-match", "9,2"))[0], 0)
        self.assertEqual((await self.ask("delete", "k", "--if-match", "2"))[0], 1)
        self.assertEqual((await self.ask("delete", "k", "--if-match", "3", "--if-none-match", "2"))[0], 0)
        for text in ("", "0", "x", "1,", "-1", "9" * 30):
            await self.wrong("--if-match", "set", "--node", self.node, "k", "v", f"--if-match={text}")

    async def test_idempotency_key(self) -> None:
        """It is sent; with another request it is an error (hazard C5)."""
        for _ in range(2):
            self.assertEqual((await self.ask("cas", "k", "a", "b", "--idempotency-key", "mine"))[0], 1)
            await self.ask("set", "k", "a", "--idempotency-key", "other")
        status, _, err = await self.ask("set", "k", "c", "--idempotency-key", "mine")
        self.assertEqual((status, "came with another request before" in err), (2, True))

    async def test_unknown(self) -> None:
        """Status 4, and the key with which it can be sent again."""
        self.replica.failure = OutcomeUnknown("the leader went away")
        status, _, err = await self.ask("set", "k", "v", "--timeout", "1", "--idempotency-key", "mine")
        self.assertEqual(status, 4)
        self.assertIn(f"/set may have been done, or may yet be: {self.node}: 503: the leader went away", err)
        self.assertIn("soon sent again with the Idempotency-Key mine, it is done once\n", err)

    async def test_interrupted_names_its_key(self) -> None:
        """So that it can be run again, and is done once (hazard C8)."""
        with patch.object(BlockingTransport, "send", autospec=True, side_effect=KeyboardInterrupt) as send:
            _, _, drawn = await self.ask("set", "k", "v")
            _, _, given = await self.ask("set", "k", "v", "--idempotency-key", "mine")
        sent = [dict(call.args[2].headers)["Idempotency-Key"] for call in send.call_args_list]
        self.assertEqual(sent[1], "mine")
        for line, key in zip((drawn, given), sent, strict=True):
            self.assertIn(f"with the Idempotency-Key {key}, it is done once", line)

    async def test_stdout_is_closed(self) -> None:
        """`>&-` in a shell."""
        for command in ("get", "keys"):
            ended, err = await deferToThread(self._without_stdout, command, "--node", self.node, "k")
            self.assertEqual((ended, err.count("\n")), (2, 1), err)
            self.assertIn("stdout is closed", err)

    async def test_stdin_is_closed(self) -> None:
        """`<&-` in a shell."""
        for words in (("k",), ("k", "-")):
            ended, err = await deferToThread(self._without_stdin, "set", "--node", self.node, *words)
            self.assertEqual((ended, err.count("\n")), (2, 1), err)
            self.assertIn("VALUE is missing; write it, or - to read it from stdin", err)

    def _without_stdin(self, *words: str) -> tuple[int, str]:
        with patch.object(sys, "stdin", None), redirect_stderr(StringIO()) as err:
            return main(words), err.getvalue()

    def _without_stdout(self, *words: str) -> tuple[int, str]:
        with patch.object(sys, "stdout", None), redirect_stderr(StringIO()) as err:
            return main(words), err.getvalue()

    async def test_interrupted(self) -> None:
        """Ctrl-C: what was sent may be done. What only reads has done nothing, and neither has who only waits for a
        value."""
        with patch.object(BlockingTransport, "send", side_effect=KeyboardInterrupt):
            status, _, err = await self.ask("set", "k", "v")
            self.assertEqual((status, "may yet be" in err), (4, True))
            self.assertEqual(await self.ask("get", "k"), (130, b"", ""))
        self.assertEqual((await self.ask("set", "k", stdin=Interrupted()))[0], 130)

    async def test_refused(self) -> None:
        """By the node: status 2, and its line."""
        self.assertEqual(await self.ask("set", "", "v"), (2, b"", "txraft: the key is empty\n"))
        status, _, err = await self.ask("set", "k" * 5000, "v")
        self.assertEqual((status, err), (2, "txraft: key has 5000 bytes; the limit, key_size, is 4096\n"))


class CasAndDeleteTests(KeyValueTestCase):
    async def test_cas(self) -> None:
        """Status 1 where the value is not OLD, or there is none."""
        self.assertEqual((await self.ask("cas", "k", "", "v"))[0], 1)
        await self.ask("set", "k", "")
        self.assertEqual(await self.ask("cas", "k", "", "v"), (0, b"", ""))
        said = "txraft: the value is not OLD; nothing was done\n"
        self.assertEqual(await self.ask("cas", "k", "", "w"), (1, b"", said))
        self.assertEqual(await self.ask("cas", "k", "v", "-", stdin=BytesIO(b"w\n")), (0, b"", ""))
        self.assertEqual((await self.ask("get", "k"))[1], b"w\n")

    async def test_delete(self) -> None:
        """Status 1 where there is no such key."""
        await self.ask("set", "k", "v")
        self.assertEqual(await self.ask("delete", "k"), (0, b"", ""))
        self.assertEqual(await self.ask("delete", "k"), (1, b"", "txraft: there is no such key\n"))


class KeysTests(KeyValueTestCase):
    async def test_lines(self) -> None:
        """One a key, in order, all or those that begin so."""
        for key in ("b", "a/2", "a/1", b"a/\xff"):
            await self.ask("set", key, "v")
        self.assertEqual(await self.ask("keys"), (0, b"a/1\na/2\na/\xff\nb\n", ""))
        self.assertEqual(await self.ask("keys", "a/", "--limit", "2"), (0, b"a/1\na/2\n", ""))
        self.assertEqual(await self.ask("keys", "c"), (0, b"", ""))

    async def test_terminal(self) -> None:
        """Nothing that does harm to it."""
        for key in ("a\x1b[2Jb", b"\xff\n", "ä"):
            await self.ask("set", key, "v")
        self.assertEqual((await self.ask("keys", stdout=Terminal()))[1], b"a\\x1b[2Jb\n\xc3\xa4\n\\xff\\n\n")

    async def test_json(self) -> None:
        """An object a line, as `/keys` has them."""
        await self.ask("set", "a", "1")
        await self.ask("set", "a", "2")
        await self.ask("set", b"\xff", "2")
        _, out, _ = await self.ask("keys", "--json")
        first, second = map(json.loads, out.splitlines())
        self.assertEqual(first, {"key": "a", "create_revision": 2, "mod_revision": 3, "version": 2})
        self.assertEqual(second["key"], {"base64": "/w=="})

    async def test_many(self) -> None:
        """They come page by page, and are printed as they come."""
        client = BlockingClient(self.node)
        for start in (0, 1000):
            await deferToThread(client.batch, [Set(f"{number:04}", "") for number in range(start, start + 1000)])
        await deferToThread(client.close)
        _, out, _ = await self.ask("keys")
        self.assertEqual(out.splitlines(), [b"%04d" % number for number in range(2000)])


class UsageTests(KeyValueTestCase):
    async def test_wrong(self) -> None:
        """One line that says what is wrong."""
        for command, words in (
            ("get", ()),
            ("get", ("a", "b")),
            ("set", ()),
            ("set", ("a", "b", "c")),
            ("delete", ()),
            ("cas", ("a", "b")),
            ("keys", ("a", "b")),
        ):
            await self.wrong(f"see txraft {command} --help", command, *words)
        await self.wrong("-- before what begins with a hyphen", "set", "k", "v", "w")
        await self.wrong("--timeout takes a whole number from 1", "get", "k", "--timeout", "0")
        await self.wrong("--limit takes a whole number", "keys", "--limit", "x")
        await self.wrong("--idempotency-key is empty", "set", "k", "v", "--idempotency-key", "")
        await self.wrong("give --node or --config, not both", "get", "k", "--node", "a:1", "--config", "c")
        await self.wrong("is not host:port", "get", "k", "--node", "a")
        await self.wrong("cannot be read", "get", "k", "--config", "none.toml")

    async def test_one_node(self) -> None:
        """The one that is named, and for nothing else."""
        address, server = self.say(b'HTTP/1.1 200 OK\r\nETag: "7"\r\nContent-Length: 1\r\n\r\nv')
        self.assertEqual(await self.run_main("get", "k", "--node", str(address)), (0, b"v", ""))
        self.assertEqual([request.split()[1] for request in server.requests], [b"/get?key=k"])

    async def test_nobody_there(self) -> None:
        """Status 3: it may be run again."""
        await self.wrong("cannot be reached", "set", "--node", NOBODY, "--timeout", "1", "k", "v", status=3)

    async def test_config(self) -> None:
        """Its nodes are asked one after the other."""
        path = Path(self.mktemp())
        lines = []
        for id, kvaddr in enumerate((NOBODY, self.node)):
            lines += ["[[cluster]]", f"id = {id}", f'address = "localhost:{id + 1}"', f'kvaddr = "{kvaddr}"']
        path.write_text("\n".join(lines))
        self.assertEqual(await self.run_main("set", "k", "v", "--config", str(path)), (0, b"", ""))
        self.assertEqual(await self.run_main("get", "k", "--config", str(path)), (0, b"v", ""))

    def test_help(self) -> None:
        """It has the exit statuses."""
        for options in (GetOptions(), SetOptions(), DeleteOptions(), CasOptions(), KeysOptions()):
            words = " ".join(str(options).split())
            self.assertIn("The exit status is 0 where it is done, 2 where", words)
            self.assertEqual("4 where it may have been done" in words, isinstance(options, Changing))
