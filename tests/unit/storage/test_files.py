"""Where files are kept, and what an object store's answers mean. The store itself is tried in the integration tests."""

from pathlib import Path

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from churn_operator.api.reasons import Reason
from churn_operator.storage.failure import JobError, Refused, Unavailable
from churn_operator.storage.files import Changed, Gone, LocalStore, S3Store, join, open_store, translated

URI = "s3://bucket/key"


def answer(status: int, code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(answer(404, "NoSuchKey"), Gone, id="no such key"),
        pytest.param(answer(404, "404"), Gone, id="no such key, asked by HEAD"),
        pytest.param(answer(404, "NoSuchVersion"), Gone, id="no such version"),
        pytest.param(answer(404, "NoSuchBucket"), Gone, id="no such bucket"),
        pytest.param(answer(412, "PreconditionFailed"), Changed, id="another ETag"),
        pytest.param(answer(403, "AccessDenied"), Refused, id="denied"),
        pytest.param(answer(403, "403"), Refused, id="denied, asked by HEAD"),
        pytest.param(answer(400, "InvalidArgument"), Refused, id="a bad request"),
        pytest.param(NoCredentialsError(), Refused, id="no credentials"),
        pytest.param(answer(503, "SlowDown"), Unavailable, id="busy"),
        pytest.param(answer(429, "429"), Unavailable, id="busy, in other words"),
        pytest.param(answer(408, "RequestTimeout"), Unavailable, id="tired of waiting"),
        pytest.param(EndpointConnectionError(endpoint_url="http://s3"), Unavailable, id="away"),
    ],
)
def test_what_an_object_store_says_is_the_inputs_or_its_own_fault(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=URI) as translation, translated(URI):
        raise error
    if isinstance(translation.value, JobError):
        assert translation.value.reason is Reason.StorageUnavailable


def test_an_address_tells_the_store() -> None:
    assert isinstance(open_store("s3://bucket/key"), S3Store)
    assert isinstance(open_store("file:///tmp/x"), LocalStore)
    assert isinstance(open_store("/tmp/x"), LocalStore)  # noqa: S108 - an address, nothing is written


def test_addresses_are_joined_by_one_slash() -> None:
    assert join("s3://bucket/a/", "b", "c") == "s3://bucket/a/b/c"


class TestLocal:
    def test_a_file_is_written_and_read_by_path_and_by_address(self, tmp_path: Path) -> None:
        path = tmp_path / "a b" / "c.json"
        LocalStore().write(path.as_uri(), b"{}")
        assert LocalStore().read(str(path)) == b"{}"
        assert LocalStore().exists(path.as_uri())
        assert [p.name for p in path.parent.iterdir()] == ["c.json"]

    def test_a_file_that_is_not_there_is_gone(self, tmp_path: Path) -> None:
        assert not LocalStore().exists(str(tmp_path / "x"))
        with pytest.raises(Gone):
            LocalStore().read(str(tmp_path / "x"))

    def test_a_folder_lists_what_lies_below_it(self, tmp_path: Path) -> None:
        store, folder = LocalStore(), tmp_path.as_uri()
        for name in ("b", "a/c", "a.b"):
            store.write(join(folder, name), name.encode())
        listing = store.list(folder)
        assert sorted((file.uri, file.size) for file in listing.files) == [
            (join(folder, "a.b"), 3),
            (join(folder, "a/c"), 3),
            (join(folder, "b"), 1),
        ]
        assert all(abs((listing.at - file.modified).total_seconds()) < 60 for file in listing.files)

    def test_a_folder_that_is_not_there_lists_nothing(self, tmp_path: Path) -> None:
        assert LocalStore().list(str(tmp_path / "x")).files == ()

    def test_what_is_deleted_is_gone_and_may_be_deleted_again(self, tmp_path: Path) -> None:
        path = str(tmp_path / "x")
        LocalStore().write(path, b"")
        for _ in range(2):
            LocalStore().delete([path])
            assert not LocalStore().exists(path)
