"""Tools for testing against failing models: virtual time and a scripted transport."""

from .clock import FakeClock, VirtualTimeLoop, run_virtual
from .scripted import ScriptedTransport

__all__ = ["FakeClock", "ScriptedTransport", "VirtualTimeLoop", "run_virtual"]
