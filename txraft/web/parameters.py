"""What each route takes, and what is refused before it reaches a node."""

from attrs import field, frozen

from txraft.errors import BadRequest, CrossSite, TooLarge
from txraft.settings import SizeLimits
from txraft.web.forms import parse_form, parse_urlencoded, shown
from txraft.web.question import Question


@frozen
class Route:
    """A path of the API."""

    path: str
    required: tuple[bytes, ...] = ()
    optional: tuple[bytes, ...] = ()
    changes: bool = False
    """Whether its requests change something: then pages of other sites may not make them."""
    cost: int = 1
    """How many bytes of a form can be read while one of its requests is (`txraft.web.turns`)."""
    names: frozenset[bytes] = field(init=False)
    methods: frozenset[bytes] = field()

    @names.default
    def _names(self) -> frozenset[bytes]:
        return frozenset(self.required + self.optional)

    @methods.default
    def _methods(self) -> frozenset[bytes]:
        return frozenset([b"GET", b"POST"] if self.changes else [b"GET", b"HEAD", b"POST"])


def body_limit(limits: SizeLimits) -> int:
    """How many bytes the body of a request may have: a batch, or a key and two values with every byte as %XX, and the
    names."""
    return max(limits.batch_size, 3 * (limits.key_size + 2 * limits.value_size) + 16 * 1024)


def read_parameters(question: Question, route: Route, limits: SizeLimits) -> dict[bytes, bytes]:
    """The parameters of a question, from its query string and, for a POST, from its form too.

    Raises BadRequest, TooLarge or CrossSite."""
    if route.changes:
        check_site(question)
    fields = parse_urlencoded(question.query)
    if question.body and question.method == b"POST":
        fields += parse_form(question.head.content_type, question.body)
    given: dict[bytes, bytes] = {}
    for name, value in fields:
        if name not in route.names:
            raise BadRequest(f"there is no parameter {shown(name)}; {_takes(route)}")
        if name in given:
            raise BadRequest(f"{shown(name)} is given twice")
        given[name] = value
    for name in route.required:
        if name not in given:
            raise BadRequest(_missing(name, route, hint=question.method == b"GET" and bool(given)))
    for name, value in given.items():
        check_size(name.decode(), value, limits, is_key=name == b"key")
    return given


def check_site(question: Question, what: str = "change anything") -> None:
    """Raise CrossSite where a page of another origin asks (hazard N7): it may not do `what`."""
    page = question.head.other_site
    if page is not None:
        raise CrossSite(f"{page} may not {what} here")


def check_size(name: str, value: bytes, limits: SizeLimits, is_key: bool) -> None:
    """Raise TooLarge where a key or a value is over its limit, and BadRequest where a key is empty. `name` is what the
    client calls it."""
    if is_key:
        what, limit = "key_size", limits.key_size
        if not value:
            raise BadRequest("the key is empty" if name == "key" else f"{name} is empty")
    else:
        what, limit = "value_size", limits.value_size
    if len(value) > limit:
        raise TooLarge(f"{name} has {len(value)} bytes; the limit, {what}, is {limit}")


def _missing(name: bytes, route: Route, hint: bool) -> str:
    line = f"{name.decode()} is missing; {_takes(route)}"
    if hint:
        line += ". In a shell, put the URL in quotes: an & outside of them ends the command"
    return line


def _takes(route: Route) -> str:
    names = [name.decode() for name in route.required] + [f"{name.decode()} (optional)" for name in route.optional]
    if not names:
        return f"{route.path} takes none"
    return f"{route.path} takes " + " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
