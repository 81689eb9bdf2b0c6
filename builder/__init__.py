"""Builds Debian packages in throw-away copy-on-write sessions on top of cowfs."""
