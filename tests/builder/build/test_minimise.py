"""`cowbuild build --trace --minimise`: a dependency goes only where builds without it make the same."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from builder.build import minimise
from builder.debian.depends import WantedPackages
from builder.debian.dpkg_database import Installed, Package
from builder.trace import usage
from tests.builder.packages import Workplace, make_source

# To look a name up is no use in the trace's eyes, and yet decides here.
LOOK = "[ ! -e /usr/bin/hello ] || echo '# hello' >> debian/control"


@pytest.mark.parametrize(
    ("work", "depends", "left_out", "suffice"),
    [
        ("root", "dpkg-dev, hello (>= 1), quilt, patch", "1 of 4 build dependencies can be left out: quilt", "hello"),
        ("user", "dpkg-dev, quilt <!nocheck>", "1 of 2 build dependencies can be left out: quilt", ""),
    ],
    indirect=["work"],
    ids=["root", "user"],
)
def test_what_the_trace_calls_unused_is_left_out_and_only_what_makes_no_difference_goes(
    work: Workplace, depends: str, left_out: str, suffice: str
) -> None:
    code, printed = work.build(make_source(work.place, LOOK, depends=depends), "--trace", "--minimise")
    assert code == 0, printed[-3000:]
    assert f"\nMinimised: {left_out}\n" in printed
    if suffice:
        assert "\npatch stays: what is used needs it\n" in printed
        assert "\nWithout hello: another tiny_1_amd64.deb\n" in printed
        assert "\nBuild-Depends: dpkg-dev, hello (>= 1), patch\n" in printed
    else:
        assert "\nWithout quilt: the same\n" in printed
        assert "\nBuild-Depends: dpkg-dev\n" in printed


def asked(candidates: Sequence[str], needed: set[str], *, reproducible: bool = True) -> tuple[list[str], list[str]]:
    """What can be left out, and the builds that it took."""
    builds = []

    def same(some: Sequence[str]) -> bool:
        builds.append("".join(some))
        return reproducible and not needed & set(some)

    return minimise.removable(candidates, same), builds


def test_all_go_at_once_where_none_matters_and_groups_are_halved_where_one_does() -> None:
    assert asked("abcdefgh", set()) == (list("abcdefgh"), ["abcdefgh"])
    left_out, builds = asked("abcdefgh", {"f"})
    assert left_out == list("abcdegh")
    # f alone is not asked for: it is what is left of ef, without which nothing is the same.
    assert builds == ["abcdefgh", "", "abcd", "abcdef", "abcde", "abcdegh"]
    assert asked("ab", {"a", "b"})[0] == []


def test_nothing_is_proved_by_a_build_that_is_never_the_same_and_no_candidates_take_no_build() -> None:
    assert asked("abc", set(), reproducible=False) == ([], ["abc", ""])
    assert asked("", set()) == ([], [])


def test_what_something_else_needs_is_brought_by_it() -> None:
    needs = {"used": ("library",), "library": (), "unused": ("helper",), "helper": (), "alone": ()}
    packages = {
        name: Package(name, "1", essential=False, needs=tuple((each,) for each in each_needs), provides=())
        for name, each_needs in needs.items()
    }
    request = WantedPackages("used (>= 1), library, unused, helper, alone | used", "")
    installed = Installed(packages, {})
    # A group that `used` satisfies, too, is satisfied without it.
    assert usage.brought_by_others(installed, request, ["library", "unused", "helper"]) == ["library"]
    assert usage.brought_by_others(installed, request, ["helper"]) == ["helper"]
    assert usage.brought_by_others(installed, request, ["alone | used"]) == ["alone | used"]


def test_a_field_keeps_its_words_without_what_is_left_out() -> None:
    field = "debhelper-compat (= 13),\n quilt:native <!nocheck>, a (>= 1) [amd64] | b,\n"
    assert minimise.without(field, ["quilt"]) == ["debhelper-compat (= 13)", "a (>= 1) [amd64] | b"]
    assert minimise.without(field, ["a | b"]) == ["debhelper-compat (= 13)", "quilt:native <!nocheck>"]
