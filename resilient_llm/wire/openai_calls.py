"""Which tool call a fragment belongs to, whatever the backend leaves out or gets wrong.

By the protocol a fragment carries the `index` of its call, and its first fragment an `id` and a `name`. In the
wild the index is missing (Gemini), the same for all calls (Ollama up to 0.20) or counted from 1 (gateways before
Anthropic); the id is missing, repeated or changing; the name is repeated or emptied later (LM Studio).
"""

from __future__ import annotations

from resilient_llm.events import ToolCallDelta

from .openai_shapes import Call, Function


class CallNumbering:
    """Numbers the calls of one answer from 0 and tells each fragment's call."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._named: list[bool] = []
        self._by_index: dict[int, int] = {}
        self._by_id: dict[str, int] = {}

    def place(self, call: Call) -> ToolCallDelta:
        """The fragment as an event: id and name where they are new; an id is made up if there is none."""
        function = call.function or Function()
        name = function.name or ""
        number = self._find(call.index, call.id or "", name)
        identity = ""
        if number is None:
            number = len(self._ids)
            identity = call.id or f"call_{number}"
            self._ids.append(identity)
            self._named.append(False)
        if call.index is not None:
            self._by_index[call.index] = number
        if call.id:
            self._by_id[call.id] = number
        if self._named[number]:
            name = ""
        self._named[number] = self._named[number] or bool(name)
        return ToolCallDelta(number, identity, name, function.arguments or "")

    def _find(self, index: int | None, identity: str, name: str) -> int | None:
        """The call's number, or None for a new one."""
        if index is None:
            if identity:
                return self._by_id.get(identity)
            return None if name or not self._ids else len(self._ids) - 1
        number = self._by_index.get(index)
        if number is None or not identity or self._ids[number] == identity:
            return number
        # another id at a known index is another call, but only if it names a function: ids that change from
        # fragment to fragment have been seen, too
        return self._by_id.get(identity) if name else number
