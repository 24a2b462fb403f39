"""Look into the built wheel and sdist, and try the wheel where nothing else is installed; see `nox -s package`.

Run by the Python of an empty environment into which the wheel was installed: needs the standard library alone.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import distribution, distributions
from pathlib import Path

import resilient_llm as rl

VOCABULARIES = "resilient_llm/tokens/vocabularies"
IN_BOTH = {
    "resilient_llm/__init__.py",
    "resilient_llm/py.typed",
    f"{VOCABULARIES}/LICENSE-tiktoken",
    f"{VOCABULARIES}/cl100k_base.zlib",
    f"{VOCABULARIES}/o200k_base.zlib",
}
IN_SDIST = {"LICENSE", "README.md", "noxfile.py", "pyproject.toml", "docs/index.md", "tests/test_client.py"}
NOTICES = {"LICENSE", f"{VOCABULARIES}/LICENSE-tiktoken"}
OF_EXTRAS = {
    "matplotlib",
    "openai",
    "opentelemetry-api",
    "redis",
    "rich",
    "tomlkit",
    "torch",
    "transformers",
    "typer",
}


def contents(folder: Path) -> None:
    """What has to be in the archives is, and nothing else is in the wheel."""
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    information = f"resilient_llm-{rl.__version__}.dist-info"
    assert inside >= IN_BOTH, IN_BOTH - inside
    assert inside >= {f"{information}/licenses/{name}" for name in NOTICES}
    assert {name.partition("/")[0] for name in inside} == {"resilient_llm", information}
    assert source >= IN_BOTH | IN_SDIST, (IN_BOTH | IN_SDIST) - source
    assert not [name for name in inside | source if "__pycache__" in name or "/_build/" in name]


def installed() -> None:
    """The wheel is what runs here, with its notices, and it brought the core packages alone."""
    assert "site-packages" in Path(rl.__file__).parts, rl.__file__
    mine = distribution("resilient-llm")
    assert mine.version == rl.__version__
    assert "Permission is hereby granted" in (
        mine.read_text(f"licenses/{VOCABULARIES}/LICENSE-tiktoken") or ""
    )
    names = {found.metadata["Name"].lower() for found in distributions()}
    assert not names & OF_EXTRAS, names & OF_EXTRAS
    print(f"{len(names)} packages:", ", ".join(sorted(names)))


async def works() -> None:
    """A call, a stream, an exact count without a network, and every public name."""
    for name in rl.__all__:
        getattr(rl, name)
    assert rl.TokenTracker(model="gpt-4o").count_tokens("Name three rivers.") == 4
    async with rl.AsyncClient("offline") as llm:
        whole = await llm.generate("Name three rivers.")
        async with llm.stream("Name three rivers.") as response:
            assert (await response.completion()).text == whole


def command() -> None:
    """Without its extra the command says what to install."""
    program = "from resilient_llm.cli import main; main()"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    assert "pip install 'resilient-llm[cli]'" in done.stderr, done.stderr


if __name__ == "__main__":
    contents(Path(sys.argv[1]))
    installed()
    asyncio.run(works())
    command()
