"""Archives, mirrors and keyrings, as the machine's own apt knows them; source packages through a private apt."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.debian.dsc import FILE_NAME, ListedFile
from builder.problems import Problem
from builder.process import output, together

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
    # Nothing waits for a disk in a session; so dpkg need not open each file again to ask for it.
    *("-o", "Dpkg::Options::=--force-unsafe-io"),
)
# --print-uris gives MD5 sums else.
STRONG_CHECKSUMS = ("-o", "Acquire::ForceHash=SHA256")

TO_BE_DOWNLOADED = re.compile(r"'\S+' (?P<name>\S+) (?P<size>[0-9]{1,18}) SHA256:(?P<sha256>[0-9a-f]{64})", re.ASCII)
UNREACHABLE = (
    "Temporary failure resolving|Could not (resolve|connect)|Unable to connect|Connection (failed|timed out)"
    "|Network is unreachable|Cannot initiate the connection"
)
NOT_SIGNED = "they are not signed as they must be"

# What apt says of a failure -> the reason in words; the first that is found. A full disk looks like a wrong signature.
REASONS = (
    ("No space left on device|Disk quota exceeded", "the disk is full"),
    (UNREACHABLE, "an archive cannot be reached over the network"),
    ("does not have a Release file|no longer has a Release file", "there is no such suite at that address"),
    ("is not signed|NO_PUBKEY|BADSIG|EXPKEYSIG|signatures couldn't be verified", NOT_SIGNED),
    ("Release file .* (is expired|is not valid yet)", "a Release file is too old, or the clock is wrong"),
    ("Unable to find a source package", "there is no such package"),
    ("Version .* for .* was not found|Can not find version", "there is no such version"),
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


def why(said: str) -> str:
    """The reason, in words, why apt-get failed that said this."""
    for pattern, reason in REASONS:
        if re.search(pattern, said):
            return reason
    errors = re.findall(r"^E: (.*)", said, re.MULTILINE)
    return errors[-1] if errors else "apt-get gives no reason"


def to_be_downloaded(printed: str) -> list[ListedFile]:
    """The packages that apt-get's --print-uris names. What has a name that no package has is left out."""
    found = [TO_BE_DOWNLOADED.fullmatch(line) for line in printed.splitlines()]
    return [
        ListedFile(each["name"], int(each["size"]), each["sha256"])
        for each in found
        if each is not None and FILE_NAME.fullmatch(each["name"]) and each["name"].endswith(".deb")
    ]


def unmet(said: str) -> str:
    """Which dependencies apt-get could not satisfy, or why else it failed."""
    listed = re.search(r"have unmet dependencies:\n((?: .*\n)+)", said)
    if listed is None:
        return why(said)
    return "; ".join(" ".join(line.split(" : ")[-1].split()) for line in listed[1].splitlines())


def private_options(place: Path, lines: Sequence[str]) -> list[str]:
    """Options with which apt-get knows these lines of sources.list alone, and keeps what it fetches in `place`."""
    for needed in ("lists/partial", "cache/archives/partial", "parts"):
        (place / needed).mkdir(parents=True)
    (place / "sources.list").write_text("\n".join(lines) + "\n")
    (place / "status").touch()
    return options_of_place(place)


def options_of_place(place: Path) -> list[str]:
    """The options of `private_options`, where the place has been made."""
    settings = {
        "Dir::Etc::sourcelist": place / "sources.list",
        "Dir::Etc::sourceparts": place / "parts",
        "Dir::State::lists": place / "lists",
        "Dir::State::status": place / "status",
        "Dir::Cache": place / "cache",
        # The user _apt may not read a private directory.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        # What cannot be reached is otherwise passed over.
        "APT::Update::Error-Mode": "any",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def check_suite(
    suite: str, lines: Sequence[str], architecture: str, components: Sequence[str], keyring: Path, directory: Path
) -> None:
    """Problem where a suite that these lines name is not to be had, or has not the architecture or the components.

    Only its Release file is fetched, into the private `directory`.
    """
    options = [
        *private_options(directory, lines),
        *("-o", f"Dir::Etc::trusted={keyring}", "-o", f"Dir::Etc::trustedparts={directory / 'parts'}"),
        *("-o", f"APT::Architecture={architecture}", "-o", f"APT::Architectures={architecture}"),
        *("-o", "Acquire::IndexTargets::deb::Packages::DefaultEnabled=false"),
    ]
    update = ["apt-get", "-q", *options, "update"]
    # python-debian's start would be felt by all who only ask for a constant.
    from debian.deb822 import Deb822

    done = together(update)
    where = " or ".join(sorted({word for line in lines for word in line.split() if "://" in word or ":/" in word}))
    if done.returncode != 0:
        raise Problem(f"The suite {suite} cannot be had from {where}: {why(done.stdout)}")
    for file in (directory / "lists").glob("*Release"):
        release = Deb822(file.read_bytes())
        if suite not in (release.get("Suite"), release.get("Codename")):
            continue
        for what, wanted, field in (
            ("architecture", [architecture], "Architectures"),
            ("component", components, "Components"),
        ):
            known = release.get(field, "").split()
            if missing := [each for each in wanted if known and each not in known]:
                raise Problem(f"The suite {suite} has no {what} {missing[0]}", f"It has: {' '.join(known)}")


def update(options: Sequence[str], what: str) -> None:
    """Fetch the lists that apt-get knows by these options. Problem, in which `what` names them."""
    done = subprocess.run(
        ["apt-get", "-q", *options, "update"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Problem(f"Cannot fetch {what}: {why(done.stdout + done.stderr)}", done.stderr.strip())


def download_source(
    name: str,
    version: str | None,
    suite: str,
    directory: Path,
    mirror: str | None = None,
    *,
    lists: Path | None = None,
) -> Path:
    """Fetch a source package into `directory`, checked against the archive's signature, and return its .dsc.

    The machine's own apt configuration is read and not touched: lists and cache are private, below `directory`/apt, or
    where `lists` has those that were fetched before. Problem when it cannot be had.
    """
    if lists is None:
        lines = sources(suite, mirror=mirror, kind=f"deb-src [signed-by={KEYRING}]")
        options, first = private_options(directory / "apt", lines), [["update"]]
    else:
        options, first = options_of_place(lists), []
    before = set(directory.glob("*.dsc"))
    for step in (*first, ["source", "--download-only", name if version is None else f"{name}={version}"]):
        done = subprocess.run(
            ["apt-get", "-q", *options, *step],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            reason = why(done.stdout + done.stderr)
            raise Problem(f"Cannot fetch the source package {name} from {suite}: {reason}", done.stderr.strip())
    fetched = set(directory.glob("*.dsc")) - before
    if len(fetched) != 1:
        raise Problem(f"apt fetched no source package {name} from {suite}")
    return fetched.pop()
