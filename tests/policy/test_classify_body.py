"""Reading an error body: what is taken from where, in which order, and how far it is read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from resilient_llm.policy.classify_body import is_html, read_body, read_html, read_text, read_value


def nested(value: Any, times: int) -> Any:
    for _ in range(times):
        value = {"a": value}
    return value


def listed(value: Any, times: int) -> Any:
    for _ in range(times):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ({"message": "outer", "raw": "inner", "other": {"message": "beside"}}, ("inner", "outer", "beside")),
        ({"other": {"message": "beside"}, "innererror": {"message": "inner"}}, ("inner", "beside")),
        ({"message": 'around {"message": "inner"} it'}, ("inner", "around it")),
        ({"raw": "beside", "message": '{"message": "inner"}'}, ("beside", "inner")),
        ({"choices": [{"error": {"message": "in a choice"}}], "message": "outer"}, ("outer", "in a choice")),
        ({"choices": {"error": {"message": "no list"}}}, ()),
        ({"details": [{"message": "in a list"}, "a sentence"]}, ("in a list", "a sentence")),
        ({"message": " ", "detail": ["in a list", None]}, ("in a list",)),
        ({"request": {"message": "quoted"}, "message": True}, ()),
    ],
)
def test_the_innermost_sentence_stands_first(value: Any, texts: tuple[str, ...]) -> None:
    """JSON inside strings and what is named an inner error lie deeper; else the order is that of the fields."""
    assert read_value(value).texts == texts


@pytest.mark.parametrize(
    ("value", "codes", "statuses"),
    [
        ({"code": "Rate_Limit", "type": None, "status": True}, ("ratelimit",), ()),
        ({"type": "com.x#Throttling:http://y"}, ("throttling",), ()),
        ({"error": "not_authenticated"}, ("notauthenticated",), ()),
        ({"error": "not authenticated"}, (), ()),
        ({"error": "litellm.RateLimitError: slow"}, ("ratelimiterror",), ()),
        ({"failed_generation": "quoted"}, ("failedgeneration",), ()),
        ({"code": 300}, ("300",), (300,)),
        ({"code": "599"}, ("599",), (599,)),
        ({"code": 299, "type": 600}, ("299", "600"), ()),
        ({"code": "0000004290"}, ("0000004290",), ()),
        ({"code": 400, "message": '{"code": 429}'}, ("400", "429"), (429, 400)),
        ({"message": "error code: 500", "raw": "status 429"}, (), (429, 500)),
    ],
)
def test_codes_and_the_statuses_among_them(
    value: Any, codes: tuple[str, ...], statuses: tuple[int, ...]
) -> None:
    """Codes are squeezed; numbers from 300 to 599 are statuses, the innermost first."""
    reading = read_value(value)
    assert (reading.codes, reading.statuses) == (codes, statuses)


def test_figures_waits_and_ids() -> None:
    """Whole numbers of tokens, waits with their unit, the request's id."""
    reading = read_value(
        {"n_ctx": 8, "n_keep": "9", "other": 7, "retry_after_ms": 500, "retryDelay": "3s", "requestId": "r"}
    )
    assert (reading.figures, reading.delays, reading.request_id) == ({"nctx": 8}, ("500ms", "3s"), "r")


def test_long_values_are_cut() -> None:
    """Codes at 200 characters, waits at 40, ids at 128, sentences at 3,000."""
    reading = read_value(
        {"code": "c" * 201, "retryDelay": "1" * 41, "requestId": "r" * 129, "message": "m" * 3_001}
    )
    assert (reading.codes, reading.delays) == (("c" * 200,), ("1" * 40,))
    assert (reading.request_id, reading.texts) == ("r" * 128, ("m" * 3_000,))
    assert read_value({"message": "x_" * 101}).codes == ("x" * 100,)


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        (nested({"message": "deep"}, 12), nested({"message": "deep"}, 13)),
        (listed("deep", 12), listed("deep", 13)),
        (nested({"message": '{"message": "deep"}'}, 10), nested({"message": '{"message": "deep"}'}, 11)),
        (
            nested({"choices": [{"error": {"message": "deep"}}]}, 10),
            nested({"choices": [{"error": {"message": "deep"}}]}, 11),
        ),
        (["no"] * 49 + ["deep"], ["no"] * 50 + ["deep"]),
        ({str(i): 0 for i in range(99)} | {"msg": "deep"}, {str(i): 0 for i in range(100)} | {"msg": "deep"}),
        ({"_" * 53 + "message": "deep"}, {"_" * 54 + "message": "deep"}),
        (
            {"choices": [{}] * 7 + [{"error": {"message": "deep"}}]},
            {"choices": [{}] * 8 + [{"error": {"message": "deep"}}]},
        ),
    ],
    ids=["objects", "lists", "JSON in a string", "choices", "items", "fields", "a name", "many choices"],
)
def test_bodies_are_read_up_to_a_bound(within: Any, beyond: Any) -> None:
    """Twelve levels, 50 items, 100 fields, names of 60 characters, 8 choices."""
    assert "deep" in read_value(within).texts
    assert "deep" not in read_value(beyond).texts


@pytest.mark.parametrize(("around", "codes", "texts"), [(0, 297, 296), (1, 296, 296)])
def test_six_hundred_nodes_are_read(around: int, codes: int, texts: int) -> None:
    """Values and sentences count alike: 5 lists of 50 objects, and what is left of the sixth."""
    lists = [[{"code": f"c{place}x{i}", "message": "m"} for i in range(50)] for place in range(10)]
    reading = read_value(nested(lists, around))
    assert (len(reading.codes), len(reading.texts)) == (codes, texts)


def test_sentences_are_read_without_their_markup() -> None:
    """XML loses its tags; a tag inside a sentence stays, and JSON inside it is read twelve levels deep."""
    assert read_text(" <a>one</a><b>two</b>").texts == ("one two",)
    assert read_text("use <b> here").texts == ("use <b> here",)
    for times, texts in ((10, ("deep", "oops")), (11, ("oops",))):
        assert read_text("oops " + json.dumps(nested({"message": "deep"}, times))).texts == texts


@pytest.mark.parametrize(("length", "codes"), [(400, ("valueerror",)), (401, ())])
def test_class_names_stand_at_the_beginning(length: int, codes: tuple[str, ...]) -> None:
    """In the first 400 characters."""
    assert read_text("ValueError:".rjust(length, ".").replace(".V", " V")).codes == codes


@pytest.mark.parametrize(
    ("body", "form", "texts"),
    [
        ("\ufeff \0", "empty", ()),
        ('{"message": "cut off', "broken", ("cut off",)),
        ('["message": "cut off"', "broken", ("cut off",)),
        ("{nothing", "broken", ("{nothing",)),
        ("[nothing", "text", ("[nothing",)),
        ('a "message": "no JSON', "text", ('a "message": "no JSON',)),
        ('"a JSON string"', "text", ("a JSON string",)),
        ('{"message": "' + "m" * 65_521 + '"}', "json", ("m" * 3_000,)),
        ('{"message": "' + "m" * 65_522 + '"}', "broken", ("m" * 2_000,)),
        ("<html><h1>a  page</h1>", "html", ("a page",)),
    ],
)
def test_forms_of_bodies(body: str, form: str, texts: tuple[str, ...]) -> None:
    """JSON that does not decode is broken; of a body 65,536 characters are read."""
    reading = read_body(body)
    assert (reading.form, reading.texts) == (form, texts)


def test_pages_say_their_first_headings() -> None:
    """Four of them, within the first 16,384 characters."""
    assert read_html("".join(f"<h1>{i}</h1>" for i in range(5))).texts == ("0", "1", "2", "3")
    for spaces, texts in ((16_384 - 6, ("x",)), (16_384 - 5, ())):
        assert read_html(" " * spaces + "<h1>x</h1>").texts == texts


def test_a_page_is_known_by_its_beginning() -> None:
    """By 512 characters of it."""
    assert is_html("x" * 507 + "<html")
    assert not is_html("x" * 508 + "<html")
