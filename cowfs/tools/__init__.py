"""What is done with layers beside mounting them: diff, commit, export, import, snapshot, status.

May import: cowfs.daemon, cowfs.fuse, cowfs.layer, cowfs.linux, cowfs.union.
"""
