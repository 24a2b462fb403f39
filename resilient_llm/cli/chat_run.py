"""`resilient-llm chat`: one answer, or a conversation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs

from resilient_llm.client import AsyncClient
from resilient_llm.errors import LLMError
from resilient_llm.events import TextDelta
from resilient_llm.settings import load_settings

from . import chat_input, chat_json
from .guard import OK, USAGE, guarded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_llm.models import Completion, Message
    from resilient_llm.settings import Settings

    from .chat_screen import Screen


@attrs.frozen
class Options:
    """What the command line says.

    Args:
        settings: Settings that it gives; None is left to the other sources.
        limits: Options of the client; None is left to its defaults.
        system: A system message.
        as_json: Print one JSON object.
        quiet: Write no notices.
        verbose: Write the log.
    """

    settings: Mapping[str, object]
    limits: Mapping[str, object]
    system: str | None = None
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False


def run(prompt: str | None, options: Options) -> int:
    """Chat, and give the exit status."""
    return guarded(
        lambda screen: _run(prompt, options, screen),
        as_json=options.as_json,
        quiet=options.quiet,
        verbose=options.verbose,
    )


def _run(prompt: str | None, options: Options, screen: Screen) -> int:
    conversing = prompt is None and chat_input.at_a_terminal()
    text = "" if conversing else chat_input.question(prompt, screen)
    if not conversing and not text:
        screen.error('no prompt: resilient-llm chat "...", or send one through a pipe')
        return USAGE
    if conversing and options.as_json:
        screen.error("--json needs a prompt, as an argument or through a pipe")
        return USAGE
    try:
        settings = load_settings(None, options.settings)
        llm = _client(settings, options, screen)
    except ValueError as exc:
        screen.error(exc)
        return USAGE
    chat = _Chat(llm, screen, settings)
    if conversing:
        return chat.converse()
    return asyncio.run(chat.once_as_json(text) if options.as_json else chat.once(text))


def _client(settings: Settings, options: Options, screen: Screen) -> AsyncClient:
    limits: dict[str, Any] = {name: value for name, value in options.limits.items() if value is not None}
    defaults = {} if options.system is None else {"system": options.system}
    return AsyncClient.from_settings(settings, defaults=defaults, observers=[screen.observe], **limits)


@attrs.define
class _Chat:
    llm: AsyncClient
    screen: Screen
    settings: Settings
    history: list[Message] = attrs.field(factory=list)

    async def once(self, text: str) -> int:
        async with self.llm:
            await self._answer(text)
        return OK

    async def once_as_json(self, text: str) -> int:
        async with self.llm:
            done = await self.llm.complete(text)
        chat_json.write(chat_json.completion(done))
        return OK

    def converse(self) -> int:
        self.screen.notice(f"{_who(self.llm)}; Ctrl-C stops an answer, Ctrl-D or /quit ends", "dim")
        with asyncio.Runner() as runner:
            try:
                for line in chat_input.lines(self.screen):
                    try:
                        runner.run(self._answer(line))
                    except KeyboardInterrupt:
                        self.screen.notice("stopped")
                    except LLMError as error:
                        self.screen.error(error)
            finally:
                runner.run(self.llm.aclose())
        return OK

    async def _answer(self, text: str) -> None:
        """Ask and show the answer. What was seen of it stays in the conversation, even if it broke off."""
        asked: Message = {"role": "user", "content": text}
        said: list[str] = []
        try:
            async with self.llm.stream([*self.history, asked]) as response:
                async for event in response:
                    if isinstance(event, TextDelta):
                        said.append(event.text)
                    self.screen.show(event)
                done = await response.completion()
        finally:
            self.screen.end_line()
            if said:
                self.history += [asked, {"role": "assistant", "content": "".join(said)}]
        self._explain(done)

    def _explain(self, done: Completion) -> None:
        if done.finish_reason == "length":
            limit = self.settings.llm_max_tokens
            self.screen.notice(f"cut off: the answer reached its limit (llm_max_tokens is {limit})")
        elif done.finish_reason == "content_filter":
            self.screen.notice("cut off: by the backend's content filter")
        elif not done.text:
            self.screen.notice(f"the answer is empty ({done.finish_reason})")


def _who(llm: AsyncClient) -> str:
    transport: Any = llm.transport
    address = f" at {transport.base_url}" if hasattr(transport, "base_url") else ""
    return f"{transport.name}{address}{f', model {llm.model}' if llm.model else ''}"
