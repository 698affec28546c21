"""What every model of the API shares: strictness, naming, and bounded scalar types.

Every string and list carries a maximum: CEL rules are costed by the largest value a field can hold.
"""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema
from pydantic.alias_generators import to_camel

GROUP = "churnops.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class Model(BaseModel):
    """A frozen value. Unknown fields are dropped, so that an older operator survives a newer CRD."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
        serialize_by_alias=True,
    )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form Kubernetes sees: camelCase, absent instead of null."""
        return self.model_dump(mode="json", exclude_none=True)


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """CEL rules as (rule, message) for a model's `json_schema_extra`."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}


def map_list(*keys: str) -> dict[str, Any]:
    """A list whose items are merged by key, not by position, under server-side apply."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


SHORT_NAME = (
    "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 40",
    (
        "metadata.name must start with a letter, have letters, digits and dashes only, and at most 40 of them: "
        "Services and Jobs are named after it"
    ),
)
"""A rule for kinds whose children's names begin with their own."""

SET_LIST: dict[str, Any] = {"x-kubernetes-list-type": "set"}

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A Kubernetes object's name (RFC 1123 label)."""
Column = Annotated[str, Field(min_length=1, max_length=256)]
"""A column of a data set."""
Word = Annotated[str, Field(min_length=1, max_length=63)]
"""One word or number, as printed in a column."""
Text = Annotated[str, Field(max_length=1024)]
"""A sentence or two for people."""
Uri = Annotated[str, Field(min_length=1, max_length=2048)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
Revision = Annotated[str, Field(min_length=1, max_length=256)]
"""Which state of a source was read: `version:…`, `etag:…` or `sha256:…`."""
Time = Annotated[str, Field(max_length=32), WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 32})]
"""RFC 3339, UTC, whole seconds: what `core.clock` writes."""
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"
Quantity = Annotated[
    str,
    Field(max_length=32, pattern=_QUANTITY, coerce_numbers_to_str=True),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 32, "pattern": _QUANTITY}),
]
"""A Kubernetes quantity such as `500m`, `1Gi` or 2."""
Duration = Annotated[str, Field(max_length=16, pattern=r"^[0-9]{1,6}(s|m|h|d)$")]
"""`30s`, `10m`, `24h` or `90d`."""
Interval = Annotated[str, Field(max_length=16, pattern=r"^[1-9][0-9]{0,5}(s|m|h|d)$")]
"""A `Duration` that is not zero."""
FreeForm = Annotated[
    dict[str, JsonValue],
    Field(max_length=1024),
    WithJsonSchema({"type": "object", "maxProperties": 1024, "x-kubernetes-preserve-unknown-fields": True}),
]
"""A map whose keys are the user's, such as a row of data or an estimator's parameters."""

_UNIT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: Duration) -> timedelta:
    """The length of time a `Duration` names.

    Raises:
        ValueError: it is not of the grammar `<number><s|m|h|d>`.
    """
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write a whole number and s, m, h or d, such as 10m")
    return timedelta(**{_UNIT[match[2]]: int(match[1])})


class LocalRef(Model):
    """A reference to an object in the same namespace."""

    name: Name
    """Name of the object, in this namespace."""


class Condition(Model):
    """metav1.Condition, with the generation it was observed at."""

    type: Annotated[str, Field(max_length=63)]
    """What is judged, in positive polarity: True is good."""
    status: Annotated[str, Field(max_length=7, json_schema_extra={"enum": ["True", "False", "Unknown"]})]
    """True, False, or Unknown where it was not measured."""
    reason: Annotated[str, Field(max_length=63)]
    """One word for machines; all are listed in docs/reasons.md."""
    message: Annotated[str, Field(max_length=2048)]
    """The same for people: what was seen, against which bound, and what to do."""
    last_transition_time: Time
    """When the status last changed."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the spec that was judged."""


Conditions = Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra=map_list("type"))]


class Resources(Model):
    """Requests and limits of one container."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                (
                    "[self.requests, self.limits].all(m, m.all(k, k in ['cpu', 'memory', 'ephemeral-storage'] || "
                    "k.contains('/')))"
                ),
                "requests and limits name cpu, memory, ephemeral-storage or a vendor's resource such as nvidia.com/gpu",
            ),
            (
                (
                    "self.requests.all(k, !(k in self.limits) || "
                    "quantity(string(self.requests[k])).compareTo(quantity(string(self.limits[k]))) <= 0)"
                ),
                "requests must not exceed limits",
            ),
        )
    )

    requests: Annotated[dict[Annotated[str, Field(max_length=63)], Quantity], Field(max_length=8)] = {}
    """What is reserved, for example cpu: 500m."""
    limits: Annotated[dict[Annotated[str, Field(max_length=63)], Quantity], Field(max_length=8)] = {}
    """What it is held to, for example memory: 2Gi."""
