"""The HTTP API: what `curl` and programs talk to, on any node.

A request passes through, from the wire inwards:

- `channel` and `request`: bytes to a request. What HTTP does not allow, what is too large, and who is too slow is
  answered here, with a line, and before all of it has been read. What one client may cost is bounded here.
- `fast_path`: the exception. A request whose head is, byte for byte, that of an earlier one of its connection is read
  here, with one comparison in place of Twisted's parser. Nobody can tell by the answer.
- `question`: a request that has come whole, by either way, and what its headers say.
- `application`: one endpoint a path. `Route` says which parameters it takes and whether it changes anything.
- `forms` and `parameters`: query string and form to parameters, all bytes; what is missing, unknown, given twice or too
  large is answered here and reaches no node.
- `batches`: the JSON of `/batch` to one command, and what came of it to JSON.
- `outcomes`: the one place in which an outcome becomes a status code, a line of text and headers. Everything ends
  there: results, missing keys, refusals, requests that nobody could decide, and failures that nobody expected.
- `site`: the factory to listen with, which bounds what all clients together cost, and the way from a request to its
  route.
- `waiting`: what a node answers that is not a member yet.

The line between 503 `not-applied` and 503 `unknown` is drawn by the replica; here it is only passed on. What fails in
an unexpected way in a request that changes something is `unknown` too.

A request is never given up because its client has gone: what was proposed is in the log and goes its way.
"""

from txraft.web.application import Values, WebApplication
from txraft.web.site import ApiSite, site
from txraft.web.waiting import WaitingFactory

__all__ = ["ApiSite", "Values", "WaitingFactory", "WebApplication", "site"]
