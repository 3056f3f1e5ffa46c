"""`/keys`: the keys in order, as JSON.

A listing is bounded (hazards N1, C9): so many keys, and so many bytes of them. Who wants more asks again for what comes
behind the last.
"""

import json
from functools import partial
from typing import Protocol

from txraft.errors import BadRequest
from txraft.kv.commands_in_json import text_or_base64
from txraft.kv.contents import KeyInfo, Listing
from txraft.web.forms import shown
from txraft.web.outcomes import JSON, Answer, LaterAnswer

MAX_KEYS = 1000
"""Of a listing; also where its caller does not say how many."""
MAX_SIZE = 64 * 1024
"""Of all keys of a listing together, in bytes."""
COST_OF_KEY = 80
"""To list a key takes as long as to read so many bytes of a form."""


class Keys(Protocol):
    """What is listed."""

    def list_keys(self, prefix: bytes, after: bytes | None, limit: int, max_size: int) -> Listing:
        """As `txraft.kv.contents.Contents.list_keys`."""
        ...


def read_limit(text: bytes) -> int:
    """How many keys are asked for. Raises BadRequest."""
    if not (text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_KEYS):
        raise BadRequest(f"limit is a number from 1 to {MAX_KEYS}, not {shown(text)}")
    return int(text)


def of_listing(keys: Keys, prefix: bytes, after: bytes | None, limit: int) -> LaterAnswer:
    """The answer with the keys as they are when it is made."""
    return LaterAnswer(partial(_list, keys, prefix, after, limit), limit * COST_OF_KEY, held=0)


def _list(keys: Keys, prefix: bytes, after: bytes | None, limit: int) -> Answer:
    listing = keys.list_keys(prefix, after, limit, MAX_SIZE)
    shown_keys = list(map(_in_json, listing.keys))
    fields = {"revision": listing.revision, "count": listing.count, "more": listing.more, "keys": shown_keys}
    return Answer(200, json.dumps(fields, ensure_ascii=False).encode(), content_type=JSON)


def _in_json(info: KeyInfo) -> dict[str, object]:
    return {
        "key": text_or_base64(info.key),
        "create_revision": info.create_revision,
        "mod_revision": info.mod_revision,
        "version": info.version,
    }
