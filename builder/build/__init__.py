"""One build: its stages, and what they share.

May import: builder, builder.debian, builder.session, builder.store, builder.trace, builder.verdict, cowfs.
"""
