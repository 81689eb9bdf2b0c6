"""HTML pages that need nothing else: how they look, and tables that can be sorted.

May import: builder.
"""
