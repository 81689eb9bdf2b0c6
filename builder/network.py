"""The network of those commands in a session that have one: the outside, but not the machine's loopback or sockets.

    cowbuild                process 1 of the session
     |- holder              in a network namespace of its own, which commands join (nsenter)
     `- pasta               or slirp4netns: carries what goes out of that namespace, as an ordinary program would

Where neither works, or the archive is on the machine itself and no single port leads to it, commands share the
machine's network, and the log says so.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Self

from builder import hostile_tree
from builder.interrupts import uninterrupted

READY_WITHIN = 5.0

APT_FILES = re.compile(
    r"etc/apt/(sources\.list|apt\.conf|sources\.list\.d/.*\.(list|sources)|apt\.conf\.d/[^.]*(\.conf)?)"
)
URI = re.compile(r"(?P<scheme>https?)://([^/@\s\"]*@)?(?P<host>\[[^]\s]*\]|[^/:\s\"';\]]+)(:(?P<port>\d+))?")
PORTS = {"http": 80, "https": 443}

# Stand for a resolver on the machine's loopback.
PASTA_RESOLVER = "169.254.1.53"
SLIRP_RESOLVER = "10.0.2.3"

# The holder has no capability, so that pasta, which gives up most of its own, may open its namespace. It names its
# process by the number that /proc has for it, which is another PID namespace's.
HOLD = """
read -r process rest < /proc/self/stat
echo "$process"
until [ "$(ip route show default; ip -6 route show default)" ]; do sleep 0.005; done
echo ready
exec cat
"""
HOLDER = (
    *("unshare", "--net", "--", "sh", "-ec", 'ip link set lo up; exec "$@"', "sh"),
    *("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--", "sh", "-c", HOLD),
)


@dataclass(frozen=True)
class Place:
    """A host and a port that apt will ask."""

    host: str
    port: int


def places(text: str) -> set[Place]:
    """Those in lines of apt's files, or of what the user says."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith(("#", "//")))
    return {
        Place(found["host"].strip("[]").lower(), int(found["port"] or PORTS[found["scheme"]]))
        for line in lines
        for found in URI.finditer(line)
    }


def places_of(base: Path) -> set[Place]:
    """The archives and proxies that a base's apt is configured for. No link in it is followed."""
    found: set[Place] = set()
    for directory in ("etc/apt", "etc/apt/sources.list.d", "etc/apt/apt.conf.d"):
        with suppress(OSError), hostile_tree.directory(base, directory) as descriptor:
            for name in hostile_tree.names(descriptor):
                if APT_FILES.fullmatch(f"{directory}/{name}"):
                    with suppress(OSError):
                        text = hostile_tree.read(descriptor, name, 1024 * 1024).decode(errors="replace")
                        found |= places(text)
    return found


@dataclass(frozen=True)
class Route:
    """How the places that apt will ask are to be reached."""

    ports: frozenset[int] = frozenset()
    """Of the machine's loopback."""
    on_machine: str = ""
    """A host that is the machine, by an address that it has in the new namespace, too."""
    hosts: tuple[str, ...] = ()
    """Lines of the machine's /etc/hosts that name them."""
    short_names: bool = False
    """Whether a name is to be looked for in the machine's domain."""


def route(wanted: Iterable[Place]) -> Route:
    """Without asking any server for a name, which may take long where there is none."""
    known = _machine_hosts()
    own = socket.gethostname().partition(".")[0].lower()
    ports, hosts, on_machine, short = set(), set(), "", False
    for place in sorted(wanted, key=lambda each: (each.host, each.port)):
        if place.host == "localhost" or place.host.endswith(".localhost"):
            ports.add(place.port)
            continue
        address = _literal(place.host)
        if address is None and place.host in known:
            address = ip_address(known[place.host])
            hosts.add(f"{address} {place.host}")
        elif address is None and place.host.partition(".")[0] == own:
            on_machine = place.host
            with suppress(OSError):
                hosts.add(f"{socket.gethostbyname(place.host)} {place.host}")
        elif address is None:
            short = short or "." not in place.host
        if address is None:
            continue
        if address in (IPv4Address("127.0.0.1"), IPv6Address("::1")):
            ports.add(place.port)
        elif _is_ours(address):
            on_machine = place.host
    return Route(frozenset(ports), on_machine, tuple(sorted(hosts)), short)


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_ours(address: IPv4Address | IPv6Address) -> bool:
    """Whether the machine has the address: only then can a socket be bound to it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as tried:
        tried.bind((str(address), 0))
        return True
    return False


def _machine_hosts() -> dict[str, str]:
    known: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/etc/hosts").read_text(errors="replace").splitlines():
            address, *names = line.partition("#")[0].split() or [""]
            if _literal(address) is not None:
                for name in names:
                    known.setdefault(name.lower(), address)
    return known


class Network:
    """A session's network, made when the first command needs it. It ends with `close`."""

    def __init__(self, wanted: Iterable[Place]) -> None:
        """`wanted` is what apt will ask."""
        self._wanted = set(wanted)
        self._route: Route | None = None
        self._holder: subprocess.Popen[bytes] | None = None
        self._carrier: subprocess.Popen[bytes] | None = None
        self._process = 0
        self.resolver = ""
        """The text of resolv.conf for whoever has joined."""

    def reach(self, text: str) -> None:
        """Let commands reach the archives that the user names in a text, too: they may be on the machine's loopback."""
        if not (found := places(text)) <= self._wanted:
            self._wanted |= found
            self._route = None

    @property
    def started(self) -> bool:
        return self._route is not None

    @property
    def hosts(self) -> tuple[str, ...]:
        return () if self._route is None else self._route.hosts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_reason: object) -> None:
        self.close()

    def start(self, say: Callable[[str], None]) -> None:
        """Make the namespace that `join` leads into, or find out that it cannot be had; `say` gets what to tell."""
        self.close()
        self._route = chosen = route(self._wanted)
        reasons = [f"the archive at {chosen.on_machine} is on it"] if chosen.on_machine else []
        if not reasons:
            for program, resolver, command in _carriers(chosen):
                failure = self._carried_by(command)
                if failure is None:
                    self.resolver = _resolver(chosen, resolver)
                    if chosen.ports:
                        ports = ", ".join(map(str, sorted(chosen.ports)))
                        say(f"I: of the machine's loopback, commands with network reach port {ports}: apt asks there")
                    return
                reasons.append(f"{program} does not work: {failure}")
        reason = "; ".join(reasons) or "there is neither pasta nor slirp4netns (apt-get install passt)"
        self.resolver = _resolver(chosen, None)
        say(f"W: commands with network share the machine's, its loopback services too: {reason}")

    def join(self) -> list[str]:
        """What stands before a command that is to have the network."""
        return ["nsenter", f"--net=/proc/{self._process}/ns/net", "--"] if self._carrier is not None else []

    def close(self) -> None:
        for process in (self._carrier, self._holder):
            if process is not None:
                process.kill()
                with process:
                    pass
        self._carrier = self._holder = None

    def _carried_by(self, command: Sequence[str]) -> str | None:
        """Start a namespace and what carries for it; the reason where that does not come to be usable."""
        with uninterrupted():
            self._holder = subprocess.Popen(
                HOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
            )
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        said = self._holder.stdout.readline()
        if not said:
            failure = self._holder.stderr.read().decode(errors="replace").strip()
            self.close()
            return failure
        self._process = int(said)
        words = [word.replace("PROCESS", str(self._process)) for word in command]
        with uninterrupted():
            self._carrier = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                process_group=0,
            )
        os.set_blocking(self._holder.stdout.fileno(), False)
        give_up = time.monotonic() + READY_WITHIN
        while self._holder.stdout.readline() != b"ready\n":
            if self._carrier.poll() is not None or time.monotonic() > give_up:
                return self._last_words()
            time.sleep(0.002)
        return None

    def _last_words(self) -> str:
        assert self._carrier is not None
        assert self._carrier.stderr is not None
        self._carrier.kill()
        lines = self._carrier.stderr.read().decode(errors="replace").strip().splitlines()
        self.close()
        # The pasta of Debian 12 complains that it cannot write to syslog from where it is.
        lines = [line for line in lines if line.strip() and "syslog" not in line]
        return lines[-1].strip() if lines else "it gave no reason"


def _carriers(chosen: Route) -> list[tuple[str, str, list[str]]]:
    """Programs that are installed and can do it, with the address of their resolver and the command line."""
    ports = ",".join(map(str, sorted(chosen.ports))) or "none"
    # With a forwarder, the pasta of Debian 12 lets no other resolver answer.
    forwarder = ["--dns-forward", PASTA_RESOLVER] if _asks_loopback() else []
    pasta = [
        *("pasta", "--foreground", "--quiet", "--runas", "0", "--netns", "/proc/PROCESS/ns/net", "--config-net"),
        *("--no-map-gw", *forwarder, "-t", "none", "-u", "none", "-T", ports, "-U", "none"),
    ]
    slirp = [
        *("slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox"),
        *("--netns-type=path", "/proc/PROCESS/ns/net", "tap0"),
    ]
    found = [("pasta", PASTA_RESOLVER, pasta)]
    if not chosen.ports:
        found.append(("slirp4netns", SLIRP_RESOLVER, slirp))
    return [each for each in found if shutil.which(each[0])]


def _resolver_lines() -> list[list[str]]:
    """The machine's resolv.conf, in words."""
    try:
        lines = Path("/etc/resolv.conf").read_text(errors="replace").splitlines()
    except OSError:
        return []
    return [words for line in lines if len(words := line.split()) > 1]


def _on_loopback(words: Sequence[str]) -> bool:
    address = _literal(words[1].partition("%")[0])
    return words[0] == "nameserver" and address is not None and address.is_loopback


def _asks_loopback() -> bool:
    """Whether the first resolver that the machine asks is on its loopback; it alone is then asked."""
    servers = [words for words in _resolver_lines() if words[0] == "nameserver"]
    return servers[:1] != [] and _on_loopback(servers[0])


def _resolver(chosen: Route, forwarder: str | None) -> str:
    """The text of resolv.conf, with the address that stands for a resolver on loopback; None where that can be asked.

    The machine's domain only where a name depends on it: it is part of the machine's name.
    """
    lines = _resolver_lines()
    kept = [words for words in lines if words[0] == "options"]
    if chosen.short_names:
        kept += [words for words in lines if words[0] in ("search", "domain")]
    servers = [words for words in lines if words[0] == "nameserver"]
    if forwarder is not None:
        outside = [words for words in servers if not _on_loopback(words)]
        servers = [["nameserver", forwarder]] if _asks_loopback() else outside
    return "".join(" ".join(words) + "\n" for words in [*servers, *kept])
