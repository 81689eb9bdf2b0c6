"""`cowbuild rebuild`: what a .buildinfo tells, where its packages are found, the root made of them, and the verdict.

May import: builder, builder.build, builder.debian, builder.session, builder.store, builder.verdict.
"""
