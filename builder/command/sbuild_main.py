"""The command `cowbuild-sbuild`: the verb sbuild, which can stand in sbuild's place."""

from __future__ import annotations

import sys

from builder.command.main import as_command


def main() -> int:
    """Run it; sbuild's exit code."""
    return as_command("sbuild", ["sbuild", "--", *sys.argv[1:]], misuse=1)


if __name__ == "__main__":
    sys.exit(main())
