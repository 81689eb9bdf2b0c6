"""`cowbuild build --vary` and `--bisect`: which variations matter to a build, found by building under each."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from builder.build import vary
from builder.build.job import BuildOptions
from builder.problems import Misuse
from tests.builder.browser import first_cells, shown
from tests.builder.packages import COWBUILD, Workplace, log_of, make_source

PLANTED = {
    "build_path": "pwd",
    "fileordering": "ls -U debian | tr '\\n' ' '",
    "locales": "locale charmap",
    "num_cpus": "nproc",
    "time": "date +%Y%m",
    "umask": "stat -c %a debian/script",
    "user_group": "id -un",
}
"""The variation that a command's output depends on, and no other."""


@pytest.mark.parametrize("work", ["user"], indirect=True)
def test_what_a_build_depends_on_is_found_and_nothing_else(work: Workplace) -> None:
    script = "\n".join(f'echo "# $({command})" >> debian/control' for command in PLANTED.values())
    # The tests' rules make directories by the umask.
    code, printed = work.build(make_source(work.place, script), "--vary", "all", "--bisect")
    assert code == 2, printed[-3000:]
    found = json.loads((work.output / "tiny_1_amd64.vary.json").read_text())
    assert found["reproduced"] is False
    assert sorted(each[0] for each in found["sets"]) == sorted(PLANTED)
    differs = {" ".join(each["names"]): bool(each["files"]) for each in found["trials"] if len(each["names"]) < 2}
    assert differs == {"": False, **{name: name in PLANTED for name in vary.VARIATIONS}}
    lines = {each["names"][0]: each["difference"] for each in found["trials"] if len(each["names"]) == 1}
    assert "+# ANSI_X3.4-1968" in lines["locales"].replace("│ ", "")
    log = log_of(work.output)
    assert "\nDepends-On: build_path; fileordering; " in log
    assert "It depends on: umask\n" in log
    assert log.count("Command: dpkg-buildpackage") == 2
    document = shown(work.output / "tiny_1_amd64.vary.html")
    assert first_cells(document, "trial")[:3] == ["none", "aslr", "blocks"]


def test_two_that_matter_only_together_are_found(work: Workplace) -> None:
    script = '[ -z "$CAPTURE_ENVIRONMENT" ] || [ -z "$TZ" ] || echo "# both" >> debian/control'
    options = ("--vary", "environment,timezone,home,exec_path", "--bisect")
    code, printed = work.build(make_source(work.place, script), *options)
    assert code == 2, printed[-3000:]
    found = json.loads((work.output / "tiny_1_amd64.vary.json").read_text())
    assert [sorted(each) for each in found["sets"]] == [["environment", "timezone"]]
    assert "It depends on: environment with timezone\n" in log_of(work.output)


def test_a_build_that_is_never_the_same_is_told_so_and_both_sessions_are_kept(work: Workplace) -> None:
    dsc = make_source(work.place, "date '+# %s%N' >> debian/control")
    code, printed = work.build(dsc, "--vary=home", "--bisect", "--purge-session", "never")
    assert code == 2, printed[-3000:]
    log = log_of(work.output)
    assert "Two builds under the same conditions differ" in log
    assert "\nDepends-On: nothing that was varied\n" in log
    infos = [json.loads(path.read_text()) for path in work.state.glob("cowfs/sessions/*/session.info")]
    kept = {info["stage"]: info["name"] for info in infos}
    assert sorted(kept) == ["reproducible", "varied"]
    # Each stands on a copy of the layer with the dependencies, and is entered all the same.
    enter = [*COWBUILD, "enter", kept["varied"], "--", "sh", "-c", "ls ../*.deb"]
    assert subprocess.check_output(enter, env=work.environment, text=True).endswith("/tiny_1_amd64.deb\n")


def test_what_is_not_varied_is_seen_by_no_build(work: Workplace) -> None:
    script = 'id -u; id -g; uname -r; hostname; cut -d. -f1 /proc/uptime; grep -c "" /proc/self/maps; date +%Y'
    dsc = make_source(work.place, f"{{ {script}; }} > seen; sed 's/^/seen /' seen")
    code, printed = work.build(dsc, "--vary", "uid,kernel,domain_host,time")
    assert code == 0, printed[-3000:]
    first, second = (
        [line.removeprefix("seen ") for line in part.splitlines() if line.startswith("seen ")]
        for part in log_of(work.output).split("| Build again")
    )
    assert (first[0], second[0], second[1]) == ("60998", "60997", "60996")
    assert second[2].startswith("2.6.")
    assert second[3] == "i-capture-the-hostname"
    assert int(second[4]) - int(first[4]) >= 213 * 86400
    assert "\nReproducible: pass\n" in log_of(work.output)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["all"], set(vary.VARIATIONS)),
        (["umask", "time"], {"umask", "time"}),
        (["-umask"], set(vary.VARIATIONS) - {"umask"}),
        (["+umask"], set(vary.VARIATIONS)),
        (["all", "-umask", "-time"], set(vary.VARIATIONS) - {"umask", "time"}),
        (["umask", "+time", "-umask"], {"time"}),
        (["-all", "+home"], {"home"}),
    ],
)
def test_lists_are_as_reprotests(words: list[str], found: set[str]) -> None:
    assert set(vary.chosen(words)) == found


def test_a_name_that_is_none_is_misuse() -> None:
    with pytest.raises(Misuse, match="no variation 'moon'"):
        vary.chosen(["+moon"])


def test_the_documents_name_all_of_them() -> None:
    text = (Path(__file__).parents[3] / "docs/reproducibility.md").read_text()
    table = text.partition("| variation |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == sorted(vary.VARIATIONS)


def test_twice_is_a_case_of_it(tmp_path: Path) -> None:
    options = BuildOptions(dsc=tmp_path, base=tmp_path, output=tmp_path, twice=True)
    assert set(vary.wanted(options)) == set(vary.TWICE)
    assert vary.first(options).conditions == ("--readdir-order", "sorted")
    seen = vary.surroundings(options, vary.TWICE).conditions
    assert seen == ("--readdir-order", "reverse", *seen[2:])
    assert set(seen[2:]) == {"--vary-inodes", "other", "--pad-blocks", "8"}
