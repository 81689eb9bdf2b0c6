"""Repositories of the user's own, on a web server of this machine: signed, signed by somebody else, not signed."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.build import extra_repositories
from builder.problems import Misuse, Problem
from tests.builder.packages import Workplace, log_of, make_source


class Signer:
    """A key, made for a test."""

    def __init__(self, home: Path, name: str) -> None:
        self.home = home
        self.name = name
        home.mkdir(mode=0o700)
        self._gpg("--passphrase", "", "--quick-generate-key", name, "ed25519", "sign")

    def _gpg(self, *words: str) -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", *words]
        return subprocess.run(command, check=True, capture_output=True).stdout

    def public_key(self, *words: str) -> bytes:
        return self._gpg(*words, "--export", self.name)

    def sign(self, release: Path) -> None:
        self._gpg("--yes", "--clearsign", "--output", str(release.with_name("InRelease")), str(release))

    def end(self) -> None:
        subprocess.run(["gpgconf", "--homedir", self.home, "--kill", "all"], check=True)


@pytest.fixture
def signer() -> Iterator[Callable[[str], Signer]]:
    # Short: the agent's socket is in it.
    with tempfile.TemporaryDirectory(prefix="key-", dir="/tmp") as place:
        made: list[Signer] = []

        def make(name: str) -> Signer:
            made.append(Signer(Path(place) / name, name))
            return made[-1]

        yield make
        for each in made:
            each.end()


def build(work: Workplace, *words: str) -> tuple[int, str]:
    return work.build(make_source(work.place, "dpkg --status special", depends="special"), *words)


@pytest.mark.parametrize("work", ["user"], indirect=True)
def test_a_signed_repository_is_used_with_its_key_alone(
    work: Workplace, repository: tuple[Path, str], signer: Callable[[str], Signer]
) -> None:
    place, address = repository
    owner = signer("owner")
    owner.sign(place / "Release")
    key = work.place / "key.asc"
    key.write_bytes(owner.public_key("--armor"))
    look = "cat /etc/apt/sources.list.d/cowbuild-extra.list; echo trusted: $(ls /etc/apt/trusted.gpg.d | grep -c cow)"
    words = ("--extra-repository", f"deb {address} ./", "--extra-repository-key", str(key))
    code, printed = build(work, *words, "--starting-build-commands", look)
    assert code == 0, printed[-3000:]
    assert "\nStatus: install ok installed\n" in printed
    keyrings = "/usr/share/keyrings/debian-archive-keyring.gpg,/etc/apt/keyrings/cowbuild-0.asc"
    assert f"\ndeb [signed-by={keyrings}] {address} ./\n" in printed
    assert "\ntrusted: 0\n" in printed


@pytest.mark.parametrize("work", ["user"], indirect=True)
def test_deb822_is_taken_with_a_key_inside_a_keyring_of_the_machine_or_a_key_given(
    work: Workplace, repository: tuple[Path, str], signer: Callable[[str], Signer]
) -> None:
    place, address = repository
    owner = signer("owner")
    owner.sign(place / "Release")
    armored = owner.public_key("--armor")
    lines = [line or "." for line in armored.decode().splitlines()]
    keyring = work.place / "keyring.gpg"
    keyring.write_bytes(owner.public_key())
    fields = f"Types: deb\nURIs: {address}\nSuites: ./\n"
    inside = work.place / "inside.sources"
    inside.write_text("# of a test\n" + fields + "Signed-By:\n" + "".join(f" {line}\n" for line in lines))
    look = "cat /etc/apt/sources.list.d/cowbuild-extra.sources"
    dsc = make_source(work.place, "dpkg --status special", depends="special")
    for words in (
        [str(inside)],
        [fields + f"Signed-By: {keyring}\n"],
        [fields, "--extra-repository-key", str(keyring)],
    ):
        code, printed = work.build(dsc, "--nolog", "--extra-repository", *words, "--starting-build-commands", look)
        assert code == 0, printed[-3000:]
        assert "\nStatus: install ok installed\n" in printed
        assert f"\nURIs: {address}\n" in printed
    # None of them makes a repository believed whose key is another.
    signer("stranger").sign(place / "Release")
    code, printed = work.build(dsc, "--nolog", "--extra-repository", str(inside))
    assert code == 3
    assert "are not signed as they must be" in printed


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Types: deb\nURIs: http://x\n", "it has no Suites"),
        ("Types: rpm\nURIs: http://x\nSuites: ./", "Types are deb and deb-src, not 'rpm'"),
        ("Types: deb\nURIs: /x\nSuites: ./", "'/x' in URIs has no scheme"),
        ("Types: deb\nURIs: http://x\nSuites: sid", "it needs Components"),
        ("Types: deb\nURIs: http://x\nSuites: ./\nComponents: main", "it needs Components"),
        ("/nonexistent.sources", "No such file"),
        ("Types: deb\nURIs: http://x\nSuites: ./\n\nTypes: deb\n", "it has no URIs"),
    ],
)
def test_what_is_no_deb822_that_apt_would_take_is_said_at_once(text: str, why: str) -> None:
    with pytest.raises(Misuse, match=re.escape(why)):
        extra_repositories.check_repositories([text], [])


def test_a_repository_signed_by_another_or_by_nobody_is_refused_unless_trusted(
    work: Workplace, repository: tuple[Path, str], signer: Callable[[str], Signer]
) -> None:
    place, address = repository
    signer("stranger").sign(place / "Release")
    key = work.place / "key.gpg"
    key.write_bytes(signer("owner").public_key())
    words = ("--extra-repository", f"deb {address} ./", "--extra-repository-key", str(key))
    code, printed = build(work, *words)
    assert code == 3
    log = log_of(work.output)
    assert re.search("NO_PUBKEY|Missing key", log)  # as gpgv, or sqv, says it
    assert "\nFail-Stage: apt-get-update\n" in log
    assert "\nStatus: given-back\n" in log
    assert "are not signed as they must be" in printed
    assert "--extra-repository-key FILE" in printed

    (place / "InRelease").unlink()
    dsc = work.place / "tiny_1.dsc"
    code, printed = work.build(dsc, *words, "--nolog")
    assert code == 3
    assert "is not signed" in printed
    code, printed = work.build(dsc, "--nolog", "--extra-repository", f"deb [trusted=yes] {address} ./")
    assert code == 0, printed[-3000:]


@pytest.mark.parametrize("line", ["deb", "http://x ./", "deb http://x", "deb http://x ./\ndeb http://y ./"])
def test_what_is_no_line_of_sources_list_is_said_at_once(line: str) -> None:
    with pytest.raises(Problem, match=r"is no line of sources\.list"):
        extra_repositories.check_repositories([line], [])


def test_a_key_without_a_repository_is_said_at_once(tmp_path: Path) -> None:
    extra_repositories.check_repositories(["deb [ arch=amd64 ] http://x sid main"], [tmp_path])
    with pytest.raises(Problem, match="no repository"):
        extra_repositories.check_repositories([], [tmp_path])
