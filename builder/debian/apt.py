"""Archives, mirrors and keyrings, as the machine's own apt knows them; source packages through a private apt."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.problems import Problem
from builder.process import output

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FIELDS = ("ORIGIN", "LABEL", "REPO_URI", "RELEASE", "COMPONENT")

# What apt inside a session is told each time: no questions, no translations, only what is needed.
OPTIONS = (
    *("-o", "APT::Install-Recommends=false"),
    *("-o", "Acquire::Languages=none"),
    *("-o", "Acquire::Retries=3"),
    *("-o", "APT::Keep-Downloaded-Packages=false"),
    *("-o", "Dpkg::Use-Pty=0"),
    *("-o", "Dpkg::Options::=--force-confold"),
)
ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "DEBCONF_NONINTERACTIVE_SEEN": "true"}


@dataclass(frozen=True)
class Archive:
    """One release of one archive, as a line of sources.list names it."""

    label: str
    uri: str
    release: str
    components: tuple[str, ...]


def machine_archives() -> list[Archive]:
    """The Debian archives in the machine's sources; others are left out.

    Where the machine has no lists yet, they are fetched into a temporary place first: only they say what is Debian's.
    """
    if archives := _archives_listed([]):
        return archives
    with tempfile.TemporaryDirectory(prefix="cowbuild-lists-") as directory:
        lists = ["-o", f"Dir::State::lists={directory}", "-o", "APT::Sandbox::User=root"]
        output(["apt-get", "-q", *lists, "update"])
        return _archives_listed(lists)


def _archives_listed(options: Sequence[str]) -> list[Archive]:
    form = "\t".join(f"$({field})" for field in FIELDS)
    found: dict[tuple[str, str, str], list[str]] = {}
    listed = output(["apt-get", *options, "indextargets", "--format", form, "Created-By: Packages"])
    for line in listed.splitlines():
        fields = line.split("\t")
        if len(fields) != len(FIELDS):  # a tab in one of them
            continue
        origin, label, uri, release, component = fields
        if origin == "Debian":
            components = found.setdefault((label, uri, release), [])
            if component not in components:
                components.append(component)
    return [Archive(*key, tuple(components)) for key, components in found.items()]


def sources(
    suite: str, *, mirror: str | None = None, components: Sequence[str] = ("main",), kind: str = "deb"
) -> list[str]:
    """The lines of sources.list for a suite: the machine's own for it, with updates and security, where it has them.

    For another suite, the machine's mirror. Problem where no Debian mirror is known.
    """
    wanted = " ".join(components)
    if mirror is not None:
        return [f"{kind} {mirror} {suite} {wanted}"]
    archives = machine_archives()
    own = [each for each in archives if each.release in (suite, f"{suite}-updates", f"{suite}-security")]
    if any(each.release == suite for each in own):
        return [f"{kind} {each.uri} {each.release} {wanted}" for each in own]
    for archive in archives:
        if archive.label == "Debian":
            return [f"{kind} {archive.uri} {suite} {wanted}"]
    raise Problem(
        "No mirror of Debian's archive is known",
        "Run `apt-get update` where the machine's sources name one, or say --mirror URI.",
    )


def machine_suite() -> str:
    """The code name of the Debian release that the machine runs. Problem elsewhere."""
    for archive in machine_archives():
        if archive.label == "Debian" and "-" not in archive.release:
            return archive.release
    raise Problem("The machine's own suite is not known", "Say --suite NAME, and --mirror URI.")


def download_source(name: str, version: str | None, suite: str, directory: Path, mirror: str | None = None) -> Path:
    """Fetch a source package into `directory`, checked against the archive's signature, and return its .dsc.

    The machine's own apt configuration is read and not touched: lists and cache are private, below `directory`/apt.
    Problem when it cannot be had.
    """
    private = directory / "apt"
    for needed in ("lists/partial", "cache/archives/partial", "parts"):
        (private / needed).mkdir(parents=True)
    lines = sources(suite, mirror=mirror, kind=f"deb-src [signed-by={KEYRING}]")
    (private / "sources.list").write_text("\n".join(lines) + "\n")
    (private / "status").touch()
    settings = {
        "Dir::Etc::sourcelist": private / "sources.list",
        "Dir::Etc::sourceparts": private / "parts",
        "Dir::State::lists": private / "lists",
        "Dir::State::status": private / "status",
        "Dir::Cache": private / "cache",
        # The user _apt may not read a private directory.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    before = set(directory.glob("*.dsc"))
    for step in (["update"], ["source", "--download-only", name if version is None else f"{name}={version}"]):
        done = subprocess.run(
            ["apt-get", "-q", *options, *step],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise Problem(f"Cannot fetch the source package {name} from {suite}", done.stderr.strip())
    fetched = set(directory.glob("*.dsc")) - before
    if len(fetched) != 1:
        raise Problem(f"apt fetched no source package {name} from {suite}")
    return fetched.pop()
