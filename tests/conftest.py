"""Fixtures for every test: a private mount namespace, scratch file systems, and mounts that leave nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from setup import io_uring_switch
from tests.harness import syscalls
from tests.harness.bench import Workbench
from tests.harness.hostile import Grounds
from tests.harness.mounts import Mount
from tests.harness.trees import Description
from tests.harness.users import as_user, fuse_device_for_everybody

# Always the same random tests, so that a failure has one cause: the change just made. Only "shrink" looks for the
# shortest failing sequence, since that takes minutes.
_FIND = (Phase.explicit, Phase.generate)
settings.register_profile("steady", derandomize=True, max_examples=60, phases=_FIND)
settings.register_profile("random", max_examples=60, phases=_FIND)
settings.register_profile("soak", max_examples=1200, phases=_FIND)
settings.register_profile("shrink", derandomize=True, max_examples=60, phases=(*_FIND, Phase.shrink))
settings.load_profile("steady")

ENGINES = ("direct", "device", "pyfuse3")
"""The first over io_uring, where the kernel has that."""


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell has it ignored by what it starts in the background, and all that is started here would ignore it, too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" not in os.environ:  # once for all workers, from before the first to after the last
        switch = ExitStack()
        switch.enter_context(io_uring_switch.switched_on())
        config.add_cleanup(switch.close)
    config.addinivalue_line("markers", "root: needs the rights of root")
    config.addinivalue_line("markers", "direct_only: asks for what pyfuse3 has no request for (docs/limits.md)")
    config.addinivalue_line("markers", "by_device: is about reading /dev/fuse, which over io_uring nobody does")
    config.addinivalue_line(
        "markers", "slow: takes half a minute or more; is begun first, where several processes test"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without root, what mounts is left out: the union, the protocol and the builder are tested all the same."""
    if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
        items[:] = _dealt_out(items, workers)
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root") or "scratch" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason="needs root, to mount in a namespace of its own"))


def _dealt_out(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """In an order in which each worker begins with its share of the slow tests: for one begun last all would wait.

    As many tests in a row are a worker's share; who has none left takes from the end of another's.
    """
    slow = [item for item in items if item.get_closest_marker("slow")]
    others = iter([item for item in items if not item.get_closest_marker("slow")])
    dealt: list[pytest.Item] = []
    for worker in range(workers):
        share = (len(items) - len(dealt)) // (workers - worker)
        first = slow[worker::workers]
        dealt += [*first, *islice(others, max(0, share - len(first)))]
    return [*dealt, *others]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes an `engine`, by itself or through `bench`, runs on each that can do what it asks for."""
    if "engine" in metafunc.fixturenames:
        left_out = {
            "pyfuse3": metafunc.definition.get_closest_marker("direct_only"),
            "direct": metafunc.definition.get_closest_marker("by_device"),
        }
        metafunc.parametrize("engine", [name for name in ENGINES if not left_out.get(name)])


@pytest.fixture(scope="session", autouse=True)
def _own_history() -> Iterator[None]:
    """Builds of tests are no part of the machine's history. Plain users of tests look there, too."""
    with tempfile.TemporaryDirectory(prefix="cowfs-tests-", dir="/tmp") as place, pytest.MonkeyPatch.context() as patch:
        os.chmod(place, 0o755)
        patch.setenv("XDG_STATE_HOME", place)
        yield


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A tmpfs that only this run sees: a killed run leaves neither mounts nor files."""
    top = Path(tempfile.mkdtemp(prefix="cowfs-tests-", dir="/tmp"))
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("cowfs-tests", str(top), "tmpfs", data="mode=755")
    yield top
    syscalls.umount(str(top), syscalls.MNT_DETACH)
    top.rmdir()


@pytest.fixture(scope="session")
def ext4(scratch: Path) -> Iterator[Path]:
    """A fresh ext4 on a loop device."""
    image, point = scratch / "ext4.img", scratch / "ext4"
    with image.open("wb") as file:
        file.truncate(512 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=1,nodiscard", str(image)], check=True)
    point.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(point)], check=True)
    yield point
    subprocess.run(["umount", str(point)], check=True)
    image.unlink()


@pytest.fixture
def place(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Path]:
    """A directory for one test; on ext4 when a test is parameterised so (`place` indirectly, "ext4")."""
    kind = getattr(request, "param", "tmpfs")
    parent = request.getfixturevalue("ext4") if kind == "ext4" else scratch
    top = Path(tempfile.mkdtemp(prefix="t", dir=parent))
    top.chmod(0o755)
    yield top
    shutil.rmtree(top, ignore_errors=True)


@pytest.fixture
def fuse_for_everybody() -> Iterator[None]:
    """/dev/fuse open to plain users while the test runs."""
    with fuse_device_for_everybody():
        yield


@pytest.fixture(scope="session")
def plain_users_namespaces() -> None:
    """Skips where a plain user cannot make a user namespace: in a chroot nobody can."""
    try:
        as_user(lambda: syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS))
    except OSError as error:
        pytest.skip(f"a plain user can make no user namespace here, as in a chroot: {error.strerror}")


@pytest.fixture
def bench(place: Path, engine: str) -> Iterator[Workbench]:
    workbench = Workbench(place, engine)
    yield workbench
    workbench.close()


@pytest.fixture
def mounted(bench: Workbench) -> Callable[[Description], Mount]:
    """`mounted(description)`: a mount, with a kept layer, of a base made from the description."""
    return bench.mounted


@pytest.fixture
def grounds(bench: Workbench) -> Iterator[Grounds]:
    """A base to attack and a canary outside of it; both are compared at the end."""
    made = Grounds(bench)
    yield made
    made.check()
