"""What the tests stand on: trees, mounts of them, other users, and comparisons with an ordinary directory."""
