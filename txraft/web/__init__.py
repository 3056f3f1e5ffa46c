"""The HTTP API, a Klein application: what `curl` and programs talk to, on any node.

A request passes through, from the wire inwards:

- `channel`: bytes to a request. What is too large is answered before it has been read.
- `application`: one Klein route a path. `Route` says which parameters it takes and whether it changes anything.
- `forms` and `parameters`: query string and form to parameters, all bytes; what is missing, unknown, given twice or too
  large is answered here and reaches no node.
- `outcomes`: the one place in which an outcome becomes a status code, a line of text and headers. Everything ends
  there: results, missing keys, refusals, requests that nobody could decide, and failures that nobody expected.
- `site`: the way from the channel to the route, and the factory to listen with.

The line between 503 `not-applied` and 503 `unknown` is drawn by the replica; here it is only passed on. What fails in
an unexpected way in a request that changes something is `unknown` too.

A request is never given up because its client has gone: what was proposed is in the log and goes its way.
"""

from txraft.web.application import Values, WebApplication
from txraft.web.site import site

__all__ = ["Values", "WebApplication", "site"]
