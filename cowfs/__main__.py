"""`python -m cowfs`: the command `cowfs`."""

from __future__ import annotations

import sys

from cowfs.command.main import main

sys.exit(main())
