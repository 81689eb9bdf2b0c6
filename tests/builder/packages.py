"""Source packages made for one test, and what a run of cowbuild leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from builder import user_namespace
from builder.debian import apt
from builder.problems import Problem
from builder.process import output

COWBUILD = (sys.executable, "-P", "-m", "builder")

CONTROL = """\
Source: {name}
Section: misc
Priority: optional
Maintainer: Nobody <nobody@localhost>
Standards-Version: 4.6.2
Rules-Requires-Root: {root}
Build-Depends: {depends}

Package: {name}
Architecture: {architecture}
Description: made by a test
"""

# No debhelper: nothing is to be installed for it, and so a build takes a second.
RULES = """\
#!/usr/bin/make -f
export SHELL = /bin/bash
build build-arch build-indep:
	bash debian/script
clean:
binary-indep:
binary binary-arch: build
	rm -rf debian/tmp
	install -D -m 644 debian/control debian/tmp/usr/share/{name}/control
	mkdir -p debian/tmp/DEBIAN
	[ ! -e debian/postinst ] || install -m 755 debian/postinst debian/tmp/DEBIAN
	dpkg-gencontrol
	dpkg-deb --root-owner-group --build debian/tmp ..
"""


@dataclass(frozen=True)
class Person:
    """Who runs cowbuild: what stands before the command, and what is different in the environment."""

    name: str
    before: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def state_of(base: Path) -> str:
    """Name, inode, owner, mode, size and change time of each file, in no order.

    Nothing is written to a file, and nothing known of it is changed, but its change time moves: that tells as much as
    its content does, and reading a whole base after each test takes longer than most builds of the tests.
    """
    # In the user namespace when the tests are a plain user's: files of a base belong to subordinate ids.
    return output([*user_namespace.before(), "find", base, "-printf", r"%P\0%i %U:%G %m %s %C@\n"])


@dataclass(frozen=True)
class Base:
    """A base, who made it, and the state of its files while nothing had been built on it."""

    path: Path
    owner: Person
    state: str

    def assert_unchanged(self) -> None:
        changed = set(state_of(self.path).splitlines()) ^ set(self.state.splitlines())
        assert not changed


def make_source(
    place: Path,
    script: str = "true",
    *,
    name: str = "tiny",
    depends: str = "dpkg-dev",
    architecture: str = "any",
    root: str = "no",
    more: Mapping[str, str] | None = None,
) -> Path:
    """A native source package whose build runs `script` with bash, with `more` files in debian/; return its .dsc."""
    tree = place / f"{name}-1"
    debian = tree / "debian"
    (debian / "source").mkdir(parents=True)
    (debian / "source/format").write_text("3.0 (native)\n")
    (debian / "control").write_text(CONTROL.format(name=name, depends=depends, architecture=architecture, root=root))
    (debian / "changelog").write_text(
        f"{name} (1) unstable; urgency=low\n\n  * Made.\n\n"
        " -- Nobody <nobody@localhost>  Mon, 01 Jan 2024 00:00:00 +0000\n"
    )
    (debian / "script").write_text(script + "\n")
    (debian / "rules").write_text(RULES.format(name=name))
    (debian / "rules").chmod(0o755)
    for path, content in (more or {}).items():
        (debian / path).parent.mkdir(exist_ok=True)
        (debian / path).write_text(content)
    subprocess.run(["dpkg-source", "-b", tree.name], cwd=place, check=True, capture_output=True)
    return place / f"{name}_1.dsc"


def archive_source(name: str, place: Path) -> Path:
    """The .dsc of a source package of the archive, fetched into `place`. Skips where the mirror lacks a file of it."""
    try:
        return apt.download_source(name, None, apt.machine_suite(), place)
    except Problem as problem:
        if " 404 " not in problem.hint:
            raise
        pytest.skip(f"{problem}: {problem.hint}")


@dataclass(frozen=True)
class Workplace:
    """Directories of one test: where sessions are made, and where artifacts go."""

    place: Path
    base: Base

    @property
    def sessions(self) -> Path:
        return self.place / "sessions"

    @property
    def output(self) -> Path:
        return self.place / "output"

    @property
    def cache(self) -> Path:
        """Where dependency layers go."""
        return self.place / "cache"

    @property
    def state(self) -> Path:
        """Where kept sessions go."""
        return self.place / "state"

    @property
    def configuration(self) -> Path:
        """Where the user's configuration file is, below cowfs/."""
        return self.place / "configuration"

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "TMPDIR": self.sessions,
            "XDG_CACHE_HOME": self.cache,
            "XDG_CONFIG_HOME": self.configuration,
            "XDG_STATE_HOME": self.state,
        }
        return {**os.environ, **self.base.owner.environment, **{name: str(path) for name, path in own.items()}}

    def start(self, dsc: Path | list[Path], *options: str) -> subprocess.Popen[str]:
        """Start `cowbuild build`; its output and errors come through one pipe."""
        return subprocess.Popen(
            [
                *self.base.owner.before,
                *COWBUILD,
                "build",
                *map(str, dsc if isinstance(dsc, list) else [dsc]),
                *("--base", str(self.base.path), "--output", str(self.output)),
                *("--no-apt-update", "--no-deps-cache"),
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self.environment,
            start_new_session=True,
        )

    def build(self, dsc: Path | list[Path], *options: str) -> tuple[int, str]:
        """Run `cowbuild build` to its end; exit code and what it printed. Nothing may be left behind."""
        with self.start(dsc, *options) as process:
            printed, _nothing = process.communicate()
        self.assert_nothing_left()
        return process.returncode, printed

    def assert_nothing_left(self, within: float = 60.0) -> None:
        """No process and no mount names the sessions' directory and nothing is in it, at the latest after `within`."""
        give_up = time.monotonic() + within
        while (left := self._left()) and time.monotonic() < give_up:
            time.sleep(0.05)
        assert not left

    def _left(self) -> list[str]:
        found = [str(path) for path in self.sessions.iterdir()]
        needle = os.fsencode(self.sessions)
        for process in Path("/proc").glob("[0-9]*"):
            for kind in ("cmdline", "mountinfo"):
                try:
                    text = (process / kind).read_bytes()
                except OSError:
                    continue
                if needle in text:
                    found.append(f"process {process.name}: {text[:200]!r} in {kind}")
        return found


for_both = pytest.mark.parametrize("work", ["root", "user"], indirect=True)


def log_of(output: Path) -> str:
    """The text of the one log file in `output`."""
    [log] = [path for path in output.glob("*.build") if not path.is_symlink()]
    return log.read_text(errors="replace")
