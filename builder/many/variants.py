"""Conditions under which each package of an archive is built, from the same installed dependencies where they allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from builder.many.task import Entry, State
from builder.problems import Misuse


@dataclass(frozen=True)
class Variant:
    """What is said to `cowbuild build`, and what is in its environment, besides what all builds have."""

    name: str
    words: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


USUAL = Variant("usual")

VARIANTS = (
    USUAL,
    # Not the profile, under which other packages are wanted.
    Variant("nocheck", environment={"DEB_BUILD_OPTIONS": "nocheck"}),
    Variant("arch-all", ("--arch-all", "--no-arch-any")),
    Variant("arch-any", ("--no-arch-all", "--arch-any")),
    Variant("one-processor", ("--jobs", "1")),
)

PREFIXES = {"profile:": "--profiles", "vary:": "--vary"}
"""What may stand before a build profile or a variation that reproducibility is tried with."""


class Verdict(StrEnum):
    """What the builds of a package under all variants tell together."""

    BUILT = "built"
    FLAKY = "flaky"
    DIFFERS = "differs"
    """It is built under some of them."""
    FAILED = "failed"
    GIVEN_BACK = "given-back"


def chosen(words: Sequence[str]) -> list[Variant]:
    """The variants of these names, without repetition. Misuse."""
    known = {variant.name: variant for variant in VARIANTS}
    found: dict[str, Variant] = {}
    for word in words:
        prefix, option = next(
            ((prefix, option) for prefix, option in PREFIXES.items() if word.startswith(prefix)), ("", "")
        )
        if prefix and word != prefix:
            found[word] = Variant(word, (f"{option}={word.removeprefix(prefix)}",))
        elif word in known:
            found[word] = known[word]
        else:
            raise Misuse(f"There is no variant {word!r}", f"Known: {', '.join(known)}, profile:NAME, vary:NAME")
    return list(found.values()) or [USUAL]


def verdict(entries: Sequence[Entry]) -> Verdict:
    built = sum(entry.built for entry in entries)
    if 0 < built < len(entries):
        return Verdict.DIFFERS
    if built:
        return Verdict.FLAKY if any(entry.state is State.FLAKY for entry in entries) else Verdict.BUILT
    return Verdict.GIVEN_BACK if all(entry.state is State.GIVEN_BACK for entry in entries) else Verdict.FAILED
