"""docs/reasons.md."""

import re
from pathlib import Path

from churn_operator.api.reasons import Reason

ROOT = Path(__file__).parents[3]


def test_every_reason_is_told_in_the_docs_and_no_other() -> None:
    told = re.findall(r"^\| `(\w+)` \| .+\. \|$", (ROOT / "docs/reasons.md").read_text(), flags=re.MULTILINE)
    assert told == [reason.value for reason in Reason], "run hack/reasons"


def test_every_reason_is_its_own_name() -> None:
    """A word in the code is found in a condition by searching for it."""
    assert [reason.name for reason in Reason] == [reason.value for reason in Reason]
