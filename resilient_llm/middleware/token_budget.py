"""TokenBudget: make the conversation fit before it is sent, and once more when the backend says it did not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from resilient_llm.errors import ModelContextLengthError, ModelInvalidRequestError
from resilient_llm.policy.overflow import Lesson, Lessons, answer_share, in_our_tokens, lesson_of
from resilient_llm.tokens import ChatCounter, ContextWindow, MalformedMessageError, context_window
from resilient_llm.tokens import message_budget as _message_budget
from resilient_llm.tokens import prune as _prune
from resilient_llm.tokens.definitions import Offered
from resilient_llm.validators import count as whole_number

if TYPE_CHECKING:
    from resilient_llm.models import PruneReport, Request
    from resilient_llm.pipeline import Handler
    from resilient_llm.response import Response

DEFINITIONS = tuple(Offered.__annotations__)

Window: TypeAlias = int | Callable[[str], int | None] | None


def _window(_instance: object, _attribute: object, value: Any) -> None:
    if value is None or callable(value):
        return
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        msg = f"context_window must be a number of tokens above 0, a function of the model, or None, not {value!r}"
        raise ValueError(msg)


@attrs.frozen(kw_only=True)
class TokenBudget:
    """Drop the oldest turns of a conversation that is too long for the model.

    Leading system messages and the newest turn are always kept; whole turns are dropped, oldest first; what was
    dropped is on `Completion.pruned`. When the backend refuses the prompt all the same, its window (and how far
    our count was off) is learned from its error, and the call is pruned and sent once more.

    The window comes from `context_window`, else from what an earlier refusal taught, else from the published
    table; while nobody knows it, nothing is pruned. Taken off are the answer's `max_tokens` (a quarter of a window
    that could not hold them at all), tools and response schema, and 3 % of the window where the model's tokenizer
    is only estimated.

    Args:
        context_window: The window in tokens, or a function that gives the one of a model (or None).
        image_tokens: What each image costs. Default: by its size and its model's published rule.
        margin: The share of the window kept back where counts are estimates.

    Raises:
        TokenLimitExceededError: Not even the newest turn fits; nothing was sent, or nothing more.
        ModelInvalidRequestError: A message is malformed; its index is named.
    """

    role = "token_budget"

    context_window: Window = attrs.field(default=None, validator=_window)
    image_tokens: int | None = attrs.field(default=None, validator=attrs.validators.optional(whole_number))
    margin: float = 0.03
    _lessons: Lessons = attrs.field(factory=Lessons, init=False, repr=False)
    _counters: Callable[[str], ChatCounter] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        """Counters remember what they counted, so there is one for each model, and not too many."""
        counters = lru_cache(64)(lambda model: ChatCounter(model, image_tokens=self.image_tokens))
        object.__setattr__(self, "_counters", counters)

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Prune, send, and once more if the backend refuses the prompt for its size."""
        if request.operation != "chat":
            return await call_next(request)
        lesson = self._lessons.get(request.model)
        window = self._known_window(request.model, lesson)
        fitting, report = request, None
        if window is not None:
            if self._must_count(request, window):
                await self._loaded(request.model)
            fitting, report = self._prune(request, window, lesson.ratio if lesson else 1.0)
        try:
            response = await call_next(fitting)
        except ModelContextLengthError as error:
            await self._loaded(request.model)
            fitting, report = self._refit(request, fitting, error)
            response = await call_next(fitting)
        if report is not None:
            response.pruned = report
        return response

    def _must_count(self, request: Request, window: ContextWindow | int) -> bool:
        """Will bytes not do, so that a vocabulary is needed?"""
        counter = self._counters(request.model)
        if counter.ready:
            return False
        if any(request.params.get(name) for name in DEFINITIONS):
            return True
        size = window.tokens if isinstance(window, ContextWindow) else window
        try:
            return not counter.fits_by_bytes(request.messages, size // 2)
        except MalformedMessageError:
            return False

    async def _loaded(self, model: str) -> None:
        """Build the vocabularies beside the event loop: its other calls have time limits that go on."""
        counter = self._counters(model)
        if not counter.ready:
            await asyncio.to_thread(counter.load)

    def _known_window(self, model: str, lesson: Lesson | None) -> ContextWindow | int | None:
        window = self.context_window
        told = window(model) if callable(window) else window
        if told is not None:
            return min(told, lesson.window) if lesson else told
        return lesson.window if lesson else context_window(model)

    def _refit(
        self, request: Request, sent: Request, error: ModelContextLengthError
    ) -> tuple[Request, PruneReport | None]:
        """Learn from the refusal and prune again, or raise the refusal if there is nothing to drop."""
        counter = self._counters(request.model)
        estimate = counter.conversation(sent.messages) + self._definitions(request)
        window = self._known_window(request.model, self._lessons.get(request.model))
        lesson = lesson_of(
            limit=error.context_limit,
            requested=error.context_requested,
            estimate=estimate,
            asked=_answer_tokens(request),
            window=window.tokens if isinstance(window, ContextWindow) else window,
        )
        if lesson is None:
            raise error
        self._lessons.learn(request.model, lesson)
        try:
            fitting, report = self._prune(request, lesson.window, lesson.ratio)
        except Exception as exc:
            raise exc from error
        if len(fitting.messages) >= len(sent.messages):
            raise error
        return attrs.evolve(fitting, attempt=sent.attempt + 1), report

    def _prune(
        self, request: Request, window: ContextWindow | int, ratio: float
    ) -> tuple[Request, PruneReport | None]:
        counter = self._counters(request.model)
        size = window.tokens if isinstance(window, ContextWindow) else window
        budget = _message_budget(
            window,
            max_tokens=answer_share(_answer_tokens(request), size),
            definitions=self._definitions(request),
            exact=counter.exact,
            margin=self.margin,
        )
        try:
            pruned = _prune(request.messages, in_our_tokens(budget, ratio), counter)
        except MalformedMessageError as exc:
            raise ModelInvalidRequestError(str(exc), model=request.model or None) from exc
        if pruned.report is None:
            return request, None
        request.tell(pruned.report)
        return attrs.evolve(request, messages=pruned.messages), pruned.report

    def _definitions(self, request: Request) -> int:
        params = request.params
        offered: dict[str, Any] = {name: params[name] for name in DEFINITIONS if params.get(name)}
        try:
            return self._counters(request.model).definitions(**offered) if offered else 0
        except TypeError as exc:
            raise ModelInvalidRequestError(str(exc), model=request.model or None) from exc


def _answer_tokens(request: Request) -> int | None:
    """What the caller asked for as the answer's length; None if that is left to the backend."""
    asked = request.params.get("max_completion_tokens", request.params.get("max_tokens"))
    return asked if isinstance(asked, int) and asked > 0 else None
