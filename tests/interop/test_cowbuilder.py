"""The command cowbuilder: judged by Debian's own, beside which it stands here, and by those who call either."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.interop import cowbuilder
from builder.interop.pbuilder_options import OPTIONS, Is
from builder.problems import Misuse, Problem
from tests.builder.packages import make_source
from tests.interop.conftest import COMMANDS, Machine, results

pytestmark = pytest.mark.root

REAL, OURS = Path("/usr/sbin/cowbuilder"), COMMANDS / "cowbuild-cowbuilder"
PROGRAMS = {"real": REAL, "ours": OURS}

# As a user would have them; the rest is Debian's. The usual resolver of pbuilder would want aptitude in the base.
CONFIGURATION = """\
APTCACHE=
USECGROUP=no
PBUILDERSATISFYDEPENDSCMD=/usr/lib/pbuilder/pbuilder-satisfydepends-apt
BASEPATH={place}/base.cow
BUILDPLACE={place}/build
"""

NODES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
    "ptmx": (5, 2),
}

HOOK = '#!/bin/sh\necho "hook-{name} $(id -u) $(ls /build) $DISTRIBUTION $BUILD_ARCH"\n'


@dataclass(frozen=True)
class Ground:
    """A base that both programs can build on, and a configuration that both read."""

    machine: Machine
    place: Path

    @property
    def base(self) -> Path:
        return self.place / "base.cow"

    @property
    def configuration(self) -> Path:
        return self.place / "pbuilderrc"

    def run(
        self, program: str, *words: str | Path, place: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one of PROGRAMS with the configuration; nothing of it may be left in the build place."""
        own = {"HOME": str(place), **(environment or {})}
        operation, *others = words
        command = [PROGRAMS[program], operation, "--configfile", self.configuration, *others]
        done = self.machine.run(*command, place=place, environment=own)
        assert os.listdir(self.place / "build") == []
        return done


@pytest.fixture(scope="module")
def ground(machine: Machine) -> Iterator[Ground]:
    # On a disk: it is a whole base, and both need it beside their build places.
    with tempfile.TemporaryDirectory(prefix="cowbuild-test-", dir="/tmp") as name:
        place = Path(name)
        place.chmod(0o755)
        made = Ground(machine, place)
        subprocess.run(["cp", "-a", "--reflink=auto", machine.base.path, made.base], check=True)
        # As pbuilder makes them: open, with devices, and cowdancer in it.
        made.base.chmod(0o755)
        for device, numbers in NODES.items():
            os.mknod(made.base / "dev" / device, stat.S_IFCHR, os.makedev(*numbers))
            (made.base / "dev" / device).chmod(0o666)
        for path in machine.output("dpkg", "-L", "cowdancer").splitlines():
            if Path(path).is_file() and "/share/" not in path:
                target = made.base / path[1:]
                target.parent.mkdir(exist_ok=True, parents=True)
                shutil.copy2(path, target)
        (place / "build").mkdir()
        made.configuration.write_text(CONFIGURATION.format(place=place))
        yield made


def hooks_run(log: str) -> list[str]:
    return re.findall(r"^hook-.*", log, re.MULTILINE)


def test_a_package_is_built_as_by_cowbuilder(ground: Ground, place: Path) -> None:
    """With hooks of each kind, a file for the build, a bind mount, options for dpkg-buildpackage, and a log."""
    hooks, bound = place / "hooks", place / "bound"
    hooks.mkdir()
    bound.mkdir()
    (bound / "there").write_text("there")
    for kind in "ABCDEFGHI":
        (hooks / f"{kind}10hook").write_text(HOOK.format(name=kind))
        (hooks / f"{kind}10hook").chmod(0o755)
    dsc = make_source(place, f"test -f ../given && cat {bound}/there && ! cat /proc/net/route | grep -q eth")
    (place / "given").write_text("given")
    found = {}
    for program in PROGRAMS:
        out = place / program
        out.mkdir()
        words: list[str | Path] = ["--hookdir", hooks, "--bindmounts", bound, "--inputfile", "given"]
        words += ["--debbuildopts", "", "--debbuildopts", "-b", "--buildresult", out, "--logfile", out / "log"]
        words += ["--distribution", "trixie", dsc]
        done = ground.run(program, "--build", *words, place=place)
        assert done.returncode == 0, done.stdout
        found[program] = (results(out), hooks_run((out / "log").read_text()))
    assert found["ours"] == found["real"]
    assert [line[5] for line in found["ours"][1]] == list("HDABI")
    assert len(found["ours"][0]) == 7


def test_a_build_that_fails_ends_as_with_cowbuilder(ground: Ground, place: Path) -> None:
    hooks = place / "hooks"
    hooks.mkdir()
    (hooks / "C10failed").write_text(HOOK.format(name="C"))
    (hooks / "C10failed").chmod(0o755)
    dsc = make_source(place, "exit 3")
    found = {}
    for program in PROGRAMS:
        (place / program).mkdir()
        done = ground.run(program, "build", "--hookdir", hooks, "--buildresult", place / program, dsc, place=place)
        found[program] = (done.returncode, results(place / program), hooks_run(done.stdout))
    assert found["ours"] == found["real"]
    assert found["ours"][0] == 1
    assert len(found["ours"][2]) == 1


def test_pdebuild_builds_the_tree_one_is_in(ground: Ground, place: Path) -> None:
    found = {}
    for program, path in PROGRAMS.items():
        (place / program).mkdir()
        make_source(place / program)
        tree = place / program / "tiny-1"
        words: list[str | Path] = ["--pbuilderroot", "env", "--pbuilder", path, "--configfile", ground.configuration]
        done = ground.machine.run("pdebuild", *words, "--buildresult", "..", "--debbuildopts", "-sa", place=tree)
        assert done.returncode == 0, done.stdout
        found[program] = (results(place / program), sorted(os.listdir(tree)))
    assert found["ours"] == found["real"]
    assert "tiny_1_source.changes" in found["ours"][0]


def test_gbp_buildpackage_builds_by_git_pbuilder(ground: Ground, place: Path) -> None:
    """Set up as docs/pbuilder.md says: by the name that git-pbuilder and sudo look for."""
    found = {}
    bases = place / "bases"
    bases.mkdir()
    (bases / "base-trixie.cow").symlink_to(ground.base)
    for program in PROGRAMS:
        (place / program).mkdir()
        make_source(place / program)
        tree = place / program / "tiny-1"
        for words in (
            ["init", "-q"],
            ["add", "-A"],
            ["-c", "user.name=N", "-c", "user.email=n@localhost", "commit", "-qm1"],
        ):
            ground.machine.output("git", *words, place=tree)
        environment = {
            "HOME": str(place),
            "COWBUILDER_BASE": str(bases),
            "GIT_PBUILDER_OPTIONS": f"--configfile {ground.configuration}",
        }
        if program == "ours":
            REAL.rename(REAL.with_name("cowbuilder.real"))
            REAL.symlink_to(OURS)
        try:
            words = [
                "buildpackage",
                "--git-pbuilder",
                "--git-dist=trixie",
                "--git-ignore-branch",
                "--git-ignore-new",
                "-sa",
            ]
            done = ground.machine.run("gbp", *words, place=tree, environment=environment)
        finally:
            if program == "ours":
                REAL.unlink()
                REAL.with_name("cowbuilder.real").rename(REAL)
        assert done.returncode == 0, done.stdout
        found[program] = (results(place / program), sorted(os.listdir(tree)))
    assert found["ours"] == found["real"]
    assert "tiny_1_amd64.changes" in found["ours"][0]


def test_a_script_changes_the_base_only_where_that_is_asked_for(ground: Ground, place: Path) -> None:
    script = place / "script"
    script.write_text('#!/bin/sh\necho "$@" > /said; rm -rf /usr/share/doc/bash\n')
    before = ground.base.stat().st_ino
    done = ground.run("ours", "--execute", "--", script, "--save-after-exec", "two", place=place)
    assert done.returncode == 0, done.stdout
    assert ground.base.stat().st_ino == before
    assert not (ground.base / "said").exists()
    # A session that goes on meanwhile has what it began with.
    with subprocess.Popen(
        [COMMANDS / "cowbuild", "run", ground.base, "--", "sh", "-c", "echo begun; read -r _; ls /usr/share/doc/bash"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        done = ground.run("ours", "execute", "--save-after-exec", "--", script, "one", place=place)
        assert done.returncode == 0, done.stdout
        assert (ground.base / "said").read_text() == "one\n"
        assert "copyright" in other.communicate("\n")[0]
    (place / "fails").write_text("#!/bin/sh\necho failed > /said; exit 5\n")
    done = ground.run("ours", "execute", "--save-after-exec", place / "fails", place=place)
    assert done.returncode == 1  # pbuilder's, whatever the script's; cowbuilder saves all the same
    assert (ground.base / "said").read_text() == "failed\n"
    # What was in use when it was replaced has gone with the next.
    assert sorted(os.listdir(ground.place)) == ["base.cow", "build", "pbuilderrc"]


def test_a_base_is_made_and_updated(ground: Ground, place: Path) -> None:
    """By pbuilder, which runs a bootstrapper of the user's; here one that takes no minute."""
    bootstrap = place / "bootstrap"
    bootstrap.write_text(
        f'#!/bin/sh\nset -e\nfor last; do before=$place; place=$now; now=$last; done\ncp -a {ground.base}/. "$place"\n'
    )
    bootstrap.chmod(0o755)
    [mirror] = re.findall(r"^deb (\S+)", (ground.base / "etc/apt/sources.list").read_text(), re.MULTILINE)[:1]
    at = place / "new.cow"
    hooks = place / "hooks"
    hooks.mkdir()
    (hooks / "E10made").write_text("#!/bin/sh\necho made >> /made\n")
    (hooks / "E10made").chmod(0o755)
    suite = ground.machine.output("sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME").strip()
    common = ["--basepath", at, "--hookdir", hooks, "--mirror", mirror, "--distribution", suite]
    done = ground.run("ours", "--create", "--debootstrap", bootstrap, *common, place=place)
    assert done.returncode == 0, done.stdout
    assert (at / "made").read_text() == "made\n"
    done = ground.run("ours", "--create", *common, place=place)
    assert (done.returncode, "exists already" in done.stdout) == (1, True)
    done = ground.run("ours", "--update", *common, place=place)
    assert done.returncode == 0, done.stdout
    assert (at / "made").read_text() == "made\nmade\n"
    assert not list(place.glob(".new.cow*"))


def test_the_table_has_every_option_of_pbuilder_and_of_cowbuilder(machine: Machine) -> None:
    source = Path("/usr/lib/pbuilder/pbuilder-checkparams").read_text()
    for labels, body in re.findall(r"^ {4}(--[a-z|-]+)\)\n(.*?);;", source, re.MULTILINE | re.DOTALL):
        for name in re.findall(r"--([a-z-]+)", labels):
            if name != "help":
                assert OPTIONS[name].has_value == ("$2" in body or "${2" in body), name
    manuals = "".join(machine.output("man", page) for page in ("pbuilder", "cowbuilder"))
    # Of pdebuild's options, which are there, too, none.
    assert set(re.findall(r"^ {7}--([a-z-]+)", manuals, re.MULTILINE)) - set(OPTIONS) == set()


def test_the_table_takes_values_where_cowbuilder_does(machine: Machine) -> None:
    """What is in the program and looks like a name is tried on it."""
    words = set(re.findall(rb"\0([a-z][a-z-]{3,})(?=\0)", REAL.read_bytes())) | {name.encode() for name in OPTIONS}
    for word in sorted(words):
        name = word.decode()
        said = machine.run(REAL, "--help", f"--{name}=1").stdout
        if f"'--{name}'" in said and "unrecognized" not in said and "ambiguous" not in said:
            assert OPTIONS[name].has_value is False or name == "removepackages", name
        elif "option" not in said and name in OPTIONS:
            assert OPTIONS[name].has_value, name


@pytest.mark.parametrize("option", [option for option in OPTIONS.values() if option.what is Is.REFUSED])
def test_what_cannot_be_had_is_told_with_what_to_do(machine: Machine, option: object) -> None:
    name = getattr(option, "name", "")
    done = machine.run(OURS, "--build", f"--{name}", "x.dsc", "x.dsc")
    assert done.returncode == 1
    assert done.stdout.startswith(f"E: cowbuilder's --{name} cannot be had\n    ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no operation specified"),
        (["x.dsc"], "no operation specified"),
        (["--build"], "build wants a .dsc file"),
        (["execute"], "execute wants a script"),
        (["create", "more"], "too many parameters for create"),
        (["--build", "--no-such", "x.dsc"], "option --no-such not recognized"),
        (["--build", "--hookdir"], "option --hookdir requires argument"),
    ],
)
def test_command_lines_without_sense(words: list[str], said: str) -> None:
    with pytest.raises(Misuse, match=said):
        cowbuilder.understood(words)


def test_words_stand_in_any_order_and_values_behind_a_sign() -> None:
    request = cowbuilder.understood(
        [
            "--no-source-only-changes",
            "b",
            "--basepath=/b",
            "x.dsc",
            "--debbuildopts",
            "",
            "--debbuildopts=-b -v1",
            "--mountproc",
        ]
    )
    assert (request.operation, request.arguments, request.given) == ("build", ["x.dsc"], {"basepath": "/b"})
    told = [(option.name, value) for option, value in request.passed]
    assert told == [("no-source-only-changes", ""), ("debbuildopts", ""), ("debbuildopts", "-b -v1")]


def test_the_configuration_is_read_by_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DIST", "trixie")
    (tmp_path / ".pbuilderrc").write_text(
        ': ${DIST:=sid}\nBASEPATH="/srv/base-$DIST.cow"\necho noise; COMPONENTS=$(echo main contrib)\n'
        "DEBBUILDOPTS='\"-v1\"\n-b'\n"
    )
    held = cowbuilder.settings([])
    assert held["BASEPATH"] == "/srv/base-trixie.cow"
    assert held["COMPONENTS"] == "main contrib"
    assert held["DEBBUILDOPTS"] == '"-v1"\n-b'
    assert held["BUILDPLACE"] == "/var/cache/pbuilder/build"
    (tmp_path / "more").write_text("BASEPATH=/other\n")
    assert cowbuilder.settings([str(tmp_path / "more")])["BASEPATH"] == "/other"
    (tmp_path / "more").write_text("BASEPATH=(\n")
    with pytest.raises(Problem):
        cowbuilder.settings([str(tmp_path / "more")])
    with pytest.raises(Problem, match="There is no configuration file"):
        cowbuilder.settings([str(tmp_path / "missing")])


def test_what_holds_is_shown_as_by_cowbuilder(ground: Ground, place: Path) -> None:
    shown = {}
    for program in PROGRAMS:
        lines = ground.run(program, "--dumpconfig", place=place).stdout.splitlines()
        shown[program] = {line.split(": ", 1)[0]: line.split(": ", 1)[1] for line in lines if line.startswith("  ")}
    same = ("  buildresult", "  basepath", "  mirror", "  distribution", "  components")
    assert {name: shown["ours"][name] for name in same} == {name: shown["real"][name] for name in same}


def test_a_base_that_is_missing_is_named(machine: Machine, place: Path) -> None:
    done = machine.run(OURS, "--build", "--basepath", place / "none.cow", "x.dsc")
    assert done.returncode == 1
    assert f"cowbuilder --create --basepath {place}/none.cow" in done.stdout
