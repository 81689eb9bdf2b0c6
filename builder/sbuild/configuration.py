"""sbuild's configuration files: programs in Perl, which perl runs; what they set comes back as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builder import private
from builder.problems import Misuse, Problem
from builder.sbuild.variables import VARIABLES, Kind, Values, defaults

# Old names of what were hashes and not references to them.
DEPRECATED = {"mailto": "mailto_hash"}

SYSTEM = Path("/etc/sbuild/sbuild.conf")

# Every variable is one of the package main: those that it had before are Perl's own, the others the files' doing. Not
# in strict mode, which would make an error of a variable that sbuild has and this program does not know. What a file
# prints is kept out of the answer. A regular expression is given as its text. Some say `$conf->set('VERBOSE', 1)`, as
# sbuild's own object has it. Perl's text is the file's bytes, unless that says `use utf8`; they are taken for UTF-8
# where they can be.
PROGRAM = r"""
use warnings;
use JSON::PP ();
our $HOME = $ENV{'HOME'};
our $home = $HOME;
our $conf = bless({}, 'Configuration');
sub Configuration::get { no strict 'refs'; return ${'main::' . lc($_[1])}; }
sub Configuration::set { no strict 'refs'; return ${'main::' . lc($_[1])} = $_[2]; }
my %before = map { $_ => 1 } keys %main::;
open(my $answer, '>&', \*STDOUT) or die "E: $!\n";
open(STDOUT, '>&', \*STDERR) or die "E: $!\n";
foreach my $path (@ARGV) {
    open(my $file, '<', $path) or die "E: $path: $!\n";
    my $text = do { local $/; <$file> };
    no strict;
    eval "package main; no strict;\n#line 1 \"$path\"\n$text";
    die "E: $path: Errors found in configuration file:\n$@" if $@;
}
my %found;
foreach my $name (grep { !$before{$_} && /^[a-z]\w*$/i } keys %main::) {
    next if ref(\$main::{$name}) ne 'GLOB';
    my $glob = \$main::{$name};
    $found{$name} = defined ${*$glob} ? ${*$glob}
        : defined *$glob{ARRAY} && @{*$glob} ? \@{*$glob}
        : defined *$glob{HASH} && %{*$glob} ? \%{*$glob} : undef;
}
sub decoded {
    my ($value) = @_;
    my $kind = ref($value);
    return [map { decoded($_) } @$value] if $kind eq 'ARRAY';
    return { map { decoded($_) } %$value } if $kind eq 'HASH';
    if ($kind eq 'Regexp') {
        my ($pattern, $flags) = re::regexp_pattern($value);
        $flags =~ tr/imsx//cd;
        return decoded($flags eq '' ? $pattern : "(?$flags:$pattern)");
    }
    utf8::decode($value) if defined $value && !$kind && $value =~ /[^\x00-\x7f]/;
    return $value;
}
print $answer JSON::PP->new->utf8->allow_unknown->allow_blessed->allow_nonref->encode(decoded(\%found));
"""


def files() -> list[Path]:
    """Those that there are, the later over the earlier."""
    home = Path(os.environ.get("HOME") or "/")
    own = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "sbuild/config.pl"
    named = os.environ.get("SBUILD_CONFIG")
    return [path for path in (SYSTEM, own, home / ".sbuildrc", *([Path(named)] if named else [])) if path.is_file()]


def read() -> Values:
    """Every variable's value: the files' over sbuild's own. Misuse where perl does not understand a file.

    A variable that sbuild has not, and that has a value, is told on stderr.
    """
    settings = defaults()
    for name, value in _evaluated(files()).items():
        if isinstance(value, dict | list) and (new := DEPRECATED.get(name)) is not None:
            settings[new] = value
        elif name not in VARIABLES:
            if value not in (None, "", [], {}):
                print(f"W: ${name} is set in sbuild's configuration, and has no effect here", file=sys.stderr)
        elif value is not None:
            settings[name] = _of_kind(name, value)
    return settings


def _evaluated(paths: Sequence[Path]) -> Values:
    if not paths:
        return {}
    if os.geteuid() == 0:
        for path in paths:
            private.check_only_root_writes(path)
    try:
        done = subprocess.run(
            ["perl", "-e", PROGRAM, "--", *paths],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise Problem("sbuild's configuration is Perl, and perl is missing", "apt-get install perl") from None
    if done.returncode != 0:
        missing = "Can't locate JSON/PP.pm" in done.stderr
        hint = "apt-get install perl" if missing else "perl -c FILE says where."
        raise Misuse(f"perl cannot read sbuild's configuration {' '.join(map(str, paths))}", f"{done.stderr}{hint}")
    sys.stderr.write(done.stderr)
    try:
        found: Values = json.loads(done.stdout)
    except (ValueError, RecursionError):
        names = " ".join(map(str, paths))
        raise Misuse(f"perl gives no answer of sbuild's configuration {names}", "Does a file say `exit`?") from None
    return found


def _of_kind(name: str, value: Any) -> Any:
    kind = VARIABLES[name].kind
    try:
        match kind:
            case Kind.TEXT if isinstance(value, str | int | float):
                return str(value)
            case Kind.SWITCH if isinstance(value, str | int | float):
                # What Perl takes for true.
                return int(value not in ("", "0", 0))
            case Kind.NUMBER if isinstance(value, str | int | float):
                return int(value or 0)
            case Kind.LIST:
                words = value if isinstance(value, list) else [value]
                if not all(isinstance(each, str | int | float) for each in words):
                    raise ValueError(value)
                return [str(each) for each in words]
            case Kind.HASH if isinstance(value, dict):
                return value
            case _:
                raise ValueError(value)
    except ValueError:
        raise Misuse(f"${name} in sbuild's configuration must be {kind.value}, not {value!r:.100}") from None
