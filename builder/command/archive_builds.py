"""Building what an archive has: which sources, their builds, and what is told of them."""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from builder import process
from builder.command.arguments import path_of
from builder.command.build_verb import usual_base
from builder.command.conduct import Conduct, conduct_all, ledger_of
from builder.command.verb import Outside
from builder.debian import apt, base_facts, dsc
from builder.debian.archive_lists import ArchiveLists, ListedSource
from builder.debian.depends import Choice
from builder.many import report as reports
from builder.many import reverse, run, sources, variants
from builder.many.report import Report, Row, build_of
from builder.many.reverse import WITHOUT, Wanted
from builder.many.task import Entry, Task
from builder.problems import Misuse, Problem
from builder.session import supervisor
from builder.store import bases


@dataclass(frozen=True)
class _Ground:
    """What all builds of such a verb stand on."""

    lists: ArchiveLists
    lists_place: Path
    base: str
    suite: str
    architecture: str
    build_words: Sequence[str]
    outside: Outside
    output: Path

    def task(self, source: ListedSource, suffix: str, kind: str, words: Sequence[str] = (), options: str = "") -> Task:
        """The build of a source; `kind` is the directory that its files go to, `options` are DEB_BUILD_OPTIONS."""
        output = self.output / kind / source.word
        before = [*self.outside.configured, "--only", "0", "--archive-lists", str(self.lists_place)]
        own = ["--base", self.base, "--output", str(output)]
        combined = " ".join(filter(None, (os.environ.get("DEB_BUILD_OPTIONS"), options)))
        return Task(
            name=source.word + suffix,
            words=[*before, "build", *self.build_words, *own, *words, source.word],
            package=source.name,
            identity=source.version,
            environment={"DEB_BUILD_OPTIONS": combined} if combined else {},
            output=str(output),
        )


@contextmanager
def _ground(
    arguments: argparse.Namespace, outside: Outside, output: Path, more_words: Sequence[str] = ()
) -> Iterator[_Ground]:
    """The base, and the lists of its suite. Misuse, Problem."""
    words = [*more_words, *arguments.build_words]
    parsed = outside.parse(["build", *words, "placeholder"])
    if parsed.packages != ["placeholder"]:
        raise Misuse("Behind -- there are only options of `cowbuild build`", f"not: {' '.join(parsed.packages[:-1])}")
    parsed.packages = []
    base = parsed.base or usual_base(parsed, outside)
    tree = bases.find(base)
    suite = base_facts.code_name(tree)
    with supervisor.interruptible(), supervisor.private_directory(supervisor.default_parent()) as directory:
        place = directory / "lists"
        own = (
            [line for kind in ("deb-src", "deb") for line in _own_lines(suite, kind)] if not arguments.archives else []
        )
        architecture = parsed.host or base_facts.architecture(tree)
        print(f"cowbuild: fetching the lists of {suite}", flush=True)
        lists = ArchiveLists([*own, *arguments.archives], architecture, place)
        yield _Ground(lists, place, base, suite, architecture, words, outside, output)


def _own_lines(suite: str, kind: str) -> list[str]:
    return apt.sources(suite, kind=f"{kind} [signed-by={apt.KEYRING}]")


def rdeps(arguments: argparse.Namespace, outside: Outside) -> int:
    """Misuse, Problem, Interrupted."""
    new = Path(arguments.package) if arguments.package.endswith(".changes") else None
    debs = [each for each in sources.checked_packages(new) if "-dbgsym_" not in each.name] if new else []
    if new and not debs:
        raise Misuse(f"{new} lists no package", "The .changes of a binary build is wanted.")
    popularity = reverse.read_popularity(arguments.popularity) if arguments.popularity else None
    wanted = Wanted(arguments.transitive, arguments.limit, arguments.seed, popularity)
    stem = new.stem if new else arguments.package
    output = _output(arguments, f"{stem}.rdeps")
    with _ground(arguments, outside, output) as ground:
        names, own = (
            ({each.name.partition("_")[0] for each in debs}, _source_of(new))
            if new
            else _made_by(ground.lists, arguments.package)
        )
        _check_versions(debs, ground.lists)
        chosen = reverse.reverse_dependencies(ground.lists, names, own, Choice(ground.architecture), wanted)
        if _only_said(chosen, arguments, f"build-depend on {', '.join(sorted(names))}"):
            return 0
        words = _words_for_new(debs, names)
        tasks = [ground.task(each, "", "with", words) for each in chosen]
        without = {task.name: ground.task(each, WITHOUT, "without") for task, each in zip(tasks, chosen, strict=True)}

        def more(entries: Sequence[Entry]) -> list[Task]:
            known = {entry.task.name for entry in entries}
            return [
                without[entry.task.name]
                for entry in entries
                if debs
                and (arguments.baseline or not entry.built)
                and entry.task.name in without
                and without[entry.task.name].name not in known
            ]

        asked = shlex.join([*_identity(debs), *ground.build_words])
        entries, _worst = conduct_all(tasks, _conduct(arguments, output, asked), more, _after(arguments))
        return _tell_rdeps(entries, output, stem, chosen)


def _tell_rdeps(entries: Sequence[Entry], output: Path, stem: str, chosen: Sequence[ListedSource]) -> int:
    kinds: dict[str, str] = {
        reverse.Verdict.REGRESSION: "bad",
        reverse.Verdict.UNKNOWN: "warn",
        reverse.Verdict.FLAKY: "warn",
        reverse.Verdict.BROKEN_BEFORE: "warn",
        reverse.Verdict.FIXED: "good",
        reverse.Verdict.FINE: "good",
    }
    found, known = reverse.verdicts(entries), {entry.task.name: entry for entry in entries}
    rows = []
    for source in chosen:
        builds = [
            build_of(known[source.word + suffix], conditions, output)
            for suffix, conditions in (("", "with"), (WITHOUT, "without"))
            if source.word + suffix in known
        ]
        rows.append(Row(source.name, source.version, found[source.word], tuple(builds)))
    report = Report(f"Reverse build dependencies of {stem}", kinds, tuple(rows))
    _tell(report, output, "rdeps")
    return 2 if report.count(reverse.Verdict.REGRESSION) else 3 if report.count(reverse.Verdict.UNKNOWN) else 0


def rebuild_archive(arguments: argparse.Namespace, outside: Outside) -> int:
    """Misuse, Problem, Interrupted."""
    chosen_variants = variants.chosen(arguments.variants)
    suite_words = ["--dist", arguments.suite] if arguments.suite else []
    with _ground(arguments, outside, Path(), suite_words) as ground:
        output = _output(arguments, f"{ground.suite}.rebuild")
        ground = replace(ground, output=output)
        found = _filtered(ground, arguments)
        chosen = reverse.limited(found, Wanted(limit=arguments.limit, seed=arguments.seed))
        if _only_said(chosen, arguments, "are to be built"):
            return 0
        tasks = [
            ground.task(
                source,
                "" if variant is variants.USUAL else f" {variant.name}",
                variant.name.replace(":", "-"),
                variant.words,
                variant.environment.get("DEB_BUILD_OPTIONS", ""),
            )
            for source in chosen
            for variant in chosen_variants
        ]
        how = _conduct(arguments, output, shlex.join(ground.build_words))
        entries, _worst = conduct_all(tasks, how, lambda _entries: [], _after(arguments))
        size = len(chosen_variants)
        of_source = [entries[at : at + size] for at in range(0, len(entries), size)]
        names = [variant.name for variant in chosen_variants]
        _tell(_rebuild_report(ground.suite, chosen, of_source, names, output), output, "rebuild")
        return max(run.exit_code(entry) for entry in entries)


def _rebuild_report(
    suite: str,
    chosen: Sequence[ListedSource],
    of_source: Sequence[Sequence[Entry]],
    names: Sequence[str],
    output: Path,
) -> Report:
    kinds: dict[str, str] = {
        variants.Verdict.FAILED: "bad",
        variants.Verdict.DIFFERS: "bad",
        variants.Verdict.GIVEN_BACK: "warn",
        variants.Verdict.FLAKY: "warn",
        variants.Verdict.BUILT: "good",
    }
    rows = [
        Row(
            source.name,
            source.version,
            variants.verdict(entries),
            tuple(build_of(entry, name, output) for entry, name in zip(entries, names, strict=True)),
        )
        for source, entries in zip(chosen, of_source, strict=True)
    ]
    return Report(f"All of {suite}, built again", kinds, tuple(rows))


def _filtered(ground: _Ground, arguments: argparse.Namespace) -> list[ListedSource]:
    """The sources that are built on the architecture, and fit the list and all filters. Misuse."""
    found = {each.name: each for each in ground.lists.sources() if each.builds_on(ground.architecture)}
    for pattern in arguments.filters:
        fitting = {each.name for each in ground.lists.named(pattern)}
        found = {name: each for name, each in found.items() if name in fitting}
    if arguments.list_file is not None:
        try:
            listed = set(arguments.list_file.read_text(encoding="utf-8", errors="replace").split())
        except OSError as error:
            raise Misuse(f"Cannot read {arguments.list_file}: {error.strerror}") from None
        found = {name: each for name, each in found.items() if name in listed}
    return list(found.values())


def _output(arguments: argparse.Namespace, usual: str) -> Path:
    return Path.cwd() / usual if arguments.output is None else path_of(arguments.output)


def _only_said(chosen: Sequence[ListedSource], arguments: argparse.Namespace, what: str) -> bool:
    """Whether there is nothing to build, or that is all that is asked for. Says which there are."""
    if not chosen:
        print(f"cowbuild: no sources {what}")
        return True
    print(f"cowbuild: {len(chosen)} sources {what}", flush=True)
    if arguments.dry_run:
        for each in chosen:
            print(each.word)
    return bool(arguments.dry_run)


def _made_by(lists: ArchiveLists, name: str) -> tuple[set[str], str]:
    """The packages that a source of this name makes, or the one that has it; and the source's name. Misuse."""
    for source in lists.sources(["-F", "Package", "-X", name]):
        return set(source.binaries), source.name
    if not lists.versions_of(name):
        raise Misuse(f"The archive has neither a source nor a package {name}")
    return {name}, ""


def _check_versions(debs: Sequence[Path], lists: ArchiveLists) -> None:
    """Misuse where the archive has a package of the same version: apt would take the one for the other."""
    for each in debs:
        name, version = process.output(["dpkg-deb", "--show", "--showformat=${Package} ${Version}", each]).split()
        if version in lists.versions_of(name):
            raise Misuse(
                f"The archive has {name} {version}, too, and apt does not tell them apart",
                "Build the new packages under another version: cowbuild build --append-to-version +new",
            )


def _source_of(changes: Path) -> str:
    return dsc.fields(changes.read_bytes(), changes.name).get("Source", "").partition(" ")[0]


def _words_for_new(debs: Sequence[Path], names: set[str]) -> list[str]:
    """What builds with the new packages, whatever versions the archive has."""
    if not debs:
        return []
    lines = (f"Package: {' '.join(sorted(names))}", 'Pin: origin ""', "Pin-Priority: 1001")
    pin = f"printf '%%s\\n' {shlex.join(lines)} > /etc/apt/preferences.d/cowbuild-packages"
    return [*(f"--extra-package={each}" for each in debs), f"--chroot-setup-commands={pin}"]


def _identity(debs: Sequence[Path]) -> Iterator[str]:
    for each in debs:
        with each.open("rb") as file:
            yield f"{each.name}={hashlib.file_digest(file, 'sha256').hexdigest()}"


def _conduct(arguments: argparse.Namespace, output: Path, asked: str) -> Conduct:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem(f"Cannot make {output}: {error.strerror}", "--output DIR") from None
    return Conduct.of(arguments, ledger_of(arguments, output), asked)


def _after(arguments: argparse.Namespace) -> Callable[[Entry], None]:
    """What is done with the files of each build: where they are not wanted, only the log stays."""

    def leave_log(entry: Entry) -> None:
        for found in Path(entry.task.output).glob("*"):
            if found.suffix != ".build":
                shutil.rmtree(found) if found.is_dir() and not found.is_symlink() else found.unlink()

    return (lambda _entry: None) if arguments.keep_artifacts else leave_log


def _tell(report: Report, output: Path, stem: str) -> None:
    print()
    for line in reports.lines(report):
        print(line)
    for written in reports.write(report, output, stem):
        print(written)
