"""Cells of one registered FOV: ROIs, traces, deconvolved activity."""
