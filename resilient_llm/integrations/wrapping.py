"""`wrap`: one line gives an existing client the whole stack and changes nothing else."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, TypeVar, Unpack, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_llm.pipeline import Middleware
    from resilient_llm.stages import StackOptions

Client = TypeVar("Client")

SYNC_CLIENTS = frozenset({"openai.OpenAI"})


def wrap(
    client: Client, *, middleware: Sequence[Middleware] | None = None, **options: Unpack[StackOptions]
) -> Client:
    """A client of the same type whose calls pass a stack of stages. `client` itself is not changed.

    The new client raises its SDK's own exceptions, with our error on `llm_error`, and never retries by itself;
    both clients use the same connections, so closing the new one closes the other, too.

    Args:
        client: An `openai.AsyncOpenAI`, or the Azure variant.
        middleware: Stages of one's own, outermost first; default: `standard_stack(**options)`.
        options: The options of `standard_stack`: `deadline`, `max_retries`, ...; see `StackOptions`. Where the
            client has a read timeout of its own, that goes before theirs.

    Raises:
        TypeError: `client` is nothing that can be wrapped; the message says what can.
        RuntimeError: It is closed.
    """
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(client).__mro__}
    if "openai.AsyncOpenAI" not in names:
        raise TypeError(_advice(client, names))
    from . import openai_sdk  # noqa: PLC0415 - the SDK is optional, and here it is installed

    sdk_client = cast("openai_sdk.AsyncOpenAI", client)
    if openai_sdk.is_wrapped(sdk_client):
        warnings.warn(f"{type(client).__name__} is wrapped already; it is returned as it is", stacklevel=2)
        return client
    return cast("Client", openai_sdk.wrap_openai(sdk_client, middleware, options))


def _advice(client: object, names: set[str]) -> str:
    if names & SYNC_CLIENTS:
        return f"a sync {type(client).__name__} cannot be wrapped yet: use openai.AsyncOpenAI; sync clients come later"
    shown = client.__name__ if isinstance(client, type) else f"a {type(client).__name__}"
    return f"{shown} cannot be wrapped: give an instance of openai.AsyncOpenAI or openai.AsyncAzureOpenAI"
