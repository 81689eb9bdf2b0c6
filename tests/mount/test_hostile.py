"""Bases and layers whose content somebody forged: an error or something harmless, never a way out or a traceback."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

from tests.harness import actions
from tests.harness.hostile import Grounds, shown, try_everything, walk
from tests.harness.mounts import Mount
from tests.harness.snapshot import snapshot
from tests.harness.trees import Description, Entry, character_device, directory, fifo, file, make_tree, symlink

pytestmark = pytest.mark.root


MARKED = ("redirect", "opaque", "metacopy", "origin", "whiteout", "nonsense", "cowfs.origin", "overlay.opaque")


def _redirects() -> list[bytes]:
    return [
        *(
            b"/",
            b"..",
            b"/..",
            b"/../canary",
            b"../canary",
            b"d/../../canary",
            b"/d/",
            b"//d",
            b"",
            b".",
            b"/.",
            b"/d/./sub",
        ),
        *(
            b"/self",
            b"self",
            b"/self/self",
            b"\xff\xfe",
            b"/" + b"x" * 300,
            b"/" + b"d/" * 500,
            b"a\nb",
            b"\0",
            b"/d\0/sub",
        ),
        *(b"/file", b"file", b"/link", b"/link/secret", b"/loop/loop", b"/work", b"/upper"),
    ]


def test_redirects_that_lead_astray(grounds: Grounds) -> None:
    redirects = _redirects()
    canary = os.fsencode(grounds.canary)
    make_tree(str(grounds.base), {"link": symlink(canary), "loop": symlink("loop"), "up": symlink("../canary")})
    grounds.make_layer()
    grounds.forge(
        {
            **{f"r{n}": directory(xattrs={"trusted.overlay.redirect": to}) for n, to in enumerate(redirects)},
            "self": directory(xattrs={"trusted.overlay.redirect": b"/self"}),
            "a": directory(xattrs={"trusted.overlay.redirect": b"/b"}),
            "b": directory(xattrs={"trusted.overlay.redirect": b"/a"}),
            "d/again": directory(xattrs={"trusted.overlay.redirect": b"/d"}),
            "canary": directory(xattrs={"trusted.overlay.redirect": canary}),
            "up": directory(xattrs={"trusted.overlay.redirect": b"up"}),
        }
    )
    mount = grounds.mount()
    assert b"secret" not in shown(snapshot(mount.path))
    try_everything(mount.path)
    mount.remount()
    assert b"secret" not in shown(snapshot(mount.path))


def test_a_redirect_in_a_lower_layer_that_leads_astray(grounds: Grounds) -> None:
    grounds.make_layer()
    grounds.forge({f"r{n}": directory(xattrs={"trusted.overlay.redirect": to}) for n, to in enumerate(_redirects())})
    mount = grounds.bench.mount(grounds.layer, grounds.base, layer=grounds.bench.place / "top")
    assert b"secret" not in shown(snapshot(mount.path))
    try_everything(mount.path)


def test_links_out_of_base_and_layer_are_not_followed(grounds: Grounds) -> None:
    out: Description = {
        **{f"link{number}": symlink(target) for number, target in enumerate(("/", "..", "../canary", "../../canary"))},
        "to-canary": symlink(os.fsencode(grounds.canary)),
        "to-secret": symlink(os.fsencode(grounds.canary / "secret")),
        "loop": symlink("loop"),
        "empty-looking": symlink("."),
    }
    make_tree(str(grounds.base / "links"), out)
    grounds.make_layer()
    grounds.forge({f"links-of-layer/{name!s}": entry for name, entry in out.items()})
    shutil.rmtree(grounds.upper / "d")
    (grounds.upper / "d").symlink_to(grounds.canary)  # where the base has a directory
    mount = grounds.mount()
    assert os.readlink(mount.path + b"/d") == os.fsencode(grounds.canary)
    for name in (b"links", b"links-of-layer"):
        for _, status in list(walk(mount.path + b"/" + name)):
            assert stat.S_ISLNK(status.st_mode)
    try_everything(mount.path)


def test_forged_marks_of_every_kind_on_every_type(grounds: Grounds) -> None:
    values = (
        b"",
        b"y",
        b"x",
        b"n",
        b"Y",
        b"\xff" * 200,
        b"0-1",
        b"1-2",
        b"-1",
        b"0-99999999999999999999999999",
        b"y\0",
    )
    xattrs = [{f"trusted.overlay.{mark}": value} for mark in MARKED for value in values]
    entries: dict[str, Entry] = {}
    for number, forged in enumerate(xattrs):
        entries[f"f{number}"] = file(b"forged", xattrs=forged)
        entries[f"d{number}/in"] = file(b"in", xattrs=forged)
        entries[f"d{number}"] = directory(xattrs=forged)
    entries["whiteout"] = character_device(0, 0, xattrs={"trusted.overlay.opaque": b"y"})
    entries["file"] = character_device(0, 0, 0o777, xattrs={"trusted.overlay.cowfs.origin": b"0-1"})
    entries["d"] = directory(xattrs={"trusted.overlay.opaque": b"x"})
    entries["fifo"] = fifo(xattrs={"trusted.overlay.opaque": b"y", "trusted.overlay.redirect": b"/d"})
    grounds.make_layer()
    for name in ("file", "d/inside"):
        os.unlink(grounds.upper / name)
    grounds.forge(entries)
    mount = grounds.mount()
    assert not os.path.lexists(mount.path + b"/whiteout")
    assert not os.path.lexists(mount.path + b"/file")
    snapshot_of = sorted(os.listdir(mount.path + b"/d"))
    assert snapshot_of == [b"inside", b"sub"]  # only "y" makes opaque
    try_everything(mount.path)
    mount.remount()
    list(walk(mount.path))


def test_origins_that_name_other_files(grounds: Grounds) -> None:
    """Two files may claim to be one, or to be a directory: they stay the files they are, told apart by st_ino."""
    file_inode, d_inode = os.stat(grounds.base / "file").st_ino, os.stat(grounds.base / "d").st_ino
    grounds.make_layer()

    def origin(text: str) -> dict[str, bytes]:
        return {"trusted.overlay.cowfs.origin": text.encode()}

    grounds.forge(
        {
            "one": file(b"one", xattrs=origin(f"0-{file_inode}")),
            "two": file(b"two", xattrs=origin(f"0-{file_inode}")),
            "three": symlink("x", xattrs=origin(f"0-{file_inode}")),
            "four": file(b"four", xattrs=origin(f"0-{d_inode}")),
            "five": file(b"five", xattrs=origin("0-1")),
            "six": file(b"six", xattrs=origin("99-1")),
            "seven": file(b"seven", xattrs=origin("0-0")),
        }
    )
    mount = grounds.mount()
    for name in ("one", "two", "four", "five", "six", "seven"):
        assert actions.read(mount.path + b"/" + name.encode()) == name.encode()
    assert os.listdir(mount.path + b"/d")
    numbers = [os.lstat(os.path.join(mount.path, name)).st_ino for name in os.listdir(mount.path)]
    assert len(set(numbers)) == len(numbers) - 1  # linked and linked-too
    actions.write(mount.path + b"/two", b"TWO")
    assert actions.read(mount.path + b"/one") == b"one"
    assert actions.read(mount.path + b"/file") == b"content!"
    try_everything(mount.path)


def test_opening_special_files_of_base_and_layer_does_not_block_the_daemon(grounds: Grounds) -> None:
    """FIFOs, sockets and devices of the layers are the kernel's affair; the daemon never opens one."""
    special: Description = {"fifo": fifo(), "zero": character_device(1, 5), "tape": character_device(9, 128)}
    make_tree(str(grounds.base / "special"), special)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(grounds.base / "special/socket"))
    grounds.make_layer()
    grounds.forge({f"special/{name!s}-of-layer": entry for name, entry in special.items()})
    mount = grounds.mount()
    for name in (b"fifo", b"fifo-of-layer"):
        path = mount.path + b"/special/" + name
        with actions.opened(path, os.O_RDWR | os.O_NONBLOCK) as both:
            os.write(both, b"through")
            assert os.read(both, 7) == b"through"
        actions.error_of(lambda: os.truncate(path, 0))  # noqa: B023
        actions.error_of(lambda: os.setxattr(path, "user.x", b"1"))  # noqa: B023
    try_everything(mount.path)


def test_names_and_attribute_names_of_odd_bytes(grounds: Grounds) -> None:
    odd = [b"\xff\xfe", b"a\nb", b" ", b"-rf", b"\\", b"\x01\x7f", b"%s%n", b"..x", b"x" * 255, "ü".encode()]
    names = [b"user." + name[:200] for name in odd] + [b"trusted.\xff", b"user.cowfs.stats"]
    for path in (grounds.base / "file", grounds.base / "d"):
        for name in names:
            os.setxattr(path, name, b"\0\xff\n")
    make_tree(str(grounds.base / "odd"), {name: file(name) for name in odd})
    grounds.make_layer()
    mount = grounds.mount()
    for shown_path in (mount.path + b"/file", mount.path + b"/d"):
        assert set(names) <= {os.fsencode(name) for name in os.listxattr(shown_path)}
        for name in names:
            assert os.getxattr(shown_path, name) == b"\0\xff\n"
    assert sorted(os.listdir(mount.path + b"/odd")) == sorted(odd)
    try_everything(mount.path)


def test_very_deep_trees(grounds: Grounds) -> None:
    """Ten times deeper than PATH_MAX can say."""
    depth, name = 400, "n" * 100
    descriptor = os.open(grounds.base, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=descriptor)
        deeper = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    point = grounds.bench.place / "mnt"
    point.mkdir()
    mount = Mount(str(grounds.base), point, grounds.layer, grounds.bench.engine, grounds.bench.place / "deep.log")
    mount.start()
    try:
        descriptor = os.open(point, os.O_RDONLY)
        for _ in range(depth):
            deeper = os.open(name, os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
        leaf = os.open("leaf", os.O_WRONLY, dir_fd=descriptor)
        assert os.write(leaf, b"deep") == 4
        os.close(leaf)
        os.rename("leaf", "moved", src_dir_fd=descriptor, dst_dir_fd=descriptor)
        assert os.listdir(descriptor) == ["moved"]
        os.close(descriptor)
    finally:
        mount.end()
        shutil.rmtree(grounds.layer)
        _remove_deep(grounds.base, name, depth)


def _remove_deep(base: Path, name: str, depth: int) -> None:
    """shutil.rmtree would need as many descriptors as the tree is deep."""
    os.chdir(base)
    try:
        for _ in range(depth):
            os.chdir(name)
        os.unlink("leaf")
        for _ in range(depth):
            os.chdir("..")
            os.rmdir(name)
    finally:
        os.chdir("/")


def test_directories_of_mode_0(grounds: Grounds) -> None:
    make_tree(str(grounds.base), {"closed/in": file(b"in", mode=0), "closed": directory(mode=0)})
    grounds.make_layer()
    grounds.forge({"shut/in": file(b"in", mode=0), "shut": directory(mode=0)})
    mount = grounds.mount()
    for name in (b"/closed", b"/shut"):
        assert stat.S_IMODE(os.stat(mount.path + name).st_mode) == 0
        assert actions.read(mount.path + name + b"/in") == b"in"
        actions.append(mount.path + name + b"/in", b"!")
        assert stat.S_IMODE(os.stat(mount.path + name + b"/in").st_mode) == 0
    try_everything(mount.path)
