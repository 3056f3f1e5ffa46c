"""Who may import whom (the table is the rule), and what nobody may import. Read from the source, without running it."""

import ast
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent.parent

TYPES = {"core.changes.Change", "core.changes.ChangeKind", "core.configuration", "core.messages", "core.ready"}
"""What the core says to the world: the values that are stored and sent."""

EVERYTHING = {"*"}

MAY_IMPORT: dict[str, set[str]] = {
    # A package or a module of txraft: packages and modules of txraft that it may import, beside its own.
    "errors": set(),
    "file_names": set(),
    "transports": set(),
    "values": set(),
    "core": {"errors", "values"},
    "interfaces": {*TYPES, "errors", "statuses"},
    "statuses": {*TYPES},
    "version": set(),
    "monotonic": set(),
    "home": {"core.messages", "errors", "interfaces"},
    "texts": set(),
    "addresses": {"errors", "texts"},
    "settings": {"addresses", "errors", "texts"},
    "settings_file": {"addresses", "errors", "settings", "texts"},
    "ports": {"addresses", "errors", "settings"},
    "answer_body": set(),
    "joining": {
        "addresses",
        "answer_body",
        "core.configuration",
        "core.messages",
        "errors",
        "settings",
        "statuses",
        "storage.identity",
        "texts",
    },
    "bootstrap": {
        "addresses",
        "core.configuration",
        "core.messages",
        "errors",
        "kv.member_addresses",
        "raft_service.arguments",
        "settings",
        "storage.identity",
        "texts",
    },
    "wal": {"errors", "wal_frames"},
    "wal_frames": set(),
    "snapshot_writing": set(),
    "storage": {*TYPES, "errors", "file_names", "interfaces", "snapshot_writing", "values", "wal"},
    "rpc": {*TYPES, "errors", "interfaces", "transports"},
    "kv": {*TYPES, "addresses", "errors", "interfaces", "snapshot_writing", "values", "wal", "statuses"},
    "memory_machine": {*TYPES, "errors", "interfaces", "snapshot_writing", "storage.directory", "wal"},
    "web": {
        "addresses",
        "core.changes.Change",
        "errors",
        "interfaces",
        "statuses",
        "kv",
        "node.member_changes",  # with `interfaces`, a node's public face
        "settings",
        "transports",
        "values",
        "version",
    },
    "client": {"addresses", "answer_body", "texts", "errors", "kv", "settings", "statuses"},
    "node": {"core", "errors", "interfaces", "statuses", "values"},
    "service": EVERYTHING,
    "raft_service": {  # nothing of the key-value store
        "addresses",
        "texts",
        "core",
        "errors",
        "home",
        "interfaces",
        "node",
        "ports",
        "rpc",
        "settings",
        "statuses",
        "storage",
    },
    "objects": {
        "texts",
        "core.messages",
        "errors",
        "home",
        "interfaces",
        "memory_machine",
        "raft_service",
        "storage.identity",
    },
    "services": {"errors", "interfaces", "joining", "kv", "node", "raft_service", "web"},
    "testing": EVERYTHING,  # a whole cluster in one process, for tests
    "cli": {
        *TYPES,
        "addresses",
        "answer_body",
        "bootstrap",
        "client",
        "errors",
        "file_names",
        "interfaces",
        "joining",
        "kv",
        "monotonic",
        "ports",
        "service",
        "statuses",
        "settings",
        "settings_file",
        "snapshot_writing",
        "storage",
        "texts",
        "version",
        "wal",
    },
    "__main__": {"cli"},
    "blocking": {"errors"},
    "coroutine_resource": {"errors"},
    "examples": {
        "CoroutineResource",
        "ObjectService",
        "command",
        "run_on_monotonic_time",
    },  # what the package says to the world, and nothing else
    "recipes": {"NotApplied", "OutcomeUnknown", "TxraftError", "command"},  # the same: they are examples, too
    "__init__": {
        "blocking",
        "coroutine_resource",
        "errors",
        "home",
        "interfaces",
        "memory_machine",
        "monotonic",
        "objects",
        "raft_service",
        "recipes",
        "settings",
    },  # when asked for
}

PURE = {
    "attrs",
    "bisect",
    "collections",
    "enum",
    "json",
    "functools",
    "heapq",
    "itertools",
    "math",
    "operator",
    "random",
    "typing",
}
"""What the core may import of what is not txraft's: nothing that reads a clock, does I/O or keeps state."""

RANDOM = {"random", "random.Random"}
"""What may be imported and used of `random`: not its functions, which share one hidden generator."""

WIRING = (
    "txraft.service",
    "txraft.raft_service",
    "txraft.monotonic",
    "txraft.cli",
    "txraft.__main__",
    "twisted.plugins",
    "txraft.client.asynchronous",
    "txraft.client.blocking",
    "txraft.client.blocking_transport",  # where there is no reactor
)
"""Where the reactor, the clock and randomness come from; everybody else is given them."""


@frozen
class Import:
    """One imported name."""

    importer: str
    """The dotted name of the module that imports."""
    imported: str
    """The dotted name of what it imports, as far down as it is given: txraft.core.messages.Entry."""
    line: int
    at_module_level: bool

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}, imports {self.imported}"

    def is_of(self, *modules: str) -> bool:
        """Whether it imports one of the modules, or something in one."""
        return any(within(self.imported, module) for module in modules)


def within(name: str, package: str) -> bool:
    """Whether a dotted name is the package's or something's in it."""
    return f"{name}.".startswith(f"{package}.")


def modules(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """The dotted name and the source of every module in some folders."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts), ast.parse(path.read_text("utf-8"))


def imports_of(importer: str, tree: ast.Module) -> Iterator[Import]:
    """Everything that a module imports, at its top or in its functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = importer.split(".")[: -node.level] if node.level else []
            start = ".".join([*package, *([node.module] if node.module else [])])
            names = [f"{start}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield Import(importer, name, node.lineno, node in tree.body)


def all_imports(*folders: str) -> list[Import]:
    return [each for importer, tree in modules(*folders) for each in imports_of(importer, tree)]


def unit_of(module: str) -> str:
    """The row of the table for a module of txraft."""
    return module.split(".")[1]


class ImportTests(SynchronousTestCase):
    def assert_none(self, offenders: list[Import]) -> None:
        self.assertEqual(offenders, [], "\n" + "\n".join(map(str, offenders)))

    def test_every_module_has_a_row(self) -> None:
        """A new package, or a new module at the top, must say what it may know."""
        units = {unit_of(name) for name, _ in modules("txraft")}
        self.assertEqual(units - MAY_IMPORT.keys(), set())

    def test_who_may_import_whom(self) -> None:
        """The table, and one's own package."""
        offenders = []
        for each in all_imports("txraft"):
            unit = unit_of(each.importer)
            may_import = MAY_IMPORT.get(unit, EVERYTHING)  # without a row: the test above says so
            if may_import is EVERYTHING or not each.is_of("txraft"):
                continue
            if not each.is_of(*(f"txraft.{name}" for name in may_import | {unit})):
                offenders.append(each)
        self.assert_none(offenders)

    def test_core_is_pure(self) -> None:
        """No I/O, no clock, no threads, no Twisted: an allowlist."""
        self.assert_none([each for each in all_imports("txraft/core") if not each.is_of("txraft", *PURE)])

    def test_core_calls_nothing_that_does_io(self) -> None:
        """Some of it needs no import."""
        for name, tree in modules("txraft/core"):
            names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            self.assertEqual(names & {"open", "print", "input", "exec", "eval", "__import__"}, set(), name)

    def test_errors_import_nothing(self) -> None:
        """Everybody may import the errors."""
        self.assert_none([each for each in all_imports("txraft") if each.importer == "txraft.errors"])

    def test_nobody_uses_global_randomness(self) -> None:
        """Of `random`, only the class, whose instance is an argument, except where everything is wired."""
        for name, tree in modules("txraft"):
            if any(within(name, each) for each in WIRING):
                continue
            imports = [each for each in imports_of(name, tree) if each.is_of("random")]
            self.assert_none([each for each in imports if each.imported not in RANDOM])
            if not any(each.imported == "random" for each in imports):
                continue  # what is called `random` there is an argument
            used = {
                f"random.{node.attr}"
                for node in ast.walk(tree)
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random"
            }
            self.assertLessEqual(used, RANDOM, name)

    def test_nobody_reads_the_clock(self) -> None:
        """The reactor's clock is an argument, except where everything is wired. The encoding of values has the types of
        `datetime` alone."""
        offenders = [each for each in all_imports("txraft") if each.is_of("time", "datetime", "twisted.python.runtime")]
        rooms = {*WIRING, "txraft.objects.encoding", "txraft.objects.writing"}
        self.assert_none([each for each in offenders if not any(within(each.importer, room) for room in rooms)])

    def test_nobody_imports_the_reactor(self) -> None:
        """Except where everything is wired, and there in a function: to import it is to install it."""
        reactors = [each for each in all_imports("txraft", "twisted") if each.is_of("twisted.internet.reactor")]
        self.assert_none(
            [
                each
                for each in reactors
                if each.at_module_level or not any(within(each.importer, room) for room in WIRING)
            ]
        )

    def test_treq_is_not_needed(self) -> None:
        """But for `KeyValueClient`, and until somebody asks for that: not every installation has it."""
        chain = {
            "treq": {"txraft.client.treq_transport"},
            "txraft.client.treq_transport": {"txraft.client.asynchronous"},
            "txraft.client.asynchronous": {"txraft.client"},
        }
        for module, importers in chain.items():
            imports = [each for each in all_imports("txraft") if each.is_of(module)]
            self.assertEqual({each.importer.removesuffix(".__init__") for each in imports}, importers)
        self.assert_none([each for each in imports if each.at_module_level])

    def test_nobody_unpickles(self) -> None:
        """What a peer or a disk sends is data, never code; tests need it no more than the rest."""
        unsafe = ("pickle", "_pickle", "cloudpickle", "copyreg", "dill", "marshal", "shelve")
        self.assert_none([each for each in all_imports("txraft", "twisted", "tests") if each.is_of(*unsafe)])

    def test_the_plugin_knows_only_names(self) -> None:
        """twistd reads it for every plugin that it lists: it must be cheap, and cannot fail."""
        self.assert_none([each for each in all_imports("twisted") if each.is_of("txraft")])
