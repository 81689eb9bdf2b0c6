"""`cowbuild build --trace`: what a build used of what was installed for it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from builder.build import outputs, trace_report
from builder.debian import dpkg_database
from builder.debian.depends import IMPLICIT, WantedPackages
from builder.debian.dpkg_database import Installed, Package
from builder.problems import Problem
from builder.trace import page as page_module
from builder.trace import usage
from builder.trace.treemap import Rectangle, squarified
from builder.trace.usage import TraceRecord, Usage, Verdict
from tests.builder import browser
from tests.builder.packages import Workplace, for_both, log_of, make_source

SCRIPT = """
ls /usr/bin >/dev/null; stat /usr/bin/hello
cat /etc/apt/apt.conf.d/01autoremove
echo left | tee /var/tmp/left /tmp/left; echo passing > /tmp/passing; rm /tmp/passing
"""


@for_both
def test_an_unused_dependency_and_an_undeclared_file_are_found_and_nothing_else(work: Workplace) -> None:
    dsc = make_source(work.place, SCRIPT, depends="dpkg-dev, hello, quilt")
    code, printed = work.build(dsc, "--trace", "--deps-cache")
    assert code == 0, printed[-2000:]
    found = json.loads((work.output / "tiny_1_amd64.trace.json").read_text())
    verdicts = {each["relation"]: each["verdict"] for each in found["dependencies"]}
    assert verdicts == {"dpkg-dev": "used", "hello": "only looked up", "quilt": "never touched"}
    undeclared = [use for use in found["packages"] if use["reason"] == "undeclared"]
    assert [(use["package"], [file["path"] for file in use["files"]]) for use in undeclared] == [
        ("apt", ["/etc/apt/apt.conf.d/01autoremove"])
    ]
    assert [file["path"] for file in found["written-outside"]] == ["/tmp/left", "/var/tmp/left"]
    used = {use["package"]: use for use in found["packages"]}
    assert {file["path"] for file in used["coreutils"]["files"]} >= {"/usr/bin/cat", "/usr/bin/stat"}
    assert used["coreutils"]["executed"] >= 2
    log = log_of(work.output)
    assert "\nTrace: 2 of 3 build dependencies not used, 1 undeclared packages used, 2 files written outside\n" in log
    assert "  quilt                            never touched\n" in log
    assert "  apt                              /etc/apt/apt.conf.d/01autoremove (read)\n" in log
    page = browser.shown(work.output / "tiny_1_amd64.trace.html")
    assert browser.first_cells(page, "dependency") == ["dpkg-dev", "hello", "quilt"]
    assert browser.first_cells(page, "undeclared") == ["apt"]


# The parts

PACKAGES = {
    "base-files": ("", True),
    "build-essential": ("cc | compiler", False),
    "cc": ("libc", False),
    "libc": ("", False),
    "fakeroot": ("", False),
    "meta": ("tool, shared", False),
    "tool": ("libtool", False),
    "libtool": ("", False),
    "shared": ("", False),
    "other": ("shared", False),
    "lucky": ("", False),
    "mail-agent": ("", False),
}


def _database() -> Installed:
    packages = {
        name: Package(name, "1", essential, tuple(dpkg_database.relations(needs)), ("mta",) * (name == "mail-agent"))
        for name, (needs, essential) in PACKAGES.items()
    }
    return Installed(packages, {f"/usr/share/{name}/file": [name] for name in packages})


def _record(path: str, *uses: str, base: int | None = 0, size: int | None = 100) -> TraceRecord:
    return TraceRecord(path, "file", ("looked-up", *uses), base, size)


def _judged(depends: str, *records: TraceRecord) -> Usage:
    return usage.judge(records, _database(), WantedPackages(f"{IMPLICIT}, {depends}", ""), "/build/place")


def _of(name: str, *uses: str) -> TraceRecord:
    return _record(f"/usr/share/{name}/file", *uses)


@pytest.mark.parametrize(
    ("depends", "used", "verdict", "through"),
    [
        ("tool", ["tool"], Verdict.USED, ()),
        ("tool", [], Verdict.UNTOUCHED, ()),
        ("meta", ["libtool"], Verdict.NEEDED, ("libtool",)),
        ("meta, other", ["shared"], Verdict.UNTOUCHED, ()),
        ("meta, libtool", ["libtool"], Verdict.UNTOUCHED, ()),
        ("absent | tool", ["tool"], Verdict.USED, ()),
        ("mta", ["mail-agent"], Verdict.USED, ()),
        ("absent", [], Verdict.MISSING, ()),
        ("cc", ["libc"], Verdict.UNTOUCHED, ()),
    ],
)
def test_a_dependency_is_judged_by_what_is_there_for_its_sake(
    depends: str, used: list[str], verdict: Verdict, through: tuple[str, ...]
) -> None:
    found = _judged(depends, *(_of(name, "read") for name in used))
    assert (found.dependencies[0].verdict, found.dependencies[0].through) == (verdict, through)


def test_a_look_at_the_name_is_no_use() -> None:
    found = _judged("tool", _of("tool"), _of("lucky"))
    assert found.dependencies[0].verdict is Verdict.LOOKED_UP
    assert found.undeclared == []


def test_only_what_no_dependency_brings_is_undeclared() -> None:
    everything = [_of(name, "executed") for name in PACKAGES]
    assert {use.name for use in _judged("meta", *everything).undeclared} == {"other", "lucky", "mail-agent"}
    changed_by_the_build = _record("/usr/share/lucky/file", "read", base=None)
    assert _judged("meta", changed_by_the_build).undeclared == []


def test_what_passes_in_tmp_is_not_written_outside() -> None:
    found = _judged(
        "tool",
        _record("/tmp/passing", "created", "written", "removed", base=None),
        _record("/tmp/left", "created", base=None),
        _record("/srv/passing", "created", "removed", base=None),
        _record("/build/place", "written"),
        _record("/build/place/x", "created", base=None),
        _record("/build/placebo", "created", base=None),
        _record("/etc/passwd", "read"),
    )
    assert [file.path for file in found.written] == ["/tmp/left", "/srv/passing", "/build/placebo"]
    assert [file.path for file in found.unowned] == ["/etc/passwd"]


STATUS = """\
Package: dash
Status: install ok installed
Architecture: amd64
Essential: yes
Version: 1
Pre-Depends: libc6 (>= 2.36)

Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2

Package: libc6
Status: install ok installed
Architecture: i386
Version: 2
Depends: libgcc-s1

Package: libgcc-s1
Status: install ok installed
Architecture: i386
Version: 2
Provides: libgcc1 (= 1)

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 2
"""


def _root(place: Path) -> Path:
    info = place / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info.parent / "status").write_text(STATUS)
    (info.parent / "diversions").write_text("/bin/sh\n/bin/sh.distrib\ndash\n/bin/mine\n/bin/mine.real\n:\n")
    (info / "dash.list").write_text("/.\n/bin\n/bin/sh\n/bin/mine\n/bin/dash\n")
    (info / "libc6:amd64.list").write_text("/lib\n/lib/libc.so\n/bin/sh\n")
    (info / "libc6:i386.list").write_text("/lib32/libc.so\n")
    (info / "gone.list").write_text("/bin/gone\n")
    (info / "dash.md5sums").write_text("x\n")
    (place / "usr").mkdir()
    (place / "bin").symlink_to("usr/bin")
    (place / "lib").symlink_to("/usr/lib")
    (place / "srv").symlink_to("/etc")
    return place


def test_paths_are_those_of_a_merged_and_diverted_root(tmp_path: Path) -> None:
    found = dpkg_database.read(_root(tmp_path), "amd64")
    assert {path: owners for path, owners in found.owners.items() if path != "/."} == {
        "/usr/bin": ["dash"],
        "/usr/lib": ["libc6"],
        "/usr/bin/sh": ["dash"],
        "/usr/bin/sh.distrib": ["libc6"],
        "/usr/bin/mine.real": ["dash"],
        "/usr/bin/dash": ["dash"],
        "/usr/lib/libc.so": ["libc6"],
        "/lib32/libc.so": ["libc6:i386"],
    }
    assert found.essential == ["dash"]
    assert found.closure(["dash"]) == {"dash", "libc6"}
    assert found.closure(["libc6:i386"]) == {"libc6:i386", "libgcc-s1:i386"}
    assert found.named(["libgcc1"]) == ["libgcc-s1:i386"]
    assert found.named(["libgcc-s1", "libc6"]) == ["libgcc-s1:i386", "libc6"]


def test_a_database_is_not_read_through_a_link(tmp_path: Path) -> None:
    root = _root(tmp_path / "root")
    listing = root / "var/lib/dpkg/info/dash.list"
    listing.unlink()
    listing.symlink_to("/etc/passwd")
    with pytest.raises(OSError, match=r"dash\.list"):
        dpkg_database.read(root, "amd64")


HOSTILE = "/usr/<script>document.title='taken'</script>\"'&\n\x1b[31m\udcff/x"


def _page(place: Path) -> Path:
    records = [
        replace(_of("tool", "read"), size=5000),
        replace(_of("libc", "executed", "read"), size=90_000),
        replace(_of("lucky", "read"), size=100),
        _record(HOSTILE, "read", size=300),
        _record(HOSTILE + "2", "created", base=None, size=None),
    ]
    path = place / "page.html"
    path.write_text(page_module.page("x <1>", _judged("tool, meta", *records), "/build/place"), encoding="utf-8")
    return path


def test_the_page_is_sorted_as_its_address_says(tmp_path: Path) -> None:
    page = _page(tmp_path)
    assert browser.first_cells(page.read_text(), "package") == ["libc", "tool", "lucky"]
    assert browser.first_cells(browser.shown(page, "#sort=package-name-down"), "package") == ["tool", "lucky", "libc"]
    by_size = browser.shown(page, "#sort=package-size-up")
    assert browser.first_cells(by_size, "package") == ["lucky", "tool", "libc"]
    assert '<th id="package-size" class="number" aria-sort="ascending">' in by_size


def test_a_click_on_a_heading_sorts_and_a_second_one_the_other_way(tmp_path: Path) -> None:
    page = _page(tmp_path)
    heading = "document.querySelector('#package-name button')"
    for clicks, expected in ((1, ["libc", "lucky", "tool"]), (2, ["tool", "lucky", "libc"])):
        clicking = tmp_path / f"clicked-{clicks}.html"
        script = f"<script>for (let n = 0; n < {clicks}; n++) {heading}.click()</script></body>"
        clicking.write_text(page.read_text().replace("</body>", script))
        assert browser.first_cells(browser.shown(clicking), "package") == expected


def test_no_name_is_more_than_text_in_the_page(tmp_path: Path) -> None:
    page = _page(tmp_path)
    shown = browser.shown(page)
    assert "<title>What x &lt;1&gt; used</title>" in shown
    assert shown.count("<script") == 1
    # The map is wider than a phone, and is scrolled by itself.
    assert browser.width_on_a_phone(page) <= browser.PHONE
    assert "document.title='taken'" in shown
    assert "\\n\\x1b[31m\\udcff" in shown
    for outside in ("http:", "https:", " src=", " href=", "@import", "url("):
        assert outside not in page.read_text()


def test_the_treemap_gives_each_its_share_and_overlaps_nothing() -> None:
    weights = [60.0, 30.0, 5.0, 3.0, 1.0, 1.0]
    place = Rectangle(10, 20, 400, 200)
    made = squarified(weights, place)
    for weight, each in zip(weights, made, strict=True):
        assert each.width * each.height == pytest.approx(800 * weight)
        assert place.x <= each.x + 1e-6
        assert each.x + each.width <= place.x + place.width + 1e-6
        assert each.y + each.height <= place.y + place.height + 1e-6
    for one in made:
        for other in made:
            beside = one.x + one.width <= other.x + 1e-6 or other.x + other.width <= one.x + 1e-6
            above = one.y + one.height <= other.y + 1e-6 or other.y + other.height <= one.y + 1e-6
            assert one is other or beside or above


def test_the_log_shows_names_as_one_line_of_text() -> None:
    lines = trace_report.table(_judged("tool", _record(HOSTILE, "created", base=None)), "/build/place")
    assert all(line.isprintable() for line in lines)
    assert any("\\x1b[31m" in line for line in lines)


def test_a_report_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="Cannot write"):
        outputs.put_text("text", tmp_path / "missing/report", mark=b"text")
