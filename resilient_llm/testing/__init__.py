"""Tools for testing against failing models: virtual time, a scripted transport, and a server that fails as told."""

from .clock import FakeClock, VirtualTimeLoop, run_virtual
from .fault_server import (
    Answer,
    Cut,
    Fault,
    FaultServer,
    Garbage,
    OpenAIDialect,
    Phase,
    Phases,
    Reset,
    SeenRequest,
    Stall,
    Status,
    Throttle,
)
from .scripted import ScriptedTransport

__all__ = [
    "Answer",
    "Cut",
    "FakeClock",
    "Fault",
    "FaultServer",
    "Garbage",
    "OpenAIDialect",
    "Phase",
    "Phases",
    "Reset",
    "ScriptedTransport",
    "SeenRequest",
    "Stall",
    "Status",
    "Throttle",
    "VirtualTimeLoop",
    "run_virtual",
]
