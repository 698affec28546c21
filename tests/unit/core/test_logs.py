"""What a message says of itself."""

import json
import logging

import pytest

from churn_operator.core import logs
from churn_operator.core.objects import Key

log = logging.getLogger("churn_operator.test")
RUN = Key("TrainingRun", "team", "telco-3")
MODEL = Key("ChurnModel", "team", "telco")


@pytest.fixture
def root() -> object:
    """The root logger is put back as it was."""
    before = logging.root.handlers[:], logging.root.level
    yield None
    logging.captureWarnings(capture=False)
    logging.root.handlers[:], logging.root.level = before


@pytest.mark.usefixtures("root")
def test_a_json_message_says_what_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    with logs.about(RUN):
        logs.know({"spec": {"modelRef": {"name": "telco"}}, "status": {"version": "v3"}})
        log.info("accepted")
    with logs.about(MODEL):
        logs.know({"status": {"summary": {"champion": "v2"}}})
        log.info("serves")
    log.info("outside")
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    where = {"namespace": "team", "model": "telco"}
    assert [{k: v for k, v in line.items() if k not in {"time", "level", "logger"}} for line in said] == [
        {"message": "accepted", "kind": "TrainingRun", "name": "telco-3", "run": "telco-3", "version": "v3"} | where,
        {"message": "serves", "kind": "ChurnModel", "name": "telco", "version": "v2"} | where,
        {"message": "outside"},
    ]


@pytest.mark.usefixtures("root")
def test_a_line_for_people_says_it_in_front_and_an_error_comes_with_its_cause(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("text")
    with logs.about(MODEL):
        try:
            int("cause")
        except ValueError:
            log.exception("failed")
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.endswith("ERROR ChurnModel team/telco: failed")
    assert rest[-1].startswith("ValueError: ")
