"""`imaging.frames.zarr`: raw frames for random access, made and verified."""
