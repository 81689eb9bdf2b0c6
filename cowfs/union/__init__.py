"""The union of read-only layers and one writable layer: what every operation means. No FUSE in here."""
