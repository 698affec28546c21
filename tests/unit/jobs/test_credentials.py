"""Whose credentials a table is read with."""

import pytest

from churn_operator.jobs.data import log_store, source_store
from churn_operator.storage.files import S3Store, s3_client

MODELS = {"AWS_ENDPOINT_URL": "http://models.example", "AWS_ACCESS_KEY_ID": "ours", "AWS_SECRET_ACCESS_KEY": "x"}
SOURCE = {
    "SOURCE_AWS_ENDPOINT_URL": "http://source.example",
    "SOURCE_AWS_ACCESS_KEY_ID": "theirs",
    "SOURCE_AWS_SECRET_ACCESS_KEY": "y",
}


LOG = {
    "LOG_AWS_ENDPOINT_URL": "http://log.example",
    "LOG_AWS_ACCESS_KEY_ID": "the chart's",
    "LOG_AWS_SECRET_ACCESS_KEY": "z",
}


def used(store: S3Store) -> tuple[str, str]:
    """Endpoint and key."""
    client = store._client  # noqa: SLF001 - what it was made of is in no answer of a store
    return client.meta.endpoint_url, client._request_signer._credentials.access_key  # noqa: SLF001 - nor of a client


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param(MODELS, ("http://models.example", "ours"), id="the models' store's, where the source has none"),
        pytest.param(MODELS | SOURCE, ("http://source.example", "theirs"), id="its own, where it has some"),
        pytest.param(MODELS | LOG, ("http://models.example", "ours"), id="not the inference log's"),
    ],
)
def test_a_source_is_read_with(
    environment: dict[str, str], expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    s3_client.cache_clear()
    assert used(source_store()) == expected
    assert used(S3Store()) == ("http://models.example", "ours")
    s3_client.cache_clear()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param(
            MODELS | SOURCE, ("http://models.example", "ours"), id="the models' store's, where both are there"
        ),
        pytest.param(MODELS | SOURCE | LOG, ("http://log.example", "the chart's"), id="its own, where it is elsewhere"),
    ],
)
def test_the_inference_log_is_read_with(
    environment: dict[str, str], expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    s3_client.cache_clear()
    assert used(log_store()) == expected
    s3_client.cache_clear()
