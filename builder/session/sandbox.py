"""Running a command in a session's root: its own mounts, processes, network and privileges.

Everything is done by util-linux's programs from a short shell script, which `describe` shows. The script runs as
process 1 of the command's PID namespace: when it ends, or is killed, the kernel kills every process that is left.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Root inside may do what installing packages takes, and nothing that reaches past the session: no mounts, no device
# nodes, no tracing of the shell that prepared the sandbox, whose root is still the machine's. Not dac_read_search:
# /tmp is a directory of the machine's disk, of which it would open any file by its handle (open_by_handle_at(2)).
ROOT_CAPABILITIES = (
    *("chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap"),
    *("net_bind_service", "sys_chroot", "audit_write", "setfcap"),
)

START = """
set -e
umask 022
cd "$1"
hostname "$2"
read -r domain < /proc/sys/kernel/domainname
[ "$domain" = "(none)" ] || domainname "(none)"
"""

# What is mounted is first listed in dev/mounts, because each start of mount(8) takes time. Nodes are made where that is
# allowed, and bound from the machine where not, in a user namespace: read-only, so that the machine's keep their modes
# and owners. That does not keep anybody from writing to the device.
DEVICES_SCRIPT = """
mount -n -t tmpfs -o nosuid,noexec,mode=0755,size=64k tmpfs dev
makes_nodes=yes
while read -r name major minor; do
    { [ "$makes_nodes" ] && mknod -m 666 "dev/$name" c "$major" "$minor" 2>/dev/null; } || {
        makes_nodes=
        : > "dev/$name"
        echo "/dev/$name dev/$name none bind,ro,nosuid,noexec"
    }
done > dev/mounts <<END
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
END
ln -s pts/ptmx /proc/self/fd dev/
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
"""

LIST_SCRIPT = """
{
    echo proc proc proc nosuid,nodev,noexec
    echo tmpfs sys tmpfs nosuid,nodev,noexec,mode=0755,size=64k
    echo devpts dev/pts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5,X-mount.mkdir
    echo tmpfs dev/shm tmpfs nosuid,nodev,mode=1777,X-mount.mkdir
} >> dev/mounts
"""

# Of /sys there are the directories that programs expect, and what tells of processors and memory nodes: the C library
# and many others count them there. That, and all of /proc that names disks, modules and other hardware of the machine,
# is hidden. Before the first there is no sysfs in which a namespace made by the build could see the machine's: the
# kernel wants one that is whole.
HIDE_SCRIPT = """
for path in cpu node; do
    [ ! -d "/sys/devices/system/$path" ] ||
        echo "/sys/devices/system/$path sys/devices/system/$path none bind,ro,nosuid,nodev,noexec,X-mount.mkdir"
done >> dev/mounts
for path in cmdline diskstats interrupts iomem ioports kallsyms mdstat modules partitions swaps; do
    [ ! -e "/proc/$path" ] || echo "dev/null proc/$path none bind,ro,nosuid,noexec"
done >> dev/mounts
for path in acpi asound bus driver fs scsi; do
    [ ! -e "/proc/$path" ] || echo "none proc/$path tmpfs ro,nosuid,nodev,noexec,size=4k,mode=0555"
done >> dev/mounts
"""

# Without a user namespace root inside owns these as much as root outside does.
PROTECT_PROC_SCRIPT = """
for path in sys sysrq-trigger irq; do
    [ ! -e "/proc/$path" ] || echo "proc/$path proc/$path none bind,ro,nosuid,nodev,noexec"
done >> dev/mounts
for path in kcore keys kmsg timer_list; do
    [ ! -e "/proc/$path" ] || echo "dev/null proc/$path none bind"
done >> dev/mounts
"""

# Whom the machine asks for names is of no use where no network is.
NO_NAMES_SCRIPT = """
[ -L etc/resolv.conf ] || [ ! -f etc/resolv.conf ] || echo "dev/null etc/resolv.conf none bind" >> dev/mounts
"""

MOUNT_SCRIPT = """
mount -n --all --fstab dev/mounts
rm dev/mounts
"""

# Some programs look for these, empty as they are.
SYS_SCRIPT = """
(
    cd sys
    mkdir -p block bus class/net dev/block dev/char devices/system/cpu devices/system/node \
        firmware fs/cgroup kernel module
)
mount -n -o remount,ro,nosuid,nodev,noexec sys
mount -n -o remount,ro,nosuid,noexec dev
"""

# Another root, in the directory of that name which the command's own has for it.
NESTED_SCRIPT = """
mount -n --rbind {root} tested
cd tested
{furnish}
cd "$1"
"""

# Privileges are dropped by the machine's programs, before the root, of which nothing is to be believed, is entered.
# setpriv's list is put together here because autopkgtest takes its words apart at commas.
BESIDE_SCRIPT = """
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
IFS=$(printf '\\054')
kept=$(set -- -all {kept}; echo "$*")
[ /proc/self/ns/user -ef /proc/{process}/ns/user ] && user= || user=--user
exec {started_with} nsenter --target {process} $user --mount --pid --ipc --uts --net --cgroup --root=/ --wd=/ -- \\
    {network} setpriv --bounding-set="$kept" --inh-caps=-all {privileges} -- chroot {identity} /proc/{process}/root "$@"
"""

WITHOUT_NETWORK = """unshare --net -- sh -c 'ip link set lo up; exec "$@"' sh"""

# Moved onto "/", the new root has nothing above it: ".." leads nowhere. (So does switch_root; pivot_root would need a
# umount inside the new root.) The shell stays as process 1 to reap what the command orphans.
ENTER = """
shift 2
mount -n --move . /
status=0
umask {umask}
{started_with} setpriv {privileges} -- chroot {identity} . "$@" || status=$?
exit "$status"
"""


@dataclass(frozen=True)
class Identity:
    """Whom a command runs as inside: numbers, because the names of the machine mean nothing there."""

    uid: int = 0
    gid: int = 0

    @property
    def privileges(self) -> str:
        """Options for setpriv(1), with which others than root get no privilege by setuid programs."""
        return "" if self == ROOT else "--no-new-privs"

    @property
    def names(self) -> str:
        """Options for chroot(1)."""
        return "" if self == ROOT else f"--userspec={self.uid}:{self.gid} --groups={self.gid}"


ROOT = Identity()


@dataclass(frozen=True)
class Sandbox:
    """A root directory, and what a command in it is to see."""

    root: Path
    hostname: str = "cowbuild"
    started_with: str = ""
    """Words before every command, for the shell: its personality, its processors."""
    domain: str = ""
    """The name of the NIS domain; none is the machine's."""
    umask: str = "022"
    clock_ahead: int = 0
    """Seconds by which the clocks that count from the machine's start are ahead of the machine's."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(
        self,
        inner: Sequence[str],
        *,
        identity: Identity = ROOT,
        network: bool = False,
        directory: str = "/",
        environment: Mapping[str, str] | None = None,
        nested: Path | None = None,
    ) -> list[str]:
        """The whole command line that runs `inner` in the sandbox.

        Its exit code is inner's; 128 + N when inner died of signal N. Killing it kills everything in it.
        `environment` is added to the sandbox's own; nothing of the builder's comes through. `nested` is another root,
        to be seen as /tested, where chroot leads into it.
        """
        # Slave: what is unmounted on the machine is unmounted here, too, and its daemon ends.
        namespaces = ["--mount", "--propagation=slave", "--pid", "--ipc", "--uts", "--cgroup"]
        namespaces += [*([] if network else ["--net"]), "--fork", "--kill-child"]
        if self.clock_ahead:
            namespaces += ["--time", f"--monotonic={self.clock_ahead}", f"--boottime={self.clock_ahead}"]
        variables = [f"{name}={value}" for name, value in {**self.environment, **(environment or {})}.items()]
        script = self.describe(identity, network=network, nested=nested)
        # coreutils' `env` in the root may be older than --chdir, and a shell is what every root has.
        enter_directory = ["/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", directory]
        return [
            *("unshare", *namespaces, "--"),
            *("sh", "-c", script, "cowbuild-sandbox", str(self.root), self.hostname),
            *("/usr/bin/env", "-i", *variables, *enter_directory, *inner),
        ]

    def describe(self, identity: Identity = ROOT, *, network: bool = False, nested: Path | None = None) -> str:
        """The script that makes the sandbox; its arguments are the root, the host name and the command."""
        kept = ",".join(f"+{name}" for name in ROOT_CAPABILITIES)
        privileges = f"--bounding-set=-all,{kept} --inh-caps=-all {identity.privileges}"
        steps = [START]
        if self.domain:
            steps.append(f"domainname {shlex.quote(self.domain)}\n")
        if not network:
            steps.append("ip link set lo up\n")
        steps.append(_furnish(protected=identity == ROOT, names=network))
        if nested is not None:
            furnish = _furnish(protected=True, names=True)
            steps.append(NESTED_SCRIPT.format(root=shlex.quote(str(nested)), furnish=furnish))
        before = {"umask": self.umask, "started_with": self.started_with}
        steps.append(ENTER.format(**before, privileges=privileges, identity=identity.names))
        return "".join(steps)

    def beside(self, process: int, identity: Identity = ROOT, *, network: bool = True) -> list[str]:
        """What stands before a command that is to run where a process, of such a sandbox, runs already.

        It ends with that sandbox at the latest; killing what this starts does not end the command itself.
        """
        script = BESIDE_SCRIPT.format(
            kept=" ".join(f"+{name}" for name in ROOT_CAPABILITIES),
            started_with=self.started_with,
            process=process,
            network="" if network else WITHOUT_NETWORK,
            privileges=identity.privileges,
            identity=identity.names,
        )
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return ["sh", "-c", script, "cowbuild-beside", "/usr/bin/env", "-i", *variables]


def _furnish(*, protected: bool, names: bool) -> str:
    """The part of the script that fills /dev, /proc and /sys of the root that is the current directory."""
    steps = [DEVICES_SCRIPT, LIST_SCRIPT, HIDE_SCRIPT]
    if protected:
        steps.append(PROTECT_PROC_SCRIPT)
    if not names:
        steps.append(NO_NAMES_SCRIPT)
    return "".join([*steps, MOUNT_SCRIPT, SYS_SCRIPT])
