"""TokenBudget: make the conversation fit before it is sent, and once more when the backend says it did not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from resilient_llm.errors import (
    LLMError,
    ModelContextLengthError,
    ModelInvalidRequestError,
    TokenLimitExceededError,
)
from resilient_llm.policy.lessons import SMALLEST_CUT, Lessons
from resilient_llm.policy.overflow import answer_share, in_our_tokens, told_by
from resilient_llm.tokens import (
    ChatCounter,
    ContextWindow,
    MalformedMessageError,
    OldestFirst,
    Pruned,
    Strategy,
    Summarize,
    context_window,
    message_budget,
)
from resilient_llm.tokens.estimating import surely_exceeds
from resilient_llm.tokens.pruning import least
from resilient_llm.tokens.strategies import strategy_of
from resilient_llm.validators import count as whole_number
from resilient_llm.validators import non_negative

from .prompt_size import Fit, answer_tokens, definitions, loaded, must_count, warn_of_cut

if TYPE_CHECKING:
    from resilient_llm.models import Request
    from resilient_llm.pipeline import Handler
    from resilient_llm.response import Outcome, Response
    from resilient_llm.tokens.tokenizer import Tokenizer

    from .remote_count import RemoteCount

Window: TypeAlias = int | Callable[[str], int | None] | None

NEAR = 0.5
"""From which share of the budget on a tokenizer is asked: below it the estimate may be off by twice."""

SMALLEST_RATIO = 0.25

SLACK = 1.05
"""What a measured ratio is raised by: it was measured on other messages than those that are then kept."""


def _window(_instance: object, _attribute: object, value: Any) -> None:
    if value is None or callable(value):
        return
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        msg = f"context_window must be a number of tokens above 0, a function of the model, or None, not {value!r}"
        raise ValueError(msg)


def _remote(tokenizer: Tokenizer | None) -> RemoteCount | None:
    if tokenizer is None:
        return None
    from .remote_count import RemoteCount  # noqa: PLC0415 - most have no tokenizer to ask

    return RemoteCount(tokenizer)


@attrs.frozen(kw_only=True)
class TokenBudget:
    """Drop the oldest turns of a conversation that is too long for the model.

    Leading system messages and the newest turn are always kept; whole turns are dropped, oldest first; what was
    dropped is on `Completion.pruned`. When the backend refuses the prompt all the same, its window (and how far
    our count was off) is learned from its error, and the call is pruned and sent once more.

    The window comes from `context_window`, else from what an earlier refusal taught, else from the published
    table; while nobody knows it, nothing is pruned. Taken off are the answer's `max_tokens` (a quarter of a window
    that could not hold them at all), tools and response schema, and 3 % of the window where the model's tokenizer
    is only estimated. Estimates are corrected by the tokens that the backend reports; a backend that cuts prompts
    without saying so is noticed, warned of, and its window learned.

    Args:
        context_window: The window in tokens, or a function that gives the one of a model (or None).
        strategy: `"oldest_first"`, `"keep_first_turn"`, `"shorten_results"`, or an object such as
            `Summarize(function)` or one of one's own. Default: the first; see `resilient_llm.tokens.Strategy`.
        tokenizer: A backend that counts with its own tokenizer, such as a `LlamaCppTransport`. It is asked once for
            a prompt, and only where the model's tokens are estimated and the estimate is beyond half of the budget.
        image_tokens: What each image costs. Default: by its size and its model's published rule.
        margin: The share of the window kept back where counts are estimates.
        default_max_tokens: What the backend sets aside for an answer whose length the call does not say, if it does.

    Raises:
        TokenLimitExceededError: Not even the newest turn fits; nothing was sent, or nothing more.
        ModelInvalidRequestError: A message is malformed; its index is named.
    """

    role = "token_budget"

    context_window: Window = attrs.field(default=None, validator=_window)
    strategy: Strategy = attrs.field(default=OldestFirst(), converter=strategy_of)
    tokenizer: Tokenizer | None = None
    image_tokens: int | None = attrs.field(default=None, validator=attrs.validators.optional(whole_number))
    margin: float = attrs.field(default=0.03, validator=non_negative)
    default_max_tokens: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(whole_number)
    )
    _lessons: Lessons = attrs.field(factory=Lessons, init=False, repr=False)
    _counters: Callable[[str], ChatCounter] = attrs.field(init=False, repr=False, eq=False)
    _remote: RemoteCount | None = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        """Counters remember what they counted, so there is one for each model, and not too many."""
        counters = lru_cache(64)(lambda model: ChatCounter(model, image_tokens=self.image_tokens))
        object.__setattr__(self, "_counters", counters)
        object.__setattr__(self, "_remote", _remote(self.tokenizer))

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Prune, send, and once more if the backend refuses the prompt for its size."""
        if request.operation != "chat" or not request.messages:
            return await call_next(request)
        counter = self._counters(request.model)
        window = self._known_window(request.model)
        fit = Fit(request)
        if window is not None:
            if must_count(request, window, counter):
                await loaded(counter)
            fit = await self._fitted(request, window, self._lessons.get(request.model).ratio)
        try:
            response = await call_next(fit.request)
        except ModelContextLengthError as error:
            await loaded(counter)
            fit = await self._refitted(request, fit, error)
            response = await call_next(fit.request)
        if fit.report is not None:
            response.pruned = fit.report
        if not counter.exact:
            response.on_settle(self._settled, fit, response)
        return response

    def _known_window(self, model: str) -> ContextWindow | int | None:
        window = self.context_window
        told = window(model) if callable(window) else window
        learned = self._lessons.get(model).window
        if told is None:
            return learned or context_window(model)
        return min(told, learned or told)

    async def _refitted(self, request: Request, sent: Fit, error: ModelContextLengthError) -> Fit:
        """Learn from the refusal and prune again, or raise the refusal if there is nothing to drop."""
        counter = self._counters(request.model)
        estimate = sent.tokens
        if estimate is None:
            estimate = counter.conversation(sent.request.messages) + definitions(request, counter)
        window = self._known_window(request.model)
        told = told_by(
            limit=error.context_limit,
            requested=error.context_requested,
            estimate=estimate,
            asked=answer_tokens(request, self.default_max_tokens),
            window=window.tokens if isinstance(window, ContextWindow) else window,
        )
        if told is None:
            raise error
        learned = self._lessons.refused(request.model, *told)
        try:
            fit = await self._fitted(request, told[0], max(told[1], learned.ratio))
        except Exception as exc:
            raise exc from error
        if fit.tokens is None or fit.tokens >= estimate:
            raise error
        return attrs.evolve(fit, request=attrs.evolve(fit.request, attempt=sent.request.attempt + 1))

    async def _fitted(self, request: Request, window: ContextWindow | int, ratio: float) -> Fit:
        """Prune to the window, and put the summary in if there is to be one."""
        counter = self._counters(request.model)
        besides = definitions(request, counter)
        size = window.tokens if isinstance(window, ContextWindow) else window
        room = message_budget(
            window,
            max_tokens=answer_share(answer_tokens(request, self.default_max_tokens), size),
            exact=counter.exact,
            margin=self.margin,
        )
        if self._remote is None or counter.exact:
            pruned = self._pruned(request, in_our_tokens(room, ratio) - besides)
        else:
            pruned = await self._measured(request, room, ratio, besides)
        if isinstance(self.strategy, Summarize):
            with suppress(LLMError):
                pruned = await self.strategy.summarized(request.messages, pruned, counter)
        tokens = None if pruned.tokens is None else pruned.tokens + besides
        if pruned.report is None:
            return Fit(request, tokens=tokens)
        request.tell(pruned.report)
        return Fit(attrs.evolve(request, messages=pruned.messages), pruned.report, tokens)

    async def _measured(self, request: Request, room: int, ratio: float, besides: int) -> Pruned:
        """Prune by the estimate; near the limit, or beyond it, by what a tokenizer says of the result."""
        budget, refusal = in_our_tokens(room, ratio) - besides, None
        try:
            pruned = self._pruned(request, budget)
        except TokenLimitExceededError as error:
            refusal, messages = error, least(request.messages)
            pruned = Pruned(messages, tokens=self._counters(request.model).conversation(messages))
        if (pruned.tokens or 0) <= NEAR * budget:
            return pruned
        estimate = (pruned.tokens or 0) + besides
        tokens = await self._remote.tokens(request, pruned.messages) if self._remote else None
        if tokens is None:
            if refusal is not None:
                raise refusal
            return pruned
        self._lessons.reported(request.model, tokens, estimate)
        measured = max(tokens / estimate * SLACK, SMALLEST_RATIO)
        if refusal is None and tokens <= room and (pruned.report is None or measured >= 1):
            return pruned
        return self._pruned(request, in_our_tokens(room, measured) - besides)

    def _pruned(self, request: Request, budget: int) -> Pruned:
        try:
            return self.strategy.prune(request.messages, budget, self._counters(request.model))
        except MalformedMessageError as exc:
            raise ModelInvalidRequestError(str(exc), model=request.model or None) from exc
        except TokenLimitExceededError as error:
            error.model = error.model or request.model or None
            raise

    def _settled(self, fit: Fit, response: Response, _: Outcome) -> None:
        """Learn from the tokens that the backend counted; a plain function that does no I/O."""
        tokens = response.usage.prompt_tokens
        if tokens is None:
            return
        request = fit.request
        if tokens >= SMALLEST_CUT and surely_exceeds(request.messages, tokens):  # few tokens are no window
            window = self._lessons.cut(request.model, tokens)
            if window is not None:
                warn_of_cut(request, tokens, window)
        else:
            self._lessons.reported(request.model, tokens, fit.tokens)
