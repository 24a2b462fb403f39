"""Text and vectors made from the prompt by hashing: the same for the same prompt, in every process."""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from resilient_llm.errors import ModelInvalidRequestError
from resilient_llm.events import Event, Finish, Result, TextDelta, UsageEvent
from resilient_llm.models import Embeddings, Message, Request, Usage

if TYPE_CHECKING:
    from resilient_llm.response import ResponseInfo

DIMENSIONS: Final = 384
WORDS: Final = """
amber anchor basin birch bridge candle canyon cedar cloud copper coral delta ember fern field forest
garden glacier granite harbor hazel hill island ivory lantern lichen maple marble meadow mill mist moss
north oak ocean orchard path pebble pine prairie quartz rain reed ridge river sand shore slate snow spring
stone stream summit thistle tide timber valley violet water willow wind winter
""".split()  # noqa: SIM905 - a list of sixty quoted strings is no easier to read
SHORTEST, LONGEST = 8, 24


class WordByWord:
    """A stream: one event each time it is asked."""

    def __init__(self, events: Sequence[Event], info: ResponseInfo) -> None:
        self.info = info
        self._events: Iterator[Event] = iter(events)

    async def receive(self) -> list[Event]:
        """The next."""
        return [next(self._events)]

    def close(self) -> None:
        """Nothing is open."""


def chat_by_hash(request: Request) -> list[Event]:
    """The answer's events, a word each; a word counts as a token.

    Raises:
        ModelInvalidRequestError: The answer would not begin as it is to.
    """
    limit = request.params.get("max_tokens") or request.params.get("max_completion_tokens")
    words = _words(digest(request))
    said = words[:limit] if isinstance(limit, int) and limit > 0 else words
    prompt = sum(len(_text(message).split()) for message in request.messages)
    texts = [said[0], *(f" {word}" for word in said[1:])]
    return [
        *map(TextDelta, _rest(texts, request.extensions.get("resume_from", ""))),
        UsageEvent(Usage(prompt, len(said), prompt + len(said))),
        Finish("stop" if len(said) == len(words) else "length"),
    ]


def embed_by_hash(request: Request, model: str) -> list[Event]:
    """Vectors of unit length; `dimensions` may be asked for.

    Raises:
        ModelInvalidRequestError: `dimensions` is no whole number above 0.
    """
    texts = texts_of(request)
    size = request.params.get("dimensions") or DIMENSIONS
    if not isinstance(size, int) or size < 1:
        msg = f"dimensions must be a whole number above 0, not {size!r}"
        raise ModelInvalidRequestError(msg)
    words = sum(len(text.split()) for text in texts)
    usage = Usage(prompt_tokens=words, total_tokens=words)
    result = Embeddings([_vector(text, size) for text in texts], model, usage)
    return [Result(result), UsageEvent(usage), Finish("stop")]


def texts_of(request: Request) -> list[str]:
    """What is to be embedded."""
    given = request.params.get("input", ())
    return [given] if isinstance(given, str) else [str(text) for text in given]


def _rest(texts: list[str], beginning: str) -> list[str]:
    """What is left to say after the beginning of the answer."""
    if not beginning:
        return texts
    whole = "".join(texts)
    if not whole.startswith(beginning):
        msg = "the offline backend would have begun its answer otherwise"
        raise ModelInvalidRequestError(msg)
    return [word for word in re.split(r"(?= )", whole.removeprefix(beginning)) if word]


def _words(digest: str) -> list[str]:
    draws = hashlib.shake_256(digest.encode()).digest(LONGEST + 1)
    count = SHORTEST + draws[0] % (LONGEST - SHORTEST + 1)
    words = [WORDS[draw % len(WORDS)] for draw in draws[1 : count + 1]]
    return [words[0].capitalize(), *words[1:-1], f"{words[-1]}."]


def digest(request: Request) -> str:
    """What the answer is made of."""
    told = [f"{message.get('role')}\0{_text(message)}" for message in request.messages]
    return hashlib.sha256("\1".join([*told, str(request.params.get("seed", ""))]).encode()).hexdigest()


def _text(message: Message) -> str:
    content: Any = message.get("content")
    if isinstance(content, list):
        parts = (part for part in content if isinstance(part, Mapping))
        return " ".join(str(part.get("text", "")) for part in parts)
    return str(content or "")


def _vector(text: str, size: int) -> list[float]:
    draws = struct.unpack(f"<{size}i", hashlib.shake_256(text.encode()).digest(4 * size))
    length = math.hypot(*draws)
    return [draw / length for draw in draws]
