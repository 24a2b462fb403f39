"""What a function's arguments tell the stages."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from resilient_llm.integrations.arguments import Arguments, Parameters
from resilient_llm.models import Request

HELLO = [{"role": "user", "content": "Hello"}]
SHORT = [{"role": "user", "content": "Hi"}]


class Bot:
    def ask(self, messages: Any, model: str = "m") -> Any: ...


def positional(messages: Any, /, model: str = "m") -> Any: ...
def plain(first: Any, messages: Any, model: str = "m") -> Any: ...
def keyword(*rest: Any, messages: Any, model: str = "m") -> Any: ...
def anything(**options: Any) -> Any: ...
def default(messages: Any = tuple(HELLO), model: str = "m") -> Any: ...


CALLS: list[tuple[Any, tuple[Any, ...], dict[str, Any], tuple[Any, ...], dict[str, Any]]] = [
    (positional, (HELLO,), {}, (SHORT,), {}),
    (plain, (1, HELLO), {}, (1, SHORT), {}),
    (plain, (1, HELLO, "m"), {}, (1, SHORT, "m"), {}),
    (plain, (1,), {"messages": HELLO}, (1,), {"messages": SHORT}),
    (keyword, (1, 2), {"messages": HELLO}, (1, 2), {"messages": SHORT}),
    (anything, (), {"messages": HELLO, "model": "m"}, (), {"messages": SHORT, "model": "m"}),
    (default, (), {}, (), {"messages": SHORT}),
    (Bot().ask, (HELLO,), {}, (SHORT,), {}),
    (Bot.ask, ("self", HELLO), {}, ("self", SHORT), {}),
    (partial(plain, 1), (HELLO,), {}, (SHORT,), {}),
    (partial(plain, 1, messages=HELLO), (), {}, (), {"messages": SHORT}),
]


def look(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    return Arguments.of(Parameters(function), args, kwargs)


@pytest.mark.parametrize(("function", "args", "kwargs", "changed", "named"), CALLS)
def test_messages_are_found_and_replaced_wherever_they_stand(
    function: Any, args: Any, kwargs: Any, changed: Any, named: Any
) -> None:
    """By position or by name, in `**kwargs` or a default; what the caller gave is left alone."""
    before = (args, dict(kwargs))
    arguments = look(function, args, kwargs)
    assert (list(arguments.messages), arguments.model) == (HELLO, "m")
    assert arguments.sent(Request("chat", arguments.messages, "m")) == (args, kwargs)
    assert arguments.sent(Request("chat", SHORT, "m")) == (changed, named)
    assert (args, kwargs) == before


@pytest.mark.parametrize(
    "given",
    ["a text", b"bytes", [], None, [object()], [{"content": "no role"}], {"role": "user"}, iter(HELLO)],
)
def test_what_is_no_conversation_is_left_alone(given: Any) -> None:
    """An argument of this name in another shape is the function's own affair."""
    arguments = look(plain, (1, given), {})
    assert not arguments.messages
    assert arguments.sent(Request("raw", model="m")) == ((1, given), {})


def test_a_model_that_a_stage_chose_is_the_one_that_is_called() -> None:
    """A stage may change the model where the function takes one."""
    assert look(plain, (1, HELLO), {}).sent(Request("chat", HELLO, "n"))[1]["model"] == "n"
    assert look(plain, (1, HELLO, "m"), {}).sent(Request("chat", HELLO, "n"))[0] == (1, HELLO, "n")
    assert look(plain, (1, HELLO, None), {}).sent(Request("chat", HELLO, "n"))[0] == (1, HELLO, None)


def test_what_takes_room_in_the_prompt_is_told() -> None:
    """Lengths, tools and schemas count if they are data; a class that stands for a schema cannot be counted."""
    given = {"messages": HELLO, "max_tokens": 5, "tools": [{"type": "function"}], "temperature": 1}
    assert look(anything, (), given).params == {"max_tokens": 5, "tools": [{"type": "function"}]}
    assert look(anything, (), {"tools": [print], "response_format": Bot, "max_tokens": None}).params == {}


def test_a_callable_without_a_signature_is_taken_as_open() -> None:
    """What cannot be inspected may still be given `messages` by name."""
    assert (
        look(type("Odd", (), {"__signature__": 1, "__call__": plain})(), (), {"messages": HELLO}).messages
        == HELLO
    )


def test_the_repr_of_a_calls_arguments_shows_no_prompt():
    """It ends up in tracebacks that show variables."""
    assert "Hello" not in repr(Arguments.of(Parameters(plain), (1, HELLO), {"model": "m"}))
