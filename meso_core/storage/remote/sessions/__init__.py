"""Sessions on a server: found, published, kept, and worked at by one process at a time."""
