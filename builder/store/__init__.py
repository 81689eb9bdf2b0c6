"""What outlives a build: bases, kept sessions, dependency layers, downloaded packages.

May import: builder, builder.debian, cowfs.layer.metadata, cowfs.linux.
"""
