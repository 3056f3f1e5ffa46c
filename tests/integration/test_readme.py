"""What the README shows "From a shell" and "From Python", run as it stands on three nodes of their own ports."""

import re
import sys
import textwrap

from tests.integration.cluster import ProcessCluster
from tests.integration.commands import TREE, run
from tests.integration.conftest import process_test

IN_ASYNCIO = """\
import asyncio, sys
from twisted.internet import asyncioreactor
loop = asyncio.new_event_loop()
asyncioreactor.install(loop)
from twisted.internet import reactor
from txraft.client import KeyValueClient

async def main():
    client = KeyValueClient(reactor, sys.argv[1])
    for key in ("great", "greeting"):
        await client.set(key, "hello").asFuture(loop)
    print((await client.get("great").asFuture(loop)).value)
    page = await client.list_keys("gr", limit=1).asFuture(loop)
    rest = await client.list_keys("gr", after=page.keys[-1].key).asFuture(loop)
    print([info.key for info in page.keys], page.more, [info.key for info in rest.keys], rest.more)
    try:
        async for _ in client.keys("gr"):
            pass
    except RuntimeError:
        print("keys does not work")
    await client.close().asFuture(loop)
    reactor.stop()

reactor.callWhenRunning(lambda: loop.create_task(main()))
reactor.run()
"""


def in_section(title: str) -> str:
    """The first indented block of a section."""
    readme = (TREE / "README.md").read_text(encoding="utf-8")
    _, _, section = readme.partition(f"\n## {title}\n\n")
    lines = []
    for line in section.splitlines():
        if line and not line.startswith("    "):
            break
        lines.append(line)
    return textwrap.dedent("\n".join(lines)).strip("\n") + "\n"


@process_test
async def test_from_a_shell(cluster: ProcessCluster) -> None:
    """A terminal would show what the README does, revisions included."""
    await cluster.wait_for_leader()
    block = in_section("From a shell").splitlines()
    shown = [line for line in block if not line.startswith("$ ")]
    commands = [line.removeprefix("$ ") for line in block if line.startswith("$ ")]
    assert (len(commands), len(shown)) == (6, 4)
    function = f'txraft() {{ {sys.executable} -m txraft "$@" --node {cluster.nodes[0].kvaddr}; }}'
    script = "\n".join(["exec 2>&1", function, *commands])
    finished = await run(cluster.reactor, ["bash", "-c", script], cluster.directory)
    assert (finished.status, finished.out.splitlines()) == (0, shown)


@process_test
async def test_from_python(cluster: ProcessCluster) -> None:
    """It runs to its end, with what its comments say."""
    await cluster.wait_for_leader()
    program = in_section("From Python")
    for number, node in enumerate(cluster.nodes):
        program = program.replace(f"localhost:{27004 + number}", node.kvaddr)
    program = re.sub(r"^    (client\.(?:cas|batch)\(.*\)) +#", r"    print(\1)  #", program, flags=re.MULTILINE)
    program = re.sub(r"^(    found = .*)$", r"\1\n    print(found)", program, flags=re.MULTILINE)
    finished = await run(cluster.reactor, [sys.executable, "-c", program], cluster.directory)
    assert (finished.status, finished.err) == (0, "")
    *commented, listed = finished.out.splitlines()
    assert [commented, listed] == [["Value(value=b'hello', revision=2)", "True", "[True, True, b'2']"], "b'greeting' 3"]
    assert all(f"# {each}" in program for each in commented)


@process_test
async def test_from_asyncio(cluster: ProcessCluster) -> None:
    """What it says of `asFuture` and `list_keys`, and that `keys` cannot be used there."""
    await cluster.wait_for_leader()
    command = [sys.executable, "-c", IN_ASYNCIO, cluster.nodes[0].kvaddr]
    finished = await run(cluster.reactor, command, cluster.directory)
    assert (finished.status, finished.out.splitlines()) == (
        0,
        ["b'hello'", "[b'great'] True [b'greeting'] False", "keys does not work"],
    ), finished.err
