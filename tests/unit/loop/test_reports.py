"""Whatever happens: what the operator writes passes each check of a report, and no report denies the one before."""

import json

from hypothesis.stateful import initialize, invariant
from unit.loop.test_approval import PeopleAndCanaries
from unit.loop.test_histories import MANY

from churn_operator.cli import chain
from churn_operator.cli.checks import Outcome
from churn_operator.cli.report import chain_of, report

MADE = "2026-11-20T00:00:00Z"


class Reports(PeopleAndCanaries):
    """A report after each step, which goes on from the one before as a file would have it."""

    @initialize()
    def nothing_was_reported_yet(self) -> None:
        self.reported: bytes | None = None

    def somebody_meddles_with_what_was_measured(self) -> None:
        """Not here: reports find it."""

    @invariant()
    def what_the_operator_wrote_bears_itself_out(self) -> None:
        model, runs = self._model(), self._runs()
        for run in runs:
            run["metadata"]["creationTimestamp"] = MADE
        earlier = None if self.reported is None else chain.read(self.reported, "report.json", chain_of(model))
        found = report(model, runs, earlier, self.now)
        assert not [check.message for check in found.checks if check.outcome is Outcome.Failed]
        assert earlier is None or found.entries[: len(earlier.entries)] == earlier.entries
        self.reported = json.dumps(found.to_dict()).encode()


TestReports = Reports.TestCase
TestReports.settings = MANY
