"""The session over a base: its processes, its mount, its sandbox, and working in it by hand.

May import: builder, builder.debian, builder.store, cowfs.base_list, cowfs.daemon.control,
cowfs.layer.metadata, cowfs.mountinfo, cowfs.linux.
"""
