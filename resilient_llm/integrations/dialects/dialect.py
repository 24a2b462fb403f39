"""What a dialect is: how calls of one kind are read, changed, answered and refused.

A dialect never sees a library: it gets method, path, headers and the JSON of a body.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
import msgspec

from resilient_llm.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from resilient_llm.errors import LLMError
    from resilient_llm.http_call import Decoder
    from resilient_llm.request import Message, Operation, Request
    from resilient_llm.wire.replay_parts import Script

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024

STATUSES: Final[Mapping[ErrorCode, int]] = {
    ErrorCode.CIRCUIT_OPEN: 503,
    ErrorCode.LIMIT_EXCEEDED: 429,
    ErrorCode.TOKEN_BUDGET_EXCEEDED: 400,
    ErrorCode.MODEL_RATE_LIMITED: 429,
    ErrorCode.MODEL_QUOTA_EXCEEDED: 429,
    ErrorCode.MODEL_CONTEXT_LENGTH: 400,
    ErrorCode.MODEL_OVERLOADED: 503,
    ErrorCode.MODEL_LOADING: 503,
    ErrorCode.MODEL_NOT_FOUND: 404,
    ErrorCode.MODEL_AUTH: 401,
    ErrorCode.MODEL_INVALID_REQUEST: 400,
    ErrorCode.MODEL_PAYLOAD_TOO_LARGE: 413,
    ErrorCode.MODEL_CONTENT_FILTERED: 400,
}
"""The status of an error that has none of its own; the other codes say that no usable answer came."""

_model_in: Final = re.compile(
    r"/(?:deployments|engines)/([^/]+)/|/model/(.+)/(?:invoke|converse)|/models/([^/:]+):\w+$"
).search


@attrs.frozen
class Head:
    """What is known of a call before its body is understood; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = attrs.field(repr=False)


class Dialect(Protocol):
    """One kind of calls. To add one: a module with such an object, and a line in the table of this package."""

    def ask(self, head: Head, body: Mapping[str, Any]) -> Spoken | None:
        """What a POST with a JSON object asks for; None if that is no call of this kind."""
        ...

    def said(self, spoken: Spoken, messages: Sequence[Message]) -> Mapping[str, Any]:
        """Other messages as fields of the body. Those that were there before are told by their identity."""
        ...

    def decoder(self, spoken: Spoken) -> Decoder:
        """For one answer, whole or streamed."""
        ...

    def script(self) -> Script | None:
        """For one stream that is told again; None if that cannot be compared."""
        ...

    def refused(self, error: LLMError) -> tuple[int | None, bytes]:
        """An error of ours as the backend would have said it: status and body; no status where no answer came."""
        ...


@attrs.frozen(eq=False, kw_only=True)
class Spoken:
    """What a call asks for, in the stages' words and in its own; see `resilient_llm.http_call.Asked`.

    Args:
        dialect: Whose words.
        body: The JSON as it came.
        operation: What stages take it for.
        messages: The conversation in OpenAI's shape.
        model: The model.
        stream: Is the answer handed on while it is written?
        params: What else the body says, in the words that stages know.
        renamed: Names of `params` that the body has other words for.
        repeatable: May it be sent again though the backend may have acted on it?
        understood: Is it a dialect that says so? Else only the bytes are known.
        fixed: `"model"` if the URL says it, where no stage can change it; `"body"` if nothing may be changed at all.
        memory: What the dialect wants to remember of the messages.
    """

    dialect: Dialect = attrs.field(repr=False)
    body: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    operation: Operation = "raw"
    messages: Sequence[Message] = attrs.field(default=(), repr=False)
    model: str = ""
    stream: bool = False
    params: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    renamed: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    repeatable: bool = True
    understood: bool = True
    fixed: Container[str] = ()
    memory: Any = attrs.field(default=None, repr=False)

    @property
    def signed(self) -> bool:
        """Does the call carry a signature of all that it says?"""
        return "body" in self.fixed

    def edited(self, request: Request) -> bytes | None:
        """The body that a request asks for; None if no stage changed anything."""
        same_messages = request.messages is self.messages
        same_model = request.model == self.model or "model" in self.fixed
        if (same_messages and request.params is self.params and same_model) or "body" in self.fixed:
            return None
        fields = dict(self.body)
        if not same_model:
            fields["model"] = request.model
        if request.params is not self.params:
            self._change(fields, request.params)
        if not same_messages:
            fields.update(self.dialect.said(self, request.messages))
        return None if fields == self.body else msgspec.json.encode(fields)

    def decoder(self) -> Decoder:
        """For one answer whose status is 200."""
        return self.dialect.decoder(self)

    def script(self) -> Script | None:
        """For one stream that is told again."""
        return self.dialect.script()

    def refused(self, error: LLMError) -> tuple[int | None, bytes]:
        """An error of ours as this dialect's backend would have said it."""
        return self.dialect.refused(error)

    def _change(self, fields: dict[str, Any], params: Mapping[str, Any]) -> None:
        for name in self.params.keys() - params.keys():
            fields.pop(self.renamed.get(name, name), None)
        for name, value in params.items():
            if name not in self.params or self.params[name] is not value:
                fields[self.renamed.get(name, name)] = value


def besides(body: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The parameters of a body: all but the model and what is named."""
    return {name: value for name, value in body.items() if name != "model" and name not in names}


def model_of(body: Mapping[str, Any]) -> str:
    """The model that a body names; empty where it names none."""
    model = body.get("model")
    return model if isinstance(model, str) else ""


def model_in(path: str) -> str:
    """The model that a path names, as those of Azure, Vertex AI and Bedrock do; empty for others."""
    found = _model_in(path)
    return found[found.lastindex or 0] if found else ""


def openai_refusal(error: LLMError) -> tuple[int | None, bytes]:
    """An error of ours in OpenAI's words."""
    detail = {"message": str(error), "type": "resilient_llm", "param": None, "code": str(error.code)}
    return STATUSES.get(error.code), msgspec.json.encode({"error": detail})
