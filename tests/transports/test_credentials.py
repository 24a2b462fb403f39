"""Keys: given or asked for, and never shown."""

from __future__ import annotations

import pytest

from resilient_llm.errors import ModelAuthError
from resilient_llm.transports.credentials import Credential


async def test_a_key_is_used_as_given_without_the_line_break_of_its_file():
    """White space around a key is never meant."""
    assert await Credential(" sk-1\n").reveal() == "sk-1"


@pytest.mark.parametrize("source", [None, "", "  "])
def test_no_key_and_an_empty_key_are_the_same(source):
    """An empty variable means that there is none."""
    assert not Credential(source)


async def test_a_function_is_asked_each_time():
    """A function may give another key each time."""
    keys = iter(["a", "b"])
    credential = Credential(lambda: next(keys))
    assert credential.changes
    assert [await credential.reveal(), await credential.reveal()] == ["a", "b"]


@pytest.mark.parametrize("show", [repr, str, "{}".format])
def test_a_key_is_not_shown(show):
    """However it is printed."""
    assert "sk-1" not in show(Credential("sk-1"))


def test_a_text_that_quotes_the_key_is_scrubbed():
    """Servers repeat wrong keys in their messages."""
    assert Credential("sk-12345").scrub("bad key sk-12345!") == "bad key **********!"
    assert Credential(None).scrub("as it is") == "as it is"


@pytest.mark.parametrize("key", ["sk-1\r\nX-Evil: 1", "clé"])
def test_what_cannot_be_a_header_is_refused_without_being_shown(key):
    """A key with control characters or letters outside ASCII was pasted wrongly."""
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        Credential(key)
    assert key not in str(caught.value)


def test_something_else_than_a_key_is_refused():
    """Neither string nor function."""
    with pytest.raises(TypeError, match="api_key"):
        Credential(5)  # type: ignore[arg-type]


def test_a_stand_in_for_a_key_is_no_secret() -> None:
    """Servers without keys are given anything; error texts must stay readable."""
    assert Credential("x").scrub("the text exceeds the maximum") == "the text exceeds the maximum"
    assert Credential("a-secret-of-ours").scrub("no a-secret-of-ours here") == "no ********** here"


@pytest.mark.parametrize(("given", "told"), [(None, "returned NoneType"), ("schlüssel", "printable ASCII")])
async def test_a_function_that_gives_no_key_is_told_as_that(given, told):
    """Not as a backend that is down; nothing is shown of what it gave."""
    with pytest.raises(ModelAuthError, match=told) as caught:
        await Credential(lambda: given).reveal()
    assert "schlüssel" not in str(caught.value)
