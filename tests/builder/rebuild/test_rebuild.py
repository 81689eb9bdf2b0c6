"""`cowbuild rebuild`: exactly what a .buildinfo tells of, after the archive went on, too; and what cannot be found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.process import together
from tests.builder.packages import COWBUILD, Workplace, make_source
from tests.builder.rebuild import snapshot_service
from tests.builder.rebuild.snapshot_service import Service, make_package

SCRIPT = "sed 's/^/# /' /usr/share/needle/version >> debian/control"


@pytest.fixture
def service() -> Iterator[Service]:
    with snapshot_service.running() as service:
        yield service


@dataclass(frozen=True)
class Built:
    """A package, built with the old needle."""

    work: Workplace
    buildinfo: Path

    def rebuild(self, *options: str) -> tuple[int, str]:
        command = [*self.work.base.owner.before, *COWBUILD, "rebuild", str(self.buildinfo)]
        command += ["--base", str(self.work.base.path), "--output", str(self.again), *options]
        done = together(command, environment=self.work.environment)
        self.work.assert_nothing_left()
        return done.returncode, done.stdout

    @property
    def again(self) -> Path:
        return self.work.place / "again"

    @property
    def place(self) -> Path:
        return self.again / f"{self.buildinfo.stem}.rebuild"


def build(work: Workplace, service: Service, script: str = SCRIPT) -> Built:
    place = work.place / "packages"
    place.mkdir()
    old, new = (make_package(place, "needle", version) for version in ("1.0", "2.0"))
    service.add_package(old)
    service.add_package(new)
    dsc = make_source(work.place, script, depends="dpkg-dev, needle")
    code, printed = work.build(dsc, "--extra-package", str(old), "--build-path", "/build/some-where/deep")
    assert code == 0, printed[-2000:]
    for file in (dsc, dsc.with_suffix(".tar.xz")):
        shutil.copy(file, work.output)
    built = Built(work, work.output / f"{dsc.stem}_amd64.buildinfo")
    built.again.mkdir()
    os.chown(built.again, *(work.output.stat().st_uid, -1))
    return built


@pytest.mark.parametrize("work", ["user"], indirect=True)
def test_a_package_is_rebuilt_exactly_after_the_archive_went_on(work: Workplace, service: Service) -> None:
    built = build(work, service)
    # The archive has only the new one.
    packages = work.place / "packages"
    service.archive = work.place / "archive"
    service.archive.mkdir()
    shutil.copy(packages / "needle_2.0_all.deb", service.archive)
    index = subprocess.check_output(["dpkg-scanpackages", "."], cwd=service.archive, stderr=subprocess.DEVNULL)
    (service.archive / "Packages").write_bytes(index)
    options = ("--extra-repository", f"deb [trusted=yes] {service.address}/debian ./", "--snapshot", service.address)
    code, printed = built.rebuild(*options)
    assert code == 0, printed[-3000:]
    assert "tiny_1_amd64.deb  reproduced" in printed
    assert "\nRebuild: reproduced\n" in printed
    assert "tiny_1_amd64.buildinfo: not signed" in printed
    found = json.loads((built.place / "tiny_1_amd64.rebuild.json").read_text())
    assert found["reproduced"] is True
    assert [each["verdict"] for each in found["artifacts"]] == ["reproduced"]
    assert any("fakeroot:amd64" in each for each in found["more"])
    assert (built.place / "tiny_1_amd64.deb").read_bytes() == (work.output / "tiny_1_amd64.deb").read_bytes()
    assert "Build-Path: /build/some-where/deep/tiny-1\n" in (built.place / "tiny_1_amd64.buildinfo").read_text()

    service.asked.clear()
    code, printed = built.rebuild(*options)
    assert code == 0, printed[-3000:]
    assert "has exactly these packages" in printed
    assert service.asked == []


def test_what_is_different_and_what_is_missing_is_told_and_kept(work: Workplace, service: Service) -> None:
    built = build(work, service, f"{SCRIPT}; date +'# %s%N' >> debian/control")
    text = built.buildinfo.read_text()
    lost = f" {'0' * 64} 12 lost_1_all.deb\nBuild-Origin"
    built.buildinfo.write_text(text.replace("\nBuild-Origin", f"\n{lost}", 1))
    code, printed = built.rebuild("--snapshot", service.address, "--no-apt-update", "--keep", "--twice")
    assert code == 2, printed[-3000:]
    assert "lost_1_all.deb    missing" in printed
    assert "tiny_1_amd64.deb  different" in printed
    assert "\nFail-Stage: reproducible\n" in printed
    original, made = built.place / "original/tiny_1_amd64.deb", built.place / "tiny_1_amd64.deb"
    assert original.read_bytes() == (work.output / original.name).read_bytes() != made.read_bytes()
    assert "usr/share/tiny/control" in (built.place / "tiny_1_amd64.deb.diffoscope.html").read_text()
    found = json.loads((built.place / "tiny_1_amd64.rebuild.json").read_text())
    assert [each["verdict"] for each in found["artifacts"]] == ["different", "missing"]
    assert "usr/share/tiny/control" in found["artifacts"][0]["difference"]

    # Both sides of it.
    sessions = {path.parent.name for path in work.state.glob("cowfs/sessions/*/session.info")}
    assert len(sessions) == 2
    for session in sessions:
        for verb in ("fork", "enter"):
            words = [*COWBUILD, verb, session, "cat", "/usr/share/needle/version", "debian/control"]
            printed = subprocess.check_output(words, env=work.environment, text=True)
            assert "needle 1.0\nSource: tiny\n" in printed
        subprocess.run([*COWBUILD, "discard", session], env=work.environment, check=True)


def test_what_is_not_there_is_one_message_with_what_was_tried(work: Workplace, service: Service) -> None:
    built = build(work, service)
    text = built.buildinfo.read_text()
    built.buildinfo.write_text(text.replace(" needle (= 1.0)", " needle (= 0.9),\n gone (= 1:7-1)"))
    code, printed = built.rebuild("--snapshot", service.address, "--no-apt-update")
    assert code == 3, printed[-3000:]
    assert "E: The packages that it was built with cannot be had: 2 not found\n" in printed
    for name in ("gone:amd64 1:7-1", "needle:amd64 0.9"):
        assert f"I: {name}: not in the archives; {service.address}/mr/binary/{name.partition(':')[0]}/" in printed
    assert "\nStatus: given-back\n" in printed
    assert not (built.place / "tiny_1_amd64.deb").exists()


def test_the_source_comes_from_the_snapshot_and_a_binnmu_is_one_again(work: Workplace, service: Service) -> None:
    place = work.place / "packages"
    place.mkdir()
    service.add_package(old := make_package(place, "needle", "1.0"))
    dsc = make_source(work.place, SCRIPT, depends="dpkg-dev, needle")
    options = ("--extra-package", str(old), "--make-binNMU", "Rebuild.", "--maintainer", "Some One <some@one.org>")
    code, printed = work.build(dsc, *options, "--binNMU-timestamp", "1700000000")
    assert code == 0, printed[-2000:]
    service.add_source("tiny", "1", dsc, dsc.with_suffix(".tar.xz"))
    built = Built(work, work.output / "tiny_1+b1_amd64.buildinfo")
    built.again.mkdir()
    code, printed = built.rebuild("--snapshot", service.address, "--no-apt-update")
    assert code == 0, printed[-3000:]
    assert "tiny_1+b1_amd64.deb  reproduced" in printed
