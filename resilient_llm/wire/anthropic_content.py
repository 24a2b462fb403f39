"""The content of a message as Anthropic's blocks: text, images, documents; blocks of its own pass untouched."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

from .payload import Object, object_of, text_of

Block: TypeAlias = dict[str, Any]

DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w.+-]+=[^;,]*)*;base64,", re.ASCII)
MEDIA_TYPES: Final = {"image/jpg": "image/jpeg"}


def text_block(text: str) -> list[Block]:
    """A text as blocks: none for a text without anything in it, which Anthropic refuses."""
    return [{"type": "text", "text": text}] if text.strip() else []


def encode_content(content: object) -> list[Block]:
    """The blocks of a message's content: a string, a list of parts, or None.

    A part's unknown keys (`cache_control`) stay on its block, parts of unknown types are blocks already, and
    texts without anything in them are left out.

    Raises:
        ValueError: It is something else; the message completes "messages[3] ...".
    """
    if content is None:
        return []
    if isinstance(content, str):
        return text_block(content)
    if isinstance(content, bytes) or not isinstance(content, Sequence):
        msg = f"has content of type {type(content).__name__}; accepted are a text and a list of parts"
        raise ValueError(msg)  # noqa: TRY004 - told with the message's place
    return [block for part in cast("Sequence[object]", content) for block in _blocks(part)]


def as_mapping(value: object, what: str) -> Object:
    """A mapping, or the one that an SDK's object stands for.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, Mapping):
        return cast("Object", value)
    if hasattr(value, "model_dump"):
        return cast("Object", cast("Any", value).model_dump(mode="json", exclude_none=True))
    msg = f"holds {what} of type {type(value).__name__}, not a mapping"
    raise ValueError(msg)


def as_list(value: object, what: str) -> Sequence[object]:
    """A list, or an empty one for nothing.

    Raises:
        ValueError: It is none.
    """
    if not value:
        return ()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return cast("Sequence[object]", value)
    msg = f"holds {what} of type {type(value).__name__}, not a list"
    raise ValueError(msg)


def _blocks(part: object) -> list[Block]:
    if isinstance(part, str):
        return text_block(part)
    part = as_mapping(part, "a part")
    encode = _PARTS.get(str(part.get("type")))
    if encode is not None:
        return encode(part)
    return [dict(part)]


def _text(part: Object) -> list[Block]:
    return [dict(part)] if str(part.get("text") or "").strip() else []


def _refusal(part: Object) -> list[Block]:
    return text_block(text_of(part.get("refusal")) or "")


def _thinking(part: Object) -> list[Block]:
    """A thought goes back as it came; one that nobody signed, another backend's, would be refused."""
    return [dict(part)] if part.get("signature") else []


def _image(part: Object) -> list[Block]:
    image = part.get("image_url")
    url = image if isinstance(image, str) else object_of(image).get("url")
    if not isinstance(url, str):
        msg = "holds an image without a URL"
        raise ValueError(msg)  # noqa: TRY004 - told with the message's place
    return [{**_rest(part, "image_url"), "type": "image", "source": _source(url)}]


def _file(part: Object) -> list[Block]:
    file = object_of(part.get("file"))
    title = {"title": file["filename"]} if file.get("filename") else {}
    head = {**_rest(part, "file"), "type": "document"}
    if file.get("file_id"):
        return [{**head, "source": {"type": "file", "file_id": file["file_id"]}, **title}]
    data = file.get("file_data")
    if not isinstance(data, str):
        msg = "holds a file without data"
        raise ValueError(msg)  # noqa: TRY004 - told with the message's place
    source = _source(data if ":" in data[:10] else f"data:application/pdf;base64,{data}")
    media = str(source.get("media_type", ""))
    if media.startswith("image/"):
        return [{**head, "type": "image", "source": source}]
    if media.startswith("text/"):
        source = {"type": "text", "media_type": "text/plain", "data": _plain(source["data"])}
    return [{**head, "source": source, **title}]


def _source(url: str) -> Block:
    """Where an image or a document is: in the URL itself, or behind it."""
    data = DATA_URL.match(url)
    if data is None:
        return {"type": "url", "url": url}
    media = data[1].lower()
    return {"type": "base64", "media_type": MEDIA_TYPES.get(media, media), "data": url[data.end() :]}


def _plain(data: str) -> str:
    try:
        return b64decode("".join(data.split()), validate=True).decode("utf-8", "replace")
    except (Base64Error, ValueError) as error:
        msg = "holds a file whose data is no base64"
        raise ValueError(msg) from error


def _rest(part: Object, *known: str) -> Block:
    """The keys of a part that mean the same on its block."""
    return {key: value for key, value in part.items() if key not in known}


_PARTS: Final[Mapping[str, Callable[[Object], list[Block]]]] = {
    "text": _text,
    "refusal": _refusal,
    "thinking": _thinking,
    "image_url": _image,
    "file": _file,
}
