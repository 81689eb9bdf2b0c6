"""`cowbuild`: Debian packages built in throw-away sessions.

On the ground: problems, log and screen, processes and interruptions, the user namespace, hostile trees.
May import: builder.command, cowfs.endings.
"""
