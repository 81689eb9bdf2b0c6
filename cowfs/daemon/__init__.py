"""One running mount: what was asked for, its life, what it can be told, and how others find it.

May import: cowfs.mountinfo, cowfs.untrusted_json, cowfs.fuse, cowfs.fuse.direct, cowfs.layer, cowfs.union.
"""
