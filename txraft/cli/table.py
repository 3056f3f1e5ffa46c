"""Tables for people."""

from collections.abc import Sequence

from txraft.texts import one_line


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lines `rows` up under `columns`: numbers to the right, texts to the left, nothing where there is None.

    Texts may be anybody's."""
    from tabulate import tabulate  # noqa: PLC0415 - it takes a third as long to import as all of txraft --help

    sides = ["right" if _are_numbers(column) else "left" for column in zip(*rows, strict=True)]
    cells = [[one_line(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    text = tabulate([columns, *cells], tablefmt="plain", disable_numparse=True, missingval="", colalign=sides)
    return "\n".join(line.rstrip() for line in text.splitlines())


def _are_numbers(cells: Sequence[object]) -> bool:
    return all(cell is None or isinstance(cell, int) for cell in cells)
