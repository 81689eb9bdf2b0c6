"""What the workloads work on: Debian bases, packages, a tree of Linux. Made or downloaded once, kept in .cache."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.results import say
from builder.debian.apt import download_source, sources

TREE_FILES = 20_000
REPOSITORY_CHANGED = 2_000


@contextmanager
def made_whole(path: Path) -> Iterator[Path]:
    """A new place that gets the name `path` when all went well."""
    partial = path.with_name(f"{path.name}.partial")
    if partial.is_dir():
        shutil.rmtree(partial)
    partial.unlink(missing_ok=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    say(f"making {path}, once")
    yield partial
    partial.rename(path)


def debian(cache: Path, suite: str) -> Path:
    """A base as `cowbuild create` makes it."""
    path = cache / f"base-{suite}"
    cache.mkdir(parents=True, exist_ok=True)
    # The tests want the same base, and wait for whoever makes it.
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            say(f"making {path}, once")
            subprocess.run([sys.executable, "-m", "builder", "create", str(path), "--suite", suite], check=True)
    return path


def package_source(cache: Path, package: str, suite: str) -> Path:
    """A directory with the package's source."""
    path = cache / f"bench-source-{package}"
    if not path.exists():
        with made_whole(path) as fetched:
            fetched.mkdir()
            download_source(package, None, suite, fetched)
            shutil.rmtree(fetched / "apt")
    return path


def package_base(cache: Path, package: str, suite: str, *, download_only: bool = False) -> tuple[Path, Path]:
    """A directory tree with everything the package needs to build, and a directory with its source.

    `download_only`: what it needs is not installed but lies in apt's cache.
    """
    source, base = package_source(cache, package, suite), cache / f"bench-base-{suite}-{package}"
    extra = ""
    if download_only:
        base = base.with_name(base.name + "-downloaded")
        extra = "--download-only -o APT::Keep-Downloaded-Packages=true"
    if not base.exists():
        description = next(source.glob("*.dsc"))
        install = f"apt-get -q update && apt-get -q build-dep -y --no-install-recommends {extra} /{description.name}"
        with made_whole(base) as made:
            subprocess.run(
                [
                    "mmdebstrap", "--quiet", "--variant=minbase", "--include=build-essential",
                    f"--customize-hook=copy-in {description} /",
                    f"--customize-hook=chroot \"$1\" sh -c '{install}'",
                    *(["--skip=cleanup/apt"] if download_only else []),
                    suite, str(made), *sources(suite),
                ],
                check=True,
            )  # fmt: skip
    return base, source


def linux_tree(cache: Path) -> Path:
    """A tar archive of the first 20,000 files of the linux-source that the machine's release has."""
    path = cache / "bench-linux.tar"
    if not path.exists():
        with made_whole(cache / "bench-linux-source") as place:
            place.mkdir()
            listed = subprocess.run(
                ["apt-cache", "depends", "--important", "linux-source"], capture_output=True, text=True, check=True
            ).stdout
            name = next(line.split()[-1] for line in listed.splitlines() if "Depends:" in line)
            options = ("-o", "APT::Sandbox::User=root")
            subprocess.run(["apt-get", "-q", *options, "download", name], cwd=place, check=True)
            [package] = place.glob("*.deb")
            subprocess.run(["dpkg-deb", "--extract", str(package), str(place)], check=True)
        with made_whole(path) as made:
            [archive] = (cache / "bench-linux-source").glob("usr/src/*.tar.xz")
            keep_first_files(archive, made, TREE_FILES)
        shutil.rmtree(cache / "bench-linux-source")
    return path


def keep_first_files(archive: Path, target: Path, count: int) -> None:
    kept = 0
    with tarfile.open(archive, "r|*") as whole, tarfile.open(target, "w") as part:
        for member in whole:
            if not member.isdir() and not member.isfile():
                continue
            part.addfile(member, whole.extractfile(member) if member.isfile() else None)
            kept += member.isfile()
            if kept == count:
                return
    raise RuntimeError(f"{archive} has {kept} files only")


def repository(cache: Path) -> Path:
    """A tar archive of that tree as a git work tree, with the branches `original` and `changed`."""
    path = cache / "bench-repository.tar"
    tree = linux_tree(cache)
    if not path.exists():
        with made_whole(cache / "bench-repository") as place:
            place.mkdir()
            subprocess.run(["tar", "--extract", "--file", str(tree), "--directory", str(place)], check=True)
            files = sorted(os.path.join(top, name) for top, _, names in os.walk(place) for name in names)
            identity = ("-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgSign=false")

            def git(*arguments: str) -> None:
                subprocess.run(["git", "-C", str(place), *identity, *arguments], check=True)

            git("init", "--quiet", "--initial-branch=original")
            # What the tree's own .gitignore names, too.
            git("add", "--all", "--force")
            git("commit", "--quiet", "--message=original")
            git("checkout", "--quiet", "-b", "changed")
            for name in files[:: TREE_FILES // REPOSITORY_CHANGED]:
                with open(name, "ab") as file:
                    file.write(b"\n/* changed */\n")
            git("commit", "--quiet", "--all", "--message=changed")
            git("checkout", "--quiet", "original")
        with made_whole(path) as made:
            command = ["tar", "--create", "--file", str(made), "--directory", str(cache / "bench-repository"), "."]
            subprocess.run(command, check=True)
        shutil.rmtree(cache / "bench-repository")
    return path
