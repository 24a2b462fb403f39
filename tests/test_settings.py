"""Settings: every source, their order, and mistakes named."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from aiohttp import web

import resilient_llm as rl
from resilient_llm.settings import SETTINGS, client_options, load_settings
from resilient_llm.settings.files import line_of, user_path
from resilient_llm.testing import ScriptedTransport

ROOT = Path(__file__).parents[1]
OTHER = {
    "llm_provider": ("offline", "offline"),
    "llm_api_base": ("http://box:1/v1", "http://box:1/v1"),
    "llm_model": ("m", "m"),
    "llm_max_tokens": ("5", 5),
    "llm_temperature": ("0.1", 0.1),
    "llm_auto_select_model": ("false", False),
    "llm_timeout": ("2.5", 2.5),
    "offline_mode": ("true", True),
    "offline_provider.model_path": ("m.gguf", "m.gguf"),
    "redis_url": ("redis://box/1", "redis://box/1"),
    "redis_namespace": ("mine", "mine"),
}
"""For each key a value other than the default: as a variable has it, and as it is."""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A working directory and a home with nothing in them."""
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


def project(text: str) -> None:
    Path("resilient-llm.toml").write_text(text)


def user(text: str) -> Path:
    path = user_path()
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def nested(key: str, value: object) -> dict[str, object]:
    head, _, rest = key.partition(".")
    return {head: nested(rest, value) if rest else value}


# The table ...


def test_the_defaults() -> None:
    """With nothing set, the documented defaults hold."""
    assert rl.Settings.load() == rl.Settings(
        llm_provider="auto",
        llm_api_base="",
        llm_model="",
        llm_max_tokens=1024,
        llm_temperature=0.7,
        llm_auto_select_model=True,
        llm_timeout=60.0,
        offline_mode=False,
        offline_model_path="",
        redis_url="",
        redis_namespace="resilient-llm",
    )


def test_every_setting_is_tried() -> None:
    """The tests below go through the whole table."""
    assert list(OTHER) == [setting.key for setting in SETTINGS]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_each_setting_from_each_source(setting, monkeypatch) -> None:
    """Argument, variable, mapping (dotted and nested), function and file give the same value."""
    text, value = OTHER[setting.key]
    assert getattr(rl.Settings.load(), setting.name) == setting.default != value
    toml = (
        text if text in {"true", "false"} or setting.key.startswith(("llm_max", "llm_te", "llm_ti")) else None
    )
    for source in (
        {setting.key: value},
        {setting.key: text},
        nested(setting.key, value),
        {setting.key: value}.get,
    ):
        assert getattr(rl.Settings.load(source), setting.name) == value
    assert getattr(rl.Settings.load(**{setting.name: value}), setting.name) == value
    assert getattr(rl.Settings.load(**{setting.key: value}), setting.name) == value
    project(f"{setting.key} = {toml or repr(text)}\n")
    assert getattr(rl.Settings.load(), setting.name) == value
    project("")
    monkeypatch.setenv(setting.variable, f" {text} ")
    assert getattr(rl.Settings.load(), setting.name) == value
    assert getattr(rl.Settings.load({}), setting.name) == setting.default


def test_the_documented_table_is_the_code() -> None:
    """The reference page has a row for each setting, with the key, the variables and the default."""
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
    assert [row[0] for row in rows] == [setting.key for setting in SETTINGS]
    for row, setting in zip(rows, SETTINGS, strict=True):
        also = f"; for LM Studio also `{setting.also.name}`" if setting.also else ""
        default = {True: "true", False: "false", "": "empty"}.get(setting.default, f"{setting.default}")
        assert row[1].startswith(f"`{setting.variable}`{also}"), setting.key
        assert row[2] == (default if setting.default == "" else f"`{default}`"), setting.key
        assert (row[3], row[4]) == (setting.kind.accepted, setting.description), setting.key


# Precedence ...


def test_the_order_of_the_sources(monkeypatch) -> None:
    """Arguments, environment, the project's file, the user's file, defaults."""
    seen = [rl.Settings.load().llm_max_tokens]
    user("llm_max_tokens = 1\n")
    seen.append(rl.Settings.load().llm_max_tokens)
    Path("pyproject.toml").write_text("[tool.resilient_llm]\nllm_max_tokens = 2\n")
    seen.append(rl.Settings.load().llm_max_tokens)
    project("llm_max_tokens = 3\n")
    seen.append(rl.Settings.load().llm_max_tokens)
    monkeypatch.setenv("RESILIENT_LLM_MAX_TOKENS", "4")
    seen.append(rl.Settings.load().llm_max_tokens)
    seen.append(rl.Settings.load(llm_max_tokens=5).llm_max_tokens)
    assert seen == [1024, 1, 2, 3, 4, 5]


def test_each_setting_comes_from_the_first_source_that_has_it(monkeypatch) -> None:
    """Sources complete each other; an empty variable and None are not set."""
    user("llm_model = 'theirs'\nllm_timeout = 5\n")
    project("llm_model = 'ours'\n")
    monkeypatch.setenv("RESILIENT_LLM_TIMEOUT", "")
    settings = rl.Settings.load(llm_model=None)
    assert (settings.llm_model, settings.llm_timeout) == ("ours", 5.0)


def test_a_configuration_of_ones_own_replaces_environment_and_files(monkeypatch) -> None:
    """Only arguments win over it, and what else it holds does not matter."""
    project("llm_model = 'file'\n")
    monkeypatch.setenv("RESILIENT_LLM_MAX_TOKENS", "4")
    settings = rl.Settings.load({"llm_timeout": "3", "database": {"url": "x"}}, llm_temperature=0)
    assert settings == rl.Settings(llm_timeout=3.0, llm_temperature=0.0)
    assert rl.Settings.load(settings) == settings
    asked = []
    load_settings(asked.append)
    assert set(asked) == {setting.key for setting in SETTINGS}


def test_a_source_of_another_kind_is_refused() -> None:
    """The message says what is accepted."""
    with pytest.raises(TypeError, match="must be a mapping or a function of a key, not int"):
        load_settings(3)


def test_lm_studios_own_variables(monkeypatch) -> None:
    """They count for LM Studio alone, after ours; its timeout is in milliseconds."""
    monkeypatch.setenv("LMSTUDIO_URL", "http://box:1234/v1")
    monkeypatch.setenv("LMSTUDIO_TIMEOUT", "2500")
    project("llm_api_base = 'http://file:1'\nllm_timeout = 9\n")
    lmstudio = rl.Settings.load(llm_provider="lmstudio")
    assert (lmstudio.llm_api_base, lmstudio.llm_timeout) == ("http://box:1234/v1", 2.5)
    llamacpp = rl.Settings.load(llm_provider="llamacpp")
    assert (llamacpp.llm_api_base, llamacpp.llm_timeout) == ("http://file:1", 9.0)
    monkeypatch.setenv("RESILIENT_LLM_TIMEOUT", "4")
    assert rl.Settings.load(llm_provider="lmstudio").llm_timeout == 4.0


def test_an_address_counts_only_with_its_provider(monkeypatch) -> None:
    """Choosing another backend does not send its key to the address of the old one."""
    project("llm_provider = 'lmstudio'\nllm_api_base = 'http://box:1234/v1'\n")
    assert rl.Settings.load().llm_api_base == "http://box:1234/v1"
    assert rl.Settings.load(llm_provider="openai").llm_api_base == ""
    monkeypatch.setenv("RESILIENT_LLM_PROVIDER", "openai")
    assert rl.Settings.load().llm_api_base == ""
    assert rl.Settings.load(llm_api_base="http://proxy/v1").llm_api_base == "http://proxy/v1"
    assert rl.Settings.load(llm_provider="lmstudio").llm_api_base == "http://box:1234/v1"


# Files ...


def test_where_the_users_file_is(monkeypatch) -> None:
    """Where the platform keeps such files; the XDG variable if it is absolute."""
    home = Path.home()
    monkeypatch.setattr(sys, "platform", "linux")
    assert user_path() == home / ".config/resilient-llm/config.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert user_path() == home / ".config/resilient-llm/config.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/xdg")
    assert user_path() == Path("/etc/xdg/resilient-llm/config.toml")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert user_path() == home / "Library/Application Support/resilient-llm/config.toml"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("APPDATA", str(home / "Roaming"))
    assert user_path() == home / "Roaming/resilient-llm/config.toml"


def test_without_a_home_there_is_no_users_file(monkeypatch) -> None:
    """A service account may have none."""

    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    assert rl.Settings.load() == rl.Settings()


def test_the_users_file_may_be_named(monkeypatch, place) -> None:
    """`RESILIENT_LLM_CONFIG` replaces the usual place; a file that is not there is an error."""
    user("llm_model = 'usual'\n")
    (place / "home" / "own.toml").write_text("llm_max_tokens = 7\n")
    monkeypatch.setenv("RESILIENT_LLM_CONFIG", "~/own.toml")
    assert rl.Settings.load() == rl.Settings(llm_max_tokens=7)
    monkeypatch.setenv("RESILIENT_LLM_CONFIG", "gone.toml")
    with pytest.raises(rl.SettingsError, match=r"RESILIENT_LLM_CONFIG .*'gone\.toml'"):
        rl.Settings.load()


def test_tables_and_dotted_keys_and_a_byte_order_mark() -> None:
    """TOML as people and their editors write it."""
    project("\ufefflast = 1\n")
    with pytest.raises(rl.SettingsError, match="unknown setting last"):
        rl.Settings.load()
    project("[offline_provider]\nmodel_path = 'a'\n")
    assert rl.Settings.load().offline_model_path == "a"


def test_another_projects_pyproject_is_left_alone() -> None:
    """Without our table it does not matter."""
    Path("pyproject.toml").write_text("[tool.other]\nllm_model = 1\n")
    assert rl.Settings.load() == rl.Settings()


def test_a_table_that_is_none_is_named() -> None:
    """Our name in `pyproject.toml` with a value instead of settings."""
    Path("pyproject.toml").write_text("[tool]\nresilient_llm = 3\n")
    with pytest.raises(
        rl.SettingsError, match=r"tool.resilient_llm \(pyproject.toml\) must be a table .* not int"
    ):
        rl.Settings.load()


def test_a_key_is_found_in_the_text() -> None:
    """Lines are told for keys at the top, in tables, dotted and quoted; None if it cannot be told."""
    text = '# a = 1\na.b = 1\n[t.u] # c\n"x" = 2\n[ "t" . v ]\nx=3\n'
    assert [line_of(text, path.split(".")) for path in ("a.b", "t.u.x", "t.v.x", "a", "x")] == [
        2,
        4,
        6,
        None,
        None,
    ]


# Mistakes ...


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "llm_max_tokens = '5'",
            r"llm_max_tokens \(resilient-llm.toml, line 2\) must be a whole number above 0, not '5'",
        ),
        ("llm_max_tokens = 0", "a whole number above 0, not 0"),
        ("llm_max_tokens = true", "a whole number above 0, not True"),
        ("llm_temperature = 3", "a number from 0 to 2, not 3"),
        ("llm_temperature = nan", "a number from 0 to 2, not nan"),
        ("llm_timeout = inf", "a number of seconds above 0, not inf"),
        ("llm_timeout = 0", "a number of seconds above 0, not 0"),
        ("llm_timeout = true", "a number of seconds above 0, not True"),
        ("offline_mode = 'true'", "true or false, not 'true'"),
        ("llm_model = 3", "a text, not 3"),
        ("llm_provider = 'lmstudo'", "one of auto, .*llamacpp, llamafile, lmstudio, .*, not 'lmstudo'"),
        (
            "llm_api_base = 'localhost:1234'",
            "an absolute URL such as http://localhost:1234/v1, or empty, not 'loc",
        ),
        ("llm_api_base = 'me:secret@box'", "or empty, not what was given"),
        (
            "llm_modle = 'm'",
            r"unknown setting llm_modle \(resilient-llm.toml, line 2\): did you mean llm_model\?",
        ),
        (
            "[offline_provider]\nmodelpath = 'm'",
            r"offline_provider.modelpath .*line 3.* offline_provider.model_path\?",
        ),
        ("zzz = 1", "known are llm_provider, "),
        ("llm_model = ", "resilient-llm.toml is no valid TOML: .*line 2"),
    ],
)
def test_mistakes_in_files_are_named(text, problem) -> None:
    """File, key and line, the value, and what is accepted or meant; even if another source wins."""
    project(f"# settings\n{text}\n")
    with pytest.raises(rl.SettingsError, match=problem):
        rl.Settings.load(llm_max_tokens=1, llm_model="m")


def test_mistakes_in_the_environment_are_named(monkeypatch) -> None:
    """The variable, the value, and what is accepted."""
    for variable, value, accepted in [
        ("RESILIENT_LLM_MAX_TOKENS", "many", "a whole number above 0"),
        ("RESILIENT_LLM_OFFLINE", "maybe", "true or false"),
        ("LMSTUDIO_TIMEOUT", "1s", "a number of milliseconds above 0"),
    ]:
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            with pytest.raises(rl.SettingsError, match=f"{variable} must be {accepted}, not '{value}'"):
                rl.Settings.load()


def test_mistakes_in_arguments_and_configurations_are_named() -> None:
    """Arguments are taken as they are; a configuration's texts are read like variables."""
    with pytest.raises(rl.SettingsError, match="llm_timeout must be a number of seconds above 0, not '5'"):
        rl.Settings.load(llm_timeout="5")
    with pytest.raises(rl.SettingsError, match=r"llm_timeout \(configuration\) must be .*, not 'soon'"):
        rl.Settings.load({"llm_timeout": "soon"})
    with pytest.raises(rl.SettingsError, match="llm_max_tokens must be"):
        rl.Settings(llm_max_tokens=-1)


def test_a_file_that_cannot_be_read_is_named(monkeypatch) -> None:
    """A file that is there is meant to be used."""

    def refused(_: Path) -> bytes:
        msg = "not yours"
        raise PermissionError(msg)

    user("llm_model = 'm'\n")
    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(rl.SettingsError, match=r"config\.toml cannot be read: not yours"):
        rl.Settings.load()


def test_a_file_that_is_no_text_is_named() -> None:
    """Bytes that are no UTF-8 are an error with the file's name."""
    Path("resilient-llm.toml").write_bytes(b"llm_model = '\xff'\n")
    with pytest.raises(rl.SettingsError, match=r"resilient-llm\.toml cannot be read"):
        rl.Settings.load()


# Clients ...


async def test_settings_are_the_defaults_of_each_call() -> None:
    """Tokens and temperature go into each request, unless the call says otherwise."""
    transport = ScriptedTransport("a")
    source = {"llm_max_tokens": 7, "llm_model": "m"}
    async with rl.AsyncClient.from_settings(source, transport=transport, defaults={"seed": 1}) as llm:
        await llm.complete("Hello", temperature=0)
        await llm.complete("Hello", max_tokens=None)
    first, second = transport.requests
    assert (first.model, first.params) == ("m", {"max_tokens": 7, "temperature": 0, "seed": 1})
    assert second.params == {"temperature": 0.7, "seed": 1}


def test_the_timeout_is_the_first_tokens() -> None:
    """`llm_timeout` bounds the time to a stream's first token; an option of the client or a stack of its own wins."""
    options = {"llm_timeout": 5}
    assert client_options(None, options)["first_token_timeout"] == 5.0
    assert client_options(None, {**options, "first_token_timeout": None})["first_token_timeout"] is None
    assert "first_token_timeout" not in client_options(None, {**options, "middleware": []})


async def test_offline_mode_wins_over_everything(monkeypatch) -> None:
    """No address, provider or argument brings the network back."""
    monkeypatch.setenv("RESILIENT_LLM_OFFLINE", "1")
    async with rl.AsyncClient.from_settings(backend="openai", base_url="http://127.0.0.1:9/v1") as llm:
        assert (await llm.complete("Hello")).backend == "offline"
    async with rl.AsyncClient.from_settings(backend="openai", offline_model_path="no/m.gguf") as llm:
        with pytest.raises(rl.ModelNotFoundError, match=r"m\.gguf"):
            await llm.complete("Hello")


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"llm_provider": "lmstudio"}, "<LMStudioTransport lmstudio at http://localhost:1234/v1>"),
        ({"llm_provider": "llamacpp", "llm_model": "m"}, "LlamaCppTransport llamacpp at .*, model 'm'"),
        ({"llm_provider": "OpenAI", "api_key": "k"}, "OpenAITransport openai at https://api.openai.com/v1"),
        (
            {"llm_provider": "anthropic", "api_key": "k"},
            "AnthropicTransport anthropic at https://api.anthropic.com",
        ),
        ({"llm_api_base": "http://box:1"}, "OpenAICompatibleTransport openai-compatible at http://box:1/v1"),
        (
            {"backend": "lmstudio", "base_url": "http://box:1"},
            "LMStudioTransport lmstudio at http://box:1/v1",
        ),
        (
            {"llm_provider": "ollama", "llm_api_base": "http://box:1/v1"},
            "OllamaTransport ollama at http://box:1>",
        ),
        ({}, "<AutomaticTransport not looked yet>"),
    ],
)
def test_the_provider_decides_the_transport(settings, shown) -> None:
    """By name, by address, or automatically; the client's own option names are understood."""
    assert re.search(shown, repr(rl.AsyncClient.from_settings(**settings).transport))


def test_a_compatible_server_needs_an_address() -> None:
    """The message says which settings give it."""
    with pytest.raises(rl.SettingsError, match="RESILIENT_LLM_API_BASE"):
        rl.AsyncClient.from_settings(llm_provider="openai-compatible")


async def test_selection_can_be_switched_off(serve) -> None:
    """Then a request without a model's name is sent as it is, and no list is asked for."""
    server = await serve()
    options = {"llm_provider": "llamacpp", "llm_api_base": server.url, "llm_auto_select_model": False}
    async with rl.AsyncClient.from_settings(**options) as llm:
        assert await llm.generate("Hello") == "Hi"
    assert server.paths == ["/v1/chat/completions"]


class Server:
    """Answers chats with "Hi", and counts three tokens."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.status = 200

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, request):
        self.paths.append(request.path)
        message = {"role": "assistant", "content": "Hi"}
        body = {"choices": [{"message": message, "finish_reason": "stop"}], "tokens": [1, 2, 3]}
        return web.json_response(body, status=self.status)


@pytest.fixture
async def serve():
    """Start a server; stopped when the test ends."""
    servers = []

    async def start() -> Server:
        servers.append(Server())
        await servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        await server.stop()


def test_a_redis_is_shared_by_the_client_and_its_password_is_not_shown() -> None:
    """The state comes from the settings, unless there is another one; messages and representations keep quiet."""
    settings = rl.Settings(redis_url="redis://user:secret@box", redis_namespace="mine")
    assert "secret" not in repr(settings)
    options = client_options(settings, {"llm_provider": "offline"})
    assert repr(options["state"]) == "<RedisState 'mine'>"
    for address in ("http://user:secret@box/v1", "https://box/v1?key=secret-of-mine"):
        assert "secret" not in repr(rl.Settings(llm_api_base=address))
    own = rl.MemoryState()
    assert client_options(settings, {"llm_provider": "offline", "state": own})["state"] is own
    assert "state" not in client_options({}, {"llm_provider": "offline"})
    for wrong in ({"redis_url": "user:secret@box"}, {"redis_namespace": ""}, {"redis_namespace": "a{b"}):
        with pytest.raises(rl.SettingsError, match="must be a") as caught:
            rl.Settings.load(**wrong)
        assert "secret" not in str(caught.value)
