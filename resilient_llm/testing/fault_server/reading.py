"""Reading requests of HTTP/1.1."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

MALFORMED = (ValueError, AttributeError, TypeError)
"""What reading a body that is none of the dialect raises."""
END_OF_HEAD = b"\r\n\r\n"
END_OF_LINE = b"\r\n"


@attrs.frozen
class Incoming:
    """A request as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def route(self) -> tuple[str, str]:
        """The method, and the path; one that is neither below `/v1` nor below `/api` is taken as below `/v1`."""
        path = "/" + self.target.partition("?")[0].strip("/")
        return self.method, path if path.startswith(("/v1/", "/api/")) else f"/v1{path}"


async def read_request(reader: asyncio.StreamReader) -> Incoming:
    """Read one request.

    Raises:
        ConnectionError: What came is no HTTP/1.1.
        asyncio.IncompleteReadError: The client left.
    """
    head = (await reader.readuntil(END_OF_HEAD)).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    fields = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    try:
        method, target, _ = first.split(" ")
        return Incoming(method, target, headers, await _read_body(reader, headers))
    except ValueError as exc:
        msg = f"no HTTP/1.1: {first!r}"
        raise ConnectionError(msg) from exc


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = b""
    while size := int((await reader.readuntil(END_OF_LINE)).partition(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(len(END_OF_LINE))
    await reader.readuntil(END_OF_LINE)
    return body


def json_object(body: bytes) -> dict[str, object]:
    """Read a body.

    Raises:
        ValueError: It is no JSON.
        TypeError: It is no object.
    """
    value = json.loads(body)
    if not isinstance(value, dict):
        msg = "no JSON object"
        raise TypeError(msg)
    return value
