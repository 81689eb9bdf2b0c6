"""The command cowbuild: verbs, options, configuration, completion, several packages side by side.

May import: builder, builder.build, builder.debian, builder.interop, builder.many, builder.rebuild, builder.sbuild,
builder.session, builder.store, cowfs, cowfs.command, cowfs.endings.
"""
