"""The kernel FUSE protocol as data and bytes: structures, opcodes, messages, what is negotiated. No input or output.

May import: cowfs.union.
"""
