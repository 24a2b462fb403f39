"""The rules that keep the code in shape, as tests."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import resilient_llm
from resilient_llm import testing
from resilient_llm.exports import EXPORTS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "resilient_llm"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
TESTS = sorted(path for path in (ROOT / "tests").rglob("test_*.py"))

ROWS: tuple[frozenset[str], ...] = (
    frozenset(
        {
            "lazy",
            "logs",
            "console",
            "exports",
            "version",
            "error_base",
            "errors",
            "request",
            "models",
            "events",
            "http_call",
            "clock",
            "validators",
        }
    ),
    frozenset({"policy", "wire", "tokens"}),
    frozenset(
        {"commit", "response", "body", "pulls", "line", "hooks", "outcome", "timeout"}
        | {"pipeline", "composition", "sharing"}
    ),
    frozenset({"middleware", "transports", "state", "testing"}),
    frozenset(
        {"client", "calls", "sync", "sync_job", "sync_loop", "sync_response", "providers"}
        | {
            "presets",
            "stages",
            "targets",
            "fallback",
            "fallback_call",
            "token_counts",
            "embedding",
            "options",
            "settings",
            "integrations",
            "cli",
            "__init__",
        }
    ),
)
SIDEWAYS = {
    "console",
    "error_base",
    "request",
    "errors",
    "models",
    "events",
    "http_call",
    "body",
    "pulls",
    "hooks",
    "line",
    "outcome",
    "timeout",
    "response",
    "commit",
    "pipeline",
    "composition",
    "client",
    "presets",
    "stages",
    "targets",
    "fallback",
    "fallback_call",
    "token_counts",
    "embedding",
    "options",
}
"""Modules of one row that may know each other: single files, not packages."""

PURE = {"policy", "wire", "tokens"}
IMPURE = {"asyncio", "aiohttp", "structlog", "time", "random"}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def row_of(part: str) -> int:
    return next(row for row, parts in enumerate(ROWS) if part in parts)


def imports_of(path: Path, *, typing_too: bool = False) -> set[str]:
    """The dotted names that a module imports at run time, those of its own package made absolute."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(node)
        for guard in ast.walk(tree)
        if isinstance(guard, ast.If) and ast.unparse(guard.test) == "TYPE_CHECKING" and not typing_too
        for node in ast.walk(guard)
    }
    package = ["resilient_llm", *path.relative_to(PACKAGE).parts[:-1]]
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found |= {stem} if node.module else {f"{stem}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_upward_only(path: Path) -> None:
    """A module imports from rows above its own, from its own package, or from a named neighbour."""
    part = part_of(path)
    for name in imports_of(path):
        if not name.startswith("resilient_llm"):
            continue
        target = [*name.split("."), "__init__"][1]
        if target in {part, "__init__"}:
            continue
        allowed = row_of(target) < row_of(part) or (
            row_of(target) == row_of(part) and (part in SIDEWAYS or row_of(part) == len(ROWS) - 1)
        )
        assert allowed, f"{path.name} (row {row_of(part) + 1}) imports {name} (row {row_of(target) + 1})"


def test_the_page_about_the_layout_names_every_part() -> None:
    """Row by row, as the imports have them, and nothing that is not there."""
    page = (ROOT / "docs" / "contributing.md").read_text()
    rows = re.findall(r"^\| \d \| (.*?) \| .*? \|$", page, re.MULTILINE)
    told = [{name.removesuffix("/") for name in re.findall(r"`(\w+/?)`", row)} for row in rows]
    assert told == [set(parts) - {"__init__"} for parts in ROWS]
    parts = {part_of(path) for path in MODULES} - {"__init__"}
    assert parts == set().union(*told)


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if part_of(path) in PURE],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_pure_parts_know_no_clock_no_loop_no_socket(path: Path) -> None:
    """Policies, codecs and counting take time and chance as arguments."""
    assert not {name.split(".")[0] for name in imports_of(path)} & IMPURE


def test_aiohttp_is_met_only_where_sockets_are() -> None:
    """Only transports, integrations, testing and the client's signature import aiohttp."""
    users = {part_of(path) for path in MODULES if "aiohttp" in {n.split(".")[0] for n in imports_of(path)}}
    assert users <= {"transports", "integrations", "testing", "client"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_and_functions_stay_short(path: Path) -> None:
    """No module is over 250 lines, no function over 40."""
    text = path.read_text()
    assert text.count("\n") <= 250
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno <= 40 + _docstring_lines(node), node.name


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return (first.end_lineno or 0) - first.lineno + 1
    return 0


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_says_what_it_holds_true(path: Path) -> None:
    """Each test function has a docstring."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            assert ast.get_docstring(node), f"{path.name}: {node.name}"


def test_importing_the_package_loads_no_extra_and_no_vocabulary() -> None:
    """A client and its stack load neither an SDK, nor the command line's libraries, nor tiktoken."""
    program = (
        "import sys, aiobreaker\n"  # which imports redis where it is installed, which imports what it finds
        "before = {name.split('.')[0] for name in sys.modules}\n"
        "import resilient_llm\n"
        "resilient_llm.AsyncClient, resilient_llm.standard_stack()\n"
        "heavy = {'openai', 'anthropic', 'httpx', 'typer', 'rich', 'redis', 'tiktoken', 'requests', 'pydantic',"
        " 'opentelemetry', 'xllamacpp', 'transformers', 'pytest'}\n"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules} - before))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_importing_the_package_alone_loads_nothing() -> None:
    """What a pytest plugin or a command line costs those who do not use it: the names come when they are asked for."""
    program = (
        "import sys, resilient_llm.testing; print(*(n for n in sys.modules if n.startswith('resilient_llm')))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    names = {"resilient_llm", "resilient_llm.exports", "resilient_llm.lazy", "resilient_llm.testing"}
    assert set(shown.stdout.split()) == names


def test_every_export_has_a_home() -> None:
    """What `__all__` promises is found where `exports` says, and shown by `dir`."""
    homes = {name: home for home, names in EXPORTS.items() for name in names}
    assert set(homes) == {*resilient_llm.__all__, "__version__"}
    for package in (resilient_llm, testing):
        assert set(package.__all__) <= set(dir(package))
        assert all(hasattr(package, name) for name in package.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = resilient_llm.nothing
