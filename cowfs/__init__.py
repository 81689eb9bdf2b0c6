"""cowfs: a copy-on-write file system for throw-away Debian build chroots, in FUSE."""
