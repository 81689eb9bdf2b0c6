"""``python -m cowfs``: the command ``cowfs``."""

import sys

from cowfs.command.main import main

sys.exit(main())
