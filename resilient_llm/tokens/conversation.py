"""A long conversation behind a window of whole turns that slides along with it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import attrs

from .counting import ChatCounter
from .pruning import instructs, located, refuse, starts_turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from resilient_llm.models import Message


class Conversation:
    """Keeps a conversation, and what of it fits, at the cost of counting each message once, when it is added.

    What is sent is what `prune` would leave: the leading system and developer messages, and the longest tail of whole
    turns that fits. The window only moves forward, so that adding a message to a history of any length costs the
    counting of that message::

        talk = Conversation("gpt-4o", max_tokens=8_000, system="Be terse.")
        talk.add({"role": "user", "content": "Name three rivers."})
        done = await llm.complete(talk.messages)
        talk.add(done.message)

    Messages must not be changed once they are added. Not for several threads at a time.

    Args:
        model: Whose tokens to count; empty: unknown, counted on the safe side.
        max_tokens: The tokens that a request may use for messages and tools; leave room for the answer.
        system: A system message to begin with.
        tools: Functions that are offered with every request; their tokens are taken off.
        keep_history: Keep what has slid out of the window, for `history`. False bounds the memory.
        counter: A counter to share with other conversations, instead of one for `model`.

    Raises:
        ValueError: `max_tokens` is no whole number above 0.
        TypeError: A tool is malformed.
    """

    def __init__(
        self,
        model: str = "",
        *,
        max_tokens: int,
        system: str | None = None,
        tools: Iterable[Any] | None = None,
        keep_history: bool = True,
        counter: ChatCounter | None = None,
    ) -> None:
        self.counter = ChatCounter(model) if counter is None else counter
        self.max_tokens = _above_zero(max_tokens)
        self._head: list[Message] = []
        self._past: list[_Turn] | None = [] if keep_history else None
        self._window: deque[_Turn] = deque()
        self._base = self.counter.primer + self.counter.definitions(tools=tools)  # what every request costs
        self._tokens = self._base
        self._added = 0
        self._dropped = 0
        if system is not None:
            self.add({"role": "system", "content": system})

    def __repr__(self) -> str:
        """Sizes; never what was said."""
        return (
            f"<Conversation {len(self)} messages, {self._tokens} of {self.max_tokens} tokens in the window>"
        )

    def __len__(self) -> int:
        """How many messages were added, whether they are still kept or not."""
        return self._added

    @property
    def tokens(self) -> int:
        """What a request with the messages of the window costs, tools included."""
        return self._tokens

    @property
    def dropped(self) -> int:
        """How many messages have slid out of the window."""
        return self._dropped

    @property
    def messages(self) -> list[Message]:
        """What to send, as a new list.

        Raises:
            TokenLimitExceededError: The instructions and the newest turn alone are too long; `pop` takes messages
                back.
        """
        if self._tokens > self.max_tokens and (self._head or self._window):
            newest = self._window[-1].tokens if self._window else 0
            refuse(self._base + newest, self.max_tokens)
        return [*self._head, *_messages(self._window)]

    @property
    def history(self) -> list[Message]:
        """Everything that was added and is kept, as a new list."""
        return [*self._head, *_messages(self._past or ()), *_messages(self._window)]

    def add(self, *messages: Message) -> None:
        """Append messages: the user's, an answer's `message`, a tool's results.

        Raises:
            MalformedMessageError: One is malformed; the error names its place in the conversation, and neither it
                nor what follows it is added.
        """
        for message in messages:
            self._add(message)

    def pop(self) -> Message:
        """Take the newest message back. What it had pushed out of the window comes back, if it was kept.

        Raises:
            IndexError: There is none; instructions stay.
        """
        if not self._window:
            msg = "there is no message to take back"
            raise IndexError(msg)
        turn = self._window[-1]
        message, cost = turn.messages.pop(), turn.costs.pop()
        turn.tokens -= cost
        self._tokens -= cost
        self._added -= 1
        if not turn.messages:
            self._window.pop()
        self._slide()
        while self._past and (not self._window or self._tokens + self._past[-1].tokens <= self.max_tokens):
            turn = self._past.pop()
            self._window.appendleft(turn)
            self._tokens += turn.tokens
            self._dropped -= len(turn.messages)
        return message

    def _add(self, message: Message) -> None:
        cost = located(self.counter.message, message, self._added)
        self._added += 1
        self._tokens += cost
        if not self._window and not self._dropped and instructs(message):
            self._head.append(message)
            self._base += cost
            return
        if not self._window or starts_turn(message):
            self._window.append(_Turn())
        turn = self._window[-1]
        turn.messages.append(message)
        turn.costs.append(cost)
        turn.tokens += cost
        self._slide()

    def _slide(self) -> None:
        """Let the oldest turns out; but for a newest one that does not fit by itself: it must be taken back."""
        while self._window and self._base + self._window[-1].tokens <= self.max_tokens < self._tokens:
            turn = self._window.popleft()
            self._tokens -= turn.tokens
            self._dropped += len(turn.messages)
            if self._past is not None:
                self._past.append(turn)


@attrs.define
class _Turn:
    messages: list[Message] = attrs.field(factory=list)
    costs: list[int] = attrs.field(factory=list)
    tokens: int = 0


def _messages(turns: Iterable[_Turn]) -> Iterator[Message]:
    return (message for turn in turns for message in turn.messages)


def _above_zero(limit: object) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or limit <= 0:
        msg = f"max_tokens must be a whole number above 0, not {limit!r}"
        raise ValueError(msg)
    return limit
