"""From tokens to text: whatever the tokens are, the pieces are the text up to the first stop."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_llm.errors import ModelInvalidRequestError
from resilient_llm.transports.hf_text import TextPieces, for_template, plain_prompt

TEXTS = st.text(alphabet="ab é🌊\n", max_size=30)
STOPS = st.lists(st.text(alphabet="ab é\n", max_size=4), max_size=3)


def told(data: bytes, cuts: list[int], stops: list[str]) -> tuple[list[str], TextPieces]:
    """The pieces of tokens that are cut out of the bytes anywhere."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    tokens = [data[begin:end] for begin, end in pairwise(places)]
    pieces = TextPieces(lambda ids: b"".join(tokens[i] for i in ids).decode("utf-8", "replace"), stops)
    shown = []
    for token in range(len(tokens)):
        shown.append(pieces.feed(token))
        if pieces.stopped:
            break
    return [*shown, pieces.rest()], pieces


@settings(max_examples=60)
@given(text=TEXTS, cuts=st.lists(st.integers(0, 200)), stops=STOPS)
def test_the_pieces_are_the_text_up_to_the_first_stop(text, cuts, stops):
    """However characters and stop texts are cut into tokens."""
    shown, pieces = told(text.encode(), cuts, stops)
    places = [text.find(stop) for stop in stops if stop and stop in text]
    assert pieces.stopped is bool(places)
    if places:  # the first to be complete wins; it may have begun behind another one
        assert "".join(shown) in {text[: text.find(stop)] for stop in stops if stop and stop in text}
    else:
        assert "".join(shown) == text


@settings(max_examples=30)
@given(text=st.text(alphabet="abc ", max_size=20))
def test_without_stops_each_token_is_handed_over_at_once(text):
    """Nothing is held back that could be shown."""
    shown, _ = told(text.encode(), list(range(len(text))), [])
    assert shown == [*text, ""]


def test_only_what_may_become_a_stop_is_held_back():
    """And handed over as soon as it cannot any more."""
    pieces = TextPieces(lambda ids: "".join("abXYc"[i] for i in ids), ["XZ"])
    assert [pieces.feed(i) for i in range(5)] == ["a", "b", "", "XY", "c"]


def test_an_unfinished_character_at_the_end_is_shown_as_such():
    """A length limit may cut a character; what is left of it is marked, not lost."""
    shown, _ = told("a🌊".encode()[:-1], [1, 2, 3], [])
    assert "".join(shown) == "a\ufffd"


def test_a_plain_prompt_names_the_roles():
    """For models without a chat template."""
    messages = for_template(
        [
            {"role": "developer", "content": "Be terse."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "Name"}, {"type": "text", "text": "rivers."}],
            },
            {"role": "assistant", "content": None, "anthropic_content": []},
            {"role": "function", "name": "f", "content": "1"},
        ]
    )
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool"]
    assert messages[3]["name"] == "f"
    assert plain_prompt(messages[:2]) == "System: Be terse.\n\nUser: Name\nrivers.\n\nAssistant:"
    assert messages[2] == {"role": "assistant", "content": ""}


def test_a_picture_is_refused():
    """By its kind, not by its content."""
    with pytest.raises(ModelInvalidRequestError, match="'image_url'"):
        for_template([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])
