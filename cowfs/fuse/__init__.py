"""Between the kernel and the union: the device, what the engines share, the pyfuse3 engine. No semantics.

May import: cowfs.mountinfo, cowfs.untrusted_json, cowfs.linux, cowfs.union, cowfs.fuse.protocol.
"""
