"""Histories to judge: written out, or made by random clients of a store that is linearizable; and the slow judge."""

import math
from collections.abc import Sequence
from random import Random

from attrs import evolve

from txraft.kv import CompareAndSet, Delete, Result, Set
from txraft.testing.history import Action, Answer, Get, Operation, Outcome

KEY = b"key"


def ok(client: int, action: Action, invoked: float, completed: float, answer: Answer = Result.DONE) -> Operation:
    return Operation(client, action, invoked, completed, Outcome.OK, answer)


def unknown(client: int, action: Action, invoked: float) -> Operation:
    return Operation(client, action, invoked)


def not_applied(client: int, action: Action, invoked: float, completed: float) -> Operation:
    return Operation(client, action, invoked, completed, Outcome.NOT_APPLIED)


def apply(value: bytes | None, action: Action) -> tuple[Answer, bytes | None]:
    """What a register that holds `value` answers, and what it holds then."""
    match action:
        case Get():
            return value, value
        case Set(_, new):
            return Result.DONE, new
        case Delete():
            return (Result.DONE if value is not None else Result.NOT_FOUND), None
        case CompareAndSet(_, old, new):
            return (Result.DONE, new) if value == old else (Result.MISMATCH, value)


def is_explained(operations: Sequence[Operation], value: bytes | None = None) -> bool:
    """The slow judge, for one key: tries everything in every order, as the definition says."""
    if all(each.outcome is not Outcome.OK for each in operations):
        return True
    for index, each in enumerate(operations):
        rest = [*operations[:index], *operations[index + 1 :]]
        answer, after = apply(value, each.action)
        told = each.answer
        if told is Result.NOT_FOUND and isinstance(each.action, CompareAndSet):
            told = Result.MISMATCH
        if each.outcome is Outcome.NOT_APPLIED or (each.outcome is Outcome.OK and answer != told):
            continue
        if any(other.outcome is Outcome.OK and (other.completed or 0) < each.invoked for other in rest):
            continue
        if is_explained(rest, after):
            return True
    return False


def random_history(
    random: Random, count: int, clients: int, values: int | None, doubt: float, keys: int = 1
) -> list[Operation]:
    """`count` operations of `clients` clients on a correct store.

    `values` is how many values they choose from; None: each writes one of its own. `doubt` is the share of operations
    with an outcome other than OK."""
    store: dict[bytes, bytes | None] = {}
    free_at = dict.fromkeys(range(clients), 0.0)
    begun = []
    for number in range(count):
        client = min(free_at, key=lambda each: (free_at[each], each))
        invoked = free_at[client] + random.uniform(0, 0.3)
        completed = invoked + random.uniform(0.1, 1)
        effect = random.uniform(invoked, completed)
        outcome = Outcome.OK
        if random.random() < doubt:
            outcome = random.choice([Outcome.UNKNOWN, Outcome.NOT_APPLIED])
            effect += random.choice([0, 1, math.inf]) if outcome is Outcome.UNKNOWN else math.inf
        free_at[client] = completed
        begun.append((effect, number, client, invoked, completed, outcome))
    operations = []
    for effect, number, client, invoked, completed, outcome in sorted(begun):
        key = KEY if keys == 1 else b"key %d" % random.randrange(keys)
        value = b"%d" % (number if values is None else random.randrange(values))
        old = store.get(key) or b"-"
        if values is not None and random.random() < 0.5:
            old = b"%d" % random.randrange(values)
        actions: list[Action] = [Get(key), Get(key), Set(key, value), Delete(key), CompareAndSet(key, old, value)]
        action = random.choice(actions)
        answer: Answer = None
        if effect < math.inf:
            answer, store[key] = apply(store.get(key), action)
        if outcome is Outcome.OK:
            operations.append(ok(client, action, invoked, completed, answer))
        elif outcome is Outcome.UNKNOWN:
            operations.append(unknown(client, action, invoked))
        else:
            operations.append(not_applied(client, action, invoked, completed))
    return sorted(operations, key=lambda each: each.invoked)


def damage(random: Random, operations: Sequence[Operation]) -> list[Operation]:
    """A history with one thing changed, which mostly makes it wrong."""
    changed = list(operations)
    known = [index for index, each in enumerate(changed) if each.outcome is Outcome.OK]
    if not known:
        return changed
    index = random.choice(known)
    chosen = changed[index]
    match random.randrange(4):
        case 0:  # another answer
            wrong = [answer for answer in Result if answer is not chosen.answer]
            if isinstance(chosen.action, Get):
                values = {each.action.value for each in changed if isinstance(each.action, Set)}
                changed[index] = evolve(chosen, answer=random.choice([None, *sorted(values)]))
            else:
                changed[index] = evolve(chosen, answer=random.choice(wrong))
        case 1:  # a stale read at the end
            end = max(each.completed or each.invoked for each in changed)
            answers = [each.answer for each in changed if isinstance(each.action, Get) and each.outcome is Outcome.OK]
            changed.append(ok(99, Get(chosen.action.key), end + 1, end + 2, random.choice([None, *answers])))
        case 2:  # what took effect is said not to have
            changed[index] = evolve(chosen, outcome=Outcome.NOT_APPLIED, answer=None)
        case _:  # another time
            shift = random.uniform(-3, 3)
            changed[index] = evolve(
                chosen, invoked=chosen.invoked + shift, completed=(chosen.completed or 0) + min(shift, 1)
            )
            if shift > 1:
                changed[index] = evolve(changed[index], completed=(chosen.completed or 0) + shift)
    return changed
