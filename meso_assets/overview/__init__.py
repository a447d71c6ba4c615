"""The overview: one page with sessions × assets, of the values that `meso status` prints.

What belongs here: the page, when it is made again, and the sensor that does so. How a session stands is asked of
``runs.status.status``.
"""
