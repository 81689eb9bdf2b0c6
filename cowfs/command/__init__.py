"""The commands cowfs and mount.fuse.cowfs: arguments become requests, errors become sentences.

May import: cowfs, cowfs.base_list, cowfs.endings, cowfs.daemon, cowfs.fuse, cowfs.layer, cowfs.tools, cowfs.union.
"""
