"""What is recorded of a result: its manifest, its basis, the code that made it, and whether it is current.

What belongs here: records and questions asked of them. What does not: how files come to their places (``publication``).
"""
