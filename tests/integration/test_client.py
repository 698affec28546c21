"""The client against a real API server."""

from churn_operator.core.client import ApiClient


async def test_an_object_that_is_not_there_is_none(api: ApiClient, namespace: str) -> None:
    assert await api.get("churnops.dev/v1alpha1", "ChurnModel", namespace, "absent") is None
