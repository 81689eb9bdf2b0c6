"""Many builds at once: what there is to do, in which order and where, what became of it, and telling of it.

May import: builder, builder.debian, builder.page, cowfs.
"""
