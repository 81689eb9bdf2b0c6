"""The engines: they carry requests between the kernel and the union, and know no semantics of their own."""
