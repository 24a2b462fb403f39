"""`resilient-llm doctor`: what is wrong, and the next step."""

from __future__ import annotations

import contextlib
import http.server
import json
import sys
import threading

import pytest

from resilient_llm.cli.doctor_speed import Speed
from resilient_llm.testing.fault_server import Status, serving


@contextlib.contextmanager
def web(status: int, body: bytes, kind: str = "application/json"):
    """A server that answers everything alike."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def examine(call):
    def start(base_url: str, *more: str, backend: str = "openai-compatible"):
        done = call("doctor", "--json", "--backend", backend, "--base-url", base_url, *more)
        told = json.loads(done.out)
        assert told["ok"] == (done.code == 0)
        assert "Traceback" not in done.err
        return done.code, {check["check"]: check for check in told["checks"]}

    return start


def test_all_is_well(call, examine) -> None:
    """Every check in order, with its finding, as lines and as JSON."""
    with serving(model="one", window=4096) as server:
        code, checks = examine(server.base_url, "--model", "one")
        shown = call("doctor", "--backend", "openai-compatible", "--base-url", server.base_url)
    assert (code, list(checks)) == (0, ["settings", "backend", "server", "model", "answer", "speed"])
    assert {check["state"] for check in checks.values()} == {"ok"}
    assert "connected in " in checks["backend"]["finding"]
    assert checks["model"]["finding"] == "one (4096 tokens) is there"
    assert "first token after " in checks["answer"]["finding"]
    assert server.requests[0].body["max_tokens"] == 32
    assert shown.code == 0
    assert [line.split()[:2] for line in shown.out.splitlines()] == [["ok", name] for name in checks]


def test_nothing_listens(examine) -> None:
    """The address, and how to start the server; nothing more is tried."""
    code, checks = examine("http://127.0.0.1:9/v1", backend="lmstudio")
    assert (code, list(checks)) == (1, ["settings", "backend"])
    assert checks["backend"]["finding"] == "lmstudio at http://127.0.0.1:9/v1: nothing listens there"
    assert "lms server start" in checks["backend"]["next_step"]


def test_the_proxy_of_the_environment_is_asked(examine, monkeypatch) -> None:
    """As calls go by it: a backend that cannot be reached otherwise is there, and a proxy that is gone is the fault."""
    with web(200, b'{"object": "list", "data": [{"id": "one"}]}') as url:
        monkeypatch.setenv("HTTP_PROXY", url.removesuffix("/v1"))
        _, checks = examine("http://backend.invalid/v1")
        assert "backend.invalid/v1 by the proxy 127.0.0.1, connected" in checks["backend"]["finding"]
        assert checks["server"]["finding"] == "it lists 1 model"
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    _, checks = examine("http://backend.invalid/v1")
    assert checks["backend"]["state"] == "wrong"
    assert "HTTP_PROXY" in checks["backend"]["next_step"]


def test_a_wrong_key(examine) -> None:
    """The error's code and hint, whoever asks for the key: the list or the chat."""
    with serving(Status(401)) as server:
        code, checks = examine(server.base_url)
    assert (code, checks["answer"]["state"]) == (1, "wrong")
    assert checks["answer"]["finding"].startswith("MODEL_AUTH (HTTP 401): ")
    assert checks["answer"]["next_step"]
    with web(401, b'{"error": {"message": "Incorrect API key provided"}}') as url:
        code, checks = examine(url)
    assert (code, list(checks)) == (1, ["settings", "backend", "server"])
    assert "MODEL_AUTH" in checks["server"]["finding"]


def test_a_wrong_path(examine) -> None:
    """A server without these routes is told from one without a list."""
    with web(404, b'{"detail": "Not Found"}') as url:
        code, checks = examine(url)
    assert (code, checks["server"]["state"], checks["answer"]["state"]) == (1, "warning", "wrong")
    assert "llm_api_base" in checks["server"]["next_step"]


@pytest.mark.parametrize("status", [200, 502])
def test_a_web_page(examine, status) -> None:
    """What a reverse proxy answers is no model server, whatever its status."""
    with web(status, b"<html><head><title>Welcome to nginx</title></head></html>", "text/html") as url:
        code, checks = examine(url)
    assert (code, list(checks)) == (1, ["settings", "backend", "server"])
    assert checks["server"]["state"] == "wrong"
    assert checks["server"]["next_step"]


def test_no_models(examine) -> None:
    """The server is there, but has nothing."""
    with web(200, b'{"object": "list", "data": []}') as url:
        code, checks = examine(url)
    assert (code, checks["model"]["state"]) == (1, "wrong")
    assert "offers no models" in checks["model"]["finding"]


def test_a_missing_model(examine) -> None:
    """Those that are there are named, and where to choose."""
    with serving(model="one") as server:
        code, checks = examine(server.base_url, "--model", "two")
    assert (code, checks["model"]["finding"]) == (1, "two is not there; there are one")
    assert "config --key llm_model" in checks["model"]["next_step"]


def test_another_server_than_was_said(examine) -> None:
    """A warning with the setting to change."""
    with serving(model="one") as server:
        _, checks = examine(server.url, backend="llamacpp")
    assert checks["server"]["state"] == "warning"
    assert "llm_provider" in checks["server"]["next_step"]


def test_wrong_settings(call, place) -> None:
    """File, key and line; nothing is sent."""
    (place / "resilient-llm.toml").write_text('llm_model = "m"\nllm_timeout = "long"\n')
    done = call("doctor")
    assert done.code == 1
    assert done.out.startswith("wrong    settings  llm_timeout (resilient-llm.toml, line 2) must be a number")
    (place / "resilient-llm.toml").write_text('llm_provider = "openai-compatible"\n')
    done = call("doctor")
    assert (done.code, done.out.splitlines()[1][:17]) == (1, "wrong    backend ")


@pytest.mark.parametrize("there", [True, False])
def test_a_model_file_is_looked_for(call, tmp_path, monkeypatch, there) -> None:
    """By whatever name it is asked for; if it is not there, that is the finding, with the path and what to do."""
    path = tmp_path / "river.gguf"
    if there:
        path.write_bytes(b"GGUF")
        monkeypatch.setitem(sys.modules, "xllamacpp", None)
    monkeypatch.setenv("RESILIENT_LLM_OFFLINE_MODEL_PATH", str(path))
    monkeypatch.setenv("RESILIENT_LLM_MODEL", "another")
    ran = call("doctor", "--json", "--backend", "offline")
    assert ran.code == 1
    findings = {entry["check"]: entry for entry in json.loads(ran.out)["checks"]}
    if there:
        assert findings["model"]["state"] == "ok"
        assert 'pip install "resilient-llm[gguf]"' in findings["answer"]["next_step"]
    else:
        assert "river.gguf" in findings["server"]["finding"]


def test_offline_is_well(call) -> None:
    """It needs no server."""
    assert call("doctor", "--backend", "offline").code == 0


@pytest.mark.parametrize(
    ("speed", "part"),
    [
        (Speed(connect=0.6), "connecting takes 0.6 s"),
        (Speed(listing=3), "listing models takes 3.0 s"),
        (Speed(first_token=9), "the first token takes 9.0 s"),
        (Speed(tokens=2), "2.0 tokens/s"),
    ],
)
def test_what_is_slow_is_told(speed, part) -> None:
    """Each with what helps."""
    finding = speed.judge()
    assert (finding.state, finding.finding) == ("warning", part)
    assert finding.next_step


def test_the_rate_leaves_out_the_first_token() -> None:
    """Its wait is no part of the time; a single token has no rate."""
    speed = Speed()
    speed.measure(1, 5.0)
    assert speed.tokens is None
    speed.measure(11, 2.0)
    assert speed.tokens == 5.0
