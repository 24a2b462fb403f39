"""The seams of a text that comes in parts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_llm.events import Finish, ReasoningDelta, TextDelta, UsageEvent
from resilient_llm.models import Usage
from resilient_llm.wire.draft import WIDEST, Draft

END = Finish("stop")


def texts(events) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_without_a_seam_events_pass_as_they_are() -> None:
    """The very list is handed on."""
    events = [TextDelta(" a"), UsageEvent(Usage(1)), TextDelta(" "), END]
    assert Draft().take(events) is events


def test_what_is_beside_the_text_passes_a_seam() -> None:
    """Usage does not wait for the white space that is held back, and does not end the seam."""
    draft = Draft()
    draft.take([TextDelta("a ")])
    assert draft.cut() == "a"
    usage = UsageEvent(Usage(1))
    assert draft.take([TextDelta(" "), usage]) == [usage]
    assert draft.take([TextDelta("b"), END]) == [TextDelta("b"), END]


def test_more_than_text_cannot_be_gone_on_with() -> None:
    """Whatever came after it."""
    draft = Draft()
    draft.take([ReasoningDelta("hm"), TextDelta("a")])
    assert draft.cut() == ""


def test_white_space_is_not_held_back_for_ever() -> None:
    """A backend that goes on with nothing else gets no memory for it, and the reader gets to see it."""
    draft = Draft()
    draft.take([TextDelta("a")])
    draft.cut()
    came = texts(event for _ in range(2 * WIDEST) for event in draft.take([TextDelta(" ")]))
    assert len(came) >= WIDEST


def test_a_seam_of_very_much_white_space_costs_little() -> None:
    """The overlap is looked for within bounds."""
    draft = Draft()
    draft.take([TextDelta("a" + " \n" * 100_000)])
    assert draft.cut() == "a"
    assert texts(draft.take([TextDelta("\n " * 100_000 + "b")])).endswith("b")


@settings(deadline=None)
@given(
    st.text("a \n", min_size=1, max_size=12).filter(str.strip),
    st.data(),
    st.lists(st.integers(1, 3), min_size=1),
)
def test_the_parts_make_the_whole(text, data, sizes) -> None:
    """Cut anywhere, any number of times: what is handed over is the text that one response would have brought."""
    draft, had, place = Draft(), "", 0
    while place < len(text):
        size = sizes[data.draw(st.integers(0, len(sizes) - 1))]
        had += texts(draft.take([TextDelta(text[place : place + size])]))
        place += size
        if data.draw(st.booleans()) and had.strip():
            beginning = draft.cut()
            assert beginning == had.rstrip()
            place = len(beginning)
            if data.draw(st.booleans()):
                break
    rest = text[place:]
    had += texts(draft.take([*([TextDelta(rest)] if rest else []), END]))
    assert had == text
