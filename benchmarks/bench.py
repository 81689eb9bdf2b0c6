"""Measures candidates in turn: fresh file systems, a settled disk, several rounds, and the base unchanged each time."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.candidates import CANDIDATES
from benchmarks.candidates.interface import Candidate
from benchmarks.grounds import ground, settle
from benchmarks.results import Figures, Results, say


@dataclass(frozen=True)
class Task:
    """One measurement: of a candidate, in a round, on a kind of file system."""

    candidate: Candidate
    base: Path
    """What the candidate's `create` takes."""
    place: Path
    """For the session; not there yet."""
    setting: str


@dataclass
class Bench:
    """How one workload shall be measured, and what came of it."""

    results: Results
    scratch: Path
    cache: Path
    suite: str
    """The Debian release of the bases."""
    rounds: int
    seconds: float
    """No round but a first is begun that would probably end later than so long after `begun`."""
    only: tuple[str, ...] = ()
    """The candidates to measure; all that the workload knows, when empty."""
    grounds: tuple[str, ...] = ()
    """The kinds of file system to measure on; all that the workload knows, when empty."""
    quick: bool = False
    failed: bool = False
    """cowfs did not do the work; why, is in the results."""
    begun: float = field(default_factory=time.monotonic)

    def usable(self, setting: str, names: Iterable[str], place: Path) -> list[Candidate]:
        """The candidates that can run on `place`; the others are left out with their reason."""
        chosen = [CANDIDATES[name] for name in names if not self.only or name in self.only]
        reasons = {candidate.name: candidate.why_not(place) for candidate in chosen}
        for name, reason in reasons.items():
            if reason:
                self.results.leave_out(setting, name, reason)
        return [candidate for candidate in chosen if not reasons[candidate.name]]

    def in_turn(self, things: Sequence[str], measure: Callable[[str, int], None]) -> None:
        """Calls `measure` with each thing and the round's number, in another order each round."""
        longest = 0.0
        for number in range(self.rounds):
            begun = time.monotonic()
            if number and begun - self.begun + longest > self.seconds:
                say(f"  {self.results.name}: {number} of {self.rounds} rounds, its {self.seconds:.0f} s are over")
                return
            turned = number % len(things) if things else 0
            for thing in (*things[turned:], *things[:turned]):
                measure(thing, number)
            longest = max(longest, time.monotonic() - begun)

    def over_a_base(
        self,
        settings: Mapping[str, Sequence[str]],
        make_base: Callable[[Path], None],
        measure: Callable[[Task], Figures],
        *,
        read_only: bool = False,
    ) -> None:
        """Measures sessions over a base. `settings`: kind of file system -> candidates on it.

        `make_base` makes the base as a new directory. Each measurement has a fresh file system for its session; a
        base that only lies below lies on another of the same kind. It is found unchanged after each measurement, or
        cannot be changed: `read_only`, where looking at all of it would take longer than the measurement.
        """
        with ExitStack() as stack:
            bases = _Bases(self, stack, make_base, read_only=read_only)
            for setting, names in settings.items():
                if not self.grounds or setting in self.grounds:
                    bases.prepare(setting, names)
            bases.remember()
            labels = {f"{name} on {setting}": (setting, name) for setting, name in bases.prepared}

            def one(label: str, number: int) -> None:
                setting, name = labels[label]
                if name in self.results.left_out.get(setting, {}):
                    return
                try:
                    figures = bases.measure(setting, name, number, measure)
                except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                    # What others cannot do is a result.
                    self.failed |= name.startswith("cowfs")
                    reason = f"{error}".strip().splitlines()[0][:300]
                    self.results.leave_out(setting, name, f"failed in round {number + 1}: {reason}")
                    return
                self.results.add(setting, name, figures)
                shown = ", ".join(f"{key} {value:.4g}" for key, value in list(figures.items())[:4])
                say(f"  round {number + 1}: {label}: {shown}")

            self.in_turn(list(labels), one)
            bases.check()


class _Bases:
    """The bases of one part: made, prepared for each candidate, and found unchanged."""

    def __init__(self, bench: Bench, stack: ExitStack, make_base: Callable[[Path], None], *, read_only: bool) -> None:
        self.prepared: dict[tuple[str, str], Path] = {}
        """(Kind of file system, candidate) -> its base."""
        self._bench = bench
        self._stack = stack
        self._make_base = make_base
        self._read_only = read_only
        self._made: list[Path] = []
        self._metadata: dict[Path, dict[str, str]] = {}
        self._contents: dict[Path, dict[str, str]] = {}

    def prepare(self, setting: str, names: Sequence[str]) -> None:
        below = self._stack.enter_context(ground(setting, self._bench.scratch / f"base-{setting}"))
        base = below / "base"
        self._make_base(base)
        self._made.append(base)
        if self._read_only:
            subprocess.run(["mount", "-o", "remount,ro", str(below)], check=True)
        for candidate in self._bench.usable(setting, names, below):
            key = setting, candidate.name
            self.prepared[key] = base
            if not candidate.own_base:
                place = below / f"prepared-{candidate.name}"
                self.prepared[key] = self._stack.enter_context(candidate.prepared(base, place))

    def remember(self) -> None:
        """How the bases are before anybody works over them."""
        watched = set() if self._read_only else {*self.prepared.values(), *self._made}
        self._metadata = {path: fingerprint(path) for path in watched}
        self._contents = {path: fingerprint(path, contents=True) for path in watched}

    def measure(self, setting: str, name: str, number: int, measure: Callable[[Task], Figures]) -> Figures:
        """One measurement on a fresh file system; RuntimeError if the base is not as it was."""
        candidate, base = CANDIDATES[name], self.prepared[setting, name]
        with ground(setting, self._bench.scratch / "session") as here, ExitStack() as own:
            if candidate.own_base:
                base = own.enter_context(candidate.prepared(base, here / "prepared"))
                self._metadata[base] = fingerprint(base)
            settle()
            figures = measure(Task(candidate, base, here / f"session{number}", setting))
            if not self._read_only:
                check_base(f"{name} on {setting}", self._metadata[base], fingerprint(base))
        return figures

    def check(self) -> None:
        """RuntimeError if the content of a base is not what it was."""
        for path, expected in self._contents.items():
            check_base(f"content of {path}", expected, fingerprint(path, contents=True))


def check_base(label: str, expected: dict[str, str], found: dict[str, str]) -> None:
    changed = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    if changed:
        name = min(changed)
        raise RuntimeError(
            f"{label}: the base was changed, {len(changed)} names, {name}: {expected.get(name)} -> {found.get(name)}"
        )


def fingerprint(path: Path, *, contents: bool = False) -> dict[str, str]:
    """Each name of a tree with its file's kind, mode, owner, size and time, and with a checksum of its contents."""
    found = {} if path.is_dir() else {"": _described(path, contents)}
    for folder, names, files in os.walk(path):
        for name in (*names, *files):
            whole = Path(folder, name)
            found[str(whole.relative_to(path))] = _described(whole, contents)
    return found


def _described(path: Path, contents: bool) -> str:
    status = path.lstat()
    described = f"{status.st_mode:o} {status.st_uid}:{status.st_gid} {status.st_rdev} {status.st_mtime_ns}"
    if stat.S_ISLNK(status.st_mode):
        return f"{described} {os.readlink(path)}"
    if not stat.S_ISREG(status.st_mode):
        # A directory's size is its file system's own affair.
        return described
    if contents:
        with path.open("rb") as file:
            described += " " + hashlib.file_digest(file, "blake2b").hexdigest()[:16]
    return f"{described} {status.st_size}"
