"""What decides which model comes out has one digest, in each release the same."""

from support.kinds import make_spec

from churn_operator.api.digest import spec_digest


def test_a_field_that_came_later_changes_the_digest_of_those_who_use_it_and_of_nobody_else() -> None:
    """Another digest is another specification, and would be trained anew by every upgrade."""
    without = spec_digest(make_spec())
    assert without == "sha256:75d46caae3c240042b2361be17da0eba5c0de8056d9351f5e88bbb8b1ca707f8"
    pii = {"source": {"uri": "s3://churn/telco.csv"}, "target": "churn", "pii": [{"column": "email"}]}
    assert spec_digest(make_spec(data=pii)) != without
