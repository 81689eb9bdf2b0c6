"""`python -m builder`: the command `cowbuild`."""

from __future__ import annotations

import sys

from builder.command.main import main

sys.exit(main())
