"""apt in sessions through a proxy on this machine: named, configured, or found."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.debian import apt_proxy
from tests.builder.conftest import Recording
from tests.builder.packages import Workplace, make_source

ARCHIVE = "http://archive.invalid"
"""Nobody has this name: only a proxy can answer for it."""

FINDS = "#!/bin/sh\necho {}\n"


def finder(directory: Path, script: str) -> Path:
    """A stand-in for the program, which looks for proxies at places that no test can have."""
    program = directory / "bin" / apt_proxy.PROGRAM
    program.parent.mkdir()
    program.write_text(script)
    program.chmod(0o755)
    return program.parent


@pytest.mark.parametrize(
    ("work", "way"), [("root", "named"), ("user", "configured"), ("user", "found")], indirect=["work"]
)
def test_apt_asks_the_proxy_that_is_named_configured_or_found(
    work: Workplace, way: str, repository: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, address = repository
    # What a server is asked for as a proxy is the whole address.
    (place / "http:").mkdir()
    (place / "http:/archive.invalid").symlink_to(place)
    dsc = make_source(work.place, "dpkg --status special", depends="special")
    words = ["--nolog", "--downloads-size", "0", "--extra-repository", f"deb [trusted=yes] {ARCHIVE} ./"]
    # The test's proxy does not know them.
    words += ["--chroot-setup-commands", "rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*"]

    if way == "named":
        words += ["--apt-proxy", address]
    elif way == "configured":
        (work.configuration / "cowfs").mkdir(parents=True)
        (work.configuration / "cowfs/cowbuild.toml").write_text(f'[build]\napt-proxy = "{address}"\n')
    else:
        monkeypatch.setenv("PATH", str(finder(work.place, FINDS.format(address))), prepend=":")
    code, printed = work.build(dsc, *words)
    assert code == 0, printed[-3000:]
    assert f"{ARCHIVE}/./special.deb" in Recording.asked


def test_a_finder_that_fails_or_finds_none_leaves_it_to_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setenv("PATH", str(finder(tmp_path, FINDS.format("DIRECT"))), prepend=":")
    assert apt_proxy.find(None, said.append) == ""
    assert said == []
    (tmp_path / "bin" / apt_proxy.PROGRAM).write_text("#!/bin/sh\necho no network >&2; exit 3\n")
    assert apt_proxy.find(None, said.append) == ""
    assert said == ["W: auto-apt-proxy finds no proxy for apt: exit code 3 no network"]
    assert apt_proxy.find("none", said.append) == "DIRECT"
