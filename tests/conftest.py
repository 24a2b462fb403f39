"""What all tests share."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING

import pytest
from programs import Programs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.register_assert_rewrite("conformance.rows")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--real", action="store_true", help="run the tests against a real llama.cpp server")
    parser.addoption("--shared", action="store_true", help="run the tests of many processes on one Redis")
    parser.addoption("--soak", action="store_true", help="run the tests with very many calls")


def pytest_configure(config: pytest.Config) -> None:
    """What a busy machine or a job in the background would change is the same everywhere."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a background job's; tests of Ctrl-C would hang
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.pluginmanager.hasplugin("hypothesispytest"):
        from hypothesis import HealthCheck, settings  # noqa: PLC0415 - not every session has it

        slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
        settings.register_profile("busy machine", slow)
        settings.load_profile("busy machine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for name, needs in (("real", "a real server"), ("shared", "many processes and time"), ("soak", "time")):
        if config.getoption(f"--{name}"):
            continue
        skip = pytest.mark.skip(reason=f"needs {needs}: nox -s {name}")
        for item in items:
            if name in item.keywords:
                item.add_marker(skip)


def pytest_collection() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    """What collecting has made lives to the end: a test that collects garbage need not look at it each time."""
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, address or proxy of the machine leaks into a test."""
    for name in list(os.environ):
        if (
            name.startswith(
                (
                    "OPENAI_",
                    "ANTHROPIC_",
                    "AZURE_OPENAI_",
                    "OLLAMA_",
                    "LMSTUDIO_",
                    "LM_API_",
                    "RESILIENT_LLM_",
                )
            )
            and name != "RESILIENT_LLM_ERROR_CORPUS"
        ):
            monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    # No server here has a certificate, and each client of an SDK reads all that there are, for 16 ms.
    monkeypatch.setenv("SSL_CERT_DIR", os.devnull)


@pytest.fixture(scope="session")
def programs() -> Iterator[Programs]:
    """Run programs in processes of their own."""
    own = Programs()
    yield own
    own.close()
