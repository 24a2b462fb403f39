"""Counting the tokens of texts, messages and requests for a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from .costs import OPENAI, OPENAI_CL100K, UNKNOWN, MessageCosts, Overheads
from .definitions import Offered, definitions
from .encodings import EncodingName, encoding_name
from .estimating import digit_surplus, utf8_length
from .image_rules import Constant, image_rule
from .media import Media
from .memo import Memo
from .pruning import fits_by_bytes, located
from .vocabulary import VOCABULARIES, Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from resilient_llm.models import Message

_OVERHEADS: dict[EncodingName | None, Overheads] = {
    "o200k_base": OPENAI,
    "cl100k_base": OPENAI_CL100K,
    None: UNKNOWN,
}


class ChatCounter:
    """Counts for one model; keep it, for it remembers the texts that it has counted. Thread-safe.

    OpenAI's models are counted with their own vocabulary, offline. For any other model the count is an
    estimate made to err on the safe side: the larger of both vocabularies' counts, and digits one by one. It
    was never too small for Llama 3, Qwen 3 and GLM 4 over 1,734 documents, and 1.2 to 1.3 times too large on
    average; for a few older or smaller vocabularies (Claude 2, SmolLM2) it can still be too small.

    The first count builds the vocabulary (0.2 s, both for an unknown model): see `preload`.

    Args:
        model: The model's name, as it is sent. Empty: unknown.
        encoding: `"o200k_base"` or `"cl100k_base"`, if the model's name does not tell, as with Azure's
            deployments. Default: by the name.
        image_tokens: What each image costs. Default: by its size and the rule that the model's maker publishes,
            1,600 where there is none; see `Media` for files and audio.
    """

    def __init__(
        self, model: str = "", *, encoding: EncodingName | None = None, image_tokens: int | None = None
    ) -> None:
        if encoding is not None and encoding not in VOCABULARIES:
            msg = f"encoding must be one of {', '.join(sorted(VOCABULARIES))} or None, not {encoding!r}"
            raise ValueError(msg)
        self.model = model
        self.encoding: EncodingName | None = encoding or encoding_name(model)
        overheads = _OVERHEADS[self.encoding]
        media = Media(image_rule(model) if image_tokens is None else Constant(image_tokens))
        self._costs = MessageCosts(Memo(self._count), overheads, media)
        self._bounds = MessageCosts(utf8_length, overheads, media)

    def __repr__(self) -> str:
        return f"ChatCounter(model={self.model!r}, encoding={self.encoding!r})"

    @property
    def exact(self) -> bool:
        """Are texts counted with the model's own vocabulary? Also False once it could not be loaded."""
        return self.encoding is not None and not VOCABULARIES[self.encoding].failed

    @property
    def primer(self) -> int:
        """What a request costs beside its messages and definitions."""
        return self._costs.overheads.primer

    @property
    def ready(self) -> bool:
        """Are the vocabularies that it counts with loaded? If not, the first count takes 0.1 to 0.4 s."""
        return all(vocabulary.ready for vocabulary in self._vocabularies())

    def load(self) -> None:
        """Load them now; in a thread of its own, if an event loop waits."""
        for vocabulary in self._vocabularies():
            vocabulary.load()

    def _vocabularies(self) -> list[Vocabulary]:
        return list(VOCABULARIES.values()) if self.encoding is None else [VOCABULARIES[self.encoding]]

    def text(self, text: str) -> int:
        """The text's tokens."""
        return self._costs.measure(text)

    def message(self, message: Message) -> int:
        """One message with its overhead, without the primer: the costs of messages add up.

        Raises:
            MalformedMessageError: It is no message in OpenAI's or Anthropic's shape.
        """
        return self._costs.message(message)

    def bound(self, message: Message) -> int:
        """At least the message's tokens, from its bytes: fast, and needs no vocabulary."""
        return self._bounds.message(message)

    def definitions(self, **offered: Unpack[Offered]) -> int:
        """What a request holds beside its messages: functions, a response schema, Anthropic's system prompt.

        Raises:
            TypeError: Something of it has a shape that no backend would take.
        """
        return definitions(self._costs, **offered)

    def conversation(self, messages: Sequence[Message], *, tools: Iterable[Any] | None = None) -> int:
        """A whole request: the messages, the primer, and the tools.

        Raises:
            MalformedMessageError: A message is malformed; the error names its index.
        """
        total = self.primer + self.definitions(tools=tools)
        for index, message in enumerate(messages):
            total += located(self.message, message, index)
        return total

    def fits_by_bytes(self, messages: Sequence[Message], budget: int) -> bool:
        """Do the bytes alone prove that the messages fit? False proves nothing."""
        return fits_by_bytes(self, messages, budget)

    def _count(self, text: str) -> int:
        if self.encoding is not None:
            return VOCABULARIES[self.encoding].count(text)
        most = max(vocabulary.count(text) for vocabulary in VOCABULARIES.values())
        return min(most + digit_surplus(text), utf8_length(text))


def preload(*names: str) -> None:
    """Build vocabularies now instead of at the first count; for servers, before they take traffic.

    Building one takes 0.1 to 0.2 s, during which other threads may stand still.

    Args:
        names: Encodings (`"o200k_base"`, `"cl100k_base"`) or models; none means both encodings.
    """
    for vocabulary in _needed(names):
        vocabulary.load()


def _needed(names: tuple[str, ...]) -> list[Vocabulary]:
    wanted = {name if name in VOCABULARIES else encoding_name(name) for name in names}
    return [
        vocabulary
        for name, vocabulary in VOCABULARIES.items()
        if not wanted or None in wanted or name in wanted
    ]
