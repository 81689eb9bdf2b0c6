"""The command line of sbuild, one row for each option: names and argument in Perl's Getopt::Long's words, and what it
sets. What becomes of that is said with the variable (variables.py).
"""

from __future__ import annotations

import getopt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from builder.build import hooks
from builder.problems import Misuse
from builder.sbuild.variables import Values


class How(Enum):
    SET = "the argument is the value"
    ON = "1"
    OFF = "0"
    MORE = "one more"
    LESS = "one less"
    APPEND = "the argument is one more of a list"
    SPLIT = "the words of the argument are more of a list"
    COMMAND = "the argument is one more command for a point of the build"
    SHOWN = "nothing is built: something is shown"


@dataclass(frozen=True)
class Option:
    spec: str
    """`c|chroot=s`: its names, and `=s` for a text or `=i` for a number."""
    how: How
    variables: tuple[str, ...]
    """What it sets; for COMMAND the points."""

    @property
    def names(self) -> list[str]:
        return self.spec.partition("=")[0].split("|")

    @property
    def argument(self) -> str:
        return self.spec.partition("=")[2]

    @property
    def shown(self) -> str:
        return max((f"--{name}" if len(name) > 1 else f"-{name}" for name in self.names), key=len)


def _row(spec: str, how: How, *variables: str) -> Option:
    return Option(spec, how, variables)


def _switch(name: str, variable: str, short: str = "") -> list[Option]:
    return [
        _row(f"{short}|{name}" if short else name, How.ON, variable),
        _row(f"no-{name}", How.OFF, variable),
    ]


def _list(name: str, variable: str) -> list[Option]:
    return [_row(f"{name}=s", How.APPEND, variable), _row(f"{name}s=s", How.SPLIT, variable)]


OPTIONS: tuple[Option, ...] = (
    _row("h|help", How.SHOWN, "help"),
    _row("V|version", How.SHOWN, "version"),
    _row("D|debug", How.MORE, "debug"),
    _row("v|verbose", How.MORE, "verbose"),
    _row("q|quiet", How.LESS, "verbose"),
    _row("arch=s", How.SET, "host_arch", "build_arch"),
    _row("build=s", How.SET, "build_arch"),
    _row("host=s", How.SET, "host_arch"),
    *_switch("arch-all", "build_arch_all", "A"),
    *_switch("arch-any", "build_arch_any"),
    *_switch("source", "build_source", "s"),
    *_switch("source-only-changes", "source_only_changes"),
    *_switch("clean-source", "clean_source"),
    _row("force-orig-source", How.ON, "force_orig_source"),
    _row("d|dist=s", How.SET, "distribution"),
    _row("profiles=s", How.SET, "build_profiles"),
    _row("m|maintainer=s", How.SET, "maintainer_name"),
    _row("e|uploader=s", How.SET, "uploader_name"),
    _row("k|keyid=s", How.SET, "key_id"),
    _row("make-binNMU=s", How.SET, "bin_nmu"),
    _row("binNMU=i", How.SET, "bin_nmu_version"),
    _row("binNMU-timestamp=s", How.SET, "bin_nmu_timestamp"),
    _row("binNMU-changelog=s", How.SET, "bin_nmu_changelog"),
    _row("append-to-version=s", How.SET, "append_to_version"),
    _row("build-dir=s", How.SET, "build_dir"),
    _row("build-path=s", How.SET, "build_path"),
    _row("dsc-dir=s", How.SET, "dsc_dir"),
    _row("c|chroot=s", How.SET, "chroot"),
    _row("chroot-mode=s", How.SET, "chroot_mode"),
    _row("autopkgtest-virt-server=s", How.SET, "autopkgtest_virt_server"),
    *_list("autopkgtest-virt-server-opt", "autopkgtest_virt_server_options"),
    *_switch("apt-clean", "apt_clean"),
    *_switch("apt-update", "apt_update"),
    *_switch("apt-upgrade", "apt_upgrade"),
    *_switch("apt-distupgrade", "apt_distupgrade"),
    _row("add-depends=s", How.APPEND, "manual_depends"),
    _row("add-depends-arch=s", How.APPEND, "manual_depends_arch"),
    _row("add-depends-indep=s", How.APPEND, "manual_depends_indep"),
    _row("add-conflicts=s", How.APPEND, "manual_conflicts"),
    _row("add-conflicts-arch=s", How.APPEND, "manual_conflicts_arch"),
    _row("add-conflicts-indep=s", How.APPEND, "manual_conflicts_indep"),
    _row("extra-package=s", How.APPEND, "extra_packages"),
    _row("extra-repository=s", How.APPEND, "extra_repositories"),
    _row("extra-repository-key=s", How.APPEND, "extra_repository_keys"),
    *_switch("resolve-alternatives", "resolve_alternatives"),
    _row("build-dep-resolver=s", How.SET, "build_dep_resolver"),
    _row("aspcud-criteria=s", How.SET, "aspcud_criteria"),
    _row("bd-uninstallable-explainer=s", How.SET, "bd_uninstallable_explainer"),
    *_list("debbuildopt", "dpkg_buildpackage_user_options"),
    *_list("dpkg-source-opt", "dpkg_source_opts"),
    _row("j|jobs=i", How.APPEND, "dpkg_buildpackage_user_options"),
    _row("dpkg-file-suffix=s", How.SET, "dpkg_file_suffix"),
    _row("use-snapshot", How.ON, "gcc_snapshot"),
    _row("enable-network", How.ON, "enable_network"),
    _row("n|nolog", How.ON, "nolog"),
    _row("b|batch", How.ON, "batch_mode"),
    _row("sbuild-mode=s", How.SET, "sbuild_mode"),
    _row("archive=s", How.SET, "archive"),
    _row("stats-dir=s", How.SET, "stats_dir"),
    _row("mailfrom=s", How.SET, "mailfrom"),
    _row("mail-log-to=s", How.SET, "mailto"),
    _row("hide-log-sections=s", How.SET, "hide_log_sections"),
    _row("log-filename-ts-format=s", How.SET, "log_filename_ts_format"),
    _row("log-external-command-output", How.ON, "log_external_command_output"),
    _row("log-external-command-error", How.ON, "log_external_command_error"),
    _row("p|purge=s", How.SET, "purge_build_deps", "purge_build_directory", "purge_session"),
    _row("purge-build=s", How.SET, "purge_build_directory"),
    _row("purge-deps=s", How.SET, "purge_build_deps"),
    _row("purge-session=s", How.SET, "purge_session"),
    _row("purge-extra-packages", How.ON, "purge_extra_packages"),
    *_switch("run-lintian", "run_lintian"),
    *_list("lintian-opt", "lintian_opts"),
    *_switch("run-piuparts", "run_piuparts"),
    *_list("piuparts-opt", "piuparts_opts"),
    *_list("piuparts-root-arg", "piuparts_root_args"),
    *_switch("run-autopkgtest", "run_autopkgtest"),
    *_list("autopkgtest-opt", "autopkgtest_opts"),
    *_list("autopkgtest-root-arg", "autopkgtest_root_args"),
    _row("setup-hook=s", How.COMMAND, "chroot-setup"),
    *(_row(f"{point}-commands=s", How.COMMAND, point) for point in hooks.POINTS),
    _row("anything-failed-commands=s", How.COMMAND, "chroot-update-failed", "build-deps-failed", "build-failed"),
)

BY_NAME: Mapping[str, Option] = {name: option for option in OPTIONS for name in option.names}

# Options that say the same in two ways: sbuild wants one of them.
EXCLUSIVE = (
    ("purge", ("purge-build", "purge-deps", "purge-session")),
    ("binNMU-changelog", ("make-binNMU", "binNMU", "binNMU-timestamp", "append-to-version")),
    ("arch-all", ("make-binNMU", "append-to-version")),
)

DISTRIBUTIONS = {"o": "oldstable", "s": "stable", "t": "testing", "u": "unstable", "e": "experimental"}


@dataclass(frozen=True)
class Given:
    """What a command line says."""

    settings: Values
    """What the configuration says, with what the command line says over it."""
    packages: tuple[str, ...]
    show: str = ""
    """`help` or `version`, where that is all that is wanted."""
    said: frozenset[str] = frozenset()
    """The variables that the command line sets."""


def parse(words: Sequence[str], configured: Mapping[str, Any]) -> Given:
    """Misuse for what is no option of sbuild's, or is contradictory."""
    pairs, packages = _pairs(words)
    settings = {name: value.copy() if isinstance(value, list | dict) else value for name, value in configured.items()}
    used: list[Option] = []
    for option, argument in pairs:
        if option.how is How.SHOWN:
            return Given(settings, (), option.variables[0])
        used.append(option)
        _apply(settings, option, argument)
    _check_exclusive(used)
    _check_architectures(pairs)
    said = frozenset(name for option in used for name in option.variables)
    return Given(_extrapolated(settings, said), tuple(packages), said=said)


def _pairs(words: Sequence[str]) -> tuple[list[tuple[Option, str]], list[str]]:
    """As sbuild has it: options and packages in any order, short ones together, long ones cut short."""
    single = "".join(name + ":" * bool(each.argument) for name, each in BY_NAME.items() if len(name) == 1)
    double = [name + "=" * bool(each.argument) for name, each in BY_NAME.items() if len(name) > 1]
    try:
        found, packages = getopt.gnu_getopt(list(words), single, double)
    except getopt.GetoptError as error:
        raise Misuse(f"sbuild would not understand this: {error}", "cowbuild-sbuild --help; sbuild(1)") from None
    return [(BY_NAME[name.lstrip("-")], argument) for name, argument in found], packages


def _apply(settings: Values, option: Option, argument: str) -> None:
    if option.argument == "i" and not re.fullmatch(r"[+-]?[0-9]{1,9}", argument):
        raise Misuse(f"{option.shown} takes a number, not {argument!r}")
    for name in option.variables:
        match option.how:
            case How.SET:
                settings[name] = int(argument) if option.argument == "i" else argument
            case How.ON | How.OFF:
                settings[name] = int(option.how is How.ON)
            case How.MORE:
                settings[name] = (settings[name] or 0) + 1
            case How.LESS:
                settings[name] = max(0, (settings[name] or 0) - 1)
            case How.APPEND:
                settings[name].append(f"-j{argument}" if "jobs" in option.names else argument)
            case How.SPLIT:
                settings[name] += argument.split()
            case How.COMMAND:
                settings["external_commands"].setdefault(f"{name}-commands", []).append(argument)


def _check_exclusive(used: Sequence[Option]) -> None:
    given = {name for option in used for name in option.names}
    negated = [(name, (f"no-{name}",)) for name in given]
    for one, others in (*EXCLUSIVE, *negated):
        for other in others:
            if one in given and other in given:
                raise Misuse(f"--{one} cannot be used together with --{other}")


def _check_architectures(pairs: Sequence[tuple[Option, str]]) -> None:
    chosen: dict[str, tuple[Option, str]] = {}
    for option, argument in pairs:
        for name in {"host_arch", "build_arch"}.intersection(option.variables):
            other, before = chosen.setdefault(name, (option, argument))
            if before != argument:
                raise Misuse(f"{option.shown} {argument} cannot be used together with {other.shown} {before}")


def _extrapolated(settings: Values, said: frozenset[str]) -> Values:
    """What one variable says of another."""
    if settings["distribution"] is not None:
        settings["distribution"] = DISTRIBUTIONS.get(settings["distribution"], settings["distribution"])
    if {"bin_nmu", "append_to_version"} & said:
        settings["build_arch_all"] = 0
    if settings["bin_nmu"] and settings["build_source"]:
        settings["build_source"] = 0
    if settings["append_to_version"] and settings["build_source"]:
        raise Misuse("The --append-to-version option is incompatible with a source upload", "--no-source")
    if settings["build_source"] and settings["force_orig_source"]:
        settings["dpkg_buildpackage_user_options"].append("-sa")
    return settings
