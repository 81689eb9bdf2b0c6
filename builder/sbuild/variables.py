"""The variables of sbuild.conf(5), one row each: of which kind, what it is by itself, and what becomes of it here.

The options of the command line (options.py) set the same variables, so what is said here of one holds for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from builder.problems import Misuse

Settings = Mapping[str, Any]
Values = dict[str, Any]
"""Settings that are still being collected."""
"""Variable -> value, as Perl has it: text or number, list, or mapping; None where it is not set."""


class Kind(Enum):
    TEXT = "text"
    NUMBER = "a number"
    SWITCH = "0 or 1"
    LIST = "a list"
    HASH = "a hash"


class Fate(Enum):
    """What becomes of a value."""

    ACTS = "it has sbuild's meaning"
    NEEDLESS = "accepted: a throw-away session satisfies it"
    UNDONE = "accepted, and the log says that it is not done"
    REFUSED = "refused"


@dataclass(frozen=True)
class Variable:
    name: str
    kind: Kind
    default: Any = None
    fate: Fate = Fate.ACTS
    why: str = ""
    """A sentence for whoever gave it a value; what to do instead where it is refused."""


def _needless(kind: Kind, why: str, **defaults: Any) -> list[Variable]:
    return [Variable(name, kind, default, Fate.NEEDLESS, why) for name, default in defaults.items()]


def _undone(kind: Kind, why: str, **defaults: Any) -> list[Variable]:
    return [Variable(name, kind, default, Fate.UNDONE, why) for name, default in defaults.items()]


def _refused(kind: Kind, why: str, **defaults: Any) -> list[Variable]:
    return [Variable(name, kind, default, Fate.REFUSED, why) for name, default in defaults.items()]


def _acting(kind: Kind, *names: str, **defaults: Any) -> list[Variable]:
    return [Variable(name, kind, default) for name, default in {**dict.fromkeys(names), **defaults}.items()]


MAIL = "no mail is sent: the log is in a file, and on stdout with --nolog or --verbose"
SESSION = "every build has a session of its own, which is gone afterwards"
PROGRAM = "the programs of the session, and the machine's by the search path, are used"
LAUNCHERS = "no other program is asked for a root: the user's own namespaces are used"
TESTS_AS_ROOT = "piuparts and autopkgtest run in sessions of their own, in which root is theirs"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/games"
CHECKLIST = "/var/lib/sbuild/package-checklist"
NO_SERVER = "no virtual server is started: builds and tests are in sessions"
OWN_TARBALLS = "a base is made with `cowbuild create`, and upgraded with `cowbuild update`"

VARIABLES: Mapping[str, Variable] = {
    each.name: each
    for each in (
        # What is built, and from what.
        *_acting(Kind.TEXT, "distribution", "host_arch", "build_arch", "build_profiles", "dsc_dir"),
        *_acting(Kind.SWITCH, "build_arch_all", build_arch_any=1, build_source=0, source_only_changes=0),
        *_acting(Kind.SWITCH, clean_source=1, force_orig_source=0),
        *_acting(Kind.LIST, dpkg_source_opts=[], dpkg_buildpackage_user_options=[]),
        *_acting(Kind.TEXT, dpkg_source="dpkg-source", dpkg_file_suffix="", fakeroot="fakeroot"),
        *_acting(Kind.TEXT, "build_dir", "build_path", "maintainer_name", "uploader_name", "key_id"),
        *_acting(Kind.TEXT, "bin_nmu", "bin_nmu_timestamp", "bin_nmu_changelog", "append_to_version"),
        *_acting(Kind.NUMBER, "bin_nmu_version"),
        # What it is built in.
        *_acting(Kind.TEXT, "chroot", chroot_mode="schroot"),
        *_acting(Kind.HASH, chroot_aliases={}),
        *_acting(Kind.TEXT, path=PATH, build_env_cmnd=""),
        *_acting(Kind.TEXT, "ld_library_path"),
        *_acting(Kind.HASH, build_environment={}, external_commands={}),
        *_acting(Kind.LIST, "environment_filter"),
        *_acting(Kind.SWITCH, enable_network=0, gcc_snapshot=0),
        # What it is built with.
        *_acting(Kind.LIST, manual_depends=[], manual_depends_arch=[], manual_depends_indep=[]),
        *_acting(Kind.LIST, manual_conflicts=[], manual_conflicts_arch=[], manual_conflicts_indep=[]),
        *_acting(Kind.LIST, extra_packages=[], extra_repositories=[], extra_repository_keys=[]),
        *_acting(Kind.TEXT, build_dep_resolver="apt", aspcud_criteria="-removed,-changed,-new"),
        *_acting(Kind.TEXT, bd_uninstallable_explainer="dose3", apt_get="apt-get", apt_cache="apt-cache"),
        *_acting(Kind.SWITCH, "apt_update", "resolve_alternatives", apt_upgrade=0, apt_distupgrade=1),
        # What is said, and where.
        *_acting(Kind.TEXT, "log_dir", sbuild_mode="user", log_filename_ts_format="%Y-%m-%dT%H:%M:%SZ"),
        *_acting(Kind.SWITCH, nolog=0),
        *_acting(Kind.NUMBER, "verbose", stalled_pkg_timeout=150),
        *_acting(Kind.HASH, individual_stalled_pkg_timeout={}),
        *_acting(Kind.TEXT, purge_session="always"),
        # What looks at the packages.
        *_acting(Kind.SWITCH, run_lintian=1, run_piuparts=0, run_autopkgtest=0),
        *_acting(Kind.SWITCH, lintian_require_success=0, piuparts_require_success=0, autopkgtest_require_success=0),
        *_acting(Kind.LIST, lintian_opts=[], piuparts_opts=[], autopkgtest_opts=[]),
        # A session that is thrown away leaves nothing to purge, clean or lock, and needs nobody's permission.
        *_needless(Kind.TEXT, SESSION, purge_build_deps="always", purge_build_directory="always"),
        *_needless(Kind.SWITCH, SESSION, apt_clean=0, chroot_split=0, apt_keep_downloaded_packages=0),
        *_needless(Kind.SWITCH, "of the archives added, all are updated", apt_update_archive_only=1),
        *_needless(Kind.SWITCH, "the session begins with what the base has", purge_extra_packages=0),
        *_needless(Kind.NUMBER, SESSION, max_lock_trys=120, lock_interval=5),
        *_needless(Kind.TEXT, SESSION, unshare_tmpdir_template="/tmp/tmp.sbuild.XXXXXXXXXX"),
        *_needless(Kind.TEXT, "it is cowbuild's own, in the session only", build_user=None),
        *_needless(Kind.SWITCH, "dpkg-buildpackage becomes root with fakeroot", build_as_root_when_needed=0),
        *_needless(Kind.TEXT, PROGRAM, lintian="lintian", piuparts="piuparts", autopkgtest="autopkgtest"),
        *_needless(Kind.TEXT, PROGRAM, aptitude="aptitude", xapt="xapt", md5sum="md5sum"),
        *_needless(Kind.TEXT, LAUNCHERS, schroot="schroot", sudo="sudo", su="su"),
        *_needless(Kind.LIST, LAUNCHERS, schroot_options=["-q"]),
        *_needless(Kind.LIST, TESTS_AS_ROOT, piuparts_root_args=[], autopkgtest_root_args=[]),
        *_needless(Kind.TEXT, "it is only the subject of mails", archive=None),
        *_needless(Kind.SWITCH, "how often the log is shown does not matter", log_external_command_output=1),
        *_needless(Kind.SWITCH, "complaints are in the log, too", log_external_command_error=1),
        *_needless(Kind.SWITCH, "paths in the log are the same for each build", log_filter=1, log_colour=1),
        *_needless(Kind.NUMBER, "the log says all there is", debug=0),
        *_needless(Kind.SWITCH, "room is always looked for", check_space=1),
        *_needless(Kind.TEXT, "the session begins with what the base has", package_checklist=CHECKLIST),
        *_needless(Kind.LIST, "the session's packages are in the .buildinfo", toolchain_regex=None),
        *_needless(Kind.SWITCH, OWN_TARBALLS, unshare_mmdebstrap_keep_tarball=0, unshare_mmdebstrap_auto_create=1),
        *_needless(Kind.TEXT, OWN_TARBALLS, unshare_mmdebstrap_max_age=None, unshare_mmdebstrap_env_cmnd=None),
        *_needless(Kind.HASH, OWN_TARBALLS, unshare_mmdebstrap_distro_mangle=None),
        # What other programs may wait for.
        *_undone(Kind.TEXT, MAIL, mailto="", mailfrom="Source Builder <sbuild>", mailprog="/usr/sbin/sendmail"),
        *_undone(Kind.HASH, MAIL, mailto_hash={}),
        *_undone(Kind.SWITCH, MAIL, compress_build_log_mails=1, mime_build_log_mails=1),
        *_undone(Kind.TEXT, "no statistics are written: the Summary has Build-Time and Install-Time", stats_dir=None),
        *_undone(Kind.SWITCH, "no file says how far the build is: the log does", batch_mode=0),
        *_undone(Kind.TEXT, "no file says how far the build is: the log does", job_file="build-progress"),
        *_undone(Kind.TEXT, "all sections of the log are shown", hide_log_sections=None),
        *_undone(Kind.LIST, OWN_TARBALLS, unshare_mmdebstrap_extra_args=None),
        *_undone(
            Kind.LIST, "no tests run on a virtual server: they run in sessions", autopkgtest_virt_server_options=[]
        ),
        *_undone(
            Kind.TEXT,
            "no tests run on a virtual server: they run in sessions",
            autopkgtest_virt_server="autopkgtest-virt-schroot",
        ),
        # What would be something else than what was asked for.
        *_refused(
            Kind.LIST,
            "No key is in a session; -k KEY, $key_id, signs when the build is done",
            pgp_options=["-us", "-uc"],
        ),
        *_refused(
            Kind.LIST,
            "Nothing of the machine's is seen in a session; --extra-package and the hook commands bring files into it",
            unshare_bind_mounts=[],
        ),
        *_refused(
            Kind.LIST,
            "What every build has is build-essential and fakeroot; --add-depends adds to it",
            core_depends=["build-essential:native", "fakeroot:native"],
        ),
        *_refused(
            Kind.HASH,
            "A cross build has crossbuild-essential; --add-depends adds to it",
            crossbuild_core_depends={},
        ),
        *_refused(
            Kind.SWITCH,
            "An archive is believed by its signature; 'deb [trusted=yes] ...' as --extra-repository does without",
            apt_allow_unauthenticated=0,
        ),
        *_refused(
            Kind.TEXT,
            "It is obsolete; give the commands themselves: --chroot-setup-commands",
            chroot_setup_script=None,
        ),
    )
}


def defaults() -> Values:
    return {
        name: each.default.copy() if isinstance(each.default, list | dict) else each.default
        for name, each in VARIABLES.items()
    }


def checked(settings: Settings) -> list[str]:
    """What the log is to say of variables that have a value and no effect. Misuse for what is refused."""
    undone = []
    for name, value in settings.items():
        variable = VARIABLES[name]
        if value in (variable.default, None, "", [], {}) or variable.fate in (Fate.ACTS, Fate.NEEDLESS):
            continue
        if variable.fate is Fate.REFUSED:
            raise Misuse(f"${name} is set, and cannot be obeyed", variable.why + ".")
        undone.append(variable.why)
    return list(dict.fromkeys(undone))
