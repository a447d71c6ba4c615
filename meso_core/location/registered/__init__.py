"""Locations from what was seen of this very brain: named points, histology, points in focus on the surface."""
