"""What a build used: reckoned from a trace, shown on a page.

May import: builder, builder.debian, builder.page.
"""
