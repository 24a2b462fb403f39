"""Results are written in one way, and one page shows whatever there is."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import agreement
import pictures
import pytest
import report
import results

TABLE = results.Table(
    title="A table", head=["client", "told"], rows=[["a <b>", "pass 1r"], ["c | d", "FAIL"]], note="A note."
)


def write(home: Path, session: str = "verdict") -> Path:
    """Results of a small session."""
    data = {"clients": ["one"], "rows": {"x": {"one": {"passed": True}}, "y": {"one": {"passed": False}}}}
    return results.save(
        session,
        told={"one": "1.0"},
        tables=[TABLE],
        data=data,
        missing={"two": "No module named 'two'"},
        home=home,
    )


def test_no_benchmark_hides_a_package_of_the_tests() -> None:
    """Their folder is on the path, too: equal names would be the first one's that is found."""
    tests = Path(__file__).parents[1]
    benchmarks = {path.stem for path in Path(report.__file__).parent.glob("*.py")}
    assert not benchmarks & {path.stem for path in tests.iterdir()}


def test_equal_findings_make_equal_files(tmp_path: Path) -> None:
    """No date and no duration is in them."""
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    files = sorted(path.name for path in first.iterdir())
    assert {"result.json", "tables.md"} <= set(files)
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert "| c \\| d | FAIL |" in (first / "tables.md").read_text()
    assert json.loads((first / "result.json").read_text())["missing"] == {"two": "No module named 'two'"}


def test_the_page_has_what_there_is_and_names_what_is_not(tmp_path: Path) -> None:
    """Tables, what was left out, and the commands of sessions that were not run; nothing from elsewhere."""
    write(tmp_path)
    page = report.page(tmp_path)
    assert "a &lt;b&gt;" in page
    assert "<td class=bad>FAIL</td>" in page
    assert "No module named &#x27;two&#x27;" in page
    assert "<code>nox -s storms</code>" in page
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page)
    assert not re.search(r"@import|url\(['\"]?http", page)

    class Checked(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in {"script", "link", "img"}

    Checked().feed(page)


def test_a_table_of_many_columns_shows_them_all() -> None:
    """On a screen its cells break, also within long words; the widest tables are printed across the paper."""

    def drawn(columns: int) -> str:
        return report.table(
            {"title": "T", "note": "", "head": ["h"] * columns, "rows": [["resilient_llm"] * columns]}
        )

    assert [name in drawn(5) for name in ("class=many", "class=broad")] == [False, False]
    assert [name in drawn(10) for name in ("class=many", "class=broad")] == [True, False]
    assert [name in drawn(16) for name in ("class=many", "class=broad")] == [True, True]
    assert "<td>resilient_<wbr>llm</td>" in drawn(16)


def test_an_empty_page_is_a_page(tmp_path: Path) -> None:
    """Without any results it says what to run."""
    assert "nox -s fleet" in report.page(tmp_path)


def test_pictures_take_the_page_s_colours_and_keep_their_ids_apart() -> None:
    """The same picture twice on a page refers to its own parts, in light and in dark."""
    svg = (
        '<?xml version="1.0"?><svg width="4pt" height="3pt" viewBox="0 0 4 3"><metadata>x</metadata>'
        f'<g id="a" style="fill: {pictures.INK}" clip-path="url(#p)"/><use href="#a"/></svg>'
    )
    drawn = report.inlined(svg, "s-0", 'say "this"')
    assert drawn.startswith("<svg")
    assert "var(--ink)" in drawn
    assert pictures.INK not in drawn
    assert all(part in drawn for part in ('id="s-0-a"', "url(#s-0-p)", 'href="#s-0-a"', "&quot;this&quot;"))
    assert "width=" not in drawn


def test_pictures_are_drawn_where_matplotlib_is(tmp_path: Path) -> None:
    """They are files beside the results, and on the page."""
    pytest.importorskip("matplotlib", reason="the extra `bench` draws pictures")
    folder = write(tmp_path)
    assert [path.name for path in folder.glob("*.svg")] == ["0-passed.svg"]
    assert "<figure><svg" in report.page(tmp_path)


def test_without_matplotlib_the_results_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything else is written."""
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    folder = write(tmp_path)
    assert not list(folder.glob("*.svg"))
    assert "matplotlib is not installed" in capsys.readouterr().out


def test_two_runs_are_held_against_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows that differ are named, with what they said; what measures the machine does not count."""

    def run(name: str, *, passed: bool, seconds: float) -> Path:
        row = {"one": {"passed": passed, "outcome": "answer", "seconds": seconds}}
        data = {"clients": ["one"], "rows": {"x": row, "y": {"one": {"passed": True, "outcome": "error"}}}}
        results.save("faults", told={}, tables=[TABLE], data=data, home=tmp_path / name)
        return tmp_path / name

    first, second = run("a", passed=True, seconds=1.0), run("b", passed=True, seconds=2.0)
    third = run("c", passed=False, seconds=1.0)
    assert report.main(["--results", str(second), "--against", str(first)]) == 0
    assert "faults: 0 rows differ" in capsys.readouterr().out
    assert report.main(["--results", str(third), "--against", str(first)]) == 1
    assert "faults: 1 rows differ\n  x, one: passed was True, is False" in capsys.readouterr().out


def test_a_row_that_only_one_run_has_differs() -> None:
    """And so does any figure of a simulation; one that is too long to be told is named."""
    one = {
        "data": {"bin": 3, "runs": {"outage": {"0.7": {"ours": {"success": 0.5, "sent": list(range(50))}}}}}
    }
    other = {
        "data": {
            "bin": 3,
            "runs": {"outage": {"0.7": {"ours": {"success": 0.6, "sent": [1]}, "bare": {"p50": 1}}}},
        }
    }
    assert agreement.differing("storms", one, one) == []
    assert agreement.differing("storms", one, other) == [
        "outage, 0.7, ours: success was 0.6, is 0.5, sent",
        "outage, 0.7, bare: p50 was 1, is None",
    ]
