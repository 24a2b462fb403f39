"""Sharing: the first stage of a stack whose state is shared; and how a retry budget is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from resilient_llm.models import Request
    from resilient_llm.pipeline import Handler
    from resilient_llm.policy.retry_budget import RetryBudget
    from resilient_llm.response import Response
    from resilient_llm.sharing import News, State


class Sharing:
    """Connects with the first call, so that what others know is known before it; closes the state with the client.

    Args:
        state: The state.
    """

    def __init__(self, state: State) -> None:
        self.state = state

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        """Wait for the first connection, 40 ms at most."""
        await self.state.ready()
        return await call_next(request)

    async def aclose(self) -> None:
        """Let go of the connections; other clients that use the state connect again."""
        await self.state.aclose()


class SharedBudget:
    """A retry budget under a scope of a state.

    Args:
        budget: The budget.
        state: Where it is shared.
        scope: What tells this backend from others there.
    """

    def __init__(self, budget: RetryBudget, state: State, scope: str) -> None:
        self._budget = budget
        self._state = state
        self._prefix = f"spent|{scope}|"
        budget.changed = self.changed
        state.listen(self._prefix, self.hear, self.recall)

    def changed(self, key: Hashable, amount: int) -> None:
        """Tell what was spent, or earned."""
        self._state.tell("spend", f"{self._prefix}{key}", amount, self._budget.capacity)

    def hear(self, news: News) -> None:
        """Take over what all have spent."""
        self._budget.told(news.field.removeprefix(self._prefix), int(news.value))

    def recall(self) -> None:
        """Nothing: what was spent before an outage is soon earned again."""
