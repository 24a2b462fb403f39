"""What the transports of all backends share, whatever their dialect: operations, raw requests, choosing a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Unpack

import attrs
from msgspec import json

from resilient_llm.commit import commit, whole
from resilient_llm.errors import BackendFailure, ModelInvalidRequestError, ModelResponseInvalidError
from resilient_llm.events import Finish, Result, UsageEvent
from resilient_llm.policy.batches import CAUTIOUS, BatchLimits
from resilient_llm.response import Response, ResponseInfo
from resilient_llm.wire.payload import loads

from .bodies import StreamBody
from .http import HTTPOptions, HTTPTransport
from .selection import Selection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import ClientResponse
    from yarl import URL

    from resilient_llm.models import Embeddings, Extensions, ModelInfo, Request
    from resilient_llm.wire.openai_response import ChatAnswer

    from .bodies import StreamDecoder
    from .credentials import ApiKey
    from .selection import Kind

END: Final = Finish("stop")


class BackendTransport(HTTPTransport):
    """Hands each request to the method for its operation; a dialect fills in the rest.

    Attributes:
        _chat_url: Where chats are sent; set by the dialect.

    Args:
        base_url: The backend's address, as its own users write it.
        name: The backend's name in results, errors and logs.
        model: The model of requests that name none; if empty, one is chosen from the backend's list.
        api_key: See `HTTPTransport`.
        auto_select: Choose a model if none is named; False sends the request as it is.

    The other options are those of `HTTPTransport`.
    """

    _chat_url: URL

    stand_in: ClassVar[str] = ""
    """What to ask for if the list offers no model; empty leaves the name out."""
    batch_limits: ClassVar[BatchLimits] = CAUTIOUS
    """How much of a long list of texts is embedded by one request."""

    def __init__(
        self,
        base_url: str,
        *,
        name: str,
        model: str = "",
        api_key: ApiKey | None = None,
        auto_select: bool = True,
        **options: Unpack[HTTPOptions],
    ) -> None:
        super().__init__(base_url, name=name, model=model, api_key=api_key, **options)
        self._auto_select = auto_select
        self._selection = Selection(name, self.stand_in)
        self._windows: dict[str, int] = {}

    def __call__(self, request: Request) -> Awaitable[Response]:
        """Send the request and return the committed response.

        Raises:
            BackendFailure: The backend refused, by its status or in its answer.
            ModelInvalidRequestError: The request cannot be sent to this backend.
            ModelResponseInvalidError: What came is no answer.
            ModelUnavailableError: Nothing listens at the address.
            aiohttp.ClientError: Anything else that went wrong on the way.
        """
        match request.operation:
            case "chat":
                return self._chat(request)
            case "embed":
                return self._embed(request)
            case "models":
                return self._listing(request)
            case "raw":
                return self._raw(request)

    async def list_models(self, extensions: Extensions | None = None) -> list[ModelInfo]:
        """The models that the backend offers."""
        raise NotImplementedError

    async def offered(self, extensions: Extensions | None = None) -> list[ModelInfo]:
        """The models, with what a choice among them needs: a dialect may tell less than `list_models` does."""
        return await self._listed(extensions)

    async def recognised(self) -> list[ModelInfo] | None:
        """The models, if what is at this address answers as only this kind of server does; else None.

        A server that is of this kind but lists no models, because it is loading or wants a key, has an empty list.
        """
        return None

    def context_window(self, model: str) -> int | None:
        """The window of a model in tokens, if a listing has told it; asks nobody."""
        return self._windows.get(model or self.model or self._selection.known("chat"))

    def resumes(self, request: Request) -> bool:
        """Does this model go on with an answer that is given its beginning (a prefill)? Only if known for certain.

        A transport that says so puts it on the info of its streams (`info.resumes`), sends what `resumed` gives
        where a request has the extension `resume_from`, and gives `commit` the request as it was. It hands over
        only what follows the beginning.
        """
        del request
        return False

    async def resumed(self, request: Request) -> Request:
        """The request to send for one with `resume_from`; raises what is not worth a retry to refuse it."""
        return attrs.evolve(request, messages=request.begun)

    # Operations ...

    async def _chat(self, request: Request) -> Response:
        if not request.model:
            request = await self._with_model(request, "chat")
        resumes = request.stream and self.resumes(request)
        resumed = resumes and "resume_from" in request.extensions
        asked = await self.resumed(request) if resumed else request
        response, pool = await self.send(
            "POST", self._chat_url, self._encode_chat(asked), extensions=request.extensions
        )
        info = self.info(response)
        if request.stream:
            info.resumes = resumes
            return await commit(
                StreamBody(response, self._stream_decoder(request, info), info, pool, self.amend), request
            )
        answer = await self.decoded(response, lambda body: self._decode_chat(request, body))
        info.model, info.body, info.extra = answer.model, answer.body, answer.extra
        info.request_id = info.request_id or answer.id
        return whole(answer.events, info, request)

    # What a dialect fills in ...

    def _encode_chat(self, request: Request) -> bytes:
        """The body of a chat request."""
        raise NotImplementedError

    def _decode_chat(self, request: Request, body: bytes) -> ChatAnswer:
        """A whole answer; raises what makes it none."""
        raise NotImplementedError

    def _stream_decoder(self, request: Request, info: ResponseInfo) -> StreamDecoder:
        """The decoder of a streamed answer; `info` is for what it learns beside the events."""
        raise NotImplementedError

    async def _embed(self, request: Request) -> Response:
        """Most often `_embed_at` with the dialect's codecs."""
        raise NotImplementedError

    async def _embed_at(
        self,
        url: URL,
        request: Request,
        encode: Callable[[Request], bytes],
        decode: Callable[[bytes], Embeddings],
    ) -> Response:
        if not request.model:
            request = await self._with_model(request, "embedding")
        response, _ = await self.send("POST", url, encode(request), extensions=request.extensions)
        result = await self.decoded(response, decode)
        texts = request.params.get("input")
        if isinstance(texts, list) and isinstance(texts[0], str) and len(result.vectors) != len(texts):
            msg = f"{len(result.vectors)} vectors came for {len(texts)} texts"
            raise ModelResponseInvalidError(msg)
        info = self.info(response)
        info.model = result.model
        return whole([Result(result), UsageEvent(result.usage), END], info, request)

    async def _listing(self, request: Request) -> Response:
        models = await self._listed(request.extensions)
        return whole([Result(models), END], ResponseInfo(backend=self.name), request)

    async def _listed(self, extensions: Extensions | None) -> list[ModelInfo]:
        return self._noted(await self.list_models(extensions))

    def _noted(self, models: list[ModelInfo]) -> list[ModelInfo]:
        """The same models, their windows noted for `context_window`."""
        self._windows = {model.id: model.context_length for model in models if model.context_length}
        return models

    async def _raw(self, request: Request) -> Response:
        """`params` hold a `path` below the base URL and the `body`, or none for a GET."""
        path, body = request.params.get("path"), request.params.get("body")
        if request.stream or not isinstance(path, str) or "://" in path or ".." in path:
            msg = f"a raw request needs a path below {self.base_url} and no stream, not {path!r}"
            raise ModelInvalidRequestError(msg, backend=self.name)
        data = None if body is None else json.encode(body)
        url = self._address.join(path)
        value = await self.fetch(url, _any_size, data, extensions=request.extensions)
        return whole([Result(value), END], ResponseInfo(backend=self.name), request)

    # The model ...

    async def _failure(self, response: ClientResponse) -> BackendFailure:
        """Beside what it always does: a model that was chosen and is not there any more is not asked for again."""
        failure = await super()._failure(response)
        if failure.status == 404:
            self._selection.forget()
        return failure

    async def _with_model(self, request: Request, kind: Kind) -> Request:
        model = self.model or self._selection.known(kind)
        if not model and self._auto_select:
            model = await self._selection.model(kind, lambda: self.offered(request.extensions))
        return attrs.evolve(request, model=model) if model else request


def _any_size(body: bytes) -> object:
    """What the caller asked for, as long as it is shorter than the longest answer."""
    return loads(body, len(body))
