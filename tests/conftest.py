"""What holds for all tests: no verdict depends on how busy the machine is, and the test pyramid is counted."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

LEVELS = {"unit": ("unit", "golden"), "integration": ("integration",), "end to end": ("e2e",)}
"""From the bottom to the top, with the folders under tests/ that count."""
COUNTED = Path(__file__).parents[1] / "reports/pyramid.json"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes test, those of integration and end to end stay in one each, in their order."""
    for item in items:
        level = item.path.relative_to(Path(__file__).parent).parts[0]
        item.add_marker(pytest.mark.xdist_group(level))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Folders that were asked for as a whole are counted anew; for the others the latest count holds."""
    asked = {Path(argument).name for argument in terminalreporter.config.args}
    folders = {folder for level in LEVELS.values() for folder in level if folder in asked or "tests" in asked}
    if not folders:
        return
    passed = Counter(Path(report.nodeid).parts[1] for report in terminalreporter.stats.get("passed", ()))
    counted: dict[str, int] = json.loads(COUNTED.read_text()) if COUNTED.exists() else {}
    counted |= {folder: passed[folder] for folder in folders}
    COUNTED.parent.mkdir(exist_ok=True)
    COUNTED.write_text(json.dumps(counted))
    terminalreporter.write_line(f"\ntest pyramid: {pyramid(counted)}")


def pyramid(counted: dict[str, int]) -> str:
    """Numbers and shares of the levels."""
    numbers = {level: sum(counted.get(folder, 0) for folder in folders) for level, folders in LEVELS.items()}
    total = sum(numbers.values())
    return ", ".join(f"{number} {level} ({number / max(total, 1):.0%})" for level, number in numbers.items())
