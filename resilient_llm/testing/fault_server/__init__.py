"""A real server on the loopback interface that fails as told, to test applications against failing models.

async with FaultServer([Status.rate_limited(0.5), Answer()]) as server:
    ...  # point the application at server.base_url, then look at server.requests
"""

from .exchange import Exchange
from .faults import Answer, Cut, Fault, Garbage, Reset, Stall
from .openai import OpenAIDialect
from .records import SeenRequest
from .refusals import Status, Throttle
from .schedule import Phase, Phases, Schedule, Script
from .server import FaultServer

__all__ = [
    "Answer",
    "Cut",
    "Exchange",
    "Fault",
    "FaultServer",
    "Garbage",
    "OpenAIDialect",
    "Phase",
    "Phases",
    "Reset",
    "Schedule",
    "Script",
    "SeenRequest",
    "Stall",
    "Status",
    "Throttle",
]
