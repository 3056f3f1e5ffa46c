"""From the wire to the route, and the factory that a node listens with."""

# mypy: allow-untyped-calls
# (Most of Twisted's HTTP classes have no annotations.)

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web import resource, server

from txraft.interfaces import IReplica
from txraft.settings import SizeLimits
from txraft.web.application import Values, WebApplication
from txraft.web.channel import ApiRequest, ApiSite
from txraft.web.outcomes import no_such_method, no_such_path, respond
from txraft.web.parameters import body_limit


class ApiResource(resource.Resource):
    """The application's routes have no variable parts, so a dict finds them.

    Klein's own resource takes longer for that than all of the rest of a request takes. It would also cancel what the
    endpoint waits for when the client goes, but what was proposed goes its way, and a barrier may be shared."""

    isLeaf = True

    def __init__(self, application: WebApplication) -> None:
        super().__init__()
        self._app = application.app
        self._routes = application.routes

    def render(self, request: ApiRequest) -> object:
        """Answer a request: the body, or NOT_DONE_YET."""
        route = self._routes.get(request.path)
        if route is None:
            return respond(no_such_path(self._routes), request)
        if request.method not in route.methods:
            return respond(no_such_method(route.methods), request)
        body = self._app.execute_endpoint(route.path, request)
        if isinstance(body, Deferred):
            body.addCallback(_finish, request)
            return server.NOT_DONE_YET
        return body


def _finish(body: bytes, request: ApiRequest) -> None:
    if not request.lost:
        request.write(body)
        request.finish()


def site(replica: IReplica, values: Values, limits: SizeLimits, reactor: IReactorTime) -> ApiSite:
    """The factory to listen with: the HTTP API of one node. `values` is what its state machine holds."""
    return ApiSite(ApiResource(WebApplication(replica, values, limits)), body_limit(limits), reactor)
