"""What is asked of one build, and what its stages share."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from builder import hostile_tree, user_namespace
from builder.build import artifacts, hooks, log_files
from builder.build.binnmu import Rebuild
from builder.build.extra_repositories import check_files, check_repositories
from builder.build.summary import StageFailed, Status, Summary
from builder.debian import apt_proxy, base_facts
from builder.debian.dsc import read
from builder.log import BuildLog
from builder.problems import Misuse, Problem, Unobtainable
from builder.process import TimedOut, logged, shown
from builder.session import own_directories
from builder.session.session import Session, opened
from builder.session.surroundings import USUAL, Surroundings
from builder.store import compiler_caches, dependency_layers, downloads

if TYPE_CHECKING:  # python-debian would be felt by whatever only checks a build
    from builder.debian.depends import WantedPackages
    from builder.session.steps import Steps
    from builder.trace.usage import Used

# The same in each session, so that what records its path is the same each time.
PLACE = "/build/reproducible-path"

RESOLVERS = ("apt", "null", "aptitude", "aspcud")
EXPLAINERS = ("", "apt", "dose3")

PURGE = ("always", "successful", "never")

# In the order in which sbuild runs them.
TESTERS = ("lintian", "piuparts", "autopkgtest")

IN_UNION = {"build": "the build tree", "tmp": "/tmp"}
"""What `--in-union` names."""

NO_REBUILD = Rebuild()


@dataclass(frozen=True)
class Test:
    """A program that is to look at the finished packages (testers.py)."""

    program: str
    options: tuple[str, ...] = ()
    must_succeed: bool = False


@dataclass(frozen=True)
class BuildOptions:
    """What `cowbuild build` is asked for."""

    dsc: Path
    base: Path
    output: Path
    host: str | None = None
    """The architecture to cross build for; None for the base's own."""
    build_any: bool = True
    build_all: bool = True
    build_source: bool = False
    profiles: tuple[str, ...] = ()
    jobs: int | None = 1
    """None: nothing is said of it to the build."""
    distribution: str | None = None
    """The release that it is built for, by the name that the user has for it; None: the base's."""
    says_distribution: bool = False
    """Whether the .changes is to name it, whatever the changelog says."""
    source_directory: str | None = None
    """What the source is unpacked to, in the build place; None: as dpkg-source does by itself."""
    environment: Mapping[str, str] | None = None
    """What the build finds in its environment, besides what every build has; None: the caller's DEB_BUILD_OPTIONS."""
    before_build: str = ""
    """A command of the session that runs dpkg-buildpackage."""
    source_only_changes: bool = False
    """A .changes for an upload of the source alone, too."""
    file_suffix: str = ""
    """What the names of .changes and .buildinfo have behind the architecture."""
    resolver: str = "apt"
    """Which program finds the packages to install: one of RESOLVERS."""
    aspcud_criteria: str = ""
    explainer: str = ""
    """Which program is to explain why the dependencies cannot be installed: one of EXPLAINERS."""
    notes: tuple[str, ...] = ()
    """What the log is to say of what was asked for."""
    namespace_refused: str = ""
    """Why root's session has no user namespace, where it was to have one."""
    apt_update: bool | None = None
    """None: where dependencies are installed, not where they are taken from the cache."""
    deps_cache: bool = True
    deps_cache_age: float = dependency_layers.DEFAULT_AGE
    deps_cache_limit: int = dependency_layers.DEFAULT_LIMIT
    downloads_limit: int = downloads.DEFAULT_LIMIT
    apt_update_age: float = 0.0
    apt_proxy: str | None = None
    """An address or NONE, as apt_proxy.py has it; None: what auto-apt-proxy says where it is installed."""
    apt_upgrade: bool = False
    network: bool = False
    add_depends: tuple[str, ...] = ()
    add_depends_arch: tuple[str, ...] = ()
    add_depends_indep: tuple[str, ...] = ()
    add_conflicts: tuple[str, ...] = ()
    add_conflicts_arch: tuple[str, ...] = ()
    add_conflicts_indep: tuple[str, ...] = ()
    resolve_alternatives: bool = False
    debbuild_options: tuple[str, ...] = ()
    time_limit: float | None = None
    silence_limit: float | None = None
    build_place: str = PLACE
    in_union: tuple[str, ...] = ()
    """Which directories of the session's own go through the union all the same: of IN_UNION."""
    build_in_memory: str | None = None
    """How much of it, as tmpfs(5) has sizes."""
    rebuild: Rebuild = NO_REBUILD
    uploader: str | None = None
    extra_packages: tuple[Path, ...] = ()
    extra_repositories: tuple[str, ...] = ()
    extra_keys: tuple[Path, ...] = ()
    commands: hooks.Hooks = field(default_factory=dict)
    tests: tuple[Test, ...] = ()
    purge_session: str = "always"
    """When the session is thrown away: one of PURGE."""
    ccache: bool = False
    """Whether what C compilers make is kept for other builds (compiler_cache.py)."""
    sccache: bool = False
    """The same of Rust's."""
    compiler_cache_limit: int = compiler_caches.DEFAULT_LIMIT
    """Bytes, of each of them."""
    check_clean: bool = False
    """Whether `debian/rules clean` is to restore the source tree (clean_check.py)."""
    trace: bool = False
    """Report what was used of what is installed."""
    incremental: bool = False
    """Go on in the build tree of the last time."""
    compare: bool = False
    """And build clean as well, and compare."""
    minimise: bool = False
    """Build again without the dependencies that the trace says are unused."""
    snapshot_steps: bool = False
    """Keep a state of the session after each debhelper command."""
    twice: bool = False
    """Build again with directories in another order, and compare."""
    vary: tuple[str, ...] = ()
    """Build again under these variations (vary.py), and compare."""
    bisect: bool = False
    """Where that makes a difference, find out which variations do."""
    log_file: bool = True
    log_directory: Path | None = None
    """Where it goes that is not to lie beside the artifacts."""
    log_time: str = log_files.TIME
    """The time in its name, in strftime(3)'s words."""
    for_wanna_build: bool = False
    """The log's names are those that a buildd looks for."""
    always_post_build: bool = False
    """The log has the section also where no program looks at the packages."""
    quiet: bool = False
    one_of_several: bool = False
    verbose: bool = False

    @property
    def layered(self) -> bool:
        """Whether the build is in a session of its own, on top of the one that its dependencies were installed in."""
        return self.trace or self.compare or self.twice or bool(self.vary) or self.bisect

    @property
    def cached(self) -> bool:
        """Whether dependencies can come from the cache.

        Where nothing but base and package decides on them; and where the session is not kept, which could need them for
        longer than the cache has them.
        """
        return (
            self.deps_cache
            and self.purge_session == "always"
            and not (
                self.extra_packages
                or self.extra_repositories
                or self.extra_keys
                or self.commands.get("chroot-setup")
                or hooks.reach_into_session(self.commands, "pre-build")
            )
        )

    @property
    def build_type(self) -> str:
        """dpkg-buildpackage's word for what is built."""
        parts = {"source": self.build_source, "any": self.build_any, "all": self.build_all}
        words = [word for word, wanted in parts.items() if wanted]
        return {"any,all": "binary", "source,any,all": "full"}.get(",".join(words), ",".join(words))


class Job:
    """What the stages of one build share. The second directory, if any, is where a dependency layer can be made."""

    def __init__(self, options: BuildOptions, directories: Sequence[Path], log: BuildLog) -> None:
        self.options = options
        self.directory = directories[0]
        self.layer_directory = directories[-1] if options.cached else None
        self.log = log
        self.summary = Summary()
        try:
            self.source = read(options.dsc)
        except Problem as problem:
            raise Unobtainable(str(problem), problem.hint) from None
        self.build_architecture = base_facts.architecture(options.base)
        self.architecture = options.host or self.build_architecture
        self._proxy = functools.cache(lambda: apt_proxy.find(options.apt_proxy, log.line))
        self._session: Session | None = None
        self._in_union: Collection[str] = ()
        self.sources = self.directory / "source"
        """Where the source package is, checked."""
        self.below: Sequence[Path] = ()
        """The frozen layers that the session stands on."""
        self.second: Path | None = None
        """The directory of the build under variations."""
        self.goes_on = options.incremental
        """Whether it is built in the tree of the last time."""
        self.tree_conditions = ""
        """What decides on whether the next build can go on in this one's tree."""
        self.used: Used | None = None
        """What a trace found."""
        self.left_out: frozenset[str] = frozenset()
        """The build dependencies that are not to be installed, by their names."""
        self.steps: Steps | None = None
        """The states after the debhelper commands of the build."""
        self.surroundings = USUAL
        self.stage = "create-session"
        self.result: artifacts.Artifacts | None = None
        self.diagnosis: tuple[str, ...] = ()
        """What was found out about a failure of the build, in sentences (why.py)."""
        self.installed: tuple[str, ...] = ()
        """What the build has, as NAME_VERSION, once its environment is known."""
        self.unclean = ""
        """What is other in the source tree after a clean; empty where nothing is, or nobody asks."""
        self.wanted: WantedPackages | None = None
        """The build dependencies, once they are to be installed."""

    def another(self, directory: Path, log: BuildLog, surroundings: Surroundings) -> Job:
        """The same build once more, in a directory of its own; the source is not fetched again."""
        other = copy.copy(self)
        other.directory, other.log, other.surroundings = directory, log, surroundings
        other.summary, other.result, other._session, other.goes_on = Summary(), None, None, False
        return other

    @contextmanager
    def part(self, stage: str, status: Status) -> Iterator[None]:
        """Where a problem comes from in here, the build ends with this stage and status."""
        self.stage = stage
        try:
            yield
        except Problem as problem:
            raise StageFailed(stage, status, str(problem), problem.hint) from None
        except TimedOut as problem:
            raise StageFailed(stage, status, str(problem)) from None
        except OSError as problem:
            raise StageFailed(stage, status, str(problem)) from None

    @property
    def stem(self) -> str:
        """What the names of the build's own files begin with."""
        return f"{self._name_and_version}_{self.architecture}"

    @property
    def log_place(self) -> log_files.LogPlace:
        options = self.options
        return log_files.LogPlace(
            output=options.output,
            stem=self.stem,
            directory=options.log_directory,
            time_format=options.log_time,
            buildd=self.distribution if options.for_wanna_build else "",
        )

    @property
    def _name_and_version(self) -> str:
        """Of what is built, which may get another version than the source has."""
        rebuild, version = self.options.rebuild, self.source.version
        version = rebuild.version(version) if rebuild.wanted else version
        return f"{self.source.name}_{version.partition(':')[2] or version}"

    @property
    def made_stem(self) -> str:
        """What dpkg-buildpackage calls its own files, but for the ending."""
        options = self.options
        for_what = self.architecture if options.build_any else "all" if options.build_all else "source"
        return f"{self._name_and_version}_{for_what}"

    @property
    def title(self) -> str:
        """What is built, for people."""
        return f"{self.source.name} {self.source.version} ({self.architecture})"

    @property
    def session(self) -> Session:
        assert self._session is not None, "only while the session is open"
        return self._session

    @contextmanager
    def open_session(
        self,
        directory: Path,
        layers: Sequence[Path] = (),
        surroundings: Surroundings = USUAL,
        *,
        traced: bool = False,
        in_union: Collection[str] = (),
        memory: str | None = None,
    ) -> Iterator[None]:
        """A session over the base and the frozen layers on it; `directory` is its own.

        Test conditions are the union's, so everything goes through it under them.
        """
        with ExitStack() as stack:
            around = self._session, self._in_union
            stack.callback(self._work_in, *around)
            with self.part("create-session", Status.GIVEN_BACK):
                session = stack.enter_context(
                    opened(
                        self.options.base,
                        directory,
                        self.log,
                        layers,
                        traced=traced,
                        surroundings=surroundings,
                        memory=memory,
                    )
                )
                session.find_proxy = self._proxy
                self._work_in(session, IN_UNION if surroundings.conditions else {*in_union, *self.options.in_union})
                self._make_plain("tmp", own_directories.TEMPORARY)
            yield

    def _work_in(self, session: Session | None, in_union: Collection[str]) -> None:
        self._session, self._in_union = session, in_union

    def _make_plain(self, name: str, path: str) -> None:
        """Make a directory of the session, by its name in IN_UNION, a plain one of the disk where that may be."""
        if name not in self._in_union and (why := own_directories.add(self.session.root, self.session.own, path)):
            self.log.line(f"{path} stays in the union: {why}")

    @property
    def place(self) -> str:
        """Where the source and what is made of it lie, in the session."""
        return self.surroundings.place or self.options.build_place

    def make_place(self) -> None:
        """Make the directory for the source and what is made of it, in the session, for the builder."""
        hostile_tree.make_directory(self.session.root, self.place.lstrip("/"), self.owner)
        self._make_plain("build", self.place)

    @property
    def build_directory(self) -> str:
        return f"{self.place}/{self.source_directory}"

    @property
    def source_directory(self) -> str:
        return self.options.source_directory or self.source.directory_name

    @property
    def distribution(self) -> str:
        return self.options.distribution or base_facts.code_name(self.options.base)

    @property
    def owner(self) -> tuple[int, int]:
        """Whose the files of the build are."""
        builder = self.session.builder
        return builder.uid, builder.gid

    def run_commands(self, point: str) -> None:
        """Run the user's commands for a point of the build. Problem when one fails; those after it are not run."""
        commands = self.options.commands.get(point, ())
        if not commands:
            return
        self.log.section(hooks.POINTS[point])
        escapes = hooks.Escapes(
            architecture=self.architecture,
            build_architecture=self.build_architecture,
            build_place=self.place,
            build_directory=self.build_directory,
            dsc=str(self.source.dsc) if point in hooks.OUTSIDE else self.source.dsc.name,
            changes=self.result.names[0] if self.result is not None else None,
            inside=self._way_inside() if point in hooks.OUTSIDE else None,
            package=self.source.name,
            version=self.source.version,
            log=self.log.path,
        )
        for written in commands:
            command = escapes.put_into(written)
            self.log.subsection(command)
            if point in hooks.INSIDE:
                # It may add an archive that is on the machine.
                self.session.network.reach(command)
                # Not before the source is unpacked is there a place to be in.
                self.session.run("sh", "-c", f'cd "{self.place}" 2>/dev/null; {command}', network=True, terminal=True)
            elif (code := logged(["sh", "-c", command], self.log, terminal=True)) != 0:
                raise Problem(f"The command failed with exit code {code}: {command}")

    def _way_inside(self) -> hooks.WayInside | None:
        """For commands outside: the session's root, and a command of ours that runs others in it, with the network."""
        if self._session is None:
            return None
        program = self.directory / "run-in-session"
        program.write_text(f'#!/bin/sh\nexec {shown(self.session.way_inside())} "$@"\n')
        program.chmod(0o700)
        return hooks.WayInside(self.session.root, program)


def check_options(options: BuildOptions) -> None:
    """Misuse where what is asked for makes no sense, Problem where the build cannot begin for another reason."""
    check_request(options)
    base_facts.architecture(options.base)
    base_facts.check_ours(options.base)
    user_namespace.check_fuse()


def check_request(options: BuildOptions) -> None:
    """Misuse where what is asked for makes no sense, whatever the base."""
    if not (options.build_any or options.build_all or options.build_source):
        raise Misuse("Nothing is to be built: --no-arch-any and --no-arch-all together, and no --source")
    if not options.output.is_dir():
        raise Misuse(f"The output directory {options.output} is missing", "--output DIR")
    if not os.access(options.output, os.W_OK | os.X_OK):
        raise Misuse(f"The output directory {options.output} may not be written to", "--output DIR")
    if not own_directories.may_be_place(options.build_place):
        raise Misuse(f"{options.build_place} cannot be the build path", "Below /, of letters, digits and + . _ ~ - /")
    if options.build_in_memory and options.purge_session != "always":
        raise Misuse("With --build-in-memory no session can be kept", "Leave out --purge-session")
    if options.host is not None and {"piuparts", "autopkgtest"} & {test.program for test in options.tests}:
        raise Misuse(
            f"Packages for {options.host} cannot be run over this base", "Without --run-piuparts and --run-autopkgtest"
        )
    check_repositories(options.extra_repositories, options.extra_keys)
    check_files(options.extra_keys, options.extra_packages)
    if options.resolver not in RESOLVERS:
        raise Misuse(f"There is no resolver {options.resolver!r}", f"Known: {', '.join(RESOLVERS)}")
    options.rebuild.check()
    hooks.check(options.commands)
