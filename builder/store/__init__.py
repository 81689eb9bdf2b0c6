"""What outlives a build: bases, kept sessions, dependency layers.

May import: builder, builder.debian.
"""
