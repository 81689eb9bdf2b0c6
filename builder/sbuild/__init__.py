"""The command sbuild, by our builder: its words and its configuration, and what they ask of a build.

May import: builder, builder.build, builder.debian, builder.store, cowfs.
"""
