"""Locations from what was seen of this brain: the reference image, named points, histology."""
