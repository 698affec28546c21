"""The inference log: what the collector writes, and the drift Job reads. Pure: names, columns, rules.

**What is sent.** KServe's agent posts binary CloudEvents 1.0: one when a request arrives, one when it was answered with
200; both have the same `Ce-Id`. A request that failed has no response event. The agent tries each event once.

**Where rows are.** `<storage uri>/inference-log/namespace=<ns>/model=<name>/version=<v>/day=<YYYY-MM-DD>/*.parquet`,
the day being that of a row's `time`. Every such file holds complete rows of the columns below: request and response are
joined. What waits for its other half is under `<storage uri>/inference-log/pending/`, which readers never see.

**How to read** a version's rows of `since <= time < until`:
1. List `day_folder` for each of `days(since, until)`, and read every `.parquet` file. Columns differ between files only
   where contracts do, which within a version they do not.
2. A file may be gone by the time it is read: smaller files are merged into larger ones, always written before what they
   replace is deleted. List again then, and begin again.
3. Keep one row for each (`event_id`, `row`): a collector that was killed may have written a row twice.
4. Keep the rows within the window, and of the `kind` wanted: windows of customers are `Client`.
A row is there about half a minute after its request.

**Which request belongs to which response.** A client may choose the `Ce-Id`, and may repeat it. Events are told apart
by namespace, InferenceService, type, id, time and the digest of their body; those that agree in all of it are one event
that arrived twice. Among the events of one id that are there when they are joined, each response belongs to the latest
unanswered request before it that has as many rows; where there is one request and one response, clocks are not asked.
An id that is used once, as those are that KServe's agent makes, confuses nothing. A client that uses one again before
both events of the last time are in the object store can confuse its own requests, and no others: replicas take events
independently, and a later response may be there before an earlier one.

**What waits in vain.** The half of a request that failed, like every other whose other one does not come, waits for a
quarter of an hour (`orphan_seconds`) after it came to the object store, however many do; then it is dropped, and
counted. Only of ids that are used again and again without an answer can more wait than a collector's memory holds, some
ten thousand halves: the oldest go sooner, counted as `TooMany`.

**Personal data** is dropped or hashed before an event is kept anywhere, the collector's own disk included: an event is
acknowledged only once the contract of its version is known. Of a request nothing is kept but the contract's columns and
the identifier. `event_id` is a digest that the `Ce-Id` salts, which is not kept.
"""

import hashlib
import hmac
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Literal, NamedTuple

from churn_operator.api.contract import as_category

REQUEST_TYPE = "org.kubeflow.serving.inference.request"
RESPONSE_TYPE = "org.kubeflow.serving.inference.response"

MODEL_ANNOTATION = "churnops.dev/model"
"""The ChurnModel's name."""
VERSION_ANNOTATION = "churnops.dev/version"
"""Which of its versions answers: v7."""
MODEL_URI_ANNOTATION = "churnops.dev/model-uri"
"""The version's folder in the object store, whose last segment is the digest of its manifest."""
METADATA_ANNOTATIONS = (MODEL_ANNOTATION, VERSION_ANNOTATION, MODEL_URI_ANNOTATION)
"""What KServe's logger passes on with each event: `spec.predictor.logger.metadataAnnotations`."""

Kind = Literal["Client", "Probe", "Golden", "Shadow"]
"""Who asked: a client, the operator's probe, its golden request, or a copy of a client's request."""
KIND_HEADERS: Mapping[str, Kind] = {"X-Churn-Shadow": "Shadow", "X-Churn-Golden": "Golden", "X-Churn-Probe": "Probe"}
"""`true` in one of these marks a request; the first one counts. Without any it is a client's."""
METADATA_HEADERS = tuple(KIND_HEADERS)
"""What KServe's logger passes on with each event: `spec.predictor.logger.metadataHeaders`."""

FOLDER = "inference-log"
"""Below the folder for model files."""
PENDING = "pending"
"""Below FOLDER: halves that wait for the other one."""
SUFFIX = ".parquet"
FEATURE_PREFIX = "feature."
"""Stands before a contract column's name."""
COLUMNS: Mapping[str, str] = {
    "event_id": "string",
    "row": "int32",
    "time": "timestamp[us, tz=UTC]",
    "kind": "string",
    "id": "string",
    "probability": "double",
    "churn": "bool",
}
"""Columns of every file and their Arrow types. `id` alone may be null: the request named none, or it is dropped.

`time` is when the request arrived at the agent; `row` the position among the request's rows, from 0. After these comes
`feature.<name>` for each column of the contract that is not dropped: `double` for a numerical one, `string` for a
categorical or a hashed one, null for a missing value.
"""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_KEY = re.compile(r"namespace=([^/]+)/model=([^/]+)/version=([^/]+)/day=(\d{4}-\d{2}-\d{2})/([^/]+)")


class Partition(NamedTuple):
    """The version whose rows lie together."""

    namespace: str
    model: str
    version: str

    @property
    def path(self) -> str:
        """Below the log's root or below PENDING.

        Raises:
            ValueError: a name is no DNS label, and might lead elsewhere.
        """
        for field, value in zip(self._fields, self, strict=True):
            if not _LABEL.fullmatch(value):
                raise ValueError(f"{field} {value[:80]!r} is not a DNS label")
        return f"namespace={self.namespace}/model={self.model}/version={self.version}"


def root(storage_uri: str) -> str:
    """The log's folder, given that of model files."""
    return f"{storage_uri.rstrip('/')}/{FOLDER}"


def day_folder(log_root: str, partition: Partition, day: date) -> str:
    """Where a version's rows of one day are."""
    return f"{log_root}/{partition.path}/day={day.isoformat()}"


def days(since: datetime, until: datetime) -> Iterator[date]:
    """The days, in UTC, that hold the rows of `since <= time < until`."""
    day = since.astimezone(UTC).date()
    while datetime(day.year, day.month, day.day, tzinfo=UTC) < until:
        yield day
        day += timedelta(days=1)


def parse_key(key: str) -> tuple[Partition, date, str] | None:
    """The version, day and file that a key below the log's root names; None where it names none."""
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    try:
        day = date.fromisoformat(found[4])
        partition = Partition(found[1], found[2], found[3])
        return (partition, day, found[5]) if partition.path else None
    except ValueError:
        return None


def kind_of(metadata: Mapping[str, object]) -> Kind:
    """Who asked, by the request's headers as the logger passes them on: `{"X-Churn-Probe": ["true"]}`."""
    for header, kind in KIND_HEADERS.items():
        values = metadata.get(header)
        if isinstance(values, list) and "true" in values:
            return kind
    return "Client"


def identifier(value: object) -> str | None:
    """A customer's identifier as text: 12, 12.0 and "12" are one customer. None for a missing one.

    Raises:
        ValueError: it is neither text nor a number.
    """
    match value:
        case None | str():
            return as_category(value) or None
        case bool():
            raise ValueError("must be text or a number")
        case int():
            return str(value)
        case float() if math.isnan(value):
            return None
        case float():
            return str(int(value)) if value.is_integer() else repr(value)
        case _:
            raise ValueError("must be text or a number")


def hashed(text: str, key: bytes) -> str:
    """What stands for personal data in the log: the same for the same value, and a riddle without the key.

    Labels that are to be joined by a hashed identifier are hashed with it too.
    """
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:32]
