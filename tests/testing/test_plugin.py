"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
PLUGIN = ("-p", "resilient_llm.testing.plugin")


@pytest.fixture
def run(pytester, monkeypatch):
    """Run the given files with the plugin."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def start(*options: str, **files: str):
        for name, text in files.items():
            path = pytester.path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error", *PLUGIN, *options)

    return start


BLOCKING = """
import pytest
import resilient_llm as rl
from resilient_llm.errors import ModelOverloadedError
from resilient_llm.testing import Answer, Phase, Phases, Reset, Status, run_virtual

def ask(server, **options):
    with rl.Client("openai-compatible", base_url=server.base_url, model="m", **options) as llm:
        return llm.complete("Hello", initial_backoff=0.01).text

def test_all_is_well_without_a_marker(fault_server):
    assert ask(fault_server).endswith("Hello")

@pytest.mark.faults(Status(503), Answer(), reply="hi", window=500)
def test_the_marker_says_what_happens(fault_server):
    assert ask(fault_server) == "hi"
    assert [seen.status for seen in fault_server.requests] == [503, 200]

@pytest.mark.parametrize("status", [
    pytest.param(500, marks=pytest.mark.faults(Status(500))),
    pytest.param(503, marks=pytest.mark.faults(Phases([Phase("down", 60, otherwise=Status(503))]))),
])
def test_a_marker_of_a_parameter_or_a_schedule(fault_server, status):
    with pytest.raises(rl.LLMError) as caught:
        ask(fault_server, max_retries=0)
    assert caught.value.status == status

@pytest.mark.faults(reply=lambda body: 1 / 0)
def test_a_mistake_in_a_reply_is_an_error(fault_server):
    with pytest.raises(rl.LLMError):
        ask(fault_server, max_retries=0)

def test_time_stands_still(fake_clock):
    before = fake_clock.monotonic()
    fake_clock.advance(3600)
    assert fake_clock.monotonic() == before + 3600

def test_a_script(scripted_transport, fake_clock):
    transport = scripted_transport(ModelOverloadedError("busy"), "Hello, world!")

    async def main():
        async with rl.AsyncClient(transport=transport, clock=fake_clock) as llm:
            return (await llm.complete("Hi")).text

    assert run_virtual(main()) == "Hello, world!"

def test_an_answer_left_open(scripted_transport):
    OPEN.append(run_virtual(scripted_transport("Hello, world!")(rl.Request(messages=[], stream=True))))

OPEN = []
"""


OWN = {
    "own__conftest": """
import pytest

@pytest.fixture
def fault_server():
    return "mine"
""",
    "own__test_own": """
import pytest

@pytest.fixture
def fake_clock(fault_server):
    return fault_server + " too"

@pytest.mark.faults("whatever this project means by it", severity=3)
def test_a_projects_own_fixtures_win(fault_server, fake_clock):
    assert (fault_server, fake_clock) == ("mine", "mine too")
""",
}


def documented() -> str:
    page = (ROOT / "docs/how-to/test-with-failing-models.md").read_text()
    (block,) = re.findall(r"^```python\n(import pytest\n.*?)^```", page, re.MULTILINE | re.DOTALL)
    return block


def test_fixtures_and_marker_serve_blocking_tests(run):
    """Without any plugin for async tests; a mistake and an answer left open fail the test that made them.

    Among them are the tests that the docs show, and those of a project with such names of its own: they mean there what
    they meant.
    """
    options = ("-p", "no:asyncio", "-p", "no:anyio", "--strict-markers")
    result = run(*options, test_blocking=BLOCKING, test_documented=documented(), **OWN)
    result.assert_outcomes(passed=8 + 2 + 1, errors=2)
    result.stdout.fnmatch_lines(["*ZeroDivisionError*", "*1 answers of scripted transports were begun*"])


ASYNC = """
import pytest
import resilient_llm as rl
from resilient_llm.testing import Answer, Status

async def ask(server):
    async with rl.AsyncClient("ollama", base_url=server.url, model="m") as llm:
        done = await llm.complete("Hello", initial_backoff=0.01)
    assert (done.text, done.attempts) == ("hi", 2)

@pytest.mark.faults(Status("overloaded"), Answer(), reply="hi")
@pytest.mark.asyncio
async def test_under_pytest_asyncio(fault_server):
    await ask(fault_server)

@pytest.mark.faults(Status("overloaded"), Answer(), reply="hi")
@pytest.mark.anyio
async def test_under_anyio(fault_server, anyio_backend_name):
    await ask(fault_server)

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


def test_fixtures_serve_async_tests_of_either_kind(run):
    """The same fixture under pytest-asyncio and under anyio."""
    options = ("-o", "asyncio_mode=strict", "-o", "asyncio_default_fixture_loop_scope=function")
    run(*options, test_async=ASYNC).assert_outcomes(passed=2)


def test_pytest_finds_it_by_itself_and_it_imports_nothing(monkeypatch):
    """The entry point names the module, which loads neither the package's stages nor a library."""
    metadata = (ROOT / "pyproject.toml").read_text()
    assert (
        '[project.entry-points.pytest11]\n"resilient_llm.testing.plugin" = "resilient_llm.testing.plugin"'
        in metadata
    )
    program = (
        "import sys, pytest\n"
        "before = set(sys.modules)\n"
        "import resilient_llm.testing.plugin\n"
        "print(sorted(name for name in set(sys.modules) - before if not name.startswith('_')))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert set(eval(shown.stdout)) <= {  # noqa: S307 - a list of names
        "resilient_llm",
        "resilient_llm.exports",
        "resilient_llm.lazy",
        "resilient_llm.testing",
        "resilient_llm.testing.plugin",
        "importlib",
    }
