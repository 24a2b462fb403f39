"""What exceptions mean when no answer came: names and messages of HTTP clients, as data.

Read from the top; the first row that holds decides. Names are class names without their module; the words are
searched in the message, in lower case. Sources: aiohttp, httpx, httpcore, requests, urllib3, botocore, the OpenAI
and Anthropic SDKs, Node's undici, Go's net package, and the operating systems' error texts.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from resilient_llm.errors import ErrorCode


class Row(NamedTuple):
    """One kind of failure: either pattern suffices.

    Args:
        code: What it means.
        names: A pattern for the class names of the exception, its bases and its causes.
        words: A pattern for the messages.
        retryable: An answer that differs from the class's own.
    """

    code: ErrorCode
    names: str = ""
    words: str = ""
    retryable: bool | None = None


_C = ErrorCode

ROWS: Final = (
    # a certificate that fails now fails on the retry too
    Row(
        _C.MODEL_UNAVAILABLE,
        names="CertificateError|CertVerif|SSLCertVerification|ClientConnectorCertificate",
        words=r"certificate|cert_|self[- ]signed|wrong_version_number|wrong version number|hostname mismatch"
        r"|unable to get local issuer|unknown ca\b|x509",
        retryable=False,
    ),
    Row(
        _C.MODEL_INVALID_REQUEST,
        names=r"InvalidURL|InvalidUrl|UnsupportedProtocol|MissingSchema|InvalidSchema|InvalidHeader"
        r"|LocationParseError|NonHttpUrl|LocalProtocolError|ParamValidation",
        words=r"invalid url|no scheme supplied|missing an? 'http|unsupported (?:url )?protocol"
        r"|failed to parse url|illegal header|no connection adapters",
    ),
    Row(
        _C.MODEL_AUTH,
        names=r"NoCredentials|PartialCredentials|TokenRetrieval|CredentialRetrieval|DefaultCredentials"
        r"|UnauthorizedSSO",
        words=r"api_key client option must be set|missing credentials",
    ),
    Row(_C.MODEL_CONTENT_FILTERED, names=r"ContentFilterFinishReason|BlockedPrompt|ContentPolicyViolation"),
    # part of a body, and then nothing
    Row(
        _C.MODEL_RESPONSE_INVALID,
        names=r"ClientPayloadError|ContentLengthError|TransferEncodingError|IncompleteRead|ChunkedEncoding"
        r"|ContentDecoding|JSONDecode|DecodingError|ContentTypeError|ResponseStreaming"
        r"|ResponseValidation|UnicodeDecodeError|DecodeError|InvalidChunk|ResponseParser"
        r"|StreamConsumed|LengthRequired",
        words=r"incomplete (?:chunked )?read|connection broken|chunk ?length|incomplete_chunked|kind: decode"
        r"|^terminated\b(?![\s\S]{0,300}timeout)"
        r"|while parsing a value|unexpected eof|outstanding read data|without sending complete|payload is not completed"
        r"|not enough data|response ended prematurely|before completion"
        r"|stream (?:closed|ended|was closed|disconnected|terminated) (?:before|without|prematurely|unexpectedly)"
        r"|premature close|response payload|expecting value|unexpected end of (?:json|input|file)"
        r"|extra data|unterminated string|unexpected token|invalid chunk|is not valid json"
        r"|transferencodingerror|body.{0,20}(?:truncated|incomplete)|aborted while reading"
        r"|error decoding response body|error reading a body|peer closed connection",
    ),
    # the connection was not made in time: nothing was asked
    Row(
        _C.MODEL_UNAVAILABLE,
        names=r"ConnectTimeout|ConnectionTimeout|PoolTimeout|EndpointConnection|ProxyConnection"
        r"|NameResolution|ConnectTimeoutError",
        words=r"connect(?:ion)? timed? ?out|connection timeout to host|connect timeout"
        r"|und_err_connect_timeout|etimedout|dial tcp.{0,80}(?:timeout|timed out)"
        r"|timed out.{0,20}connecting|connection to .{1,80} timed out|handshake.{0,20}time(?:d )?-?out",
    ),
    Row(
        _C.MODEL_TIMEOUT,
        names="Timeout|TimedOut|DeadlineExceeded",
        words=r"timed? ?out|timeout|deadline exceeded|took too long",
    ),
    Row(
        _C.MODEL_UNAVAILABLE,
        names=r"Connect|Network|ReadError|WriteError|CloseError|RemoteProtocol|ServerDisconnected"
        r"|ProtocolError|RemoteDisconnected|ClientOSError|SSL|gaierror|herror|ProxyError|BrokenPipe"
        r"|SocketException"
        r"|MaxRetry|NewConnection|HTTPClientError|ClientHttpProxy|SocketError|APIConnection"
        r"|ServiceUnavailable|EOF|WebSocket|BadHttpMessage|TransportError|ClientError|HTTPError"
        r"|RequestException|RequestError",
        words=r"connection|connect:|(?:fail\w{0,3}|could not|couldn't|unable) (?:to )?connect"
        r"|err_(?:conn|name|net|internet|ssl|address)|econn|enotfound|eai_again|getaddrinfo|name resolution"
        r"|name or service not known|nodename nor servname|no address associated|refused|reset by peer"
        r"|broken pipe|unreachable|disconnected|socket|fetch failed|dial tcp|no route to host|\beof\b"
        r"|no such host|network|\bssl\b|\btls\b|handshake|goaway|http2|stream (?:error|reset)"
        r"|rst_stream|dns|failed to fetch|error sending request|os error",
    ),
)

MISTAKES: Final = frozenset(
    {
        "TypeError",
        "AttributeError",
        "KeyError",
        "IndexError",
        "NameError",
        "AssertionError",
        "NotImplementedError",
        "ImportError",
        "ModuleNotFoundError",
        "RuntimeError",
        "ValueError",
        "RecursionError",
        "UnboundLocalError",
    }
)
"""Errors of the program, unless their words speak of the network: neither retried nor counted against the backend."""
