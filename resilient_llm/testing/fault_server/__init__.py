"""A real server on the loopback interface that fails as told, to test applications against failing models.

async with FaultServer([Status.rate_limited(0.5), Answer()]) as server:
    ...  # point the application at server.base_url, then look at server.requests
"""

from .exchange import Exchange
from .faults import Answer, Cut, Dribble, Fault, KeepAlive, Stall
from .floods import Flood
from .records import SeenRequest
from .refusals import Status, Throttle
from .reply import Call, Reply, echo
from .schedule import Phase, Phases, Schedule, Script
from .server import FaultServer
from .serving import serving
from .wrong import ErrorEvent, Garbage, Hollow, Malformed, Reset, WrongLength

__all__ = [
    "Answer",
    "Call",
    "Cut",
    "Dribble",
    "ErrorEvent",
    "Exchange",
    "Fault",
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
    "Schedule",
    "Script",
    "SeenRequest",
    "Stall",
    "Status",
    "Throttle",
    "WrongLength",
    "echo",
    "serving",
]
