"""A copy-on-write FUSE union file system.

On the ground are `linux` (system calls that Python lacks) and `__main__`.
May import: cowfs.command (`__main__` alone does).
"""

from __future__ import annotations

__version__ = "0.1.0"
