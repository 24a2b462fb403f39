"""OpenAI, and its models at Azure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from multidict import istr

from resilient_llm.errors import ModelAuthError, ModelInvalidRequestError
from resilient_llm.policy.batches import BatchLimits

from .openai_compatible import OpenAICompatibleTransport

if TYPE_CHECKING:
    from resilient_llm.models import Request

    from .credentials import ApiKey
    from .http import HTTPOptions
    from .selection import Kind

DEFAULT_URL = "https://api.openai.com/v1"


class OpenAITransport(OpenAICompatibleTransport):
    """Calls OpenAI.

    Operations: `chat` (whole and streamed), `embed`, `models`, `raw`.

    Args:
        model: The model of requests that name none.
        api_key: The key, or a function (sync or async) that is asked for it before each attempt. Default:
            `OPENAI_API_KEY`.
        base_url: Default: `OPENAI_BASE_URL`, else OpenAI's own.
        organization: Default: `OPENAI_ORG_ID`; empty for none.
        project: Default: `OPENAI_PROJECT_ID`; empty for none.

    The other options are those of `OpenAICompatibleTransport`.

    Raises:
        ModelAuthError: No key is given, and the variable is not set.
    """

    label = "OpenAI"
    may_tokenize = False
    knows_functions = True
    keepalive = 15.0
    key_variable: ClassVar[str] = "OPENAI_API_KEY"
    batch_limits = BatchLimits(2048, tokens=300_000)

    def __init__(
        self,
        *,
        model: str = "",
        api_key: ApiKey | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        name: str = "openai",
        **options: Unpack[HTTPOptions],
    ) -> None:
        whose = {
            "OpenAI-Organization": _given(organization, "OPENAI_ORG_ID"),
            "OpenAI-Project": _given(project, "OPENAI_PROJECT_ID"),
        }
        said = {key: value for key, value in whose.items() if value}
        options["headers"] = said | dict(options.get("headers") or {})
        super().__init__(
            base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL,
            model=model,
            api_key=api_key or self._key_from_environment(name),
            name=name,
            **options,
        )

    @classmethod
    def azure(
        cls,
        *,
        deployment: str,
        endpoint: str | None = None,
        api_version: str | None = None,
        api_key: ApiKey | None = None,
        azure_ad_token: ApiKey | None = None,
        name: str = "azure-openai",
        **options: Unpack[HTTPOptions],
    ) -> OpenAITransport:
        """A transport for a deployment at Azure OpenAI.

        Args:
            deployment: Its name, which stands for the model.
            endpoint: `https://….openai.azure.com`. Default: `AZURE_OPENAI_ENDPOINT`.
            api_version: Such as `2024-10-21`. Default: `OPENAI_API_VERSION`.
            api_key: Default: `AZURE_OPENAI_API_KEY`, unless there is a token.
            azure_ad_token: A token of Entra, or a function that gives one. Default: `AZURE_OPENAI_AD_TOKEN`,
                if there is no key either.
            name: The backend's name.
            options: Those of `HTTPTransport`.

        Raises:
            ModelAuthError: There is neither a key nor a token.
            ModelInvalidRequestError: Endpoint or version is missing.
        """
        endpoint = endpoint or _required("AZURE_OPENAI_ENDPOINT", "endpoint", name)
        version = api_version or _required("OPENAI_API_VERSION", "api_version", name)
        token = azure_ad_token
        if not token and not api_key and not os.environ.get(_AzureKey.key_variable):
            token = os.environ.get("AZURE_OPENAI_AD_TOKEN")
        options["query"] = {"api-version": version, **(options.get("query") or {})}
        kind = _AzureToken if token else _AzureKey
        return kind(
            model=deployment,
            api_key=token or api_key,
            base_url=f"{endpoint.rstrip('/')}/openai/deployments/{deployment}",
            organization="",
            project="",
            name=name,
            **options,
        )

    async def _with_model(self, request: Request, kind: Kind) -> Request:
        if not self.model and "model" not in request.params:
            msg = f"{self.name} needs a model's name: pass model="
            raise ModelInvalidRequestError(msg, backend=self.name)
        return await super()._with_model(request, kind)

    def _key_from_environment(self, name: str) -> str:
        key = os.environ.get(self.key_variable, "").strip()
        if not key:
            msg = f"no API key: pass api_key= or set {self.key_variable}"
            raise ModelAuthError(msg, backend=name)
        return key


class _AzureKey(OpenAITransport):
    label = "Azure OpenAI"
    key_variable = "AZURE_OPENAI_API_KEY"
    key_header = "api-key"
    key_format = "{}"
    id_header = istr("apim-request-id")

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._models_url = self._address.join("../../models")  # beside the deployments, not below one


class _AzureToken(_AzureKey):
    key_header = OpenAITransport.key_header
    key_format = OpenAITransport.key_format


def _given(option: str | None, variable: str) -> str | None:
    return os.environ.get(variable) if option is None else option


def _required(variable: str, option: str, name: str) -> str:
    value = os.environ.get(variable)
    if not value:
        msg = f"no {option}: pass {option}= or set {variable}"
        raise ModelInvalidRequestError(msg, backend=name)
    return value
