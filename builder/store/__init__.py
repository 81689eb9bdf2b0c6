"""What outlives a build: bases, kept sessions, dependency layers, downloads, compiler caches, the history.

May import: builder, builder.debian, cowfs.layer.metadata, cowfs.linux.
"""
