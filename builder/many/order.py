"""In which order builds are begun."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from builder.many.task import Entry


def longest_first(entries: Iterable[Entry]) -> list[Entry]:
    """What is known to take longest first, so that no long one is left at the end alone.

    What nothing is known of is taken for an average one; else the order stays.
    """
    listed = list(entries)
    usual = average(listed)
    return sorted(listed, key=lambda entry: -(usual if entry.expected is None else entry.expected))


def average(entries: Iterable[Entry]) -> float:
    """Seconds of a build, of those that are known."""
    known = [entry.expected for entry in entries if entry.expected is not None]
    return sum(known) / len(known) if known else 0.0


def without_cycles(needs: Mapping[str, Sequence[str]]) -> tuple[dict[str, tuple[str, ...]], list[list[str]]]:
    """The needs that can be met one after the other, and the cycles: sets of which each needs each other.

    Within a cycle nothing waits for another: there the archive's own packages must do.
    """
    groups = _connected(needs)
    group_of = {name: number for number, group in enumerate(groups) for name in group}
    met = {
        name: tuple(other for other in others if other in needs and group_of[other] != group_of[name])
        for name, others in needs.items()
    }
    return met, [sorted(group) for group in groups if len(group) > 1]


def _connected(needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The strongly connected components (Tarjan's, without recursion: an archive's chains are long)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[list[str]] = []
    for root in needs:
        if root in number:
            continue
        path = [(root, iter(needs[root]))]
        number[root] = lowest[root] = len(number)
        stack.append(root)
        on_stack.add(root)
        while path:
            name, others = path[-1]
            for other in others:
                if other not in needs:
                    continue
                if other not in number:
                    number[other] = lowest[other] = len(number)
                    stack.append(other)
                    on_stack.add(other)
                    path.append((other, iter(needs[other])))
                    break
                if other in on_stack:
                    lowest[name] = min(lowest[name], number[other])
            else:
                path.pop()
                if path:
                    lowest[path[-1][0]] = min(lowest[path[-1][0]], lowest[name])
                if lowest[name] == number[name]:
                    group = stack[stack.index(name) :]
                    del stack[-len(group) :]
                    on_stack.difference_update(group)
                    found.append(group)
    return found
