"""`resilient-llm models` and `config`: listing, showing, asking, writing."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from resilient_llm.settings import Settings
from resilient_llm.settings.files import user_path
from resilient_llm.testing.fault_server import serving

PROJECT = Path("resilient-llm.toml")


@pytest.fixture
def user_file():
    return user_path()


@pytest.fixture
def server():
    with serving(model="one", window=4096) as running:
        yield running


def at(server) -> tuple[str, ...]:
    return ("--backend", "openai-compatible", "--base-url", server.base_url)


def test_models_are_a_table(server, call) -> None:
    """A line for each, a dash for what is not told, and no colour in a pipe."""
    done = call("models", *at(server))
    heading, row = done.out.splitlines()
    assert heading.split() == ["ID", "NAME", "OWNER", "CONTEXT", "LOADED"]
    assert row.split() == ["one", "-", "resilient_llm", "4096", "-"]
    assert (done.code, done.err) == (0, "")
    assert call("config", "--list-models", *at(server)) == done


def test_models_as_json(server, call) -> None:
    """The same as one object."""
    model = {"id": "one", "name": "", "owned_by": "resilient_llm", "context_length": 4096}
    done = call("models", "--json", *at(server))
    assert json.loads(done.out) == {"models": [model | {"loaded": None, "kind": "chat"}]}


def test_a_dead_server_is_an_error(call) -> None:
    """Exit status 1, a line that names the address, an object if asked for."""
    done = call(
        "models", "-q", "--json", "--backend", "openai-compatible", "--base-url", "http://127.0.0.1:9/v1"
    )
    assert done.code == 1
    assert json.loads(done.out)["error"]["code"] == "MODEL_UNAVAILABLE"
    assert "http://127.0.0.1:9" in done.err
    assert "Traceback" not in done.err


def test_settings_tell_where_they_come_from(call, user_file, monkeypatch) -> None:
    """A variable, a file with its line, an option, a default; a password is hidden."""
    user_file.parent.mkdir(parents=True)
    user_file.write_text("# mine\nllm_max_tokens = 5\n")
    PROJECT.write_text('llm_model = "m"\n')
    monkeypatch.setenv("RESILIENT_LLM_TEMPERATURE", "0.25")
    done = call("config", "--json", "--backend", "openai", "--base-url", "http://me:secret@host/v1")
    rows = {row["key"]: (row["value"], row["source"]) for row in json.loads(done.out)["settings"]}
    assert rows["llm_max_tokens"] == (5, f"{user_file}, line 2")
    assert rows["llm_model"] == ("m", "resilient-llm.toml, line 1")
    assert rows["llm_temperature"] == (0.25, "RESILIENT_LLM_TEMPERATURE")
    assert rows["llm_provider"] == ("openai", "option")
    assert rows["llm_api_base"] == ("http://***@host/v1", "option")
    assert rows["offline_mode"] == (False, "default")
    for address in ("me:secret@host", "me:p@secret@host", "host/v1?api-key=secret"):
        assert "secret" not in call("config", "--base-url", f"http://{address}").out


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("llm_model", "a b", "a b"),
        ("llm_model", 'say "x"\\', 'say "x"\\'),
        ("llm_max_tokens", "7", 7),
        ("llm_temperature", "0.5", 0.5),
        ("offline_mode", "yes", True),
        ("offline_provider.model_path", "/x", "/x"),
        ("offline_model_path", "/x", "/x"),
    ],
)
def test_a_value_is_written_and_read_again(call, user_file, key, text, value) -> None:
    """Into the user's file, which is made; the command says which it was."""
    done = call("config", "--key", key, "--value", text)
    assert (done.code, done.err) == (0, "")
    assert str(user_file) in done.out
    name = "offline_model_path" if key.startswith("offline_p") else key
    assert getattr(Settings.load(), name) == value


def test_the_file_that_a_variable_names_is_made(call, tmp_path, monkeypatch) -> None:
    """RESILIENT_LLM_CONFIG says where the user's file is, even before it is there."""
    monkeypatch.setenv("RESILIENT_LLM_CONFIG", str(tmp_path / "new" / "mine.toml"))
    assert call("config", "--key", "llm_model", "--value", "x").err == ""
    assert (tmp_path / "new" / "mine.toml").read_text() == 'llm_model = "x"\n'


def test_the_rest_of_a_file_stays(call) -> None:
    """Comments, order, other keys and the file's mode; a table that is there is used."""
    PROJECT.write_text('# why\nllm_model = "old"  # here\n\n[offline_provider]\nmodel_path = ""\n')
    PROJECT.chmod(0o640)
    call("config", "--local", "--key", "llm_model", "--value", "new")
    done = call("config", "--local", "--key", "offline_provider.model_path", "--value", "/m")
    assert (
        PROJECT.read_text() == '# why\nllm_model = "new"  # here\n\n[offline_provider]\nmodel_path = "/m"\n'
    )
    assert PROJECT.stat().st_mode & 0o777 == 0o640
    assert done.out == "offline_provider.model_path = /m is written to resilient-llm.toml\n"
    assert list(Path().iterdir()) == [PROJECT]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX's")
def test_a_new_file_is_kept_from_those_whom_the_umask_keeps_out(call) -> None:
    """An address may hold a password."""
    before = os.umask(0o077)
    try:
        call("config", "--local", "--key", "llm_api_base", "--value", "http://me:secret@host/v1")
    finally:
        os.umask(before)
    assert PROJECT.stat().st_mode & 0o777 == 0o600


def test_a_table_in_pyproject_is_not_shadowed(call) -> None:
    """Where the project's settings stand in pyproject.toml, they are changed there."""
    Path("pyproject.toml").write_text('[project]\nname = "x"\n[tool.resilient_llm]\nllm_model = "a"\n')
    call("config", "--local", "--key", "llm_max_tokens", "--value", "9")
    assert not PROJECT.exists()
    assert (Settings.load().llm_model, Settings.load().llm_max_tokens) == ("a", 9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--key", "llm_modle", "--value", "x"), "unknown setting llm_modle: did you mean llm_model?"),
        (
            ("--key", "llm_max_tokens", "--value", "x"),
            "llm_max_tokens must be a whole number above 0, not 'x'",
        ),
        (("--key", "llm_max_tokens"), "no value for llm_max_tokens: give --value VALUE"),
        (("--key", "llm_model"), "--list-models shows what there is"),
        (("--value", "x"), "needs --key"),
        (("--local",), "needs --key"),
    ],
)
def test_wrong_usage(call, user_file, arguments, message) -> None:
    """Exit status 2, a line that says what to do, nothing written."""
    done = call("config", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert not user_file.exists()


def test_wrong_files_are_named(call, user_file) -> None:
    """A value of the wrong type with file, key and line; a file that is no TOML is left alone."""
    PROJECT.write_text('llm_model = "m"\nllm_max_tokens = "many"\n')
    done = call("config")
    assert done.code == 2
    assert "llm_max_tokens (resilient-llm.toml, line 2) must be a whole number above 0" in done.err
    mended = call("config", "--local", "--key", "llm_max_tokens", "--value", "5")
    assert (mended.code, mended.err) == (0, "")
    PROJECT.write_text("llm_model = \n")
    broken = call("config", "--local", "--key", "llm_model", "--value", "x")
    assert (broken.code, PROJECT.read_text()) == (2, "llm_model = \n")
    assert "resilient-llm.toml is no valid TOML" in broken.err


def test_a_file_that_cannot_be_written(call, tmp_path, monkeypatch) -> None:
    """A plain error with the path, exit status 1."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RESILIENT_LLM_CONFIG", str(tmp_path / "file" / "config.toml"))
    done = call("config", "--key", "llm_model", "--value", "x")
    assert done.code == 1
    assert done.err.startswith(f"error: {tmp_path / 'file' / 'config.toml'} cannot be written: ")


def test_a_failed_write_leaves_the_file_as_it_was(call, monkeypatch) -> None:
    """As on a full disk: no half of a file, nothing left beside it."""
    PROJECT.write_text('llm_model = "old"\n')

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    done = call("config", "--local", "--key", "llm_model", "--value", "x")
    assert (done.code, done.err) == (
        1,
        "error: resilient-llm.toml cannot be written: No space left on device\n",
    )
    assert PROJECT.read_text() == 'llm_model = "old"\n'
    assert list(Path().iterdir()) == [PROJECT]


def test_a_value_that_does_not_count_is_told(call, user_file, monkeypatch) -> None:
    """A variable, a nearer file, or another provider wins over what was written."""
    monkeypatch.setenv("RESILIENT_LLM_MODEL", "env")
    assert "warning: RESILIENT_LLM_MODEL has" in call("config", "--key", "llm_model", "--value", "x").err
    PROJECT.write_text('llm_max_tokens = 3\nllm_provider = "openai"\n')
    done = call("config", "--key", "llm_max_tokens", "--value", "4")
    assert "warning: resilient-llm.toml, line 1 has llm_max_tokens, too" in done.err
    call("config", "--key", "llm_provider", "--value", "lmstudio")
    away = call("config", "--key", "llm_api_base", "--value", "http://h/v1")
    assert "an address counts only with the provider" in away.err


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
async def test_a_missing_model_is_asked_for(serve, terminal, user_file) -> None:
    """At a terminal the models are listed; a wrong answer is asked again, a number picks."""
    _, options = await serve(model="one")
    shell = terminal("config", "--key", "llm_model", *options)
    await shell.see("1  one")
    await shell.see("a name: ")
    shell.type("4\n")
    await shell.see("none of them")
    await shell.see("a name: ")
    shell.type("1\n")
    await shell.see("llm_model = one is written to")
    assert await shell.end() == 0
    assert user_file.read_text() == 'llm_model = "one"\n'


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
async def test_ctrl_c_writes_nothing(terminal, user_file) -> None:
    """Asked for any other value, too, with what is accepted; Ctrl-C leaves with 130."""
    shell = terminal("config", "--key", "llm_max_tokens")
    await shell.see("a whole number above 0")
    await shell.see("Value: ")
    await shell.interrupt()
    assert await shell.end() == 130
    assert not user_file.exists()
