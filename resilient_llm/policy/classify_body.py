"""Reading an error body: whatever its shape, out come its texts, codes, inner statuses and figures.

The rules of this file:

- Every object and list is walked, but for those that quote the request or an answer (`QUOTES`). Where the
  vendors disagree is only the depth and the names, so the names are pooled: `TEXTS`, `CODES`.
- A string may hold JSON again (OpenRouter's `metadata.raw`, Google's client, proxies): it is decoded, and what was
  found deeper stands first, because the innermost cause is the one that counts.
- Depth, number of nodes and lengths are bounded; nothing here raises.
"""

from __future__ import annotations

import re
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from .classify_json import decode, find, scrape
from .classify_keys import CODES, DELAYS, FIGURES, QUOTES, TEXTS

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMINED: Final = 65_536
"""Characters of a body that are looked at."""

DEPTH: Final = 12
NODES: Final = 600
TEXT: Final = 3_000
"""Characters of one text that are kept."""


Form: TypeAlias = Literal["empty", "json", "html", "text", "broken"]


class Reading(NamedTuple):
    """What an error body says; a named tuple, which imports quicker than a class of attrs.

    Args:
        form: What it is; `"broken"` is JSON that does not decode.
        texts: Its sentences, innermost first.
        codes: Its codes, types and reasons, letters and digits only, in lower case.
        statuses: HTTP statuses that it names, innermost first.
        delays: Values of fields that hold a wait.
        figures: Values of fields that hold a number of tokens.
        request_id: The backend's id of the request.
        value: The decoded JSON, or None.
    """

    form: Form
    texts: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()
    delays: tuple[str, ...] = ()
    figures: Mapping[str, int] = MappingProxyType({})
    request_id: str | None = None
    value: Any = None


def squeeze(name: str) -> str:
    """A code or key reduced to letters and digits in lower case, so that all spellings of it are one."""
    return "".join(character for character in name.lower() if character.isalnum())


class _Digger:
    """Collects, while it walks."""

    def __init__(self) -> None:
        self.texts: list[tuple[int, int, str]] = []
        self.codes: list[str] = []
        self.statuses: list[tuple[int, int, int]] = []
        self.delays: list[str] = []
        self.figures: dict[str, int] = {}
        self.request_id: str | None = None
        self.nodes = NODES

    def walk(self, value: Any, level: int, depth: int = 0) -> None:
        """Take in a decoded value. `level` counts the JSON strings around it, `depth` the objects."""
        self.nodes -= 1
        if self.nodes < 0 or depth > DEPTH:
            return
        if isinstance(value, dict):
            self._object(value, level, depth)
        elif isinstance(value, list | tuple):
            for item in value[:50]:
                self.walk(item, level, depth + 1)
        elif isinstance(value, str) and depth:
            self.text(value, level, depth)

    def _object(self, value: dict[Any, Any], level: int, depth: int) -> None:
        named = [(squeeze(str(key)[:60]), item) for key, item in list(value.items())[:100]]
        for name, item in named:
            if isinstance(item, str | int | float) and not isinstance(item, bool):
                self._leaf(name, item, level, depth)
        for name, item in named:
            if name == "failedgeneration":
                self.codes.append(name)
            elif name == "choices" and isinstance(item, list):
                self.walk(
                    [choice.get("error") for choice in item[:8] if isinstance(choice, dict)], level, depth + 1
                )
            elif isinstance(item, dict | list | tuple) and name not in QUOTES:
                self.walk(item, level + (name in {"innererror", "raw", "upstreamerror"}), depth + 1)

    def _leaf(self, name: str, item: str | float, level: int, depth: int) -> None:
        if name in CODES:
            self._code(str(item)[:200], level)
        if name in DELAYS:
            self.delays.append(f"{item}ms" if name.endswith("ms") else str(item)[:40])
        if name in FIGURES and isinstance(item, int):
            self.figures[name] = item
        if name in {"requestid", "xrequestid"} and isinstance(item, str) and item:
            self.request_id = item[:128]
        if isinstance(item, str) and name in TEXTS:
            self.text(item, level + (name == "raw"), depth + 1)

    def _code(self, code: str, level: int) -> None:
        if code.isdecimal() and 300 <= int(code) <= 599:
            self.statuses.append((-level, len(self.statuses), int(code)))
        # AWS puts a namespace before the name and an address behind it
        self.codes.append(squeeze(code.partition(":http")[0].rpartition("#")[2]))

    def text(self, text: str, level: int, depth: int) -> None:
        """Take in a sentence, and the JSON inside it."""
        self.nodes -= 1
        if self.nodes < 0:
            return
        around, value = find(text)
        if value is not None:
            self.walk(value, level + 1, depth + 1)
        sentence = _tail().sub("", around[:EXAMINED])
        for match in _class_name().finditer(sentence[:400]):
            self.codes.append(squeeze(match[1]))
        self._named_statuses(sentence[:TEXT], level)
        sentence = " ".join(_class_name().sub("", sentence[:TEXT]).split())
        if "_" in sentence and " " not in sentence:  # {"error": "not_authenticated"}
            self.codes.append(squeeze(sentence[:200]))
        if sentence:
            self.texts.append((-level, len(self.texts), sentence))

    def _named_statuses(self, sentence: str, level: int) -> None:
        for match in _status().finditer(sentence):
            self.statuses.append((-level, len(self.statuses), int(match[1] or match[2])))

    def reading(self, form: Form, value: Any) -> Reading:
        """What was collected."""
        return Reading(
            form,
            tuple(text for *_, text in sorted(self.texts)),
            tuple(dict.fromkeys(code for code in self.codes if code)),
            tuple(status for *_, status in sorted(self.statuses)),
            tuple(self.delays),
            self.figures,
            self.request_id,
            value,
        )


@cache
def _class_name() -> re.Pattern[str]:
    # litellm.RateLimitError: AnthropicException - …, openai.BadRequestError: …, and Bedrock's InternalServerException:
    return re.compile(
        r"(?:^|(?<=[\s:]))(?:\w{1,40}\.){0,3}(\w{2,60}(?:Error|Exception))\b(?:\s?[:\-]+\s|:|\s-\s|(?=\())"
    )


@cache
def _tail() -> re.Pattern[str]:
    # what LiteLLM adds about its own routing
    return re.compile(
        r"(?:\\n|\s)?(?:Received Model Group=|Available Model Group Fallbacks=|LiteLLM Retried:)[\s\S]*"
    )


@cache
def _status() -> re.Pattern[str]:
    return re.compile(
        r"\b(?:error code|status code|status_code|statuscode|http(?:/\d(?:\.\d)?)?(?: status)?|error|status)"
        r"\s{0,2}[:=(]{0,2}\s{0,2}([45]\d\d)\b(?!\.\d|,\d)|(?:^\W{0,2}|\[)([45]\d\d)(?=[\s:\])}-])(?! tokens)",
        re.IGNORECASE,
    )


@cache
def _title() -> re.Pattern[str]:
    return re.compile(r"<(title|h1|h2)\b[^<>]{0,200}>\s{0,20}([^<>]{1,300})<", re.IGNORECASE)


def read_html(text: str) -> Reading:
    """Reduce a web page to its title and headings."""
    found = dict.fromkeys(" ".join(match[2].split()) for match in _title().finditer(text[:16_384]))
    return Reading("html", tuple(list(found)[:4]))


def is_html(text: str) -> bool:
    """Is this a web page? XML that is no page is a text."""
    head = text[:512].lstrip().lower()
    return (
        head.startswith(("<!doctype", "<html", "<head", "<body", "<center", "<h1", "<!--")) or "<html" in head
    )


def read_value(value: Any, *, form: Form = "json") -> Reading:
    """Read decoded JSON."""
    digger = _Digger()
    digger.walk(value, 0)
    return digger.reading(form, value)


def read_text(text: str) -> Reading:
    """Read a text that is not JSON as a whole; XML loses its tags."""
    digger = _Digger()
    stripped = text.strip()
    if stripped[:1] == "<":
        stripped = re.sub(r"<[^<>]{0,300}>", " ", stripped[:EXAMINED])
    digger.text(stripped, 0, 1)
    return digger.reading("text", None)


def read_body(text: str) -> Reading:
    """Read a body of any kind; at most `EXAMINED` characters of it."""
    text = text[:EXAMINED].strip("\ufeff\0 \t\r\n")
    if not text:
        return Reading("empty")
    if is_html(text):
        return read_html(text)
    value = decode(text)
    if isinstance(value, str):
        return read_text(value)
    if isinstance(value, dict | list):
        return read_value(value)
    if text[0] in "{[" and (scraped := scrape(text)):
        return read_value(scraped, form="broken")
    return read_text(text)._replace(form="broken") if text[0] == "{" else read_text(text)
