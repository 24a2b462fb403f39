"""Tools for testing against failing models: virtual time, a scripted transport, and a server that fails as told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_llm.lazy import attach

if TYPE_CHECKING:
    from .clock import FakeClock, VirtualTimeLoop, run_virtual
    from .fault_injection import FaultInjection
    from .fault_server import (
        Answer,
        Call,
        Cut,
        Dribble,
        ErrorEvent,
        Fault,
        FaultServer,
        Flood,
        Garbage,
        Hollow,
        KeepAlive,
        Malformed,
        Phase,
        Phases,
        Reply,
        Reset,
        SeenRequest,
        Stall,
        Status,
        Throttle,
        WrongLength,
        echo,
        serving,
    )
    from .scripted import ScriptedTransport

__all__ = [
    "Answer",
    "Call",
    "Cut",
    "Dribble",
    "ErrorEvent",
    "FakeClock",
    "Fault",
    "FaultInjection",
    "FaultServer",
    "Flood",
    "Garbage",
    "Hollow",
    "KeepAlive",
    "Malformed",
    "Phase",
    "Phases",
    "Reply",
    "Reset",
    "ScriptedTransport",
    "SeenRequest",
    "Stall",
    "Status",
    "Throttle",
    "VirtualTimeLoop",
    "WrongLength",
    "echo",
    "run_virtual",
    "serving",
]

_HOMES = {
    "FakeClock": ".clock",
    "FaultInjection": ".fault_injection",
    "ScriptedTransport": ".scripted",
    "VirtualTimeLoop": ".clock",
    "run_virtual": ".clock",
}

__getattr__ = attach(__name__, {name: _HOMES.get(name, ".fault_server") for name in __all__})


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
