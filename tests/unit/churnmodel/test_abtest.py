"""Two versions share the traffic until one is surely better, or the sample is spent."""

from itertools import pairwise
from math import log10
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.canary import BLIND, NOBODY, SILENT, abtest, ago, canary, counters, rolling
from support.kinds import NOW, make_server, make_version

from churn_operator.api.analysis import AnalysisSpec
from churn_operator.api.approval import Command
from churn_operator.api.churnmodel import VersionState
from churn_operator.api.rollout import ABTestSpec, Comparison, RolloutStatus, Winner
from churn_operator.churnmodel.analysis import Terms, compare
from churn_operator.churnmodel.counts import Counts
from churn_operator.churnmodel.decide import decide
from churn_operator.churnmodel.moves import GiveUp, Move, Promote, Shift, Stay
from churn_operator.churnmodel.observe import ChurnModelWorld
from churn_operator.churnmodel.report import report, story
from churn_operator.churnmodel.rollout import decide_rollout

BETTER = {"v1": counters(900, 90), "v2": counters(900, 9)}
WORSE = {"v1": counters(900, 9), "v2": counters(900, 39)}
ALIKE = {"v1": counters(900, 20), "v2": counters(900, 21)}
SPENT = {"v1": counters(1000, 20), "v2": counters(1000, 21)}
SLOW = {"v1": counters(900, 90), "v2": counters(900, 9, slow=200)}
FASTER = {"v1": counters(900, 9, slow=200), "v2": counters(900, 9, slow=20)}
EARLY = {"v1": counters(99, 60), "v2": counters(99, 0)}
NEW = {"v1": counters(0), "v2": counters(900, 20)}
BY_LATENCY = {"metric": "Latency", "sample": 1000}


def move(world: ChurnModelWorld) -> Move:
    return decide_rollout(world, NOW).move


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(canary(spec={"strategy": "ABTest"}), Shift, id="one that answers gets its share"),
        pytest.param(canary(spec={"strategy": "ABTest"}, counters=BLIND), Stay, id="but not without metrics"),
        pytest.param(canary(spec={"strategy": "ABTest"}, route=None), Stay, id="nor without a route"),
        pytest.param(
            canary(spec={"strategy": "ABTest"}, versions=[make_version(2, VersionState.RollingOut)]),
            Promote,
            id="the first has nobody to compare with",
        ),
        pytest.param(abtest(), Stay, id="nothing was counted"),
        pytest.param(abtest(counters=ALIKE), Stay, id="neither is better yet"),
        pytest.param(abtest(counters=BETTER), Promote, id="the challenger is better"),
        pytest.param(abtest(counters=BETTER, since=ago(seconds=1)), Promote, id="at once"),
        pytest.param(abtest(counters=EARLY), Stay, id="but not before there is enough to judge the other metrics"),
        pytest.param(abtest(counters=BETTER, spec={"paused": True}), Stay, id="nor while paused"),
        pytest.param(abtest(counters=BETTER, suspend=True), Stay, id="nor while suspended"),
        pytest.param(abtest(counters=BETTER, gateway_problem="gone"), Stay, id="nor while the Gateway is gone"),
        pytest.param(abtest(counters=BLIND), Stay, id="nor where metrics cannot be read"),
        pytest.param(abtest(counters=SLOW), GiveUp, id="nor where it is better in this and worse in that"),
        pytest.param(abtest(counters=BETTER, servers=SILENT), GiveUp, id="nor where it falls silent"),
        pytest.param(abtest(counters=BETTER, servers=(make_server(1),)), GiveUp, id="or its server is gone"),
        pytest.param(abtest(servers=NOBODY), Stay, id="where nobody answers nothing is concluded"),
        pytest.param(abtest(counters=WORSE), GiveUp, id="the champion is better"),
        pytest.param(abtest(counters=WORSE, spec={"paused": True}), GiveUp, id="paused or not"),
        pytest.param(abtest(counters=WORSE, suspend=True), GiveUp, id="suspended or not"),
        pytest.param(abtest(counters=SPENT), GiveUp, id="the sample is spent"),
        pytest.param(abtest(counters=SPENT, spec={"paused": True}), Stay, id="which has time while paused"),
        pytest.param(abtest(counters=NEW), Stay, id="nobody asked the champion"),
        pytest.param(abtest(counters=FASTER), Stay, id="faster, where errors were declared"),
        pytest.param(
            abtest(counters=FASTER, declared=BY_LATENCY, spec={"ab_test": BY_LATENCY}), Promote, id="and latency"
        ),
        pytest.param(
            abtest(counters=BETTER, declared={"metric": "Latency"}), Shift, id="another metric is another test"
        ),
        pytest.param(abtest(counters=BETTER, declared={"weight": 20}), Shift, id="so is another share"),
        pytest.param(canary(1, counters=ALIKE, spec={"strategy": "ABTest"}), Shift, id="and what was a canary"),
        pytest.param(abtest(counters=WORSE, spec={"strategy": "Canary"}), Shift, id="of a canary less is asked"),
    ],
)
def test_each_state_of_an_a_b_test_has_one_move(world: ChurnModelWorld, expected: type) -> None:
    assert isinstance(move(world), expected)


def progress(world: ChurnModelWorld) -> RolloutStatus:
    found = decide_rollout(world, NOW).progress
    assert found is not None
    return found


def comparison(world: ChurnModelWorld) -> Comparison:
    found = progress(world).comparison
    assert found is not None
    return found


@pytest.mark.parametrize(
    "world",
    [
        pytest.param(canary(spec={"strategy": "ABTest", "ab_test": {"weight": 30}}), id="new"),
        pytest.param(abtest(counters=BETTER, spec={"ab_test": {"weight": 30}}), id="declared otherwise"),
    ],
)
def test_a_test_begins_with_what_is_declared_and_nothing_counted(world: ChurnModelWorld) -> None:
    rollout = decide_rollout(world, NOW)
    assert rollout.weights == {"v1": 70, "v2": 30}
    begun = progress(world)
    assert begun.comparison == Comparison(declared=ABTestSpec(weight=30), message="Nothing was counted yet.")
    assert {baseline.version: baseline.pods for baseline in begun.baselines} == dict(world.counters)


@pytest.mark.parametrize(
    ("world", "winner", "reason", "words"),
    [
        pytest.param(
            abtest(counters=BETTER),
            "Challenger",
            "Promoted",
            "v2 is champion: v2 won the A/B test: 9 of 900 requests failed or were given up (1.0%), the champion's 90 "
            "of 900 (10.0%): better by at least 4.",
            id="won",
        ),
        pytest.param(
            abtest(counters=WORSE),
            "Champion",
            "ABTestLost",
            "v2 gets no traffic any more: v2 lost the A/B test: 39 of 900 requests failed or were given up (4.3%), the "
            "champion's 9 of 900 (1.0%): worse by at least 0.",
            id="lost",
        ),
        pytest.param(
            abtest(counters=SPENT),
            "Undecided",
            "ABTestUndecided",
            "v2 gets no traffic any more: v2 was not shown to be better, and the sample is spent: 21 of 1,000 requests "
            "failed or were given up (2.1%), the champion's 20 of 1,000 (2.0%): neither is surely better with 1,000 of "
            "1,000 requests.",
            id="undecided",
        ),
        pytest.param(
            abtest(counters=SLOW, spec={"ab_test": BY_LATENCY}, declared=BY_LATENCY),
            "Champion",
            "ABTestLost",
            "answers were slower",
            id="the metric that was declared speaks first",
        ),
        pytest.param(
            abtest(counters=SLOW), "Challenger", "AnalysisFailed", "answers were slower", id="then the others"
        ),
    ],
)
def test_what_ended_the_test_is_told_by_status_and_event(
    world: ChurnModelWorld, winner: str, reason: str, words: str
) -> None:
    assert comparison(world).winner == winner
    (told,) = story(decide(world, NOW))
    assert told.reason == reason
    assert words in told.message


@pytest.mark.parametrize(
    "world",
    [pytest.param(abtest(counters=ended), id=name) for name, ended in (("won", BETTER), ("lost", WORSE))],
)
def test_the_result_stays_when_the_test_is_over(world: ChurnModelWorld) -> None:
    ended = decide_rollout(world, NOW)
    assert ended.progress is not None
    told = world.status.model_copy(update={"versions": ended.versions, "rollout": ended.progress})
    later = ChurnModelWorld(**(vars(world) | {"status": told}))
    assert comparison(later) == comparison(world)


def test_a_test_whose_metrics_cannot_be_read_says_what_it_last_saw() -> None:
    seen = comparison(abtest(counters=ALIKE))
    world = abtest(counters=BLIND)
    assert world.status.rollout is not None
    status = world.status.model_copy(update={"rollout": world.status.rollout.model_copy(update={"comparison": seen})})
    blind = ChurnModelWorld(**(vars(world) | {"status": status}))
    assert comparison(blind) == seen
    healthy = report(blind, decide(blind, NOW), None, NOW).condition("RolloutHealthy")
    assert healthy is not None
    assert healthy.reason == "AnalysisUnavailable"


@pytest.mark.parametrize(
    ("more", "is_told"),
    [
        pytest.param({"v1": counters(910, 20), "v2": counters(910, 21)}, False, id="a few more requests"),
        pytest.param({"v1": counters(1200, 25), "v2": counters(990, 23)}, False, id="or of the champion"),
        pytest.param({"v1": counters(2000, 50), "v2": counters(2000, 51)}, True, id="many more"),
    ],
)
def test_a_comparison_is_written_again_when_it_is_news(more: Any, is_told: bool) -> None:  # noqa: FBT001 - a row's last
    large = {"metric": "ErrorRate", "sample": 5000}
    first = progress(abtest(counters=ALIKE, declared=large, spec={"ab_test": large}))
    later = progress(rolling(first.model_dump(), counters=more, spec={"strategy": "ABTest", "ab_test": large}))
    assert (later != first) is is_told
    assert (later.comparison != first.comparison) is is_told


def test_a_winner_is_news_before_it_may_win() -> None:
    first = progress(abtest(counters={"v1": counters(98, 10), "v2": counters(98)}))
    assert first.comparison is not None
    spec = {"strategy": "ABTest", "ab_test": {"sample": 1000}}
    later = comparison(rolling(first.model_dump(), counters=EARLY, spec=spec))
    assert (first.comparison.winner, later.winner) == ("Undecided", "Challenger")


def test_the_condition_says_how_the_test_stands() -> None:
    world = abtest(counters=ALIKE)
    healthy = report(world, decide(world, NOW), None, NOW).condition("RolloutHealthy")
    assert healthy is not None
    assert (healthy.status, healthy.reason) == ("Unknown", "Shifting")
    assert healthy.message == (
        "Step 1 of 1: v2 is to have 50 % of the traffic since 2026-11-21T11:58:00Z. A/B test of ErrorRate Undecided: "
        "21 of 900 requests failed or were given up (2.3%), the champion's 20 of 900 (2.2%): neither is surely better "
        "with 900 of 1,000 requests. Pass: Nothing speaks against the version after 900 requests (100 needed). Its "
        "scores were not judged: there is nothing to compare them with. It goes no further yet: the A/B test has no "
        "winner yet."
    )


@pytest.mark.parametrize(
    ("action", "expected"), [pytest.param("Promote", Promote, id="promote"), pytest.param("Abort", GiveUp, id="abort")]
)
def test_a_person_may_end_it(action: Any, expected: type) -> None:
    world = abtest(counters=ALIKE)
    order = Command(action=action, by="alice", at=ago(seconds=1))
    ordered = ChurnModelWorld(**(vars(world) | {"status": world.status.model_copy(update={"command": order})}))
    assert isinstance(move(ordered), expected)


TERMS = Terms(AnalysisSpec(), stages=3)
TEST = ABTestSpec()
arms = st.builds(
    lambda requests, errors, slow: Counts(requests, min(errors, requests), slow),
    st.integers(0, 20_000),
    st.integers(0, 20_000),
    st.integers(0, 20_000),
)


@given(arms, arms, st.sampled_from(["ErrorRate", "Latency"]))
def test_a_winner_is_one_from_both_sides_and_within_bounds(one: Counts, other: Counts, metric: Any) -> None:
    declared = ABTestSpec(metric=metric)
    there, back = compare(declared, one, other, TERMS), compare(declared, other, one, TERMS)
    mirrored = {Winner.Champion: Winner.Challenger, Winner.Challenger: Winner.Champion}
    assert back.winner is mirrored.get(there.winner, Winner.Undecided)
    assert (there.winner is Winner.Champion) is (there.lower > 0)
    assert (there.winner is Winner.Challenger) is (there.upper < 0)
    assert Comparison.model_validate_json(there.model_dump_json()) == there


def test_nobody_wins_against_one_that_nobody_asked() -> None:
    assert compare(TEST, Counts(), Counts(10_000, 10_000), TERMS).winner is Winner.Undecided
    assert compare(TEST, Counts(10_000, 10_000), Counts(), TERMS).estimate is None


def test_split_comparison_and_guard_have_a_third_of_the_false_alarms_each() -> None:
    """And by as much evidence the analysis names a metric that is worse."""
    test = progress(abtest(counters=ALIKE)).verdict
    assert test is not None
    assert test.tests[0].needed == pytest.approx(log10(3 * 3 / 0.05), abs=0.01)
    assert pytest.approx(0.05 / 3) == TERMS.stage_alpha


def looks(rng: np.random.Generator, champion: float, challenger: float) -> list[Comparison]:
    """After each 250 requests of either version, up to the sample of 5,000."""
    both = [np.cumsum(rng.binomial(250, rate, 20)) for rate in (champion, challenger)]
    sizes = range(250, 5001, 250)
    return [
        compare(TEST, Counts(size, int(theirs)), Counts(size, int(own)), TERMS)
        for size, theirs, own in zip(sizes, *both, strict=True)
    ]


def test_two_versions_that_are_alike_rarely_have_a_winner_however_often_one_looks() -> None:
    rng = np.random.default_rng(7)
    named = sum(any(c.winner is not Winner.Undecided for c in looks(rng, 0.02, 0.02)) for _ in range(200))
    assert named <= 4


@pytest.mark.parametrize(("rates", "winner"), [((0.03, 0.01), "Challenger"), ((0.01, 0.03), "Champion")])
def test_a_difference_that_is_there_is_found(rates: tuple[float, float], winner: str) -> None:
    rng = np.random.default_rng(7)
    found = sum(any(c.winner == winner for c in looks(rng, *rates)) for _ in range(50))
    assert found >= 48


def test_an_interval_narrows_as_more_is_counted() -> None:
    seen = [compare(TEST, Counts(n, n // 50), Counts(n, n // 50), TERMS) for n in (0, 100, 1000, 10_000)]
    assert all(later.upper - later.lower < one.upper - one.lower for one, later in pairwise(seen))


def test_the_share_of_wrong_decisions_may_decide_whose_sample_are_labels() -> None:
    champion, challenger = Counts(5000, labelled=800, wrong=240), Counts(5000, labelled=700, wrong=70)
    found = compare(ABTestSpec(metric="Quality", sample=1000), champion, challenger, Terms(AnalysisSpec(), stages=3))
    assert (found.winner, found.seen, found.reference.size) == (Winner.Challenger, 700, 800)
