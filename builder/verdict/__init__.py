"""What comparing two builds found: records of it, as text, JSON and a page, and the search for what matters.

May import: builder.page.
"""
