"""Files of a disk or a share: whole or not at all, hashed while they are written, one writer at a time.

What belongs here: what holds for any file. What does not: what a result is (``manifests``, ``publication``).
"""
