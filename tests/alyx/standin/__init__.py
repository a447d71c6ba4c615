"""A stand-in for an Alyx server, for machines without one.

What belongs here: the part of a real server (3.6.1) that meso, ``AlyxClient`` and ``ONE`` use, as it behaves when asked
over HTTP, and faults that a test switches on. ``shared/alyx/probe.py`` compares it with what a real server did.
"""

from . import faults
from .door import Door, door_to
from .given import Given
from .server import StandIn, serving
from .throttle import Throttle

__all__ = ["Door", "Given", "StandIn", "Throttle", "door_to", "faults", "serving"]
