"""Why a build failed: the line of its output that matters, the file that is missing, and the package that has it.

Asked are, where they are there: buildlog-consultant for the line; the machine's dpkg and apt-file for the file's
package; and always the session's apt, whether it has a package of the name that such files' packages have.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from builder.build.job import Job
from builder.build.summary import StageFailed, Status
from builder.problems import Problem, printable

LINES = 400
"""At the end of what a build said, in which the line is looked for."""
LONGEST = 2000
"""Characters of a line that are looked at."""
WIDTH = 300
"""Characters of it that are told."""
ASKED_WITHIN = 30.0
"""Seconds for each program of the machine."""

CONSULTANT = """
import json, sys
from buildlog_consultant.common import find_build_failure_description
with open(sys.argv[1], errors="replace") as file:
    found, problem = find_build_failure_description(file.readlines())
print(json.dumps({"line": found.line if found else "", "problem": str(problem or "")}))
"""
"""Its Python module (Debian 12, PyPI); the commands of that are broken in 0.0.39."""
CONSULTANT_COMMAND = "analyze-build-log"
"""Debian 13's."""


@dataclass(frozen=True)
class Missing:
    """What a build looked for: where it would be, and packages by the names that Debian gives to such."""

    what: str
    paths: tuple[str, ...] = ()
    """As dpkg-query --search has patterns."""
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    line: str = ""
    missing: Missing | None = None
    consulted: str = ""
    """What buildlog-consultant calls it."""


def _header(name: str) -> Missing:
    return Missing(name, (f"/usr/include/{name}", f"/usr/include/*/{name}"))


def _library(name: str) -> Missing:
    return Missing(f"lib{name}.so", (f"*/lib{name}.so",), (f"lib{name}-dev",))


def _pkg_config(name: str) -> Missing:
    return Missing(f"{name}.pc", (f"*/pkgconfig/{name}.pc",), (f"{name}-dev", f"lib{name}-dev"))


def _command(name: str) -> Missing:
    base = name.rpartition("/")[2]
    return Missing(base, tuple(f"{place}/{base}" for place in ("/usr/bin", "/usr/sbin", "/bin", "/sbin")), (base,))


def _python(name: str) -> Missing:
    top = name.partition(".")[0]
    place = "/usr/lib/python3*/dist-packages"
    return Missing(
        f"the Python module {name}",
        (f"{place}/{top}/__init__.py", f"{place}/{top}.py"),
        (f"python3-{top.lower().replace('_', '-')}",),
    )


def _perl(name: str) -> Missing:
    module = name.removesuffix(".pm")
    package = f"lib{module.lower().replace('/', '-')}-perl"
    return Missing(f"the Perl module {module.replace('/', '::')}", (f"*/{module}.pm",), (package,))


def _addon(name: str) -> Missing:
    package = f"dh-sequence-{name.replace('_', '-')}"
    return Missing(f"debhelper's add-on {name}", (f"*/Debhelper/Sequence/{name}.pm",), (package,))


def _cmake(name: str) -> Missing:
    paths = (f"*/{name}Config.cmake", f"*/{name.lower()}-config.cmake")
    return Missing(f"{name}'s CMake configuration", paths, (f"lib{name.lower()}-dev",))


_NAME = r"(?P<name>[A-Za-z0-9_][A-Za-z0-9+._/-]*)"

# What a build says -> what it lacks; the first that is found counts.
SIGNS: Sequence[tuple[re.Pattern[str], Callable[[str], Missing] | None]] = tuple(
    (re.compile(pattern), missing)
    for pattern, missing in (
        (rf"fatal error: {_NAME}: No such file or directory", _header),
        (rf"unable to load addon {_NAME}:", _addon),
        (rf"Can't locate Debian/Debhelper/Sequence/{_NAME}\.pm in @INC", _addon),
        (rf"Can't locate {_NAME} in @INC", _perl),
        (rf"(?:ModuleNotFoundError|ImportError): No module named '?{_NAME}", _python),
        (rf"No package '{_NAME}' found", _pkg_config),
        (rf"Package '?{_NAME}'?,? (?:was not found in|required by .* not found)", _pkg_config),
        (rf'Dependency "?{_NAME}"? not found', _pkg_config),
        (rf'Program "?{_NAME}"? not found', _command),
        (rf'configuration file provided by "{_NAME}"', _cmake),
        (rf"cannot find -l:?{_NAME}", _library),
        (rf"(?:^|: ){_NAME}: (?:command )?not found$", _command),
        (rf"^make(?:\[\d+\])?: {_NAME}: No such file or directory$", _command),
        (r"No space left on device|Disk quota exceeded|Cannot allocate memory|virtual memory exhausted", None),
        (r"(?:^configure: error: |^CMake Error|^meson\.build:\d+:\d+: ERROR: )", None),
        (r"undefined reference to |multiple definition of ", None),
        (r"^[^\s:]+:\d+(?::\d+)?: (?:fatal )?error: ", None),
        (r"^\w*(?:Error|Exception): ", None),
        (r"^(?:FAIL|FAILED|not ok)\b", None),
        (r"No rule to make target ", None),
        (r"^(?:dh\w*|dpkg-\w+): error: (?!.*(?:returned exit|subprocess returned))", None),
        (r"\berror\b:? ", None),
        (r"^make(?:\[\d+\])?: \*\*\* ", None),
    )
)


def diagnose(said: str, consulted: tuple[str, str] = ("", "")) -> Diagnosis:
    """What the end of a build's output tells; `consulted`: the line that another program took, and its words for it."""
    lines = [line[:LONGEST].rstrip() for line in said.splitlines()[-LINES:]]
    for candidates in ([consulted[0][:LONGEST].rstrip()], lines) if consulted[0].strip() else (lines,):
        for pattern, missing in SIGNS:
            for line in candidates:
                if found := pattern.search(line):
                    lacks = missing(found["name"]) if missing is not None else None
                    return Diagnosis(line.strip(), lacks, consulted=consulted[1])
    return Diagnosis(consulted[0].strip(), consulted=consulted[1])


@contextmanager
def looked_into(job: Job) -> Iterator[None]:
    """Where the command in here fails, look into it while its session is open, for `tell`."""
    try:
        yield
    except StageFailed as failure:
        # Past a limit the last line says nothing.
        if "exit code" in str(failure):
            with suppress(OSError):
                look(job)
        raise


def look(job: Job) -> None:
    """Look into the build that has just failed. OSError."""
    said = job.log.ending()
    file = job.directory / "ending"
    file.write_bytes(said)
    found = diagnose(said.decode(errors="replace"), _consult(file))
    owners: tuple[str, ...] = ()
    if found.missing is not None:
        owners = tuple(dict.fromkeys([*_by_contents(found.missing), *_by_name(job, found.missing)]))
    job.diagnosis = tuple(_sentences(found, owners, {each.partition("_")[0] for each in job.installed}))


def _sentences(found: Diagnosis, owners: Sequence[str], installed: set[str]) -> Iterable[str]:
    if found.line:
        yield f"The line that matters: {printable(found.line)[:WIDTH]}"
    if found.consulted:
        yield f"buildlog-consultant says: {printable(found.consulted)[:WIDTH]}"
    if found.missing is None:
        return
    what = f"Missing is {printable(found.missing.what)}"
    new = [each for each in owners if each not in installed]
    if new:
        yield f"{what}, which is in {' or '.join(new[:3])}: a build dependency that is not declared?"
    elif owners:
        yield f"{what}, which is in {' or '.join(owners[:3])}, and that is installed"
    else:
        yield f"{what}; which package has it is not known here (apt-file search)"


def _asked(*command: str | Path) -> str:
    """What a program of the machine prints; nothing where it is missing, fails or takes long."""
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=ASKED_WITHIN, check=False)
        return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
    return ""


def _consult(file: Path) -> tuple[str, str]:
    """The line that buildlog-consultant takes for the one that matters, and its words for it."""
    pythons = dict.fromkeys((sys.executable, "/usr/bin/python3"))
    for command in ((CONSULTANT_COMMAND, "--json"), *((python, "-c", CONSULTANT) for python in pythons)):
        if said := _asked(*command, file):
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                told = json.loads(said)
                return str(told["line"] or ""), str(told["problem"] or "")
    return "", ""


def _by_contents(missing: Missing) -> list[str]:
    """Packages that are known to have it: on this machine, or in the lists of apt-file where it has any."""
    found = []
    for path in missing.paths:
        for line in _asked("dpkg-query", "--search", path).splitlines():
            packages, _, there = line.partition(": ")
            if there.startswith("/") and not line.startswith("diversion "):
                found += [each.strip().partition(":")[0] for each in packages.split(",")]
        pattern = re.escape(path).replace(r"\*", ".*").replace("*", ".*")
        found += _asked("apt-file", "--package-only", "--regexp", "search", f"^{pattern}$").split()
    return list(dict.fromkeys(found))


def _by_name(job: Job, missing: Missing) -> list[str]:
    """Packages of the names that such files' packages have, as far as the session's apt knows them."""
    wanted = [each for each in missing.packages if re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", each)]
    if not wanted:
        return []
    try:
        said = job.session.output("apt-cache", "showpkg", *wanted)
    except Problem:
        return []
    found = []
    for paragraph in re.split(r"^(?=Package: )", said, flags=re.MULTILINE)[1:]:
        name = paragraph.split("\n", 1)[0].removeprefix("Package: ").strip()
        if re.search(r"^Versions: *\n\S", paragraph, re.MULTILINE):
            found.append(name)
        provided = paragraph.partition("Reverse Provides:")[2]
        found += [line.split()[0] for line in provided.splitlines() if line.strip()]
    return list(dict.fromkeys(found))


def tell(job: Job, failure: StageFailed) -> None:
    """The paragraph at the end of a failed build's log."""
    if failure.status is Status.SKIPPED:
        return
    job.log.line(f"\nWhy: {job.source.name} {job.source.version} failed in stage {failure.stage}: {failure}")
    for sentence in job.diagnosis:
        job.log.line(sentence)
        job.log.screen.reason(sentence)
