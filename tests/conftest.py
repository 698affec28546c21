"""What holds for all tests: no verdict depends on how busy the machine is, and the test pyramid is counted."""

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

# A shell's job in the background ignores ctrl-c, and so would everything that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

LEVELS = {"unit": ("unit", "golden"), "integration": ("integration",), "end to end": ("e2e",)}
"""From the bottom to the top, with the folders under tests/ that count."""
COUNTED = Path(__file__).parents[1] / "reports/pyramid.json"


ROLLOUTS = {"test_approval.py", "test_canary.py", "test_fallback.py", "test_shadow.py"}
"""Modules of e2e that break nothing which others use; the Gateway is test_canary's."""
LANES = ("unit", "golden", "e2e", "integration", "rollouts")
"""In which order they begin: what takes longest goes first, and rollouts when others have broken what they break."""
SHARED = {"integration", "rollouts"}
"""Lanes whose modules can go beside each other."""


def lane(path: Path) -> str:
    """What a module goes with: one lane stays in one process, but for the SHARED ones."""
    level = path.relative_to(Path(__file__).parent).parts[0]
    return "rollouts" if level == "e2e" and path.name in ROLLOUTS else level


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LANES.index(lane(item.path)))


class ByLane(LoadScopeScheduling):  # type: ignore[misc] # it ships no types
    """Where several processes test, each lane stays in one, in its order."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        found = lane(Path(__file__).parents[1] / file)
        return file if found in SHARED else found


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByLane | None:
    return ByLane(config, log) if config.getvalue("dist") == "loadscope" else None


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
