"""Other people's tools on sessions, and our programs that stand in for such: schroot, pbuilder, autopkgtest.

May import: builder, builder.debian, builder.session, builder.store, cowfs.endings.
"""
