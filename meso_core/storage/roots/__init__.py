"""Roots of sessions: where a session lies and how it is called, on a disk, on a server, or on several at once.

What belongs here: what holds for all sessions of a root. What does not: one session (``session``).
"""
