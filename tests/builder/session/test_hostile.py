"""Hostile code in a build: as root, from a dependency's maintainer script, and then as the builder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builder.packages import Workplace, for_both, log_of, make_source
from tests.builder.session.test_sandbox import KEY_HOLDER

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="written with this machine's system calls")

CONTROL = "Package: hostile\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@localhost>\nDescription: bad\n"

# What either may try. Each prints what it got hold of; nothing where it failed.
TRIES = r"""
found() { echo "FOUND $1=$2"; }
found secret "$(cat SECRET 2>/dev/null)"
found breakout "$(perl -e '
    mkdir "/tmp/x"; opendir(my $top, "/"); chroot("/tmp/x") or exit; chdir($top);
    chdir("..") for 1..64; chroot("."); print "done" if -e "SECRET"' 2>/dev/null)"
found signal "$(kill -0 OUTSIDE 2>/dev/null && echo done)"
found trace_outside "$(perl -e 'print "done" if syscall(101, 16, OUTSIDE, 0, 0) == 0')"
found trace_first "$(perl -e 'print "done" if syscall(101, 16, 1, 0, 0) == 0')"
found first "$(readlink /proc/1/root /proc/1/cwd; for link in root fd cwd; do ls /proc/1/$link/ 2>/dev/null; done)"
found memory "$(head -c 1 /proc/1/mem 2>/dev/null; cat /proc/1/environ 2>/dev/null | tr '\0' ' ')"
found kernel_memory "$(head -c 1 /dev/mem 2>/dev/null; head -c 1 /proc/kcore 2>/dev/null | wc -c)"
found disk "$(rm -f /tmp/disk; mknod /tmp/disk b MAJOR MINOR 2>/dev/null && head -c 1 /tmp/disk 2>/dev/null | wc -c)"
found fuse "$(mknod /tmp/fuse c 10 229 2>/dev/null && (exec 3<>/tmp/fuse) 2>/dev/null && echo done)"
found mount "$(mount -t tmpfs tmpfs /mnt 2>/dev/null && echo done)"
found unmount "$(umount /proc/sys /proc/keys /proc /dev / 2>/dev/null && echo done)"
found remount "$(mount -o remount,rw,dev,suid / 2>/dev/null; mount -o remount,rw /dev 2>/dev/null && echo done)"
found namespace "$(unshare --user --map-root-user --mount --pid --fork sh -c '
    umount /proc/keys; umount -l /proc; umount -l /; mount -o remount,rw,dev,suid /
    mount -t proc proc /proc; mount -t sysfs sysfs /sys; kill -0 OUTSIDE && echo signal
    mkdir /tmp/new; mount -t tmpfs new /tmp/new && mkdir /tmp/new/old && pivot_root /tmp/new /tmp/new/old
    cat SECRET old/SECRET old/../SECRET' 2>/dev/null)"
found others_namespaces "$(for kind in mnt pid user; do nsenter --$kind=/proc/1/ns/$kind cat SECRET; done 2>/dev/null)"
found panic "$(echo 5 2>/dev/null > /proc/sys/kernel/panic && echo done)"
found sysrq "$(echo h 2>/dev/null > /proc/sysrq-trigger && echo done)"
found module "$(perl -e 'print "done" if syscall(175, 0, 0, "") == 0')"
found null "$({ chmod 600 /dev/null || chown 5:5 /dev/null || rm -f /dev/null; } 2>/dev/null && echo done)"
found user_keys "$(perl -e '$t="user"; $n="cowbuild-secret"; print "done" if syscall(250, 10, -4, $t, $n, 0) > 0')"
found all_keys "$(grep cowbuild-secret /proc/keys 2>/dev/null)"
found reboot "$(perl -e 'print "done" if syscall(169, 0xfee1dead, 672274793, 0, 0) == 0')"
found clock "$(date -s '2001-01-01' >/dev/null 2>&1 && echo done)"
found abstract "$(perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Peer => "\0ABSTRACT") and print "done"')"
found port "$( (exec 3<>/dev/tcp/127.0.0.1/PORT) 2>/dev/null && echo done)"
found gateway "$(perl -MIO::Socket::INET -e '
    open(my $routes, "<", "/proc/net/route"); my @ways = ("169.254.1.53", "10.0.2.2", "10.0.2.3");
    while (<$routes>) { my @f = split; push @ways, join(".", reverse map { hex } $f[2] =~ /../g) if $f[1] =~ /^0+$/ }
    for (@ways) { print "done" if IO::Socket::INET->new(PeerAddr => $_, PeerPort => PORT, Timeout => 2) }' 2>/dev/null)"
found hardware "$(cat /proc/partitions /proc/diskstats /proc/modules /proc/swaps /proc/cmdline 2>/dev/null
    find /sys/block /sys/module /sys/firmware /sys/class/* /sys/devices/pci* /proc/bus -mindepth 1 2>/dev/null)"
found name "$({ uname -n; hostname; cat /etc/hostname /etc/hosts /proc/sys/kernel/hostname; env; } | grep -w MACHINE)"
"""

AS_BUILDER = """
found setuid "$(/usr/bin/setuid-id -u | grep -x 0)"
"""

LEAVE_TRAP = "cp /usr/bin/id /usr/bin/setuid-id && chmod 4755 /usr/bin/setuid-id"


def hostile_package(place: Path, script: str) -> Path:
    tree = place / "hostile"
    (tree / "DEBIAN").mkdir(parents=True)
    tree.chmod(0o755)
    (tree / "DEBIAN/control").write_text(CONTROL)
    (tree / "DEBIAN/postinst").write_text("#!/bin/bash\n" + script + "\ntrue\n")
    (tree / "DEBIAN/postinst").chmod(0o755)
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree], check=True, capture_output=True)
    return place / "hostile.deb"


@for_both
def test_hostile_code_gets_hold_of_nothing(work: Workplace) -> None:
    secret = work.place / "secret"
    secret.write_text("secret")
    work.place.chmod(0o777)
    disk = os.stat("/").st_dev
    panic = Path("/proc/sys/kernel/panic").read_text()
    null = Path("/dev/null").stat()
    name = f"cowbuild-hostile-{os.getpid()}"
    with (
        subprocess.Popen(["sleep", "86399"]) as outside,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        abstract.bind(f"\0{name}")
        abstract.listen()
        script = TRIES + AS_BUILDER
        for word, value in {
            "SECRET": secret,
            "OUTSIDE": outside.pid,
            "MAJOR": os.major(disk),
            "MINOR": os.minor(disk),
            "ABSTRACT": name,
            "PORT": server.getsockname()[1],
            "MACHINE": socket.gethostname(),
        }.items():
            script = script.replace(word, str(value))
        as_root = script[: script.index("found setuid")]
        package = hostile_package(work.place, as_root.replace("FOUND", "AS ROOT") + LEAVE_TRAP)
        # Who builds holds a key.
        owner = work.base.owner
        holder = replace(owner, before=(*owner.before, sys.executable, "-c", KEY_HOLDER))
        keyed = replace(work, base=replace(work.base, owner=holder))
        code, printed = keyed.build(make_source(work.place, script, depends="hostile"), "--extra-package", str(package))
        assert outside.poll() is None
        outside.kill()
    assert code == 0, printed[-3000:]
    log = log_of(work.output)
    tries = TRIES.count("\nfound ")
    for word, expected in (("AS ROOT ", tries), ("FOUND ", tries + AS_BUILDER.count("\nfound "))):
        lines = [line.removeprefix(word) for line in log.splitlines() if line.startswith(word)]
        assert len(lines) == expected
        got = dict(line.split("=", 1) for line in lines)
        assert {key: value for key, value in got.items() if value not in ("", "0")} == {}
    assert Path("/proc/sys/kernel/panic").read_text() == panic
    assert Path("/dev/null").stat().st_mode == null.st_mode
    assert Path("/dev/null").stat().st_uid == null.st_uid
