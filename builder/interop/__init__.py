"""Other people's tools on sessions: schroot, pbuilder, autopkgtest.

May import: builder, builder.debian, builder.session, builder.store.
"""
