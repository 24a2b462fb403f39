"""Token counts and limits for one model, for code that keeps its own conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient_llm.errors import TokenLimitExceededError

from .counting import ChatCounter
from .estimating import utf8_length
from .pruning import prune

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from resilient_llm.models import Message

    from .encodings import EncodingName


class TokenTracker:
    """Counts texts and conversations, and makes conversations fit. Thread-safe.

    Needs no network, ever. OpenAI's models are counted exactly, with their own vocabulary by tiktoken and the overheads
    that OpenAI's cookbook publishes; for others see `resilient_llm.tokens.ChatCounter`.

    Args:
        model: The model's name.
        encoding: `"o200k_base"` or `"cl100k_base"`, if the name does not tell. Default: by the name.
        image_tokens: What each image costs. Default: by its size and its model's published rule.
    """

    def __init__(
        self, model: str = "gpt-4o", *, encoding: EncodingName | None = None, image_tokens: int | None = None
    ) -> None:
        self._counter = ChatCounter(model, encoding=encoding, image_tokens=image_tokens)

    def __repr__(self) -> str:
        return f"TokenTracker(model={self.model!r}, encoding={self._counter.encoding!r})"

    @property
    def model(self) -> str:
        """The model's name."""
        return self._counter.model

    @property
    def exact(self) -> bool:
        """Are texts counted with the model's own vocabulary? If not, counts are safe estimates."""
        return self._counter.exact

    def count_tokens(self, text: str) -> int:
        """The text's tokens; special tokens in it count as the plain text that they are.

        Raises:
            TypeError: It is no string.
        """
        return self._counter.text(_checked(text))

    def count_batch(self, texts: Iterable[str]) -> list[int]:
        """The tokens of many texts, in their order; equal texts are counted once.

        One after the other: for texts of messages' size a thread pool, tiktoken's own included, is slower.

        Raises:
            TypeError: One is no string.
        """
        counts: dict[str, int] = {}
        for text in (texts := list(texts)):
            if text not in counts:
                counts[text] = self.count_tokens(text)
        return [counts[text] for text in texts]

    def count_message_tokens(self, message: Message) -> int:
        """A message's tokens with its overhead; `count_conversation_tokens` adds 3 for the answer.

        Raises:
            MalformedMessageError: It is no message.
        """
        return self._counter.message(message)

    def count_conversation_tokens(
        self, messages: Sequence[Message], tools: Iterable[Any] | None = None
    ) -> int:
        """The tokens of a whole request, as the backend would report them in `usage.prompt_tokens`.

        Args:
            messages: The conversation.
            tools: The functions offered, in OpenAI's shape.

        Raises:
            MalformedMessageError: A message is malformed; the error names its index.
            TypeError: A tool is malformed.
        """
        return self._counter.conversation(messages, tools=tools)

    def prune_conversation(self, messages: Sequence[Message], max_tokens: int) -> list[Message]:
        """The leading system messages and the newest whole turns that fit, as a new list; see `prune`.

        Raises:
            TokenLimitExceededError: Not even the newest turn fits.
            MalformedMessageError: A message is malformed; the error names its index.
        """
        return prune(messages, max_tokens, self._counter).messages

    def ensure_token_limit(self, text: str, max_tokens: int) -> None:
        """Do nothing if the text has at most so many tokens.

        Raises:
            TokenLimitExceededError: It has more; the message says by how much.
        """
        if utf8_length(_checked(text)) <= max_tokens:
            return
        tokens = self._counter.text(text)
        if tokens > max_tokens:
            msg = f"the text has {tokens} tokens, {tokens - max_tokens} more than the limit of {max_tokens}"
            raise TokenLimitExceededError(
                msg, model=self.model or None, context_limit=max_tokens, context_requested=tokens
            )


def _checked(text: object) -> str:
    if not isinstance(text, str):
        msg = f"text must be a string, not {type(text).__name__}"
        raise TypeError(msg)
    return text
