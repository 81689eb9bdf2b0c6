"""Which of several things together make a difference, and the fewest of them that do (delta debugging, Zeller 1999)."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def smallest(names: Sequence[str], matters: Callable[[Sequence[str]], bool]) -> list[str]:
    """A smallest set of `names` that still matters: without any one of its members it does not.

    All together must matter. Each call of `matters` is a build, so none is asked for twice.
    """
    known: dict[frozenset[str], bool] = {}

    def asked(some: Sequence[str]) -> bool:
        key = frozenset(some)
        if key not in known:
            known[key] = matters(some)
        return known[key]

    left, parts = list(names), 2
    while len(left) > 1:
        pieces = [left[at * len(left) // parts : (at + 1) * len(left) // parts] for at in range(parts)]
        rests = [[name for name in left if name not in piece] for piece in pieces]
        if found := next((piece for piece in pieces if asked(piece)), None):
            left, parts = found, 2
        elif parts > 2 and (found := next((rest for rest in rests if asked(rest)), None)):
            left, parts = found, parts - 1
        elif parts < len(left):
            parts = min(len(left), 2 * parts)
        else:
            break
    return left
