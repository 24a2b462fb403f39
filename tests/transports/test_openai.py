"""OpenAI's own variables and headers, and Azure's addresses."""

from __future__ import annotations

import pytest
from transports.answers import CHAT, MESSAGES, answer

from resilient_llm.errors import ModelAuthError, ModelInvalidRequestError
from resilient_llm.models import Request
from resilient_llm.transports import OpenAITransport


async def fine(_request, wire):
    await wire.answer(answer(), headers="apim-request-id: azure-1\r\n")


async def test_the_variables_of_the_official_sdk_are_honoured(serve, monkeypatch):
    """Key, address, organisation and project come from the environment."""
    server = await serve(fine)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1/")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    transport = OpenAITransport(model="m")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-later")
    await transport(CHAT)
    headers = server.requests[0].headers
    assert headers["authorization"] == "Bearer sk-env"
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-1", "proj-1")
    assert server.requests[0].target == "/v1/chat/completions"
    await transport.aclose()


async def test_arguments_win_over_variables(serve, connect, monkeypatch):
    """What is passed is used."""
    server = await serve(fine)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    await connect(server, OpenAITransport, api_key="sk-arg", organization="")(CHAT)
    headers = server.requests[0].headers
    assert headers["authorization"] == "Bearer sk-arg"
    assert "openai-organization" not in headers


@pytest.mark.parametrize("value", [None, "", " \n"])
def test_a_missing_key_is_reported_at_construction(monkeypatch, value):
    """The error names the variable."""
    if value is not None:
        monkeypatch.setenv("OPENAI_API_KEY", value)
    with pytest.raises(ModelAuthError, match="pass api_key= or set OPENAI_API_KEY"):
        OpenAITransport()


async def test_a_missing_model_is_reported_before_anything_is_sent():
    """OpenAI has too many models to choose one."""
    with pytest.raises(ModelInvalidRequestError, match="pass model="):
        await OpenAITransport(api_key="k")(Request(messages=MESSAGES))


async def test_azure_puts_the_deployment_into_the_path_and_the_key_into_its_own_header(serve):
    """The URL's shape, the version and the header are Azure's; the answer's id is, too."""
    server = await serve(fine)
    transport = OpenAITransport.azure(
        endpoint=f"{server.url}/", deployment="my-gpt", api_version="2024-10-21", api_key="k"
    )
    response = await transport(Request(messages=MESSAGES))
    assert server.requests[0].target == "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
    assert server.requests[0].headers["api-key"] == "k"
    assert "authorization" not in server.requests[0].headers
    assert response.info.request_id == "azure-1"
    assert transport.name == "azure-openai"
    await transport.aclose()


async def test_azure_lists_models_beside_the_deployments(serve):
    """The list does not belong to a deployment."""

    async def script(_request, wire):
        await wire.answer({"data": []})

    server = await serve(script)
    transport = OpenAITransport.azure(endpoint=server.url, deployment="d", api_version="1", api_key="k")
    await transport(Request("models"))
    assert server.requests[0].target == "/openai/models?api-version=1"
    await transport.aclose()


async def test_azure_takes_a_token_from_a_function(serve):
    """Entra's tokens are asked for before each attempt and sent as Bearer."""
    server = await serve(fine)
    transport = OpenAITransport.azure(
        endpoint=server.url, deployment="d", api_version="1", azure_ad_token=lambda: "token"
    )
    await transport(CHAT)
    assert server.requests[0].headers["authorization"] == "Bearer token"
    assert "api-key" not in server.requests[0].headers
    await transport.aclose()


@pytest.mark.parametrize(
    ("variable", "header", "value"),
    [
        ("AZURE_OPENAI_API_KEY", "api-key", "from-env"),
        ("AZURE_OPENAI_AD_TOKEN", "authorization", "Bearer from-env"),
    ],
)
async def test_azure_reads_its_variables(serve, monkeypatch, variable, header, value):
    """Endpoint, version and key or token; OpenAI's organisation is not sent to Azure."""
    server = await serve(fine)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.url)
    monkeypatch.setenv("OPENAI_API_VERSION", "1")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv(variable, "from-env")
    transport = OpenAITransport.azure(deployment="d")
    await transport(CHAT)
    assert server.requests[0].headers[header] == value
    assert "openai-organization" not in server.requests[0].headers
    await transport.aclose()


@pytest.mark.parametrize(
    ("options", "error", "names"),
    [
        ({}, ModelInvalidRequestError, "AZURE_OPENAI_ENDPOINT"),
        ({"endpoint": "http://a"}, ModelInvalidRequestError, "OPENAI_API_VERSION"),
        ({"endpoint": "http://a", "api_version": "1"}, ModelAuthError, "AZURE_OPENAI_API_KEY"),
    ],
)
def test_what_azure_lacks_is_named(options, error, names):
    """The message names the variable that would help."""
    with pytest.raises(error, match=names):
        OpenAITransport.azure(deployment="d", **options)
