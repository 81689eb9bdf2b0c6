"""What every operation means: nodes, copy-up, whiteouts, hard links, listings. No FUSE, no threads.

May import: cowfs.linux.
"""
