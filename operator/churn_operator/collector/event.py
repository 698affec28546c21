"""From the headers of a request to what happened: one half of a prediction. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Literal
from urllib.parse import unquote

from churn_operator.api.inference_log import (
    MODEL_ANNOTATION,
    MODEL_URI_ANNOTATION,
    REQUEST_TYPE,
    RESPONSE_TYPE,
    VERSION_ANNOTATION,
    Kind,
    Partition,
    kind_of,
)

Role = Literal["request", "response"]
ROLES: Mapping[str, Role] = {REQUEST_TYPE: "request", RESPONSE_TYPE: "response"}
MAX_ID = 1024
AHEAD = timedelta(hours=1)
"""A clock that is further ahead of the store's is wrong."""
BEHIND = timedelta(days=1)
"""An event that is older was not on its way for so long: its clock is wrong."""
_MODEL_URI = re.compile(r"s3://[^/?#]+(/[^?#]+)?/models/[0-9a-f]{64}")


class NotAnEvent(ValueError):
    """The request is no event that can be logged; the text names the header."""


@dataclass(frozen=True)
class Event:
    """What the headers say of one half of a prediction."""

    role: Role
    partition: Partition
    service: str
    """The InferenceService."""
    id: str
    """The `Ce-Id`: whoever asked may have chosen it."""
    stamp: str
    """The `Ce-Time` as it was written: part of what tells events of one id apart."""
    time: datetime
    kind: Kind
    model_uri: str

    @property
    def call(self) -> str:
        """What a request and its response have in common."""
        return digest(*self.partition, self.service, self.id)

    def key(self, body: bytes) -> str:
        """What no other event has in common with this one, unless it is the same that arrived twice."""
        return digest(*self.partition, self.service, self.id, self.role, self.stamp, body)


def digest(*parts: str | bytes) -> str:
    """32 hexadecimal digits; each part is told from the next."""
    found = blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogateescape")
        found.update(len(data).to_bytes(8, "big"))
        found.update(data)
    return found.hexdigest()


def parse(headers: Mapping[str, str]) -> Event:
    """The event that headers in any case describe; their names are looked up as `Ce-Id`, `Ce-Time` and so on.

    Raises:
        NotAnEvent: they describe none, or one that belongs to no version of a model.
    """
    if headers.get("Ce-Specversion") != "1.0":
        raise NotAnEvent("Ce-Specversion: must be 1.0: this takes binary CloudEvents")
    role = ROLES.get(headers.get("Ce-Type", ""))
    if role is None:
        raise NotAnEvent(f"Ce-Type: must be one of {', '.join(ROLES)}")
    annotations = _json(headers, "Ce-Annotations")
    model_uri = _text(annotations, MODEL_URI_ANNOTATION)
    if not _MODEL_URI.fullmatch(model_uri):
        raise NotAnEvent(f"Ce-Annotations: {MODEL_URI_ANNOTATION} must be s3://…/models/<64 hexadecimal digits>")
    stamp = _required(headers, "Ce-Time")
    return Event(
        role=role,
        partition=_partition(headers, annotations),
        service=_required(headers, "Ce-Inferenceservicename"),
        id=_required(headers, "Ce-Id"),
        stamp=stamp,
        time=_time(stamp),
        kind=kind_of(_json(headers, "Ce-Metadata")),
        model_uri=model_uri,
    )


def believed(time: datetime, now: datetime) -> datetime:
    """The time itself; now, where it cannot be right: a row of the year 2099 would never leave the log."""
    return time if now - BEHIND <= time <= now + AHEAD else now


def _partition(headers: Mapping[str, str], annotations: Mapping[str, object]) -> Partition:
    partition = Partition(
        _required(headers, "Ce-Namespace"),
        _text(annotations, MODEL_ANNOTATION),
        _text(annotations, VERSION_ANNOTATION),
    )
    try:
        _ = partition.path
    except ValueError as error:
        raise NotAnEvent(str(error)) from None
    return partition


def _required(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not 1 <= len(value) <= MAX_ID:
        raise NotAnEvent(f"{name}: must have 1 to {MAX_ID} characters")
    return value


def _text(annotations: Mapping[str, object], name: str) -> str:
    value = annotations.get(name)
    if not isinstance(value, str):
        raise NotAnEvent(f"Ce-Annotations: {name} is missing")
    return value


def _json(headers: Mapping[str, str], name: str) -> dict[str, object]:
    """A header's JSON object; some senders percent-encode it, as CloudEvents asks, and KServe's does not."""
    text = headers.get(name, "{}")
    try:
        value = json.loads(text if text.startswith("{") else unquote(text))
    except (ValueError, RecursionError):
        raise NotAnEvent(f"{name}: must be JSON") from None
    if not isinstance(value, dict):
        raise NotAnEvent(f"{name}: must be a JSON object")
    return value


def _time(stamp: str) -> datetime:
    try:
        time = datetime.fromisoformat(stamp)
        if time.tzinfo is None:
            raise NotAnEvent("Ce-Time: must name its zone")
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise NotAnEvent("Ce-Time: must be a time as RFC 3339 writes it") from None
