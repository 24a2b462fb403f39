"""From tokens to text as they come, and from messages to what a template takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from resilient_llm.errors import ModelInvalidRequestError
from resilient_llm.wire.messages import ANTHROPIC_CONTENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resilient_llm.models import Message

UNFINISHED: Final = "\ufffd"
ROLES: Final = {"developer": "system", "function": "tool"}


class TextPieces:
    """Turns tokens into text piece by piece, and stops at a stop text, which is not handed over.

    A character may take several tokens, and a tokenizer may write a token otherwise behind another: so the tokens since
    the last piece are decoded together with those before them.

    Attributes:
        stopped: A stop text came.

    Args:
        decode: The text of tokens, special ones left out.
        stops: Where to stop; empty texts are passed over.
    """

    def __init__(self, decode: Callable[[list[int]], str], stops: Sequence[str] = ()) -> None:
        self.stopped = False
        self._decode = decode
        self._stops = [stop for stop in stops if stop]
        self._before: list[int] = []
        self._since: list[int] = []
        self._held = ""

    def feed(self, token: int) -> str:
        """The text that can be handed over now; often that of the token, possibly none."""
        self._since.append(token)
        shown = self._decode(self._before)
        text = self._decode(self._before + self._since)
        if text.endswith(UNFINISHED) or len(text) <= len(shown):
            return ""
        self._before, self._since = self._since, []
        return self._take(text[len(shown) :])

    def rest(self) -> str:
        """What was held back, now that nothing more comes; nothing after a stop text."""
        if self.stopped:
            return ""
        shown = self._decode(self._before)
        text = self._held + self._decode(self._before + self._since)[len(shown) :]
        self._held, self._since = "", []
        return text

    def _take(self, text: str) -> str:
        text = self._held + text
        found = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        begun = max((_begun(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - begun :]
        return text[: len(text) - begun]


def _begun(text: str, stop: str) -> int:
    """How many characters at the text's end may be the beginning of the stop text."""
    most = min(len(stop) - 1, len(text))
    return next((count for count in range(most, 0, -1) if text.endswith(stop[:count])), 0)


def for_template(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages as chat templates know them: text as a string, roles that they have words for.

    Raises:
        ModelInvalidRequestError: A part is no text.
    """
    return [_plain(message) for message in messages]


def plain_prompt(messages: Sequence[Mapping[str, Any]]) -> str:
    """What a model without a template is given: the role, a colon, the text; then the assistant's turn."""
    told = [f"{str(message['role']).capitalize()}: {message['content']}\n\n" for message in messages]
    return "".join([*told, "Assistant:"])


def _plain(message: Message) -> dict[str, Any]:
    role = message.get("role", "user")
    plain = {key: value for key, value in message.items() if key != ANTHROPIC_CONTENT}
    return plain | {"role": ROLES.get(role, role), "content": _text(message.get("content"))}


def _text(content: object) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list | tuple) else [content]
    texts: list[str] = []
    for part in parts:
        text = part.get("text") if isinstance(part, Mapping) else None
        if not isinstance(text, str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            msg = f"a part of type {kind!r} in a message; a model in this process takes text alone"
            raise ModelInvalidRequestError(msg)
        texts.append(text)
    return "\n".join(texts)
