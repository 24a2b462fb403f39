"""LM Studio."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Unpack

from resilient_llm.errors import BackendFailure, ModelResponseInvalidError
from resilient_llm.models import ModelInfo
from resilient_llm.wire.openai import decode_models
from resilient_llm.wire.payload import int_of, load_object, object_of, objects_of, reject_error, text_of

from .openai_compatible import OpenAICompatibleTransport
from .selection import LISTING_FAILED, logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_llm.models import Extensions, Request
    from resilient_llm.response import Response

    from .credentials import ApiKey
    from .http import HTTPOptions

DEFAULT_URL = "http://localhost:1234/v1"


class LMStudioTransport(OpenAICompatibleTransport):
    """Calls LM Studio's server.

    Operations: `chat` (whole and streamed), `embed`, `models`, `raw`. Without a model's name the first
    loaded chat model is used, else the first that would be loaded on demand.

    Args:
        base_url: The server's address, with or without `/v1`. Default: `LMSTUDIO_URL`, else
            `http://localhost:1234/v1`.
        api_key: Default: `LM_API_TOKEN`; none is needed unless the server was told to ask for it.

    The other options are those of `OpenAICompatibleTransport`.
    """

    label = "LM Studio"
    may_tokenize = False  # it counts for its own SDK only, over another protocol
    start_hint = "lms server start"
    stand_in = "local_model"  # with one model loaded, LM Studio answers to any name

    def __init__(
        self,
        base_url: str | None = None,
        *,
        model: str = "",
        api_key: ApiKey | None = None,
        name: str = "lmstudio",
        auto_select: bool = True,
        **options: Unpack[HTTPOptions],
    ) -> None:
        super().__init__(
            base_url or os.environ.get("LMSTUDIO_URL") or DEFAULT_URL,
            model=model,
            api_key=api_key or os.environ.get("LM_API_TOKEN"),
            name=name,
            auto_select=auto_select,
            **options,
        )
        self._mismatch = ("", "")

    async def list_models(self, extensions: Extensions | None = None) -> list[ModelInfo]:
        """The models, with state and window as far as this version of LM Studio tells.

        Three routes tell less and less: version 0.4 has the first, older ones the second, all of them the
        third.
        """
        own = await self._own_list(extensions)
        return await super().list_models(extensions) if own is None else own

    async def _chat(self, request: Request) -> Response:
        response = await super()._chat(request)
        self._compare(request.model or self.model, response.info.model)
        return response

    def _compare(self, asked: str, answered: str) -> None:
        """Warn, once for a pair, if another model answers: the one that is loaded may answer to any name."""
        if not asked or asked == self.stand_in or asked in answered or answered in asked:
            return  # the same, or with the instance's number or the quantization
        if (asked, answered) != self._mismatch:
            self._mismatch = asked, answered
            logger.warning(
                "%s: asked for %r, which %r answered; list the models that there are: resilient-llm models",
                self.name,
                asked,
                answered,
            )

    async def recognised(self) -> list[ModelInfo] | None:
        """The models, if one of LM Studio's own routes lists them."""
        try:
            own = await self._own_list(None)
        except LISTING_FAILED:
            return None
        return None if own is None else self._noted(own)

    async def _own_list(self, extensions: Extensions | None) -> list[ModelInfo] | None:
        for path, decode in (("api/v1/models", decode_native), ("api/v0/models", decode_models)):
            try:
                return await self.fetch(self._address.join(path, root=True), decode, extensions=extensions)
            except (BackendFailure, ModelResponseInvalidError):
                continue  # an unknown route is answered with 404, or with 200 and an error
        return None


def decode_native(body: bytes) -> list[ModelInfo]:
    """Decode the answer of `/api/v1/models`.

    Raises:
        BackendFailure: The body says an error.
        ModelResponseInvalidError: It holds no list of models.
    """
    answer = load_object(body)
    reject_error(answer, body)
    if not isinstance(answer.get("models"), list):
        msg = "the answer holds no list of models"
        raise ModelResponseInvalidError(msg)
    return [
        _model(entry, key) for entry in objects_of(answer["models"]) if (key := text_of(entry.get("key")))
    ]


def _model(entry: Mapping[str, object], key: str) -> ModelInfo:
    instances = objects_of(entry.get("loaded_instances"))
    told = (int_of(object_of(instance.get("config")).get("context_length")) for instance in instances)
    return ModelInfo(
        id=key,
        name=text_of(entry.get("display_name")) or "",
        owned_by=text_of(entry.get("publisher")) or "",
        context_length=min(filter(None, told), default=None),
        loaded=bool(instances),
        kind="embedding" if entry.get("type") == "embedding" else "chat",
        raw=entry,
    )
