"""The gate before raw tifs are removed, and the log of what was removed."""
