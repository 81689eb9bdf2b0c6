"""Build dependencies as they hold for a build."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.debian import depends
from builder.debian.dsc import SourcePackage


def relations(choice: depends.Choice, **fields: str) -> depends.WantedPackages:
    named = {name.replace("_", "-"): text for name, text in fields.items()}
    return depends.requested(SourcePackage(Path("x"), "x", "1", ("any",), named, (), ""), choice)


@pytest.mark.parametrize(
    ("field", "kept"),
    [
        ("a, b (>= 2), c:native", "a, b (>= 2), c:native"),
        ("a | b", "a"),
        ("a [arm64] | b", "b"),
        ("a [amd64], b [!amd64], c [linux-any], d [any-i386]", "a, c"),
        ("a <!nocheck>, b <nocheck>, c <cross> <stage1>, d <!cross !stage1>", "a, d"),
        ("a,\n b,\n# a comment\n c ,", "a, b, c"),
        ("a [!amd64]", ""),
    ],
)
def test_relations_hold_by_architecture_and_profile(field: str, kept: str) -> None:
    request = relations(depends.Choice("amd64"), Build_Depends=field)
    assert request.depends == ", ".join(filter(None, [depends.IMPLICIT, kept]))


def test_relations_of_what_is_not_built_do_not_count() -> None:
    fields = {"Build_Depends": "a", "Build_Depends_Arch": "b", "Build_Depends_Indep": "c", "Build_Conflicts": "d"}
    request = relations(depends.Choice("amd64", build_all=False), **fields)
    assert (request.depends, request.conflicts) == (f"{depends.IMPLICIT}, a, b", "d")


def test_all_alternatives_are_kept_when_asked_for() -> None:
    request = relations(depends.Choice("amd64", all_alternatives=True), Build_Depends="a | b [arm64] | c")
    assert request.depends == f"{depends.IMPLICIT}, a | c"
