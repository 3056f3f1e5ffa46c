"""Which txraft this is."""

from importlib import metadata


def version() -> str:
    """Of the installed txraft; of one that runs from a tree that is not installed, a word that says so."""
    try:
        return metadata.version("txraft")
    except metadata.PackageNotFoundError:
        return "(not installed)"
