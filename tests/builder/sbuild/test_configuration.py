"""sbuild's configuration files, which are programs in Perl."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder import private
from builder.problems import Misuse
from builder.sbuild import configuration
from builder.sbuild.variables import defaults


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory, and no file of the machine's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("SBUILD_CONFIG", raising=False)
    monkeypatch.setattr(configuration, "SYSTEM", tmp_path / "sbuild.conf")
    monkeypatch.setattr(private, "check_only_root_writes", lambda _path: None)
    return tmp_path


@pytest.mark.usefixtures("home")
def test_without_files_sbuild_s_own_values_hold() -> None:
    assert configuration.read() == defaults()


def test_perl_evaluates_them_the_later_over_the_earlier(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "sbuild.conf").write_text("$distribution = 'sid'; $verbose = 2; $clean_source = 0;\n1;\n")
    (home / ".config/sbuild").mkdir(parents=True)
    (home / ".config/sbuild/config.pl").write_text(
        """
my $suite = 'book' . 'worm';
$distribution = $suite;
$run_lintian = ($suite =~ /^b/);
$dsc_dir = "$HOME/x";
$build_environment = { 'CCACHE_DIR' => '/build/cache' };
push @{$external_commands->{'chroot-setup-commands'}}, 'echo "%a"', ['a b', 'c'];
$mystery = 7; $empty = '';
$conf->set('SCHROOT', '/usr/bin/cowbuild-schroot'); $conf->set('LOG_DIR', $conf->get('HOME') . '/logs');
print "noise\\n";
"""
    )
    (home / "own.pl").write_text("$verbose = 3; $lintian_opts = '-i'; %mailto = ('sid' => 'a@b'); 1;")
    monkeypatch.setenv("SBUILD_CONFIG", str(home / "own.pl"))
    settings = configuration.read()
    assert (settings["distribution"], settings["verbose"], settings["clean_source"]) == ("bookworm", 3, 0)
    assert (settings["run_lintian"], settings["dsc_dir"]) == (1, f"{home}/x")
    assert settings["build_environment"] == {"CCACHE_DIR": "/build/cache"}
    assert settings["external_commands"] == {"chroot-setup-commands": ['echo "%a"', ["a b", "c"]]}
    assert settings["lintian_opts"] == ["-i"]
    assert settings["log_dir"] == f"{home}/logs"
    said = capsys.readouterr().err
    assert said.count("$mystery is set") == 1
    assert "empty" not in said
    assert "noise" in said


@pytest.mark.parametrize("pragma", ["", "use utf8; "])
def test_names_of_people_are_as_they_are_written(home: Path, pragma: str) -> None:
    (home / ".sbuildrc").write_text(
        f"{pragma}$maintainer_name = 'Jörg Müller <j@ü.example>'; $build_environment = {{ 'Ö' => 'ä€' }};\n"
        "push @{$external_commands->{'chroot-setup-commands'}}, ['echo', 'ß']; $verbose = 2; 1;\n",
        encoding="utf-8",
    )
    settings = configuration.read()
    assert settings["maintainer_name"] == "Jörg Müller <j@ü.example>"
    assert settings["build_environment"] == {"Ö": "ä€"}
    assert settings["external_commands"]["chroot-setup-commands"] == [["echo", "ß"]]
    assert settings["verbose"] == 2


def test_a_regular_expression_of_perl_s_is_one(home: Path) -> None:
    (home / ".sbuildrc").write_text("$environment_filter = [qr/^DEB_/, qr/^ccache_/i, '^TZ$']; 1;")
    filters = configuration.read()["environment_filter"]
    assert filters == ["^DEB_", "(?i:^ccache_)", "^TZ$"]


def test_a_mistake_is_told_with_file_and_line(home: Path) -> None:
    (home / ".sbuildrc").write_text("$verbose = 1;\n$distribution = ;\n")
    with pytest.raises(Misuse) as raised:
        configuration.read()
    assert ".sbuildrc" in str(raised.value)
    assert "line 2" in raised.value.hint


def test_a_value_of_another_kind_is_told(home: Path) -> None:
    (home / ".sbuildrc").write_text("$external_commands = 'x'; 1;")
    with pytest.raises(Misuse, match=r"\$external_commands .* must be a hash"):
        configuration.read()


def test_the_file_that_debian_installs_is_understood(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "sbuild.conf").write_text(Path("/etc/sbuild/sbuild.conf").read_text())
    assert configuration.read() == defaults()
    assert capsys.readouterr().err == ""
