"""What every judge raises."""


class Violation(Exception):
    """A rule that must always hold does not; `rule` names it."""

    def __init__(self, rule: str, what: str) -> None:
        super().__init__(rule, what)
        self.rule = rule
        self.what = what

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"
