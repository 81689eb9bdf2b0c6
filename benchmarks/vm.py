"""LVM beside the others, where the machine's kernel has no device-mapper: in User-Mode Linux, Debian's package of it.

    python -m benchmarks.vm [PART...] [--rounds N]

The guest is made once by mmdebstrap and is only read. Needs root to make it, and no support by the processor to run
it. A system call costs more in it, and a round trip to a FUSE daemon much more: its figures are to be compared with
its own plain ext4 only, which is the candidate `copy`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.inputs import debian, linux_tree, made_whole, package_base
from benchmarks.isolation import alone, in_a_namespace
from benchmarks.results import DIRECTORY, machine, say
from benchmarks.run import GUEST_PARTS
from builder.debian.apt import sources

SUITE = "bookworm"
PACKAGES = (
    "user-mode-linux", "kmod", "mount", "procps", "lvm2", "thin-provisioning-tools", "btrfs-progs", "xfsprogs", "fuse3",
    "fuse-overlayfs", "python3", "python3-trio", "python3-pyfuse3", "python3-debian", "cowdancer", "zstd",
)  # fmt: skip
CANDIDATES = "lvm-classic,lvm-thin,btrfs-snapshot,copy,overlayfs,overlayfs-volatile,fuse-overlayfs,cowfs"
MEMORY = "4G"
DISK_GIGABYTES = 24
FIRST_PROCESS = """#!/bin/sh
# The project's directory on the host, which the kernel's command line names, has the rest.
mount -t proc proc /proc
mount -t hostfs -o "$(sed -n 's/.*bench\\.project=\\([^ ]*\\).*/\\1/p' /proc/cmdline)" none /mnt
exec sh /mnt/benchmarks/guest-init
"""
SECONDS = 1800
"""A guest that is not done after so long hangs."""


def make_guest(cache: Path) -> tuple[Path, Path]:
    """The kernel, which is a program, and the image of its root file system."""
    kernel, image = cache / "bench-guest-kernel", cache / "bench-guest.ext4"
    if kernel.exists() and image.exists():
        return kernel, image
    tree = cache / "bench-guest"
    if not tree.exists():
        with made_whole(tree) as made:
            command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
            subprocess.run([*command, SUITE, str(made), *sources(SUITE)], check=True)
    shutil.copy(tree / "usr/bin/linux.uml", kernel)
    (tree / "usr/lib/modules").mkdir(exist_ok=True)
    for modules in tree.glob("usr/lib/uml/modules/*"):
        (tree / "usr/lib/modules" / modules.name).symlink_to(f"/usr/lib/uml/modules/{modules.name}")
    (tree / "init").write_text(FIRST_PROCESS)
    (tree / "init").chmod(0o755)
    with made_whole(image) as made:
        with made.open("wb") as file:
            file.truncate(2 << 30)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-d", str(tree), str(made)], check=True)
    shutil.rmtree(tree)
    return kernel, image


def run_guest(kernel: Path, image: Path, scratch: Path, cache: Path, results: Path, arguments: list[str]) -> bool:
    """Boots, lets the guest run the benchmarks, and waits for its end. Whether it said that all went well."""
    results.mkdir(parents=True, exist_ok=True)
    done = results / "done"
    done.unlink(missing_ok=True)
    disk = scratch / "guest-disk"
    with disk.open("wb") as file:
        file.truncate(DISK_GIGABYTES << 30)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", str(disk)], check=True)
    told = {
        "project": Path(__file__).parents[1],
        "results": results.absolute(),
        "cache": cache.resolve(),
        "arguments": ";".join(arguments),
    }
    command = [
        str(kernel), f"mem={MEMORY}", f"ubd0r={image}", f"ubd1={disk}", "root=/dev/ubda", "ro", "quiet",
        "init=/init", *(f"bench.{name}={value}" for name, value in told.items()),
        "con=null", "con0=null,fd:1", "con1=null",
    ]  # fmt: skip
    try:
        subprocess.run(command, check=False, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        say(f"the guest was not done after {SECONDS} s and is ended")
    finally:
        disk.unlink()
    well = done.exists()
    done.unlink(missing_ok=True)
    return well


def add_host(results: Path) -> None:
    """What the guest cannot know: the machine it ran on, and the commit."""
    host = machine()
    for path in results.glob("*.json"):
        content = json.loads(path.read_text())
        content["machine"]["commit"] = host["commit"]
        content["machine"]["host"] = {name: host[name] for name in ("kernel", "processor", "processors", "memory_gib")}
        path.write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", metavar="PART", help="which to run; all, when none is named")
    parser.add_argument("--rounds", type=int, help="instead of what each part has")
    parser.add_argument("--candidates", default=CANDIDATES)
    parser.add_argument("--cache", type=Path, default=Path(".cache").absolute())
    parser.add_argument("--scratch", type=Path, default=Path("/var/tmp/cowfs-bench"))
    parser.add_argument("--results", type=Path, default=DIRECTORY / "vm")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in GUEST_PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}. There are {', '.join(GUEST_PARTS)}.")
    in_a_namespace("benchmarks.vm")
    with alone(options.scratch):
        kernel, image = make_guest(options.cache)
        debian(options.cache, SUITE)
        linux_tree(options.cache)
        package_base(options.cache, "hello", SUITE, download_only=True)
        arguments = ["--guest", f"--suite={SUITE}", "--grounds=ext4,btrfs", "--cache=/run/cache"]
        arguments += ["--results=/run/results", f"--candidates={options.candidates}", *options.parts]
        if options.rounds:
            arguments.append(f"--rounds={options.rounds}")
        say(f"booting {kernel} for {', '.join(options.parts or GUEST_PARTS)}")
        well = run_guest(kernel, image, options.scratch, options.cache, options.results, arguments)
    add_host(options.results)
    if not well:
        sys.exit("Not all was measured in the guest; what it said is above.")


if __name__ == "__main__":
    main()
