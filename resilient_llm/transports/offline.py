"""A backend that needs no network and no model, for tests, demonstrations and machines that are cut off."""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from resilient_llm.commit import commit, whole
from resilient_llm.errors import ModelInvalidRequestError
from resilient_llm.events import Event, Finish, Result, TextDelta, UsageEvent
from resilient_llm.models import Embeddings, Message, ModelInfo, Request, Usage
from resilient_llm.response import Response, ResponseInfo

MODEL: Final = "offline"
DIMENSIONS: Final = 384
WORDS: Final = """
amber anchor basin birch bridge candle canyon cedar cloud copper coral delta ember fern field forest
garden glacier granite harbor hazel hill island ivory lantern lichen maple marble meadow mill mist moss
north oak ocean orchard path pebble pine prairie quartz rain reed ridge river sand shore slate snow spring
stone stream summit thistle tide timber valley violet water willow wind winter
""".split()  # noqa: SIM905 - a list of sixty quoted strings is no easier to read
SHORTEST, LONGEST = 8, 24


class OfflineTransport:
    """Answers with text derived from the prompt by hashing: same prompt, same answer, in every process.

    Operations: `chat` (whole and streamed, a word per event), `embed` (vectors of unit length), `models`. A
    word counts as a token, so `max_tokens` limits the words.

    Args:
        model: The name that answers carry.
        model_path: Not supported yet; named so that settings which carry one fail loudly.
        name: The backend's name in results, errors and logs.
        options: Options of other backends (`base_url`, `api_key`, ...); accepted and ignored, so that going
            offline takes a single change.

    Raises:
        ModelInvalidRequestError: `model_path` is given.
    """

    def __init__(
        self, *, model: str = MODEL, model_path: str | None = None, name: str = "offline", **options: object
    ) -> None:
        del options
        if model_path:
            msg = (
                f"a model cannot be loaded from {model_path!r} into this process yet; serve it "
                f"(llama-server -m {model_path}) and use LlamaCppTransport, or leave model_path out"
            )
            raise ModelInvalidRequestError(msg, backend=name)
        self.name = name
        self.model = model or MODEL

    def __repr__(self) -> str:
        """The name."""
        return f"<OfflineTransport {self.name}>"

    async def __call__(self, request: Request) -> Response:
        """Answer the request.

        Raises:
            ModelInvalidRequestError: There are no messages, or the operation is `raw`.
        """
        info = ResponseInfo(
            backend=self.name, model=self.model, request_id=f"offline-{_digest(request)[:16]}", resumes=True
        )
        match request.operation:
            case "chat":
                events = _chat(request)
                if request.stream:
                    return await commit(_WordByWord(events, info), request)
                return whole(events, info, request)
            case "embed":
                return whole(self._embed(request), info, request)
            case "models":
                models = [ModelInfo(self.model, owned_by="resilient_llm", loaded=True, kind="chat")]
                return whole([Result(models), Finish("stop")], info, request)
            case "raw":
                msg = "the offline backend has no routes for raw requests"
                raise ModelInvalidRequestError(msg, backend=self.name)

    async def aclose(self) -> None:
        """Nothing to close."""

    def _embed(self, request: Request) -> list[Event]:
        given = request.params.get("input", ())
        texts = [given] if isinstance(given, str) else [str(text) for text in given]
        size = request.params.get("dimensions") or DIMENSIONS
        words = sum(len(text.split()) for text in texts)
        usage = Usage(prompt_tokens=words, total_tokens=words)
        result = Embeddings([_vector(text, size) for text in texts], self.model, usage)
        return [Result(result), UsageEvent(usage), Finish("stop")]


class _WordByWord:
    """A stream: one event each time it is asked."""

    def __init__(self, events: Sequence[Event], info: ResponseInfo) -> None:
        self.info = info
        self._events: Iterator[Event] = iter(events)

    async def receive(self) -> list[Event]:
        return [next(self._events)]

    def close(self) -> None:
        """Nothing is open."""


def _chat(request: Request) -> list[Event]:
    if not request.messages:
        msg = "messages is empty; a chat needs at least one message"
        raise ModelInvalidRequestError(msg)
    limit = request.params.get("max_tokens") or request.params.get("max_completion_tokens")
    words = _words(_digest(request))
    said = words[:limit] if isinstance(limit, int) and limit > 0 else words
    prompt = sum(len(_text(message).split()) for message in request.messages)
    texts = [said[0], *(f" {word}" for word in said[1:])]
    return [
        *map(TextDelta, _rest(texts, request.extensions.get("resume_from", ""))),
        UsageEvent(Usage(prompt, len(said), prompt + len(said))),
        Finish("stop" if len(said) == len(words) else "length"),
    ]


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


def _digest(request: Request) -> str:
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
