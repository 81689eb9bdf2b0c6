"""What Debian's tools and files say: archives, bases, architectures, sources, dependencies, dpkg's database.

May import: builder.
"""
