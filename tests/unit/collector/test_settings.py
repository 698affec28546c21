"""What the chart may say, and what is said of a mistake."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from churn_operator.collector.clock import StoreClock
from churn_operator.collector.pauses import LONGEST, Pauses
from churn_operator.collector.settings import Settings

SMALLEST = {"CHURN_COLLECTOR_STORAGE_URI": "s3://churn/models"}


def test_only_the_store_must_be_said_and_an_empty_word_is_none() -> None:
    settings = Settings.from_environment({**SMALLEST, "CHURN_COLLECTOR_HASH_KEY": "", "CHURN_JOBS_IMAGE": "x"})
    assert (settings.retention_days, settings.hash_key) == (90, None)


def test_a_key_is_shown_nowhere() -> None:
    settings = Settings.from_environment({**SMALLEST, "CHURN_COLLECTOR_HASH_KEY": "0123456789abcdef"})
    assert "0123456789abcdef" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [("STORAGE_URI", "http://churn"), ("RETENTION_DAYS", "0"), ("HASH_KEY", "short"), ("FLUSH_SECONDS", "soon")],
)
def test_a_wrong_setting_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValidationError):
        Settings.from_environment({**SMALLEST, f"CHURN_COLLECTOR_{name}": value})


def test_the_program_names_what_is_wrong_and_not_the_secret(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": ":".join(sys.path), "CHURN_COLLECTOR_HASH_KEY": "short", "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "churn_operator.collector"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "CHURN_COLLECTOR_STORAGE_URI: Field required" in done.stderr
    assert "CHURN_COLLECTOR_HASH_KEY: " in done.stderr
    assert "'short'" not in done.stderr


def test_the_stores_clock_counts_when_this_machines_is_off() -> None:
    clock = StoreClock()
    clock.hear(datetime.now(UTC) + timedelta(days=1))
    assert clock.now() - datetime.now(UTC) > timedelta(hours=23)
    clock.hear(datetime.now(UTC) + timedelta(seconds=2))
    assert clock.now() - datetime.now(UTC) < timedelta(seconds=1)


def test_pauses_grow_up_to_a_minute_and_begin_anew() -> None:
    pauses = Pauses()
    found = [pauses.after_failure() for _ in range(10)]
    assert all(0.8 * wanted <= pause <= wanted for pause, wanted in zip(found, (1, 2, 4, 8, 16, 32), strict=False))
    assert 0.8 * LONGEST <= found[-1] <= LONGEST
    pauses.after_success()
    assert pauses.after_failure() <= 1
