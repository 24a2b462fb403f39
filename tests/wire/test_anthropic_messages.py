"""From OpenAI's messages to Anthropic's turns."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire.anthropic_cases import HI, KEPT, PDF, PNG, body, call, result, turns

from resilient_llm.errors import ModelInvalidRequestError
from resilient_llm.models import Completion, Request
from resilient_llm.wire.messages import for_others
from resilient_llm.wire.openai import encode_chat as encode_openai


def user(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts), **more}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def use(identity: str, arguments: Any = None) -> dict[str, Any]:
    given = {"city": "Oslo"} if arguments is None else arguments
    return {"type": "tool_use", "id": identity, "name": "get_weather", "input": given}


def returned(identity: str, content: Any = "4 degrees", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": identity, "content": content, **more}


def assistant(*calls: Any, content: Any = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **({"tool_calls": list(calls)} if calls else {}), **more}


def test_system_messages_stand_apart():
    """Instructions of both roles become one text, wherever they stood."""
    messages = [
        {"role": "system", "content": "Be terse."},
        *HI,
        {"role": "developer", "content": [text("No"), text("jokes.")]},
    ]
    sent = body(messages)
    assert sent["system"] == "Be terse.\n\nNo\n\njokes."
    assert sent["messages"] == HI
    assert "system" not in body()


def test_cached_instructions_stay_blocks():
    """A mark of the cache stays where it was set, on a part or on a whole message."""
    mark = {"type": "ephemeral"}
    messages = [
        {"role": "system", "content": "a", "cache_control": mark},
        {"role": "system", "content": [text("b", cache_control=mark)]},
        {"role": "user", "content": "Hi", "cache_control": mark},
    ]
    sent = body(messages)
    assert sent["system"] == [text("a", cache_control=mark), text("b", cache_control=mark)]
    assert sent["messages"] == [user(text("Hi", cache_control=mark))]


def test_system_option_stands_first():
    """The API's own option is taken, too, and does not replace the messages'."""
    assert body([{"role": "system", "content": "b"}, *HI], system="a")["system"] == "a\n\nb"
    mark = text("a", cache_control={"type": "ephemeral"})
    assert body(HI, system=[mark])["system"] == [mark]


def test_neighbours_of_one_role_are_one_turn():
    """Users and assistants take turns."""
    sent = turns(
        *HI, {"role": "user", "content": "There?"}, assistant(content="a"), assistant(content="b"), *HI
    )
    assert sent == [
        user(text("Hi"), text("There?")),
        {"role": "assistant", "content": [text("a"), text("b")]},
        {"role": "user", "content": "Hi"},
    ]


@pytest.mark.parametrize(
    "messages",
    [
        [assistant(content="Hello!")],
        [assistant(content="Hello!"), *HI],
        [{"role": "system", "content": "Write."}],
        [{"role": "user", "content": " \n"}],
        [{"role": "user", "content": None}, assistant(content="Yes?")],
    ],
)
def test_a_user_begins(messages: list[Any]):
    """What no user begins gets a beginning, for the API wants one."""
    sent = turns(*messages)
    assert sent[0] == {"role": "user", "content": "Begin."}
    assert [turn["role"] for turn in sent] == ["user", "assistant", "user"][: len(sent)]


def test_empty_texts_are_left_out():
    """Texts without anything in them are refused by the API, and say nothing."""
    sent = turns(
        *HI, assistant(content=""), user(text(""), text("  "), text("What?"), ""), assistant(content="a ")
    )
    assert sent == [user(text("Hi"), text("What?")), {"role": "assistant", "content": "a"}]


def test_an_answer_to_go_on_with_ends_without_white_space():
    """Only at the very end, and only of the assistant's."""
    sent = turns({"role": "user", "content": "a\n"}, assistant(content="b\n"), *HI, assistant(content="c \n"))
    assert [turn["content"] for turn in sent] == ["a\n", "b\n", "Hi", "c"]


def test_images_and_documents():
    """Data URLs are taken apart, other URLs are passed on, what is a block already stays one."""
    document = {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}, "title": "t"}
    sent = turns(
        user(
            {
                "type": "image_url",
                "image_url": {"url": PNG, "detail": "low"},
                "cache_control": {"type": "ephemeral"},
            },
            {"type": "image_url", "image_url": "https://x/a.png"},
            {"type": "image_url", "image_url": {"url": "data:image/JPG;charset=x;base64,QUJD"}},
            {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
            {"type": "file", "file": {"file_data": "JVBERi0="}},
            {"type": "file", "file": {"file_data": "data:text/markdown;base64,w6Q=", "filename": "a.md"}},
            {"type": "file", "file": {"file_data": PNG}},
            {"type": "file", "file": {"file_id": "file_1"}},
            document,
        )
    )[0]["content"]
    png = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    plain = {"type": "text", "media_type": "text/plain", "data": "ä"}
    assert sent == [
        {"cache_control": {"type": "ephemeral"}, "type": "image", "source": png},
        {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "QUJD"}},
        {"type": "document", "source": pdf, "title": "a.pdf"},
        {"type": "document", "source": pdf},
        {"type": "document", "source": plain, "title": "a.md"},
        {"type": "image", "source": png},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        document,
    ]


def test_results_of_one_turn_are_one_message_and_stand_first():
    """Each call has its result in the next turn, before any text, also a text that came before it."""
    sent = turns(
        *HI,
        assistant(call("a"), call("b"), content="Looking."),
        {"role": "user", "content": "Well?"},
        result("b", None),
        result("a", [text("4"), text("")], is_error=True, cache_control={"type": "ephemeral"}),
        {"role": "user", "content": "And?"},
    )
    assert sent[1] == {"role": "assistant", "content": [text("Looking."), use("a"), use("b")]}
    marked = returned("a", [text("4")], is_error=True, cache_control={"type": "ephemeral"})
    assert sent[2] == user({"type": "tool_result", "tool_use_id": "b"}, marked, text("Well?"), text("And?"))


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ('{"city": "Oslo"}', {"city": "Oslo"}),
        ("", {}),
        (None, {}),
        ({"city": "Oslo"}, {"city": "Oslo"}),
        (' {"a": 123456789012345678901234567890} ', {"a": 123456789012345678901234567890}),
        ('{"city": "Os', {"arguments": '{"city": "Os'}),
        ("[1]", {"arguments": "[1]"}),
        ("null", {"arguments": "null"}),
        ('{"a": NaN}', {"arguments": '{"a": NaN}'}),
    ],
)
def test_arguments_become_an_object(arguments: Any, sent: Any):
    """Whatever a model wrote: what is no object goes into one, for the model to see what it did."""
    assert turns(*HI, assistant(call("a", arguments)), result("a"))[1]["content"] == [use("a", sent)]


def test_ids_are_made_fit_and_never_repeat():
    """Other backends write ids that the API refuses, leave them out, or count from 0 in each answer."""
    sent = turns(
        *HI,
        assistant(call("functions.f:0"), call("functions.f:1")),
        result("functions.f:1"),
        result("functions.f:0"),
        assistant(call("call_0"), call("call_1")),
        result("call_0"),
        result("call_1"),
        assistant(call("call_0"), call(None)),
        result("call_0"),
        result(None),
    )
    ids = [[block.get("id") or block["tool_use_id"] for block in turn["content"]] for turn in sent[1:]]
    assert ids == [
        ["functions_f_0", "functions_f_1"],
        ["functions_f_1", "functions_f_0"],
        ["call_0", "call_1"],
        ["call_0", "call_1"],
        ["call_0_2", "call"],
        ["call_0_2", "call"],
    ]


def test_ids_that_look_like_replacements():
    """What stands in for a repeated id is not an id that another call has."""
    said = [assistant(call(identity)) for identity in ("a", "a_2", "a", "a", "a_3", "a_2", "a")]
    sent = turns(*HI, *said)[1]["content"]
    ids = [block["id"] for block in sent]
    assert ids[:3] == ["a", "a_2", "a_3"]
    assert len(set(ids)) == 7


def test_ids_repeated_often_cost_linear_time():
    """A server that calls each call the same does not make a long conversation dear."""
    messages = [*HI, *[assistant(call("call_0"))] * 4000]
    began = time.process_time()
    turns(*messages)
    assert time.process_time() - began < 2


def test_legacy_calls_get_ids():
    """A function's result belongs to the latest call of that function."""
    legacy = {"name": "get_weather", "arguments": '{"city": "Oslo"}'}
    returns = {"role": "function", "name": "get_weather", "content": "4 degrees"}
    said = assistant(function_call=legacy)
    sent = turns(*HI, said, returns, said, returns)
    assert sent[1:] == [
        {"role": "assistant", "content": [use("function_get_weather")]},
        user(returned("function_get_weather")),
        {"role": "assistant", "content": [use("function_get_weather_2")]},
        user(returned("function_get_weather_2")),
    ]


def test_refusals_and_foreign_thoughts():
    """A refusal is what was said; a thought that nobody signed is another backend's, and refused."""
    assert turns(*HI, assistant(refusal="No."))[1]["content"] == "No."
    parts = [{"type": "refusal", "refusal": "No."}, {"type": "thinking", "thinking": [text("hm")]}]
    assert turns(*HI, assistant(content=parts, reasoning_content="hm"))[1]["content"] == "No."


def test_an_sdks_objects_are_messages_too():
    """Whatever has `model_dump` stands for its mapping: a message, a part, a call."""

    def model(value: Any) -> Any:
        return SimpleNamespace(model_dump=lambda **_: value)

    said = {"role": "assistant", "content": [model(text("Hm."))], "tool_calls": [model(call("a"))]}
    sent = turns(*HI, model(said), result("a"))
    assert sent[1]["content"] == [text("Hm."), use("a")]


# The blocks that ride along ...


def test_kept_blocks_go_back_as_they_came():
    """Signed thoughts, redacted ones and the order of all blocks survive; nothing else of the key is sent."""
    message = assistant(call("toolu_1"), content="Looking.", anthropic_content=KEPT)
    assert turns(*HI, message, result("toolu_1"))[1] == {"role": "assistant", "content": KEPT}


def test_a_completion_goes_back_as_it_came():
    """What `Completion.message` carries is what the codec takes."""
    done = Completion("Hm.", extra={"anthropic_content": [KEPT[0], text("Hm.")]})
    assert turns(*HI, done.message, *HI)[1]["content"] == [KEPT[0], text("Hm.")]


@pytest.mark.parametrize(
    "message",
    [
        assistant(call("toolu_1"), content="Edited.", anthropic_content=KEPT),
        assistant(content="Looking.", anthropic_content=KEPT),
        assistant(call("toolu_1"), call("b"), content="Looking.", anthropic_content=KEPT),
        assistant(call("toolu_1"), content="Looking.", anthropic_content="x"),
    ],
)
def test_an_edited_answer_goes_as_it_is_now(message: Any):
    """If the text or the calls are others, what rode along is out of date."""
    kinds = [block["type"] for block in turns(*HI, message, *HI)[1]["content"] if isinstance(block, dict)]
    assert "thinking" not in kinds


def test_edited_arguments_are_sent():
    """Ids and arguments are those of the message's own calls."""
    message = assistant(call("toolu_1", '{"city": "Rome"}'), content="Looking.", anthropic_content=KEPT)
    assert turns(*HI, message, result("toolu_1"))[1]["content"][3]["input"] == {"city": "Rome"}


def test_kept_empty_texts_are_left_out():
    """Answers may hold texts that the API refuses to take back."""
    message = assistant(content="Yes.", anthropic_content=[KEPT[0], text(""), text("Yes.")])
    assert turns(*HI, message, *HI)[1]["content"] == [KEPT[0], text("Yes.")]


def test_kept_blocks_stay_here():
    """Other backends refuse unknown keys; a conversation may go on at one of them."""
    messages = [*HI, assistant(content="Hm.", anthropic_content=KEPT)]
    request = Request(messages=messages)
    assert json.loads(encode_openai(request))["messages"] == [*HI, assistant(content="Hm.")]
    assert messages[1]["anthropic_content"] is KEPT
    assert for_others(HI) is HI  # not even copied, where there is nothing to keep


# What cannot be said ...


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({"role": "critic", "content": "a"}, r"\[1\] has the role 'critic'; accepted are system"),
        ({"role": "user", "content": 3}, r"\[1\] has content of type int; accepted are a text and a list"),
        ({"role": "user", "content": b"x"}, r"\[1\] has content of type bytes"),
        (user(3), r"\[1\] holds a part of type int"),
        (user({"type": "image_url", "image_url": {}}), r"\[1\] holds an image without a URL"),
        (user({"type": "file", "file": {}}), r"\[1\] holds a file without data"),
        (
            user({"type": "file", "file": {"file_data": "data:text/plain;base64,%"}}),
            r"\[1\] holds a file whose data",
        ),
        (assistant(3), r"\[1\] holds a tool call of type int"),
        (7, r"\[1\] holds a message of type int"),
    ],
)
def test_what_cannot_be_said_is_named(message: Any, why: str):
    """The error names the message by its place."""
    with pytest.raises(ModelInvalidRequestError, match=why):
        turns(*HI, message)


@pytest.mark.parametrize("messages", [object(), "Hi", 3])
def test_messages_must_be_a_list(messages: Any):
    """Anything else is refused."""
    with pytest.raises(ModelInvalidRequestError, match=r"messages (must be a list|cannot be sent)"):
        body(messages)


def test_nothing_is_changed_in_place():
    """The caller's messages are as before."""
    messages = [
        *HI,
        assistant(call("a"), content="b ", anthropic_content=KEPT),
        result("a"),
        assistant(content="c "),
    ]
    before = json.dumps(messages)
    turns(*messages)
    assert json.dumps(messages) == before


TEXTS = st.sampled_from(["", " ", "a", "b "])
CALLS = st.lists(st.sampled_from(["x", "y.1", "call_0", None]).map(call), max_size=2)
MESSAGES = st.one_of(
    st.builds(lambda role, said: {"role": role, "content": said}, st.sampled_from(["system", "user"]), TEXTS),
    st.builds(lambda said, calls: assistant(*calls, content=said), TEXTS, CALLS),
    st.builds(
        lambda said, calls: [assistant(*calls, content=said), *(result(c["id"]) for c in calls)], TEXTS, CALLS
    ),
)


@given(st.lists(MESSAGES, min_size=1, max_size=7))
def test_the_rules_of_the_api_are_kept(drawn: list[Any]):
    """Whatever the conversation: turns alternate, a user begins, no text is empty, no id repeats, no result is lost."""
    messages = [message for some in drawn for message in (some if isinstance(some, list) else [some])]
    sent = turns(*messages)
    assert [turn["role"] for turn in sent] == [("user", "assistant")[place % 2] for place in range(len(sent))]
    blocks = [
        block
        for turn in sent
        for block in ([text(turn["content"])] if isinstance(turn["content"], str) else turn["content"])
    ]
    assert all(block["text"].strip() for block in blocks if block["type"] == "text")
    ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
    assert len(set(ids)) == len(ids) == sum(len(m.get("tool_calls", ())) for m in messages)
    answered = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    assert len(answered) == sum(m["role"] == "tool" for m in messages)
    assert set(answered) <= set(ids)
    said = [m["content"].strip() for m in messages if m["role"] != "tool" and m["content"].strip()]
    shown = [block["text"].strip() for block in blocks if block["type"] == "text"]
    system = [m["content"].strip() for m in messages if m["role"] == "system" and m["content"].strip()]
    assert sorted([*shown, *system]) == sorted([*said, *(["Begin."] if "Begin." in shown else [])])
