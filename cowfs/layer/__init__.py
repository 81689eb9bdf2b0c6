"""A layer directory: what it says of itself, who holds it, how it is opened for writing or looked at.

May import: cowfs.base_list, cowfs.untrusted_json, cowfs.linux, cowfs.union.
"""
