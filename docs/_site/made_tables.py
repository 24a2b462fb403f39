"""Pages of the reference that are made from the code's own tables, as Markdown."""

from __future__ import annotations

import enum
import inspect
import re
from typing import TYPE_CHECKING, Any

import resilient_llm
from resilient_llm.errors import ERROR_TYPES, LLMError
from resilient_llm.exports import EXPORTS
from resilient_llm.policy.outcomes import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Calling": (".client", ".sync", ".sync_response", ".request", ".models", ".providers"),
    "The events of a stream, and what observers are told": (".events",),
    "Errors": (
        ".errors",
        ".policy.classify",
        ".policy.classify_exception",
        ".composition",
        ".settings.errors",
    ),
    "Stages": (".presets", ".middleware", ".fallback", ".targets", ".policy.retry_budget", ".testing"),
    "The contract of stages and transports": (".pipeline", ".response"),
    "Transports": (".transports",),
    "Clients and functions that you have": (".integrations",),
    "Tokens": (".tokens",),
    "Shared state": (".sharing", ".state"),
    "Settings": (".settings",),
}
"""The sections of the page of public names, and the modules whose names are in each; what is nowhere comes last."""

REST = "More"


def plain_markup(text: str) -> str:
    """A docstring with code between double backticks, as reStructuredText has it."""
    return re.sub(r"(?<!`)`([^`]+)`(?!`)(\w?)", lambda code: f"``{code[1]}``{_joined(code[2])}", text)


def _joined(following: str) -> str:
    return rf"\ {following}" if following else ""


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value).replace("|", r"\|").replace("\n", " ")


def errors() -> str:
    """One row for each error code."""
    return table(
        ("code and error", "what happened, and what to do", "retried", "the circuit counts", "next target"),
        (
            (
                f"`{code}`<br>`{kind.__name__}`",
                f"{first_sentence(kind)}.<br>*{kind.hint}.*",
                OUTCOMES[code].retry,
                OUTCOMES[code].breaker,
                OUTCOMES[code].fallback,
            )
            for code, kind in ERROR_TYPES.items()
        ),
    )


def commands() -> str:
    """Each command of the command line with its arguments and options."""
    import typer.main  # noqa: PLC0415 - needs the extra `cli`

    from resilient_llm.cli.app import app  # noqa: PLC0415

    group: Any = typer.main.get_command(app)
    return "\n\n".join(_command(name, command) for name, command in group.commands.items())


def _command(name: str, command: Any) -> str:
    rows = [(_spelling(param), param.help or "") for param in command.params if param.name != "help"]
    return f"## `resilient-llm {name}`\n\n{inspect.cleandoc(command.help)}\n\n{table(('', ''), rows)}"


def _spelling(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{param.name.upper()}`"
    spelling = ", ".join((*param.opts, *param.secondary_opts))
    return f"`{spelling}`" if param.is_flag else f"`{spelling} {param.metavar or param.name.upper()}`"


def public_names() -> str:
    """Every public name with its docstring, in sections."""
    sections: dict[str, list[str]] = {title: [] for title in (*GROUPS, REST)}
    for home, names in EXPORTS.items():
        sections[_section(home)] += [_documented(home, name) for name in names]
    return "\n\n".join(f"## {title}\n\n" + "\n\n".join(body) for title, body in sections.items() if body)


def _section(home: str) -> str:
    """The group that names the longest beginning of a module's path."""
    found = [
        (len(prefix), title)
        for title, prefixes in GROUPS.items()
        for prefix in prefixes
        if home == prefix or home.startswith(f"{prefix}.")
    ]
    return max(found)[1] if found else REST


def _documented(home: str, name: str) -> str:
    value = getattr(resilient_llm, name)
    module = f"resilient_llm{home}"
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return _fence(f"autodata:: {module}.{name}", ["no-value:"])
    if inspect.isfunction(value):
        return _fence(f"autofunction:: {module}.{name}", [])
    options = ["members:"] + ["show-inheritance:"] * (value.__bases__ != (object,))
    if "__call__" in vars(value) and (value.__call__.__doc__ or ""):
        options.append("special-members: __call__")
    if issubclass(value, enum.Enum):
        options.append("undoc-members:")
    alike = issubclass(value, LLMError) and value is not LLMError
    return _fence(f"autoclass:: {module}.{name}{'(message, **details)' * alike}", options)


def _fence(directive: str, options: Iterable[str]) -> str:
    return "\n".join(["```{eval-rst}", f".. {directive}", *(f"   :{option}" for option in options), "```"])


def first_sentence(thing: object) -> str:
    """The first sentence of a docstring, without its full stop."""
    return re.split(r"\.(?:\s|$)", inspect.getdoc(thing) or "", maxsplit=1)[0].replace("\n", " ")


TABLES: Mapping[str, Callable[[], str]] = {
    "commands": commands,
    "errors": errors,
    "public-names": public_names,
}
"""What pages can ask for by `<!-- generated: name -->`."""
