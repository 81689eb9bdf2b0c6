"""What the escapes in commands of the user's stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.build.hooks import Escapes, WayInside, reach_into_session

KNOWN = Escapes("arm64", "amd64", "/build/x", "/build/x/tiny-1", "/in/tiny_1.dsc", package="tiny", version="1:1")


@pytest.mark.parametrize(
    ("command", "becomes"),
    [
        ("%a %SBUILD_HOST_ARCH %SBUILD_BUILD_ARCH", "arm64 arm64 amd64"),
        ("%d %SBUILD_DSC %p/x %b", "/in/tiny_1.dsc /in/tiny_1.dsc /build/x/tiny-1/x /build/x"),
        ("%SRCPACKAGE=%SRCPACKAGE_VERSION", "tiny=1:1"),
        ("100%% %%a %z", "100% %a %z"),
        ("%c %SBUILD_CHANGES %e %r %SBUILD_LOG_PATH", "%c %SBUILD_CHANGES %e %r %SBUILD_LOG_PATH"),  # not known yet
    ],
)
def test_an_escape_is_what_is_known_for_it(command: str, becomes: str) -> None:
    assert KNOWN.put_into(command) == becomes


def test_what_comes_later_is_known_then() -> None:
    inside = WayInside(Path("/s/root"), Path("/s/run-in-session"))
    later = Escapes("a", "a", "", "", "", changes="t.changes", inside=inside, log=Path("/out/t.build"))
    command = "%c %e ls; %SBUILD_CHROOT_EXEC %SBUILD_CHROOT_DIR %SBUILD_LOG_DIR %SBUILD_LOG_BASENAME"
    assert later.put_into(command) == "t.changes /s/run-in-session ls; /s/run-in-session /s/root /out t.build"


@pytest.mark.parametrize(
    ("command", "reaches"),
    [("%e ls", True), ("cat x | %SBUILD_CHROOT_EXEC sh", True), ("ls %r", True), ("echo 5%%e %a", False)],
)
def test_whether_a_command_needs_the_session_is_seen(command: str, reaches: bool) -> None:
    assert reach_into_session({"pre-build": ["true", command]}, "pre-build") is reaches
    assert not reach_into_session({"post-build": [command]}, "pre-build")
