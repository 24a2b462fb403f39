"""Finding the model servers of this machine: who is there is told by its answer, not by its port.

At each usual address the server that is usually there is recognised by a route that only it has. What else lists
models in OpenAI's manner is told by who owns them. A web server that happens to listen there does neither, and is left
alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import attrs

from resilient_llm.errors import BackendFailure, ModelUnavailableError

from .llamacpp import LlamaCppTransport, LlamafileTransport
from .lmstudio import LMStudioTransport
from .ollama import OllamaTransport
from .openai_compatible import OpenAICompatibleTransport
from .selection import LISTING_FAILED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from resilient_llm.models import ModelInfo

    from .backend import BackendTransport

LOOKING_SECONDS: Final = 0.5
FOREIGN: Final = "what answers is no model server"

COMPATIBLE: Final = "openai-compatible"

KINDS: Final[Mapping[str, type[BackendTransport]]] = {
    "lmstudio": LMStudioTransport,
    "ollama": OllamaTransport,
    "llamacpp": LlamaCppTransport,
    "llamafile": LlamafileTransport,
    COMPATIBLE: OpenAICompatibleTransport,
}

OWNERS: Final[Mapping[str, str]] = {
    "organization_owner": "lmstudio",
    "library": "ollama",
    "llamacpp": "llamacpp",
    "llamafile": "llamafile",
    "vllm": COMPATIBLE,
    "me": COMPATIBLE,  # llama-cpp-python
}
"""The kind of server by who owns its models."""


@attrs.frozen
class Place:
    """A usual address.

    Args:
        kind: What is usually there.
        url: Where; None: where its transport says.
    """

    kind: str
    url: str | None = None


PLACES: Final = (
    Place("lmstudio"),
    Place("ollama"),
    Place("llamacpp"),
    Place("llamacpp", "http://127.0.0.1:9931"),  # where newer builds listen
    Place(COMPATIBLE, "http://localhost:8000/v1"),  # vLLM, llama-cpp-python
)
"""Where to look, the preferred server first."""


@attrs.frozen(eq=False)
class Server:
    """A server that was found.

    Args:
        transport: Calls it.
        models: What it offers, as far as it says.
    """

    transport: BackendTransport
    models: Sequence[ModelInfo]


@attrs.frozen
class Nobody:
    """A place where no model server was found.

    Args:
        usual: The transport of the one that is usually there.
        reason: What was found instead; empty if nothing listens.
    """

    usual: BackendTransport
    reason: str = ""

    @property
    def told(self) -> str:
        """What to say of it: who was looked for where, and what was found instead."""
        return f"{self.usual.label} at {self.usual.base_url}{f' ({self.reason})' if self.reason else ''}"


async def discover(
    places: Sequence[Place], make: Callable[[type[BackendTransport], str, str | None], BackendTransport]
) -> list[Server | Nobody]:
    """Look at all places at once, for at most half a second; the findings are in the order of the places.

    Args:
        places: Where to look.
        make: Makes a transport of a class, with a backend's name, for a URL (None: the class's own).
    """
    return list(await asyncio.gather(*(_look(place, make) for place in places)))


async def _look(
    place: Place, make: Callable[[type[BackendTransport], str, str | None], BackendTransport]
) -> Server | Nobody:
    usual = make(KINDS[place.kind], place.kind, place.url)
    try:
        async with asyncio.timeout(LOOKING_SECONDS):
            if place.kind != COMPATIBLE and (models := await usual.recognised()) is not None:
                return Server(usual, models)
            return await _look_again(usual, place.kind, lambda kind: make(KINDS[kind], kind, usual.base_url))
    except TimeoutError:
        return Nobody(usual, f"no answer within {LOOKING_SECONDS} s")


async def _look_again(
    usual: BackendTransport, kind: str, make: Callable[[str], BackendTransport]
) -> Server | Nobody:
    """Whoever it is, it lists models as OpenAI does; or it is no model server."""
    plain = make(COMPATIBLE)
    models: Sequence[ModelInfo] = ()
    reason = FOREIGN
    try:
        models = await plain.offered()
    except ModelUnavailableError:
        reason = ""
    except BackendFailure as failure:
        if failure.status in {401, 403}:
            reason = f"it asks for a key, HTTP {failure.status}"
    except LISTING_FAILED:
        pass
    if not models:  # any server can answer with an empty list
        return Nobody(usual, reason)
    owner = OWNERS.get(models[0].owned_by)
    if kind == "lmstudio" and owner in {None, kind}:
        return Server(usual, models)  # versions before 0.3.6 have no list of their own
    if owner is not None and owner != COMPATIBLE:
        other = make(owner)
        if (more := await other.recognised()) is not None:
            return Server(other, more)
    return Server(plain, models)
