"""What sbuild's variables ask of a build, as our builder has it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.build import cross, hooks
from builder.build.binnmu import Rebuild
from builder.build.job import EXPLAINERS, PLACE, RESOLVERS, TESTERS, BuildOptions, Test
from builder.problems import Misuse
from builder.records import Fields
from builder.sbuild import variables
from builder.sbuild.variables import Settings

# Dpkg::BuildInfo::get_build_env_allowed: what may change a build, and is recorded in a .buildinfo.
ALLOWED = (
    *("CC", "CPP", "CXX", "OBJC", "OBJCXX", "PC", "FC", "M2C", "AS", "LD", "AR", "RANLIB", "MAKE", "AWK"),
    *("LEX", "YACC", "ASFLAGS", "CFLAGS", "CPPFLAGS", "CXXFLAGS", "OBJCFLAGS", "OBJCXXFLAGS", "GCJFLAGS"),
    *("DFLAGS", "FFLAGS", "LDFLAGS", "ARFLAGS", "MAKEFLAGS", "LD_LIBRARY_PATH", "LANG", "LC_CTYPE"),
    *("LC_NUMERIC", "LC_TIME", "LC_COLLATE", "LC_MONETARY", "LC_MESSAGES", "LC_PAPER", "LC_NAME"),
    *("LC_ADDRESS", "LC_TELEPHONE", "LC_MEASUREMENT", "LC_IDENTIFICATION", "DEB_BUILD_OPTIONS"),
    *("DEB_BUILD_PROFILES", "DEB_VENDOR", "DPKG_ROOT", "DPKG_ADMINDIR", "DPKG_DATADIR", "DPKG_ORIGINS_DIR"),
    *("DPKG_GENSYMBOLS_CHECK_LEVEL", "SOURCE_DATE_EPOCH"),
)

# These sbuild sets itself, whatever the caller has.
OWN = ("LC_ALL", "SHELL", "HOME", "PATH")

SNAPSHOT = "/usr/lib/gcc-snapshot"


@dataclass(frozen=True)
class Asked:
    """All that is asked for, as the process outside tells it to the one inside."""

    settings: Settings
    said: Sequence[str]
    """The variables that the command line sets."""
    package: str
    distribution: str
    output: str
    base: str


def build_options(asked: Asked, dsc: Path, tree: Path) -> BuildOptions:
    """Misuse where it makes no sense."""
    settings = asked.settings
    host = cross.host(settings["host_arch"], settings["build_arch"], tree)
    everything: Fields = {
        "dsc": dsc,
        "base": tree,
        "output": Path(asked.output),
        "host": host,
        "distribution": asked.distribution,
        "says_distribution": "distribution" in asked.said,
        "build_any": bool(settings["build_arch_any"]),
        "build_all": host is None if settings["build_arch_all"] is None else bool(settings["build_arch_all"]),
        "build_source": bool(settings["build_source"]),
        "source_only_changes": bool(settings["source_only_changes"]),
        "profiles": _profiles(settings, host),
        "jobs": None,
        "network": bool(settings["enable_network"]),
        "uploader": settings["uploader_name"] or None,
        "debbuild_options": tuple(settings["dpkg_buildpackage_user_options"]),
        "file_suffix": settings["dpkg_file_suffix"],
        "build_place": settings["build_path"] or PLACE,
        "source_directory": settings["dsc_dir"] or None,
        "environment": _environment(settings),
        "before_build": settings["build_env_cmnd"],
        "silence_limit": _silence_limit(settings, dsc),
        "rebuild": _rebuild(settings),
        "commands": _commands(settings),
        "tests": tests(settings),
        "purge_session": settings["purge_session"],
        "notes": tuple(variables.checked(settings)),
        **_dependencies(settings),
        **_log(settings),
    }
    return BuildOptions(**everything)


def _dependencies(settings: Settings) -> Fields:
    resolver, explainer = settings["build_dep_resolver"], settings["bd_uninstallable_explainer"] or ""
    if resolver not in RESOLVERS:
        raise Misuse(f"There is no resolver {resolver!r} here", f"--build-dep-resolver {'|'.join(RESOLVERS)}")
    explainer = "" if explainer == "none" else explainer
    if explainer not in EXPLAINERS:
        raise Misuse(f"There is no explainer {explainer!r}", "--bd-uninstallable-explainer apt|dose3|none")
    if settings["purge_session"] not in ("always", "successful", "never"):
        raise Misuse(f"--purge-session {settings['purge_session']!r} is none of always, successful, never")
    update = None if settings["apt_update"] is None else bool(settings["apt_update"])
    upgrade = bool(settings["apt_upgrade"] or settings["apt_distupgrade"])
    if _does_nothing(settings):
        update, upgrade, resolver = False, False, "null"
    snapshot = ["gcc-snapshot"] if settings["gcc_snapshot"] else []
    return {
        "resolver": resolver,
        "aspcud_criteria": settings["aspcud_criteria"],
        "explainer": explainer,
        "apt_update": update,
        "apt_upgrade": upgrade,
        "resolve_alternatives": bool(settings["resolve_alternatives"]),
        "add_depends": (*settings["manual_depends"], *snapshot),
        "add_depends_arch": tuple(settings["manual_depends_arch"]),
        "add_depends_indep": tuple(settings["manual_depends_indep"]),
        "add_conflicts": tuple(settings["manual_conflicts"]),
        "add_conflicts_arch": tuple(settings["manual_conflicts_arch"]),
        "add_conflicts_indep": tuple(settings["manual_conflicts_indep"]),
        "extra_packages": tuple(Path(each).absolute() for each in settings["extra_packages"]),
        "extra_repositories": tuple(settings["extra_repositories"]),
        "extra_keys": tuple(Path(each).absolute() for each in settings["extra_repository_keys"]),
    }


def _does_nothing(settings: Settings) -> bool:
    """Whether apt-get is replaced by true(1), as debrebuild does: the base has all that is needed."""
    for name, usual in (("apt_get", "apt-get"), ("apt_cache", "apt-cache")):
        if Path(settings[name]).name not in (usual, "true"):
            raise Misuse(f"${name} is set to {settings[name]}, and the session's own is always used")
    return Path(settings["apt_get"]).name == "true"


def _log(settings: Settings) -> Fields:
    if settings["sbuild_mode"] not in ("user", "buildd"):
        raise Misuse(f"--sbuild-mode {settings['sbuild_mode']!r} is neither user nor buildd")
    return {
        "log_file": not settings["nolog"],
        "log_directory": Path(settings["log_dir"]).absolute() if settings["log_dir"] else None,
        "log_time": settings["log_filename_ts_format"],
        "for_wanna_build": settings["sbuild_mode"] == "buildd",
        "always_post_build": True,
    }


def _profiles(settings: Settings, host: str | None) -> tuple[str, ...]:
    usual = os.environ.get("DEB_BUILD_PROFILES") or ("" if host is None else " ".join(cross.PROFILES))
    given = settings["build_profiles"]
    return tuple((usual if given is None else given).replace(",", " ").split())


def _environment(settings: Settings) -> dict[str, str]:
    """What of the caller's environment passes, and what the configuration adds."""
    patterns = settings["environment_filter"]
    if patterns is None:
        patterns = [f"^{name}$" for name in ALLOWED]
    try:
        filters = [re.compile(pattern) for pattern in patterns]
    except re.error as error:
        raise Misuse(f"$environment_filter has no regular expression: {error}") from None
    passed = {
        name: value
        for name, value in os.environ.items()
        if name not in OWN and any(each.search(name) for each in filters)
    }
    path, libraries = settings["path"], settings["ld_library_path"]
    if settings["gcc_snapshot"]:
        path, libraries = f"{SNAPSHOT}/bin:{path}", ":".join(filter(None, (f"{SNAPSHOT}/lib", libraries)))
    added = {**settings["build_environment"], "PATH": path, **({"LD_LIBRARY_PATH": libraries} if libraries else {})}
    return {**passed, **{name: str(value) for name, value in added.items() if value is not None}}


def _silence_limit(settings: Settings, dsc: Path) -> float | None:
    """Seconds; sbuild counts minutes."""
    own: Mapping[str, Any] = settings["individual_stalled_pkg_timeout"]
    minutes = own.get(dsc.name.partition("_")[0]) or settings["stalled_pkg_timeout"]
    try:
        return 60 * float(minutes) or None
    except (TypeError, ValueError):
        raise Misuse(f"$individual_stalled_pkg_timeout must hold numbers, not {minutes!r:.100}") from None


def _rebuild(settings: Settings) -> Rebuild:
    text, suffix, entry = settings["bin_nmu"], settings["append_to_version"], settings["bin_nmu_changelog"]
    if not (text or suffix or entry):
        # As sbuild has it, a number alone rebuilds nothing.
        return Rebuild(maintainer=settings["maintainer_name"] or None)
    return Rebuild(
        number=settings["bin_nmu_version"] if settings["bin_nmu_version"] is not None or not text else 1,
        text=text or None,
        suffix=suffix or "",
        maintainer=settings["maintainer_name"] or None,
        timestamp=settings["bin_nmu_timestamp"],
        whole_entry=f"{entry.strip()}\n\n" if entry else None,
    )


def tests(settings: Settings) -> tuple[Test, ...]:
    return tuple(
        Test(
            program,
            options=_without_place(settings[f"{program}_opts"]),
            must_succeed=bool(settings[f"{program}_require_success"]),
        )
        for program in TESTERS
        if settings[f"run_{program}"]
    )


def _without_place(options: Sequence[str]) -> tuple[str, ...]:
    """Options for a program that looks at packages, but for where it is to do so: that is a session."""
    kept = list(options[: options.index("--")] if "--" in options else options)
    while "--schroot" in kept:
        at = kept.index("--schroot")
        del kept[at : at + 2]
    return tuple(each for each in kept if not each.startswith("--schroot="))


def _commands(settings: Settings) -> hooks.Hooks:
    """A command may be a list of words, which no shell is to take apart."""
    found: dict[str, list[str]] = {}
    for key, commands in settings["external_commands"].items():
        point = key.removesuffix("-commands")
        if point not in hooks.POINTS:
            if commands:
                raise Misuse(
                    f"$external_commands names no point of a build: {key}", f"Known: {', '.join(hooks.POINTS)}"
                )
            continue
        if not isinstance(commands, list):
            raise Misuse(f"$external_commands must hold lists; {key} is {commands!r:.100}")
        found[point] = [shlex.join(map(str, each)) if isinstance(each, list) else str(each) for each in commands]
    return found
