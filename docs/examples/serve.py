"""An endpoint that streams: POST a question to /answer, read the words while they are written.

    python serve.py 8000
    curl -N -d "Name three rivers." http://127.0.0.1:8000/answer

A failure before the first word becomes a status; a reader who leaves stops the model.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from aiohttp import web

import resilient_llm as rl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LLM = web.AppKey("LLM", rl.AsyncClient)


async def answer(request: web.Request) -> web.StreamResponse:
    """Hand the words on."""
    page = web.StreamResponse(headers={"content-type": "text/plain; charset=utf-8"})
    try:
        async with request.app[LLM].stream(await request.text(), deadline=120) as response:
            await page.prepare(request)
            async for event in response:
                if isinstance(event, rl.TextDelta):
                    await page.write(event.text.encode())
    except rl.LLMError as error:
        if page.prepared:  # too late for a status: a connection that breaks says that the text is not whole
            raise
        return refusal(error)
    return page


def refusal(error: rl.LLMError) -> web.Response:
    """The error as a status: 503 for what may pass, 502 for what will not."""
    headers = {"retry-after": f"{error.retry_after:.0f}"} if error.retry_after else {}
    return web.json_response({"error": error.code}, status=503 if error.retryable else 502, headers=headers)


async def client(app: web.Application) -> AsyncIterator[None]:
    """One client for the application."""
    async with rl.AsyncClient.from_settings() as llm:
        app[LLM] = llm
        yield


def application() -> web.Application:
    """The application."""
    app = web.Application()
    app.cleanup_ctx.append(client)
    app.router.add_post("/answer", answer)
    return app


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    web.run_app(application(), host="127.0.0.1", port=port, handler_cancellation=True)
