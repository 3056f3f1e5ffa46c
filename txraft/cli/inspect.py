"""`txraft inspect`: what a stopped node has. It changes nothing, and needs no configuration."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from txraft.cli.findings import InJson, in_json, look_into
from txraft.cli.subcommand import SubcommandOn
from txraft.file_names import DATA
from txraft.texts import one_line

LAST = 10


class Inspect(SubcommandOn):
    """The options of `txraft inspect`."""

    things = ("DIR",)
    optFlags = [["json", None, "Print JSON."]]  # noqa: RUF012 - how Twisted has it
    optParameters = [  # noqa: RUF012 - how Twisted has it
        ["last", None, str(LAST), "How many of the log's last entries to print."],
    ]
    longdesc = (
        "Reads all that a node has in its directory DIR, as in data/0, and checks every checksum. The node must not"
        " run. Nothing is changed. The exit status is 1 where anything is wrong, and a line on stderr says what."
    )

    def postOptions(self) -> None:
        self.to_whole_number("last")

    def run(self) -> int:
        findings = look_into(Path(self["DIR"]))
        found = in_json(findings, self["last"])
        print(json.dumps(found, indent=2) if self["json"] else "\n".join(_lines(found)))
        sys.stdout.flush()
        for problem in findings.problems:
            print(f"txraft: {one_line(str(problem))}", file=sys.stderr)
        return 1 if findings.problems else 0


def _lines(found: InJson) -> list[str]:
    """All of it for a person."""
    return [*_of_log(found), _of_data(found["data"]), *_of_snapshots(found["snapshots"]), _verdict(found["problems"])]


def _of_log(found: InJson) -> list[str]:
    identity, log = found["identity"], found["log"]
    if log is None:
        return ["log        cannot be read"]
    voted_for = found["voted_for"]
    behind = log["first_index"] - 1
    size = f"{log['entries']:,} entries, {log['size']:,} bytes"
    lines = [
        f'node       {identity["id"]} of cluster "{one_line(identity["cluster"])}"',
        f"made       with the members {_ids(identity['founders'])}",
        f"directory  {_incarnation(found['incarnation'])}",
        *(f"met        node {peer['id']}, directory {_incarnation(peer)}" for peer in found["peers"]),
        f"term       {found['term']}, {'no vote' if voted_for is None else f'voted for node {voted_for}'}",
        *_of_configuration(found["configuration"]),
    ]
    if log["entries"]:
        lines.append(f"log        entries {log['first_index']} to {log['last_index']}: {size}")
    else:
        lines.append("log        no entries")
    if behind:
        lines.append(f"           compacted up to entry {behind} of term {log['term_before']}")
    return [*lines, *(f"  {each['index']:>8}  term {each['term']}  {each['what']}" for each in log["last"])]


def _of_configuration(found: InJson) -> Iterator[str]:
    yield f"members    {found['what']}"
    for each in found["addresses"]:
        address, *others = map(one_line, each["addresses"])
        yield f"           node {each['id']} at {address}" + "".join(f", for clients at {other}" for other in others)
    if found["removed"]:
        yield f"removed    {_ids(found['removed'])}: no node of these ids is let in again"


def _incarnation(found: InJson) -> str:
    """Which directory it is, and the last start of it."""
    start = f", at start {found['starts']} ({found['start']})" if found["starts"] else ", never started"
    return f"{found['directory']}{start}"


def _of_data(data: InJson | None) -> str:
    if data is None:
        return f"{DATA}  nothing that can be read"
    answers = f", {data['answers']:,} kept answers" if data["answers"] else ""
    return (
        f"{DATA}  up to entry {data['last_applied']}, revision {data['revision']}, {data['keys']:,} keys{answers},"
        f" {data['size']:,} bytes"
    )


def _of_snapshots(snapshots: list[InJson]) -> list[str]:
    lines = []
    for each in snapshots:
        what = "not a whole one that was received; the next start removes it"
        if each["index"] is not None:
            what = f"up to entry {each['index']} of term {each['term']}"
        lines.append(f"{each['file']}  {what}, {each['size']:,} bytes")
    return lines


def _verdict(problems: list[str]) -> str:
    return f"{len(problems)} wrong, see below" if problems else "every checksum matches"


def _ids(servers: list[int]) -> str:
    return ", ".join(map(str, servers))
