"""What configuration files may say, who may write them, and that a build does as they say."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from builder.command import configuration, options
from builder.problems import Problem
from tests.builder.packages import COWBUILD, Workplace, log_of, make_source


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The system's and the user's, neither of them there, and everybody a plain user."""
    monkeypatch.setattr(configuration, "SYSTEM", tmp_path / "system.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    configuration.user_file().parent.mkdir(parents=True)
    return configuration.SYSTEM, configuration.user_file()


def test_the_command_line_wins_over_the_user_and_the_user_over_the_system(files: tuple[Path, Path]) -> None:
    system, user = files
    system.write_text('[build]\njobs = 2\nparallel = 2\nuploader = "system"\n[create]\nvariant = "apt"\n')
    user.write_text('[build]\nparallel = 3\nuploader = "user"\n')
    arguments = options.parse(["build", "--uploader", "line"])
    assert (arguments.jobs, arguments.parallel, arguments.uploader) == (2, 3, "line")
    assert options.parse(["create", "sid"]).variant == "apt"


def test_switches_can_be_taken_back_on_the_command_line(files: tuple[Path, Path]) -> None:
    files[1].write_text(
        "user-namespace = false\n[build]\nquiet = true\nnolog = true\nsource = true\narch-all = false\n"
    )
    arguments = options.parse(["build"])
    assert (arguments.quiet, arguments.log_file, arguments.build_source, arguments.build_all) == (
        True,
        False,
        True,
        False,
    )
    assert arguments.user_namespace is False
    arguments = options.parse(["--user-namespace", "build", "--no-quiet", "--log", "--no-source", "--arch-all"])
    assert (arguments.quiet, arguments.log_file, arguments.build_source, arguments.build_all) == (
        False,
        True,
        False,
        True,
    )
    assert arguments.user_namespace is True


def test_a_list_of_the_command_line_takes_the_place_of_the_file_s(files: tuple[Path, Path]) -> None:
    files[1].write_text(
        '[build]\nadd-depends = ["a", "b"]\nprofiles = "nocheck,nodoc"\nextra-package = ["~/x"]\n'
        'debbuildopts = ["-a b", "-c"]\ndebbuildopt = ["-d"]\n'
    )
    arguments = options.parse(["build"])
    assert (arguments.add_depends, arguments.profiles) == (["a", "b"], ("nocheck", "nodoc"))
    assert arguments.extra_packages == [Path("~/x").expanduser()]
    assert (arguments.debbuildopts, arguments.debbuildopt) == (["-a b", "-c"], ["-d"])
    arguments = options.parse(["build", "--add-depends", "c", "--add-depends", "d", "--profiles", "x"])
    assert (list(arguments.add_depends), arguments.profiles) == (["c", "d"], ("x",))


def test_every_option_can_be_set_by_each_of_its_long_names(files: tuple[Path, Path]) -> None:
    """A value that holds anyway, as `cowbuild config` shows it, is understood again for each; so for a new option."""
    top = options.parser()
    lines: list[str] = []
    written = {}
    for table, named in sorted(configuration.in_force(top, {}).items()):
        if table:
            lines.append(f"[{table}]")
        for key, each in named.items():
            action = configuration.options_of(configuration.parsers_of(top)[table])[key]
            value = each["value"]
            if value is None:
                value = True if action.nargs == 0 else 1 if action.type in (int, float) else "/text"  # a whole path
            lines.append(f"{key} = {json.dumps(value)}")
            written[table, key] = (value, len(lines))
    files[1].write_text("\n".join(lines) + "\n")
    told = configuration.in_force(top, configuration.read(top))
    for (table, key), (value, line) in written.items():
        assert told[table][key]["from"] == f"{files[1]}, line {line}"
        assert told[table][key]["value"] in (value, [value])


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[build]\n\njobz = 1\n", 3, "there is no option jobz in [build]\nMeant: jobs?"),
        ("[biuld]\njobs = 1\n", 1, "there is no table [biuld]\nMeant: build"),
        ("jobs = 1\n", 1, "there is no option jobs\nIt belongs into [build] or [rebuild]."),
        ("[build]\nno-arch-all = true\n", 2, "there is no option no-arch-all in [build]\nWrite arch-all = false"),
        ("[create]\n[build]\njobs = '4'\n", 3, 'jobs in [build] must be a whole number, not "4"'),
        ("[build]\njobs = true\n", 2, "jobs in [build] must be a whole number, not true"),
        ("[build]\nsource = 1\n", 2, "source in [build] must be true or false, not 1"),
        ("[build]\ntime-limit = 'x'\n", 2, 'time-limit in [build] must be a number, not "x"'),
        ("[build]\nprofiles = [1]\n", 2, "profiles in [build] must be a list of texts, not [1]"),
        ("[build]\nadd-depends = 'x'\n", 2, 'add-depends in [build] must be a list of texts, not "x"'),
        ("[build]\noutput = 1979-05-27\n", 2, 'output in [build] must be text, not "1979-05-27"'),
        ("[build]\npurge-session = 'x'\n", 2, "purge-session in [build] must be one of always, successful, never"),
        ("[build]\nsession = 'x'\n", 2, "there is no option session in [build]"),
    ],
)
def test_what_makes_no_sense_is_said_with_file_line_and_key(
    files: tuple[Path, Path], text: str, line: int, said: str
) -> None:
    files[1].write_text(text)
    with pytest.raises(Problem) as problem:
        options.parse(["list"])
    assert f"{problem.value}\n{problem.value.hint}".startswith(f"{files[1]}, line {line}: {said}")


@pytest.mark.parametrize("text", ["[build\n", "[build]\njobs = four\n", "\xff", "[build]\n[build]\n"])
def test_what_is_not_toml_is_said_with_the_file(files: tuple[Path, Path], text: str) -> None:
    files[1].write_text(text, encoding="latin-1")
    with pytest.raises(Problem, match=str(files[1])):
        options.parse(["list"])


@pytest.mark.parametrize("work", ["user"], indirect=True)
def test_a_build_does_as_the_file_says_and_never_reads_it_twice(work: Workplace) -> None:
    file = work.configuration / "cowfs/cowbuild.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'[build]\nprofiles = ["nocheck"]\njobs = 7\npre-build-commands = ["rm {file}"]\n')
    for each in (work.configuration, file.parent, file):
        os.chown(each, work.output.stat().st_uid, -1)
    code, printed = work.build(make_source(work.place, "echo jobs: $DEB_BUILD_OPTIONS"), "--profiles", "nodoc")
    assert code == 0, printed
    log = log_of(work.output)
    assert "\nBuild Profiles: nodoc\n" in log
    assert "\njobs: parallel=7\n" in log
    assert not file.exists()


def cowbuild(home: Path, *words: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, *COWBUILD, *words],
        env={**os.environ, "XDG_CONFIG_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.root
def test_root_does_not_read_what_others_can_write(tmp_path: Path) -> None:
    file = tmp_path / "cowfs/cowbuild.toml"
    file.parent.mkdir()
    file.write_text("[build]\njobs = 3\n")
    assert "jobs = 3 " in cowbuild(tmp_path, "config").stdout
    for path, owner, mode in ((file, 0, 0o666), (file, 1000, 0o644), (file.parent, 0, 0o775), (tmp_path, 1000, 0o755)):
        usual = path.stat().st_mode
        path.chmod(mode)
        os.chown(path, owner, 0)
        refused = cowbuild(tmp_path, "config")
        assert refused.returncode == 1
        assert refused.stderr.startswith(f"cowbuild: Root does not read {file}: ")
        path.chmod(usual)
        os.chown(path, 0, 0)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 1000, 1000)
    (theirs / "cowfs").symlink_to(file.parent)
    assert cowbuild(theirs, "config").returncode == 1
    assert cowbuild(tmp_path, "config").returncode == 0


@pytest.mark.root
def test_the_system_s_file_is_read_and_shown_with_what_it_says(tmp_path: Path) -> None:
    """In a mount namespace of its own, with an /etc of its own."""
    for name in ("upper/cowfs", "work"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "upper/cowfs/cowbuild.toml").write_text('[create]\nmirror = "http://localhost/debian"\n')
    mount = f"mount -t tmpfs none {tmp_path}/work && mkdir {tmp_path}/work/w {tmp_path}/work/u && "
    mount += f"cp -a {tmp_path}/upper/. {tmp_path}/work/u && mount -t overlay etc /etc "
    mount += f'-o lowerdir=/etc,upperdir={tmp_path}/work/u,workdir={tmp_path}/work/w && exec "$@"'
    before = ("unshare", "--mount", "sh", "-c", mount, "sh")
    shown = cowbuild(tmp_path, "config", before=before)
    assert shown.returncode == 0, shown.stderr
    assert tomllib.loads(shown.stdout)["create"] == {"mirror": "http://localhost/debian"}
    assert "# /etc/cowfs/cowbuild.toml, line 2" in shown.stdout
    held = json.loads(cowbuild(tmp_path, "config", "--json", before=before).stdout)
    assert held["create"]["mirror"]["value"] == "http://localhost/debian"
    assert held["build"]["source"] == {"value": False, "from": "default"}
