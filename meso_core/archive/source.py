"""Frames straight from the archive: tifs stream from the decompressor, none touches the disk.

What belongs here: choosing where a bout's frames come from, and handing its tifs out one after the other.
"""
from __future__ import annotations
