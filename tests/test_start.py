"""What a command loads before it does anything: nobody waits for what this command does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """
import sys
{imports}
sys.argv = [{name!r}, *{words!r}]
try:
    main()
except SystemExit:
    pass
print(*sys.modules, file=sys.stderr)
"""

HEAVY = frozenset(
    [
        *(
            "trio",
            "attr",
            "pyfuse3",
            "ctypes",
            "debian",
            "email",
            "rich",
            "shtab",
            "subprocess",
            "socket",
            "ssl",
            "logging",
        ),
        *("dataclasses", "inspect", "tempfile", "tomllib", "json", "hashlib", "tarfile", "html", "importlib.resources"),
    ]
)


def loaded(module: str, *words: str) -> set[str]:
    """The modules that are loaded when a command has ended."""
    script = LOADED.format(imports=f"from {module} import main", name="command", words=words)
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["--no-such-option"]])
@pytest.mark.parametrize("module", ["cowfs.command.main", "builder.command.main"])
def test_help_loads_nothing_but_what_it_shows(module: str, words: list[str]) -> None:
    found = loaded(module, *words)
    assert "argparse" in found
    assert found & HEAVY == set()
    assert len(found) < 130, sorted(found)  # python alone, with what a virtual environment adds, has 40


def test_a_verb_of_cowfs_loads_neither_the_others_nor_the_event_loop() -> None:
    found = loaded("cowfs.command.main", "list")
    assert "cowfs.tools.status" in found
    assert found & {"trio", "attr", "cowfs.command.mounting", "cowfs.tools.commit", "tarfile"} == set()


def test_the_daemon_loads_no_other_verb() -> None:
    found = loaded("cowfs.command.main", "/nonexistent", "/nonexistent")
    assert "cowfs.fuse.direct.loop" in found
    assert "trio" not in found  # not before the mount answers
    assert not [name for name in found if name.startswith("cowfs.tools")]
    assert "logging.handlers" not in found


def test_what_checks_a_build_loads_nothing_that_reads_or_shows_one() -> None:
    found = loaded("builder.command.main", "build", "/nonexistent.dsc")
    assert "builder.build.obtain" in found
    assert found & {"debian", "email", "rich", "trio", "tarfile", "builder.build.stages"} == set()


def test_the_stages_of_a_build_load_no_report() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import sys, builder.build.stages; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = set(done.stdout.split())
    assert "debian.deb822" in found
    assert found & {"builder.trace.page", "builder.build.twice", "rich", "html", "tarfile"} == set()
