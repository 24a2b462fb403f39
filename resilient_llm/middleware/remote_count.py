"""Asking a backend's own tokenizer."""

from __future__ import annotations

import hashlib
import warnings
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from resilient_llm.timeout import Timeout
from resilient_llm.tokens.costs import json_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_llm.models import Message, Request
    from resilient_llm.tokens.tokenizer import Tokenizer

PATIENCE: Final = 2.0
"""Seconds to wait for a count; an estimate is at hand."""

REMEMBERED: Final = 256
TRIES: Final = 3


class RemoteCount:
    """Asks a tokenizer once for each prompt, and no longer when it fails three times in a row.

    Args:
        tokenizer: Whom to ask.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._counts: OrderedDict[bytes, int] = OrderedDict()
        self._failures = 0

    async def tokens(self, request: Request, messages: Sequence[Message]) -> int | None:
        """What the request would cost with these messages; None if the tokenizer does not say."""
        if self._failures >= TRIES:
            return None
        tools = request.params.get("tools") or None
        key = hashlib.blake2b(
            json_text([request.model, messages, tools]).encode("utf-8", "surrogatepass")
        ).digest()
        known = self._counts.get(key)
        if known is None:
            known = await self._asked(request.model, messages, tools)
            if known is not None:
                self._counts[key] = known
                if len(self._counts) > REMEMBERED:
                    self._counts.popitem(last=False)
        return known

    async def _asked(self, model: str, messages: Sequence[Message], tools: Any) -> int | None:
        try:
            with Timeout(PATIENCE):
                tokens = await self._tokenizer.count_tokens(messages, model=model, tools=tools)
        except Exception as error:  # noqa: BLE001 - whatever a tokenizer raises, an estimate serves as well
            self._failures += 1
            if self._failures == TRIES:
                msg = f"the tokenizer failed {TRIES} times ({error!r}): tokens are estimated from now on"
                with suppress(RuntimeWarning):  # where warnings are errors: an estimate serves as well
                    warnings.warn(msg, RuntimeWarning, stacklevel=2)
            return None
        self._failures = 0
        return tokens if tokens > 0 else None
