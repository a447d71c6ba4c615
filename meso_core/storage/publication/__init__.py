"""From files that an asset made to files of the session: staged, sealed, published; and what they replaced.

What belongs here: sessions that are folders. What does not: records (``manifests``), sessions on servers (``remote``).
"""
