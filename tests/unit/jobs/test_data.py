"""Tables come from files and http servers, in the state that was asked for or not at all."""

import hashlib
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
from unit.jobs.making import customers

from churn_operator.api.data import Claim, DataSource
from churn_operator.api.reasons import Reason
from churn_operator.jobs.data import Content, address, read, resolve, table
from churn_operator.storage.bundle import sha256
from churn_operator.storage.failure import JobError, Refused, Unavailable

OLD, NEW = b"a,b\n1,x\n", b"a,b\n2,y\n"


class Site:
    """What a web server has."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.etags = True
        self.status = 200
        self.head_status = 200
        self.url = ""

    def etag(self, page: bytes) -> str:
        return hashlib.md5(page, usedforsecurity=False).hexdigest()[:8]


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(site.head_status)

        def do_GET(self) -> None:
            self.wfile.write(self.answer(site.status))

        def answer(self, status: int) -> bytes:
            page = site.pages.get(self.path)
            self.send_response(404 if page is None else status)
            if page is not None and site.etags:
                self.send_header("ETag", f'W/"{site.etag(page)}"')
            self.end_headers()
            return page or b""

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        site.url = f"http://127.0.0.1:{server.server_port}/t.csv"
        yield site
        server.shutdown()


def source(uri: object) -> DataSource:
    return DataSource(uri=str(uri))


class TestFile:
    def test_its_revision_is_its_digest(self, tmp_path: Path) -> None:
        path = tmp_path / "t.csv"
        path.write_bytes(OLD)
        assert resolve(source(path)) == sha256(OLD) == resolve(source(path.as_uri()))

    def test_a_claim_is_read_where_it_is_mounted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CHURNOPS_CLAIM_PATH", str(tmp_path))
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "t.csv").write_bytes(OLD)
        claim = DataSource(claim=Claim(name="data", path="in/t.csv"))
        assert read(claim).data == OLD

    def test_a_claim_is_mounted_at_the_path_of_the_api(self) -> None:
        assert address(DataSource(claim=Claim(name="data", path="t.csv"))) == "/data/t.csv"

    def test_a_source_that_names_nothing_is_refused(self) -> None:
        with pytest.raises(Refused, match="neither uri nor claim"):
            address(DataSource())

    def test_a_missing_file_is_not_found(self, tmp_path: Path) -> None:
        with pytest.raises(Refused, match="there is no file at") as refused:
            resolve(source(tmp_path / "t.csv"))
        assert refused.value.reason is Reason.DataNotFound

    def test_a_folder_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(Refused, match="cannot be read") as refused:
            read(source(tmp_path))
        assert refused.value.reason is Reason.DataUnreachable


class TestPin:
    def test_a_changed_file_is_not_the_pinned_one(self, tmp_path: Path) -> None:
        path = tmp_path / "t.csv"
        path.write_bytes(NEW)
        with pytest.raises(Refused, match="not in the pinned state any more") as refused:
            read(source(path), sha256(OLD))
        assert refused.value.reason is Reason.DataChanged

    def test_the_pinned_state_comes_from_its_snapshot(self, tmp_path: Path) -> None:
        path, storage = tmp_path / "t.csv", str(tmp_path / "storage")
        path.write_bytes(OLD)
        first = read(source(path), storage_uri=storage)
        path.write_bytes(NEW)
        again = read(source(path), first.revision, storage)
        assert again == first
        assert again.data == OLD
        assert again.snapshot is not None
        assert again.snapshot.startswith(f"{storage}/snapshots/")
        assert again.snapshot.endswith(".csv")

    def test_a_snapshot_outlives_the_file(self, tmp_path: Path) -> None:
        path, storage = tmp_path / "t.csv", str(tmp_path / "storage")
        path.write_bytes(OLD)
        first = read(source(path), storage_uri=storage)
        path.unlink()
        assert read(source(path), first.revision, storage).data == OLD

    def test_another_files_snapshot_is_not_taken(self, tmp_path: Path) -> None:
        storage = str(tmp_path / "storage")
        (tmp_path / "a.csv").write_bytes(OLD)
        (tmp_path / "b.csv").write_bytes(NEW)
        read(source(tmp_path / "a.csv"), storage_uri=storage)
        with pytest.raises(Refused, match="no snapshot"):
            read(source(tmp_path / "b.csv"), sha256(OLD), storage)

    def test_a_snapshot_is_written_once(self, tmp_path: Path) -> None:
        path, storage = tmp_path / "t.csv", tmp_path / "storage"
        path.write_bytes(OLD)
        copy = read(source(path), storage_uri=str(storage)).snapshot
        assert copy is not None
        written = Path(copy).stat().st_mtime_ns
        read(source(path), storage_uri=str(storage))
        assert Path(copy).stat().st_mtime_ns == written

    def test_a_window_is_not_copied(self, tmp_path: Path) -> None:
        path = tmp_path / "t.csv"
        path.write_bytes(OLD)
        assert read(source(path)).snapshot is None

    def test_storage_that_cannot_be_written_says_so(self, tmp_path: Path) -> None:
        path = tmp_path / "t.csv"
        path.write_bytes(OLD)
        with pytest.raises(Refused, match="cannot be written") as refused:
            read(source(path), storage_uri=str(path))
        assert refused.value.reason is Reason.StorageUnavailable


class TestHttp:
    def test_its_revision_is_the_etag_without_the_bytes(self, site: Site) -> None:
        site.pages["/t.csv"] = OLD
        site.status = 500  # of GET
        assert resolve(source(site.url)) == f"etag:{site.etag(OLD)}"

    @pytest.mark.parametrize(
        ("etags", "head_status"), [pytest.param(False, 200, id="no ETag"), pytest.param(True, 405, id="no HEAD")]
    )
    def test_without_one_it_is_read(self, site: Site, etags: bool, head_status: int) -> None:  # noqa: FBT001
        site.pages["/t.csv"] = OLD
        site.etags, site.head_status = etags, head_status
        assert resolve(source(site.url)) == (f"etag:{site.etag(OLD)}" if etags else sha256(OLD))

    def test_the_pinned_state_is_read(self, site: Site) -> None:
        site.pages["/t.csv"] = OLD
        revision = resolve(source(site.url))
        assert read(source(site.url), revision) == Content(site.url, revision, OLD)

    def test_a_digest_is_good_enough_where_etags_have_come(self, site: Site) -> None:
        site.pages["/t.csv"] = OLD
        assert read(source(site.url), sha256(OLD)).data == OLD

    def test_a_changed_page_comes_from_its_snapshot_or_not_at_all(self, site: Site, tmp_path: Path) -> None:
        site.pages["/t.csv"] = OLD
        first = read(source(site.url), storage_uri=str(tmp_path))
        site.pages["/t.csv"] = NEW
        assert read(source(site.url), first.revision, str(tmp_path)).data == OLD
        with pytest.raises(Refused, match="pinned state"):
            read(source(site.url), first.revision)

    @pytest.mark.parametrize(
        ("status", "kind", "reason", "message"),
        [
            pytest.param(404, Refused, Reason.DataNotFound, "no file", id="not found"),
            pytest.param(410, Refused, Reason.DataNotFound, "no file", id="gone"),
            pytest.param(403, Refused, Reason.DataUnreachable, "answers 403", id="forbidden"),
            pytest.param(429, Unavailable, Reason.DataUnreachable, "answers 429", id="too many requests"),
            pytest.param(502, Unavailable, Reason.DataUnreachable, "answers 502", id="bad gateway"),
        ],
    )
    def test_an_error_is_the_inputs_or_the_servers_fault(
        self, site: Site, status: int, kind: type[JobError], reason: Reason, message: str
    ) -> None:
        site.pages["/t.csv"] = OLD
        site.status = status
        with pytest.raises(kind, match=message) as error:
            read(source(site.url))
        assert error.value.reason is reason

    def test_a_server_that_is_away_is_unreachable(self) -> None:
        with pytest.raises(Unavailable, match="does not answer") as error:
            resolve(source("http://127.0.0.1:9/t.csv"))
        assert error.value.reason is Reason.DataUnreachable


def parquet(rows: pd.DataFrame) -> bytes:
    data = io.BytesIO()
    rows.to_parquet(data)
    return data.getvalue()


class TestTable:
    def test_csv_and_parquet_hold_the_same_rows(self) -> None:
        rows = customers(50)
        csv = table(Content("t.csv", "", rows.to_csv(index=False).encode()))
        pd.testing.assert_frame_equal(csv, rows)
        pd.testing.assert_frame_equal(table(Content("T.PARQUET", "", parquet(rows))), rows)

    def test_an_identifier_keeps_its_zeros(self) -> None:
        assert table(Content("t.csv", "", b"id,a\n007,1\n"), ("id",))["id"].tolist() == ["007"]

    def test_none_is_a_category_and_na_is_none(self) -> None:
        rows = table(Content("t.csv", "", b"a,b\nNone,1\nNA,\n"))
        assert rows["a"].tolist()[0] == "None"
        assert rows.isna().to_numpy().tolist() == [[False, False], [True, True]]

    def test_columns_are_called_by_text(self) -> None:
        assert list(table(Content("t.parquet", "", parquet(pd.DataFrame([[1, 2]]))))) == ["0", "1"]

    @pytest.mark.parametrize(
        ("name", "data", "reason", "message"),
        [
            pytest.param("t.csv", b"", Reason.DataEmpty, "t.csv is empty", id="an empty csv"),
            pytest.param("t.csv", b"a,b\n1,2\n1,2,3\n", Reason.DataUnreadable, "as csv: .*line 3", id="a ragged csv"),
            pytest.param("t.csv", b"a,b\n\xff\xfe,2\n", Reason.DataUnreadable, "as csv: .*utf-8", id="not utf-8"),
            pytest.param("t.parquet", b"a,b\n1,2\n", Reason.DataUnreadable, "as parquet", id="csv as parquet"),
            pytest.param("t.parquet", b"", Reason.DataUnreadable, "as parquet", id="an empty parquet"),
            pytest.param(
                "t.parquet", parquet(customers(50))[:-99], Reason.DataUnreadable, "as parquet", id="a cut parquet"
            ),
        ],
    )
    def test_a_file_that_is_not_what_it_says_is_refused(
        self, name: str, data: bytes, reason: Reason, message: str
    ) -> None:
        with pytest.raises(Refused, match=message) as refused:
            table(Content(name, "", data))
        assert refused.value.reason is reason
