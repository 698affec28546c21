"""The line that each run of the tests ends with."""

from types import SimpleNamespace
from typing import Any

import pytest
from hack.demo.stage import REPOSITORY


@pytest.fixture
def conftest(pytestconfig: pytest.Config) -> Any:
    """The one for all tests, as pytest has it: a module of that name is in each folder."""
    return pytestconfig.pluginmanager.get_plugin(str(REPOSITORY / "tests/conftest.py"))


@pytest.mark.parametrize(
    ("counted", "line"),
    [
        pytest.param(
            {"unit": 60, "golden": 10, "integration": 20, "e2e": 10},
            "70 unit (70%), 20 integration (20%), 10 end to end (10%)",
            id="golden files are units",
        ),
        pytest.param({"unit": 3}, "3 unit (100%), 0 integration (0%), 0 end to end (0%)", id="one level alone"),
        pytest.param({}, "0 unit (0%), 0 integration (0%), 0 end to end (0%)", id="nothing passed"),
    ],
)
def test_the_pyramid_counts_the_levels_from_the_bottom_to_the_top(
    conftest: Any, counted: dict[str, int], line: str
) -> None:
    assert conftest.pyramid(counted) == line


def test_a_run_of_some_folders_leaves_the_others_as_they_were_counted_last(
    conftest: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conftest, "COUNTED", tmp_path / "reports/pyramid.json")
    assert told(conftest, ["tests"], "tests/unit/a.py", "tests/unit/b.py", "tests/e2e/c.py") == [
        "\ntest pyramid: 2 unit (67%), 0 integration (0%), 1 end to end (33%)"
    ]
    assert told(conftest, ["tests/unit"], "tests/unit/a.py") == [
        "\ntest pyramid: 1 unit (50%), 0 integration (0%), 1 end to end (50%)"
    ]
    assert told(conftest, ["tests/unit/hack"], "tests/unit/hack/a.py") == []


def told(conftest: Any, asked: list[str], *passed: str) -> list[str]:
    """What a run that was asked for these folders says, when these tests passed."""
    lines: list[str] = []
    reports = [SimpleNamespace(nodeid=f"{path}::test") for path in passed]
    reporter = SimpleNamespace(config=SimpleNamespace(args=asked), stats={"passed": reports}, write_line=lines.append)
    conftest.pytest_terminal_summary(reporter)
    return lines
