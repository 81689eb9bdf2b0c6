"""The engines that a mount can be asked for, by name."""

from __future__ import annotations

ENGINES = ("direct", "device", "pyfuse3")
"""The direct engine uses io_uring where the kernel offers it; "device" is the same without."""
