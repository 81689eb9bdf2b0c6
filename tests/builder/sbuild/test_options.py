"""The tables of sbuild's options and variables, against the sbuild that is installed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from builder.build.job import TESTERS
from builder.problems import Misuse
from builder.sbuild import help_text, options, variables
from builder.sbuild.options import BY_NAME, OPTIONS, How
from builder.sbuild.variables import VARIABLES, Fate, Kind, defaults

# Sbuild::Options keeps what it tells Getopt::Long; Sbuild::Conf what it reads from files.
ASK_SBUILD = """
use Sbuild::Conf; use Sbuild::Options; use JSON::PP;
my $conf = Sbuild::ConfBase->new(CHECK => 0);
Sbuild::Conf::setup($conf);
my $options = bless({ 'Config' => $conf }, 'Sbuild::Options');
my @specs;
{ no warnings 'redefine'; *Sbuild::Options::add_options = sub { my ($self, %new) = @_; push @specs, keys %new; }; }
$options->set_options();
my %variables = map { $_->{VARNAME} => { type => $_->{TYPE}, default => $_->{DEFAULT} } }
    grep { $_->{VARNAME} } values %{$conf->{KEYS}};
print JSON::PP->new->allow_nonref->allow_unknown->allow_blessed->encode([\\@specs, \\%variables]);
"""

# Those of Sbuild::OptionsBase, which stand in its constructor.
OF_EVERY_PROGRAM = {"h|help", "V|version", "D|debug", "v|verbose", "q|quiet"}

# What sbuild 0.89 has and the one of Debian 12 has not.
NEWER = {"enable-network", "hide-log-sections=s", "log-filename-ts-format=s"}

# Computed when sbuild starts, on its machine.
COMPUTED = {"build_arch", "host_arch", "build_dir", "build_user", "stats_dir", "environment_filter", "toolchain_regex"}


@pytest.fixture(scope="module")
def installed() -> tuple[set[str], dict[str, Any]]:
    done = subprocess.run(["perl", "-e", ASK_SBUILD], capture_output=True, text=True, check=True)
    specs, known = json.loads(done.stdout)
    return set(specs) | OF_EVERY_PROGRAM, known


def test_every_option_of_the_installed_sbuild_has_a_row(
    installed: tuple[set[str], dict[str, Any]],
) -> None:
    rows = {option.spec for option in OPTIONS}
    assert installed[0] - rows == set()
    assert rows - installed[0] <= NEWER


def test_every_variable_of_the_installed_sbuild_has_a_row(installed: tuple[set[str], dict[str, Any]]) -> None:
    assert set(installed[1]) - set(VARIABLES) == set()


def test_a_variable_is_by_itself_what_sbuild_has(installed: tuple[set[str], dict[str, Any]]) -> None:
    for name, theirs in installed[1].items():
        if name in COMPUTED:
            continue
        ours = VARIABLES[name]
        if ours.kind is Kind.SWITCH and name != "apt_update":
            assert (ours.default, name) == (None if theirs["default"] is None else int(theirs["default"]), name)
        elif name in ("external_commands", "apt_update"):
            continue  # points without a command; kept dependencies need no update
        else:
            assert (ours.default or None, name) == (theirs["default"] or None, name)


def test_every_option_sets_what_there_is_and_says_what_becomes_of_it() -> None:
    points = {"chroot-update-failed", "build-deps-failed", "build-failed"}
    for option in OPTIONS:
        if option.how not in (How.COMMAND, How.SHOWN):
            assert set(option.variables) <= set(VARIABLES), option.spec
    assert set(BY_NAME["anything-failed-commands"].variables) == points
    for variable in VARIABLES.values():
        assert bool(variable.why) == (variable.fate is not Fate.ACTS), variable.name
    text = help_text.text()
    assert all(f"--{name}" in text for option in OPTIONS for name in option.names if len(name) > 1)
    assert "--stats-dir TEXT" in text
    assert "no statistics are written" in text


def test_what_acts_is_used_somewhere() -> None:
    root = Path(options.__file__).parents[1]
    texts = [path.read_text() for path in (*root.glob("sbuild/*.py"), root / "command/as_sbuild.py")]
    # Behind the tables themselves.
    used = "".join(text.rpartition("BY_NAME: ")[2] for text in texts if "VARIABLES: Mapping" not in text)
    # Of tests, their names are put together.
    put_together = {
        f"{what}{program}{more}"
        for program in TESTERS
        for what, more in (("run_", ""), ("", "_opts"), ("", "_require_success"))
    }
    acting = {name for name, each in VARIABLES.items() if each.fate is Fate.ACTS} - put_together
    assert {name for name in acting if f'"{name}"' not in used} == set()


def given(*words: str) -> options.Given:
    return options.parse(words, defaults())


def test_words_are_understood_as_perl_s_getopt_has_them() -> None:
    said = given(
        "a.dsc", "-Asd", "u", "--debbuildopts", "-sa -v1", "--debbuildopt=-I x", "-j4", "--no-run-lint", "-vvq"
    )
    assert said.packages == ("a.dsc",)
    settings = said.settings
    assert (settings["build_arch_all"], settings["build_source"], settings["distribution"]) == (1, 1, "unstable")
    assert settings["dpkg_buildpackage_user_options"] == ["-sa", "-v1", "-I x", "-j4"]
    assert (settings["run_lintian"], settings["verbose"]) == (0, 1)
    assert given("--", "-d").packages == ("-d",)


def test_a_purge_sets_three_and_commands_come_in_their_order() -> None:
    settings = given("-p", "never", "--post-build-commands=a", "--post-build-commands", "b").settings
    assert {settings[f"purge_{what}"] for what in ("session", "build_deps", "build_directory")} == {"never"}
    assert settings["external_commands"] == {"post-build-commands": ["a", "b"]}


def test_a_rebuild_leaves_out_source_and_packages_for_all() -> None:
    settings = given("--make-binNMU=why", "--binNMU=0", "-s").settings
    assert (settings["build_source"], settings["build_arch_all"], settings["bin_nmu_version"]) == (0, 0, 0)
    assert given("--append-to-version=~x").settings["build_arch_all"] == 0


def test_an_option_s_list_does_not_change_the_configuration_s() -> None:
    configured = defaults()
    options.parse(["--add-depends=x", "--pre-build-commands=y"], configured)
    assert configured == defaults()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--no-such"], "option --no-such not recognized"),
        (["--dist"], "option --dist requires argument"),
        (["--jobs=x"], "--jobs takes a number, not 'x'"),
        (["--arch-all", "--no-arch-all"], "--arch-all cannot be used together with --no-arch-all"),
        (["-A", "--make-binNMU=x"], "--arch-all cannot be used together with --make-binNMU"),
        (["--purge=never", "--purge-deps=always"], "--purge cannot be used together with --purge-deps"),
        (["--binNMU-changelog=x", "--binNMU=1"], "--binNMU-changelog cannot be used together with --binNMU"),
        (["--arch=amd64", "--build=i386"], "--build i386 cannot be used together with --arch amd64"),
        (["--append-to-version=x", "-s"], "incompatible with a source upload"),
    ],
)
def test_what_makes_no_sense_is_told_as_sbuild_tells_it(words: list[str], said: str) -> None:
    with pytest.raises(Misuse, match=said):
        given(*words)


def test_what_has_no_effect_is_said_and_what_cannot_be_is_refused() -> None:
    settings = given("--stats-dir=/x", "--mail-log-to=a@b", "--mailfrom=c", "--purge-deps=never", "--batch").settings
    notes = variables.checked(settings)
    assert len(notes) == 3  # mail once
    assert any("no mail is sent" in note for note in notes)
    settings["unshare_bind_mounts"] = [{"directory": "/a", "mountpoint": "/b"}]
    with pytest.raises(Misuse, match="unshare_bind_mounts"):
        variables.checked(settings)
    assert variables.checked(defaults()) == []
