"""`resilient-llm config`: showing, asking and writing."""

from __future__ import annotations

import asyncio
import difflib
from typing import TYPE_CHECKING

import attrs

from resilient_llm.settings import SETTINGS, SettingsError
from resilient_llm.settings.files import project_target, user_path
from resilient_llm.settings.load import explain_settings

from . import chat_input, chat_json
from .chat_screen import printable
from .config_file import set_value
from .guard import FAILED, OK, USAGE
from .models import listed
from .table import without_secrets, write_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from resilient_llm.models import ModelInfo
    from resilient_llm.settings import Setting

    from .chat_screen import Screen


@attrs.frozen
class Change:
    """What the command line wants written.

    Args:
        key: The setting, as it was typed.
        value: Its value as text; None: ask.
        local: In the working directory's file?
        as_json: Report as JSON?
        given: The backend whose models are listed.
    """

    key: str
    value: str | None
    local: bool
    as_json: bool
    given: Mapping[str, object]


def show(given: Mapping[str, object], *, as_json: bool) -> int:
    """All settings, their values and sources."""
    rows = [
        (setting.key, without_secrets(value), origin)
        for setting, value, origin in explain_settings(None, given)
    ]
    if as_json:
        entries = [{"key": key, "value": value, "source": origin} for key, value, origin in rows]
        chat_json.write({"settings": entries})
    else:
        write_table(("KEY", "VALUE", "SOURCE"), [(key, _shown(value), origin) for key, value, origin in rows])
    return OK


def write(change: Change, screen: Screen) -> int:
    """Write a setting, and say where; ask for the value if there is none."""
    setting = _setting(change.key)
    text = change.value
    if text is None:
        if change.as_json or not chat_input.at_a_terminal():
            screen.error(_missing(setting))
            return USAGE
        text = _ask(setting, change, screen)
        if text is None:
            screen.error("nothing was written")
            return FAILED
    value = setting.kind.read(text, setting.key, text=True)
    path, table = _target(local=change.local)
    try:
        set_value(path, [*table, *setting.key.split(".")], value)
    except OSError as exc:
        screen.error(f"{path} cannot be written: {exc.strerror or exc}")
        return FAILED
    if change.as_json:
        chat_json.write({"written": str(path), "key": setting.key, "value": without_secrets(value)})
    else:
        print(f"{setting.key} = {_shown(value)} is written to {path}")
    _tell_if_hidden(setting, path, screen)
    return OK


def _setting(key: str) -> Setting:
    known = {setting.key: setting for setting in SETTINGS}
    found = known.get(key) or next((row for row in SETTINGS if row.name == key), None)
    if found is None:
        near = difflib.get_close_matches(key, known, n=1)
        help_ = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        msg = f"unknown setting {key}: {help_}"
        raise SettingsError(msg)
    return found


def _target(*, local: bool) -> tuple[Path, Sequence[str]]:
    if local:
        return project_target()
    if (path := user_path()) is None:
        msg = "there is no home directory to keep a file in; use --local, or name a file in RESILIENT_LLM_CONFIG"
        raise SettingsError(msg)
    return path, ()


def _missing(setting: Setting) -> str:
    model = "; resilient-llm config --list-models shows what there is" if setting.name == "llm_model" else ""
    return f"no value for {setting.key}: give --value VALUE, which must be {setting.kind.accepted}{model}"


def _tell_if_hidden(setting: Setting, path: Path, screen: Screen) -> None:
    """What was written does not count if another source comes first: a person would wonder."""
    try:
        origin = next(origin for row, _, origin in explain_settings() if row is setting)
    except SettingsError as exc:
        screen.notice(f"warning: another setting must be put right before this one counts: {exc}")
        return
    if origin == "default":
        screen.notice(
            "warning: it does not count: an address counts only with the provider that it was set for"
        )
    elif not origin.startswith(f"{path},"):
        screen.notice(f"warning: {origin} has {setting.key}, too, and comes first")


# Asking ...


def _ask(setting: Setting, change: Change, screen: Screen) -> str | None:
    try:
        if setting.name == "llm_model":
            found = asyncio.run(listed(change.given, screen))
            if found:
                return _pick(found)
            screen.notice("the server offers no models; download or load one there, or type a name")
        print(f"{setting.key}: {setting.description}; must be {setting.kind.accepted}")
        return input("Value: ")
    except EOFError:
        print()
        return None


def _pick(found: Sequence[ModelInfo]) -> str:
    ids = [model.id for model in found]
    for number, model in enumerate(found, 1):
        print(f"{number:3}  {printable(model.id)}{'  (loaded)' if model.loaded else ''}")
    while True:
        typed = input(f"Which model? 1 to {len(ids)}, or a name: ").strip()
        if typed in ids:
            return typed
        if typed.isascii() and typed.isdigit() and 1 <= int(typed) <= len(ids):
            return ids[int(typed) - 1]
        print("That is none of them; Ctrl-C leaves everything as it is.")


# Showing ...


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(without_secrets(value))
