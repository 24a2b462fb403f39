"""A pytest plugin: fixtures for tests against failing models. Found by pytest by itself; imports nothing until used.

    @pytest.mark.faults(Status(503), Answer(), reply="Hello")
    def test_my_application_survives(fault_server):
        assert my_application(fault_server.base_url) == "Hello"
        assert len(fault_server.requests) == 2

A fixture of the same name in a project's own `conftest.py` or test module wins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_llm.testing.clock import FakeClock
    from resilient_llm.testing.fault_server import FaultServer
    from resilient_llm.testing.scripted import ScriptedTransport

    MakeTransport: TypeAlias = Callable[..., ScriptedTransport]

MARKER = (
    "faults(*faults, reply=..., model=..., window=..., backend=...): what the fixture fault_server does, a fault for "
    "each request and the last for all that follow, or a schedule; and its options"
)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def fault_server(request: pytest.FixtureRequest) -> Iterator[FaultServer]:
    """A running `FaultServer`, in a thread of its own: for blocking tests and for those of any event loop.

    The marker `faults` says what it does; `fault_server.begin(...)` says it anew. What a fault or a reply of your own
    raised fails the test when it ends.
    """
    from resilient_llm.testing.fault_server import serving  # noqa: PLC0415 - nothing is imported until it is used

    marker = request.node.get_closest_marker("faults")
    faults: tuple[Any, ...] = marker.args if marker else ()
    options: dict[str, Any] = marker.kwargs if marker else {}
    with serving(*faults, **options) as server:
        yield server


@pytest.fixture
def fake_clock() -> FakeClock:
    """A `FakeClock`: time stands still until `advance`; in a virtual event loop it is the loop's."""
    from resilient_llm.testing.clock import FakeClock  # noqa: PLC0415 - as above

    return FakeClock()


@pytest.fixture
def scripted_transport() -> Iterator[MakeTransport]:
    """Makes a `ScriptedTransport` of scripts; the test fails if an answer was begun and neither read nor closed."""
    from resilient_llm.testing.scripted import ScriptedTransport  # noqa: PLC0415 - as above

    made: list[ScriptedTransport] = []

    def make(*scripts: Any, **options: Any) -> ScriptedTransport:
        made.append(ScriptedTransport(*scripts, **options))
        return made[-1]

    yield make
    left = sum(transport.open_bodies for transport in made)
    if left:
        pytest.fail(
            f"{left} answers of scripted transports were begun and neither read to their end nor closed"
        )
