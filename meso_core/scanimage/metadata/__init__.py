"""Imaging metadata: made from tiff headers, brought up to date, checked, compared between bouts."""
