"""The direct engine: requests from /dev/fuse or from io_uring, and their replies.

May import: cowfs.linux, cowfs.union, cowfs.fuse, cowfs.fuse.protocol.
"""
