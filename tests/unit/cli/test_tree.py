"""What is shown of a model."""

from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console
from rich.tree import Tree
from support.canary import abtest, canary, counters
from support.kinds import EARLIER, NOW, make_version
from support.shadow import left, shadow
from support.shell import (
    BACK,
    DIGEST,
    DRIFTED,
    SERVING,
    SHIFTING,
    SPEC,
    WAITING,
    condition,
    obj,
    run_spec,
)

from churn_operator.churnmodel.rollout import decide_rollout
from churn_operator.cli import moment
from churn_operator.cli.failure import Failure
from churn_operator.cli.summary import Summary, number_of, run_of, summarise
from churn_operator.cli.tree import evidence_tree, line, plain, tree

APPROVED = {"decision": "Approved", "by": "bob", "at": EARLIER, "evidenceDigest": DIGEST, "comment": "fine"}
ORDER = {"action": "Rollback", "version": "v1", "by": "bob", "at": EARLIER, "reason": "complaints"}
FAILED = {
    "phase": "Failed",
    "reason": "DataNotFound",
    "conditions": [condition("Succeeded", "False", "DataNotFound", "There is no file at s3://churn/telco.csv.")],
    "finishedAt": EARLIER,
}


def drawn(root: Tree, width: int = 120) -> str:
    """As text, without colours, and without the blanks that rich leaves at a line's end."""
    console = Console(width=width, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(root)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def seen(status: dict[str, Any], *runs: dict[str, Any], drift: dict[str, Any] | None = None, **spec: Any) -> Summary:
    model = obj("ChurnModel", "telco", SPEC | spec, status)
    monitors = [] if drift is None else [obj("DriftMonitor", "telco", {"modelRef": {"name": "telco"}}, drift)]
    return summarise(model, runs, monitors)


def run(number: int, status: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return obj("TrainingRun", f"telco-{number}", run_spec(**spec), status)


WHOLE = """\
ChurnModel team/telco: RollingOut, Ready True
├── Ready is True, ChampionServing: v1 answers as expected at http://telco.
├── RolloutHealthy is Unknown, Shifting
├── Endpoint http://telco.team.svc/v1/models/telco:predict
├── Approval: telco-3 waits for a person since 2026-11-21T09:00:00Z (3h) until 2026-11-28T09:00:00Z (6d left)
│   ├── evidence sha256:abababababababababababababababababababababababababababababababab
│   ├── not alice, who asked for the run
│   └── kubectl churn approve telco-3 -n team
├── Versions
│   ├── v2: RollingOut since 2026-11-21T09:00:00Z (3h), roc_auc=0.8400, from telco-2: because
│   └── v1: Champion since 2026-11-21T09:00:00Z (3h), roc_auc=0.8400, from telco-1: because
├── Traffic
│   ├── v1: asked 90 %, read back 90 %, counted 91 %
│   └── v2: asked 10 %, read back 10 %, counted 9 %
├── Rollout of v2 (Canary): Shifting, step 1 of 2, 10 % of the traffic, since 2026-11-21T09:00:00Z (3h)
│   ├── Goes no further yet: the analysis has not passed
│   └── Analysis Inconclusive: Scores: too few.
│       ├── ErrorRate Pass: the difference is no failure.
│       │   ├── v2: 3 failed of 1200 requests (0.25 %); v1: 10 failed of 10800 requests (0.09 %)
│       │   └── difference 0.16 %, surely between -0.21 % and 1.04 %; at most 1.00 % is no failure; evidence -0.31 of
│       │       the 2.08 that it takes to fail
│       └── Scores Inconclusive: too few probabilities.
│           ├── v2: 90 probabilities, mean 0.271; held-out rows: 1409 probabilities, mean 0.264
│           └── distance 0.041, surely between 0.000 and 0.183; at most 0.100 is no failure
├── Runs
│   ├── telco-3: AwaitingApproval (metric 0.8500)
│   │   ├── Manual by alice: a new price
│   │   ├── gate quality Passed: roc_auc is 0.85 on 1409 held-out rows; at least 0.8.
│   │   └── http://mlflow/#/experiments/1/runs/r1
│   └── telco-2: Running (search 40 %)
│       └── Drift: 40 % of the features drifted.
└── Drift
    └── DriftMonitor telco: WithinDriftLimits is False, DriftDetected: 40% of the features drifted.
        ├── last check 2026-11-21T09:00:00Z (3h ago), next check 2026-11-21T12:10:00Z
        └── http://mlflow/drift.html"""

QUALITY = {
    "name": "Quality",
    "result": "Pass",
    "reference": {"size": 1500, "events": 300, "estimate": 0.2},
    "challenger": {"size": 300, "events": 60, "estimate": 0.2},
    "estimate": 0.0,
    "lower": -0.1,
    "upper": 0.1,
    "bound": 0.0,
    "message": "no evidence.",
}
LABELS = {"champion": "v1", "since": EARLIER}
KNOWN = {
    "champion": {"version": "v1", "customers": 8000, "labelled": 1500, "wrong": 300},
    "challenger": {"version": "v2", "customers": 900, "labelled": 300, "wrong": 60},
    "revision": "etag:1",
}


def judged(labels: dict[str, Any], *tests: dict[str, Any]) -> str:
    """The rollout's branch."""
    verdict = {"result": "Pass", "message": "so", "tests": tests}
    rollout = SHIFTING["rollout"] | {"labels": LABELS | labels, "verdict": verdict}
    return drawn(tree(seen(SHIFTING | {"rollout": rollout}), NOW), width=160)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        pytest.param(judged({}), "09:00:00Z (3h): not looked for yet", id="labels that nobody looked for"),
        pytest.param(
            judged({"begun": EARLIER, "ended": EARLIER, "result": KNOWN}),
            "v2: 300 of 900 customers have one, 60 of these decisions were wrong",
            id="labels that have come",
        ),
        pytest.param(
            judged({"begun": EARLIER, "ended": EARLIER, "reason": "DataNotFound", "message": "There is no file."}),
            "DataNotFound: There is no file.",
            id="labels that could not be read",
        ),
        pytest.param(
            judged({}, QUALITY),
            "v2: 60 wrong of 300 decisions (20.00 %); v1: 300 wrong of 1500 decisions",
            id="quality",
        ),
        pytest.param(
            judged({}, QUALITY | {"name": "Decisions", "reference": None}),
            "v2: 60 changed of 300 decisions",
            id="a replay",
        ),
    ],
)
def test_what_is_known_of_decisions_is_shown(shown: str, expected: str) -> None:
    assert expected in shown


def test_a_model_in_the_midst_of_everything_is_shown_whole() -> None:
    under_way = {"phase": "Running", "progress": {"percent": 40, "step": "search"}}
    by_drift = run(2, under_way, trigger="Drift", reason="40 % of the features drifted.", requestedBy=None)
    assert drawn(tree(seen(SHIFTING, by_drift, run(3, WAITING), drift=DRIFTED), NOW)) == WHOLE


def beside(counted: dict[str, Any]) -> Summary:
    """A model whose A/B test is as the operator would have it with such counts."""
    rollout = decide_rollout(abtest(counters=counted), NOW)
    assert rollout.progress is not None
    shares = [{"version": version, "percent": percent} for version, percent in rollout.weights.items()]
    status = {"versions": [v.to_dict() for v in rollout.versions], "rollout": rollout.progress.to_dict()}
    spec = SPEC["rollout"] | {"strategy": "ABTest"}  # type: ignore[operator] # JSON
    return seen(SERVING | status | {"traffic": shares}, rollout=spec)


def shown_of(summary: Summary) -> str:
    """The branch of the rollout."""
    branches = (drawn(branch) for branch in tree(summary, NOW).children)
    return next(shown for shown in branches if shown.startswith("Rollout of"))


def test_an_a_b_test_tells_who_is_better_and_by_what() -> None:
    shown = shown_of(beside({"v1": counters(900, 20), "v2": counters(900, 21)}))
    assert (
        shown.partition("└──")[0]
        == """\
Rollout of v2 (ABTest): Shifting, step 1 of 1, 50 % of the traffic, since 2026-11-21T11:58:00Z (2m)
├── Goes no further yet: the A/B test has no winner yet
├── A/B test of ErrorRate Undecided: 21 of 900 requests failed or were given up (2.3%), the champion's 20 of 900 (2.2%):
│   neither is surely better with 900 of 1,000 requests.
│   ├── v2: 21 failed of 900 requests (2.33 %); v1: 20 failed of 900 requests (2.22 %)
│   """
    )
    assert "difference 0.11 %, surely between -3.22 % and 3.46 %; 900 of at most 1000 requests" in shown


def test_the_winner_of_an_a_b_test_is_told_beside_the_champion_before() -> None:
    shown = shown_of(beside({"v1": counters(900, 90), "v2": counters(900, 9)}))
    assert "Rollout of v2 (ABTest): Guarding" in shown
    assert "A/B test of ErrorRate Challenger: 9 of 900" in shown
    assert "v2: 9 failed of 900 requests (1.00 %); the champion before: 90 failed of 900 requests (10.00 %)" in shown


def test_before_anything_was_counted_an_a_b_test_says_so() -> None:
    begun = canary(spec={"strategy": "ABTest"})
    progress = decide_rollout(begun, NOW).progress
    assert progress is not None
    spec = SPEC["rollout"] | {"strategy": "ABTest"}  # type: ignore[operator] # JSON
    shown = shown_of(seen(SHIFTING | {"rollout": progress.to_dict()}, rollout=spec))
    assert shown.splitlines()[1:] == [
        "└── A/B test of ErrorRate Undecided: Nothing was counted yet.",
        "    ├── v2: 0 failed of 0 requests; v1: 0 failed of 0 requests",
        "    └── surely between -100.00 % and 100.00 %; 0 of at most 10000 requests",
    ]


def replayed(**fields: Any) -> str:
    """The rollout whose replay found this."""
    spec = {"min_agreement": 0.9}
    progress = decide_rollout(shadow(left(**fields), spec={"shadow": spec}), NOW).progress
    assert progress is not None
    strategy = SPEC["rollout"] | {"strategy": "Shadow", "shadow": spec}  # type: ignore[operator] # JSON
    return shown_of(seen(SHIFTING | {"rollout": progress.to_dict()}, rollout=strategy))


def test_what_a_replay_found_is_told() -> None:
    shown = replayed(slow=3)
    assert (
        """\
├── Replay: 500 of 9000 logged requests, 0 failed, 3 too slow
│   ├── 98.00 % of the decisions are the champion's (10 of 500 changed)
│   ├── probabilities: rank correlation 0.970, mean difference 0.0200
│   └── latency p50 2.5 ms, p95 4 ms, p99 9 ms
"""
        in shown
    )
    assert "10 changed of 500 decisions (2.00 %)" in shown


@pytest.mark.parametrize(
    ("fields", "expected", "unexpected"),
    [
        pytest.param({"errors": 100, "problem": "503"}, "100 failed (the first: 503)", "sent empty", id="failures"),
        pytest.param({"correlation": None}, "probabilities: mean difference 0.0200", "correlation", id="all the same"),
        pytest.param(
            {"compared": 0, "changed": 0, "hidden": ("email",), "scores": None}
            | dict.fromkeys(("agreement", "correlation", "difference")),
            "sent empty, because the log holds no values of them: email",
            "probabilities: ",
            id="personal data",
        ),
        pytest.param({"errors": 500, "latency": None}, "500 failed", "latency p50", id="no answer"),
    ],
)
def test_what_a_replay_did_not_find_is_left_out(fields: dict[str, Any], expected: str, unexpected: str) -> None:
    shown = replayed(**fields)
    assert expected in shown
    assert unexpected not in shown


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        pytest.param(seen({}), "ChurnModel team/telco: Pending, Ready - (the operator has not looked", id="just made"),
        pytest.param(seen(SERVING, suspend=True), "Ready True (spec.suspend is true)", id="suspended"),
        pytest.param(seen(SERVING), "v1: asked 100 %, read back 100 %", id="all the traffic"),
        pytest.param(seen(SERVING | {"traffic": []}), "v1: asked 100 %, not read back", id="no route yet"),
        pytest.param(seen(BACK), "Because: v2 failed: 5 % of errors.", id="rolled back"),
        pytest.param(
            seen(
                SERVING
                | {"rollout": {"version": "v1", "phase": "Guarding", "began": EARLIER, "since": moment.stamp(NOW)}}
            ),
            "The version before stays warm until 2026-11-21T13:00:00Z (60m left)",
            id="guarded",
        ),
        pytest.param(
            seen(SHIFTING, rollout=SPEC["rollout"] | {"paused": True}),  # type: ignore[operator] # JSON
            "spec.rollout.paused is true",
            id="paused",
        ),
        pytest.param(seen(SERVING | {"command": ORDER}), "complaints\n    └── not carried out yet", id="an order"),
        pytest.param(
            seen(
                SERVING | {"command": ORDER, "handled": {"at": EARLIER, "action": "Rollback", "message": "v1 it is."}}
            ),
            "Last order: Rollback v1 by bob at 2026-11-21T09:00:00Z complaints\n    └── v1 it is.",
            id="an order that was carried out",
        ),
        pytest.param(
            seen(SERVING, run(2, FAILED)),
            "telco-2: Failed (DataNotFound, finished 2026-11-21T09:00:00Z (3h ago))",
            id="a run that failed",
        ),
        pytest.param(seen(SERVING, run(2, FAILED)), "There is no file at s3://churn/telco.csv.", id="why it failed"),
        pytest.param(
            seen(SERVING, run(2, WAITING | {"phase": "Accepted", "version": "v2", "approval": APPROVED})),
            "Approved by bob at 2026-11-21T09:00:00Z (fine)",
            id="a run that was approved",
        ),
        pytest.param(
            seen(SERVING, run(2, WAITING | {"approval": APPROVED})),
            "Approved by bob; the operator has not ended the waiting yet\n│   └── it says: Every gate holds.",
            id="a run that was just approved",
        ),
        pytest.param(
            seen(SERVING | {"retraining": {"trigger": "Drift", "heldBy": "CoolingDown", "message": "Until noon."}}),
            "Retraining (Drift) is wanted and waits, CoolingDown: Until noon.",
            id="a retraining that waits",
        ),
        pytest.param(seen(SERVING, drift={}), "DriftMonitor telco: nothing was compared yet", id="no window yet"),
        pytest.param(seen(SERVING, drift={"problem": "The Job failed."}), "problem: The Job failed.", id="no result"),
    ],
)
def test_a_model_is_shown_as_it_is(summary: Summary, expected: str) -> None:
    assert expected in drawn(tree(summary, NOW))


def test_the_last_runs_are_shown_and_all_that_wait() -> None:
    runs = [run(2, WAITING), *(run(number, {"phase": "Rejected"}) for number in (11, 10, 9, 3))]
    found = seen(SERVING, *runs)
    assert [one.name for one in found.runs] == ["telco-11", "telco-10", "telco-9"]
    assert [one.name for one in found.approvals] == ["telco-2"]


def test_a_terminal_gets_colours_and_a_file_none() -> None:
    shown = tree(seen(SERVING), NOW)
    terminal = Console(force_terminal=True, color_system="standard", highlight=False)
    with terminal.capture() as captured:
        terminal.print(shown)
    assert "\x1b[32mTrue,\x1b[0m" in captured.get()
    assert "\x1b" not in drawn(shown)


def test_what_a_person_is_to_look_at_is_in_the_evidence() -> None:
    shown = drawn(evidence_tree(run_of(run(3, WAITING)), NOW), width=200)
    assert shown.startswith("TrainingRun telco-3 AwaitingApproval since 2026-11-21T09:00:00Z (3h) until 2026-11-28")
    for expected in (
        "LogisticRegression was trained on 5634 rows.",
        "gate quality Passed: roc_auc is 0.85",
        "roc_auc: 0.85 against the champion's 0.84 on 1409 held-out rows; the improvement is at least 0.004 with 95%",
        f"evidence {DIGEST}",
    ):
        assert expected in shown


def test_the_document_holds_the_same_in_camel_case_and_nothing_of_the_task() -> None:
    document = seen(SHIFTING, run(3, WAITING), drift=DRIFTED).to_dict()
    assert document["traffic"][1] == {"version": "v2", "asked": 10, "readBack": 10, "counted": 9}
    assert document["rollout"]["verdict"]["tests"][0]["needed"] == 2.08
    assert document["runs"][0]["awaitingUntil"] == "2026-11-28T09:00:00Z"
    assert "resolved" not in document["runs"][0]


def test_a_status_of_a_newer_release_is_told_from_a_broken_program() -> None:
    unknown = SERVING | {"versions": [make_version(1).to_dict() | {"state": "Sleeping"}]}
    with pytest.raises(
        Failure, match=r"ChurnModel telco has a status\.versions\.0\.state that this kubectl-churn does"
    ):
        seen(unknown)


def test_fields_that_a_newer_release_adds_do_no_harm() -> None:
    assert seen(SERVING | {"mood": "good"}).champion == "v1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a [red]price[/red]", "a [red]price[/red]", id="markup"),
        pytest.param("a\n  new\tprice", "a new price", id="lines"),
        pytest.param("\x1b]0;title\x07 price \x1b[2J", "]0;title price [2J", id="what a terminal obeys"),
        pytest.param("Preis für 20 €", "Preis für 20 €", id="letters"),
    ],
)
def test_what_others_wrote_is_text_and_nothing_else(text: str, expected: str) -> None:
    assert plain(text) == expected
    assert line(text).plain == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("telco-12", 12, id="a run"),
        pytest.param("telco", 0, id="no number"),
        pytest.param("telco-b-3", 0, id="another model's"),
        pytest.param("telco-٣", 0, id="another script"),
    ],
)
def test_the_number_is_the_end_of_the_name(name: str, expected: int) -> None:
    assert number_of(name, "telco") == expected


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        pytest.param(timedelta(seconds=-3), "0s", id="a clock that is behind"),
        pytest.param(timedelta(seconds=119), "119s", id="seconds"),
        pytest.param(timedelta(minutes=2), "2m", id="minutes"),
        pytest.param(timedelta(hours=47), "47h", id="hours"),
        pytest.param(timedelta(days=9), "9d", id="days"),
    ],
)
def test_a_length_of_time_has_one_unit(length: timedelta, expected: str) -> None:
    assert moment.span(length) == expected


def test_a_time_that_is_over_is_called_so() -> None:
    assert moment.until(EARLIER, NOW) == "until 2026-11-21T09:00:00Z (over)"
