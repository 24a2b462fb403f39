"""The checks of `resilient-llm doctor`, one after the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import attrs
from yarl import URL

from resilient_llm.client import AsyncClient
from resilient_llm.clock import SYSTEM_CLOCK
from resilient_llm.errors import LLMError
from resilient_llm.events import ReasoningDelta, TextDelta
from resilient_llm.settings import SettingsError
from resilient_llm.settings.clients import transport_for
from resilient_llm.settings.load import explain_settings, load_settings
from resilient_llm.transports.address import environment_proxy

from .doctor_finding import Finding
from .doctor_speed import Speed
from .table import without_secrets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from resilient_llm.models import ModelInfo, Observer
    from resilient_llm.settings import Settings

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 120.0
TOKENS: Final = 32
QUESTION: Final = "Count from 1 to 20."
NO_SUCH_ROUTE: Final = frozenset({404, 405, 501})
LIST: Final = "resilient-llm config --key llm_model lists what there is and asks which"


@attrs.define
class Doctor:
    """Examines what the settings lead to.

    Args:
        given: Settings from the command line.
        observers: Told of waits.
    """

    given: Mapping[str, object]
    observers: Sequence[Observer] = ()
    speed: Speed = attrs.field(factory=Speed, init=False)

    async def findings(self) -> AsyncIterator[Finding]:
        """The findings, as they are made; the last one is `wrong` if the next checks would be pointless."""
        try:
            settings = load_settings(None, self.given)
            yield Finding("settings", "ok", _told(self.given))
        except SettingsError as exc:
            yield Finding("settings", "wrong", str(exc), "put it right there")
            return
        try:
            transport: Any = transport_for(settings, {})
        except (SettingsError, LLMError) as exc:
            yield _failed("backend", exc)
            return
        llm = AsyncClient(
            transport=transport,
            model=settings.llm_model,
            max_retries=0,
            deadline=ANSWER_SECONDS,
            observers=self.observers,
        )
        async with llm:
            for check in (self._backend, self._listing, self._answer):
                async for finding in check(llm, settings):
                    yield finding
                    if finding.state == "wrong" and finding.check != "model":
                        return
        yield self.speed.judge()

    async def _backend(self, llm: AsyncClient, _settings: Settings) -> AsyncIterator[Finding]:
        """Does anything listen there?"""
        name = getattr(llm.transport, "name", "")
        url = getattr(llm.transport, "base_url", None)
        if url is None:
            what = "looks for a local server when it is asked" if name == "auto" else "needs no server"
            yield Finding("backend", "ok", f"{name} {what}")
            return
        proxy = environment_proxy(URL(url))
        first = proxy or URL(url)
        where = f"{name} at {without_secrets(url)}{f' by the proxy {first.host}' if proxy else ''}"
        began = SYSTEM_CLOCK.monotonic()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, writer = await asyncio.open_connection(first.host, first.port)
            writer.close()
        except (OSError, TimeoutError) as exc:
            step = (
                "put the proxy right (HTTP_PROXY, HTTPS_PROXY, NO_PROXY)"
                if proxy
                else _to_mend(llm.transport)
            )
            yield Finding("backend", "wrong", f"{where}: {_why(exc)}", step)
            return
        self.speed.connect = SYSTEM_CLOCK.monotonic() - began
        yield Finding("backend", "ok", f"{where}, connected in {self.speed.connect * 1000:.0f} ms")

    async def _listing(self, llm: AsyncClient, settings: Settings) -> AsyncIterator[Finding]:
        """Is it a model server, and of the kind that it is said to be? Has it the model?"""
        began = SYSTEM_CLOCK.monotonic()
        try:
            models = await llm.models()
        except LLMError as exc:
            if exc.status in NO_SUCH_ROUTE:
                step = (
                    "if the chat fails as well, the address is wrong (llm_api_base); many need /v1 at its end"
                )
                yield Finding("server", "warning", f"it lists no models: {exc.message}", step)
            else:
                yield _failed("server", exc)
            return
        self.speed.listing = SYSTEM_CLOCK.monotonic() - began
        yield await _kind(llm.transport, len(models))
        yield (
            _here(models[0])
            if settings.offline_mode or settings.llm_provider == "offline"
            else _model(settings.llm_model, models)
        )

    async def _answer(self, llm: AsyncClient, _settings: Settings) -> AsyncIterator[Finding]:
        """Does it answer?"""
        began, first, pieces = SYSTEM_CLOCK.monotonic(), 0.0, 0
        try:
            async with llm.stream(QUESTION, max_tokens=TOKENS) as response:
                async for event in response:
                    if isinstance(event, TextDelta | ReasoningDelta):
                        first, pieces = first or SYSTEM_CLOCK.monotonic(), pieces + 1
                done = await response.completion()
        except LLMError as exc:
            yield _failed("answer", exc)
            return
        ended = SYSTEM_CLOCK.monotonic()
        who = f"{done.model or 'a model'} on {done.backend}"
        if not pieces:
            step = "the model may not be one for chats (an embedding model?)"
            yield Finding("answer", "warning", f"{who} answered nothing", step)
            return
        self.speed.first_token = first - began
        self.speed.measure(done.usage.completion_tokens or pieces, ended - first)
        yield Finding("answer", "ok", f"{who}: {self.speed.told()}")


async def _kind(transport: Any, count: int) -> Finding:
    listed = f"lists {count} model{'' if count == 1 else 's'}"
    try:
        known = not getattr(transport, "start_hint", "") or await transport.recognised() is not None
    except Exception:  # noqa: BLE001 - whatever it answers, it is not what was meant
        known = False
    if known:
        return Finding("server", "ok", f"it {listed}")
    step = "if it is another server, say so (llm_provider): openai-compatible, or auto to have it found out"
    return Finding("server", "warning", f"it {listed}, but does not answer as {transport.label} does", step)


def _model(named: str, models: Sequence[ModelInfo]) -> Finding:
    if not models:
        return Finding("model", "wrong", "the server offers no models", "download or load one there")
    if named:
        found = next(
            (model for model in models if named in {model.id, model.id.removesuffix(":latest")}), None
        )
        if found is None:
            some = ", ".join(model.id for model in models[:5])
            more = f" and {len(models) - 5} more" if len(models) > 5 else ""
            return Finding("model", "wrong", f"{named} is not there; there are {some}{more}", LIST)
        if found.loaded is False:
            return Finding("model", "warning", f"{named} is not loaded", "the first call waits for it")
        return Finding(
            "model", "ok", f"{named}{_window(found)} is there{' and loaded' if found.loaded else ''}"
        )
    loaded = [model for model in models if model.loaded]
    if not loaded and any(model.loaded is False for model in models):
        return Finding("model", "warning", "none is loaded", f"load one there, or name one: {LIST}")
    chosen = (loaded or models)[0]
    return Finding(
        "model", "ok", f"none is named; {chosen.id}{_window(chosen)} is {'loaded' if loaded else 'there'}"
    )


def _here(model: ModelInfo) -> Finding:
    """The model of the offline backend, which has one, whatever name is asked for."""
    return Finding("model", "ok", f"{model.id} is there{'' if model.loaded else '; the first call loads it'}")


def _window(model: ModelInfo) -> str:
    return f" ({model.context_length} tokens)" if model.context_length else ""


def _to_mend(transport: Any) -> str:
    start = transport.start_hint
    return (
        f"{f'start it ({start})' if start else 'check that it runs'}, or put the address right (llm_api_base)"
    )


def _why(exc: OSError) -> str:
    if isinstance(exc, TimeoutError):
        return f"no connection within {CONNECT_SECONDS:.0f} s"
    if isinstance(exc, ConnectionRefusedError):
        return "nothing listens there"
    return exc.strerror or str(exc)


def _told(given: Mapping[str, object]) -> str:
    shown = {"llm_provider", "llm_api_base", "llm_model", "offline_mode"}
    return ", ".join(
        f"{setting.key} {without_secrets(str(value))} ({origin})"
        for setting, value, origin in explain_settings(None, given)
        if setting.key in shown and (origin != "default" or setting.key == "llm_provider")
    )


def _failed(check: str, exc: Exception) -> Finding:
    if isinstance(exc, LLMError):
        status = f" (HTTP {exc.status})" if exc.status else ""
        return Finding(check, "wrong", f"{exc.code}{status}: {exc.message}", exc.hint)
    return Finding(check, "wrong", str(exc), "resilient-llm config shows the settings")
