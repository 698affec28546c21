"""Where rows come from, and which of them were read."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from churn_operator.api.base import (
    SET_LIST,
    Column,
    Digest,
    LocalRef,
    Model,
    Name,
    Revision,
    Uri,
    Word,
    map_list,
    rules,
)


class Claim(Model):
    """A file on a PersistentVolumeClaim."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("!self.path.startsWith('/')", "path must not start with a slash: it is inside the volume"),
            ("!self.path.matches('(^|/)[.][.](/|$)')", "path must not lead out of the volume by .."),
        )
    )

    name: Name
    """Name of the PersistentVolumeClaim, in this namespace."""
    path: Annotated[str, Field(min_length=1, max_length=1024)]
    """The file's path inside the volume, without a leading slash."""


class DataSource(Model):
    """A table: csv or parquet, told by the ending."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.uri) != has(self.claim)", "exactly one of uri and claim is required"),
            (
                "!has(self.uri) || self.uri.matches('^(s3|https?)://[^/]+/.')",
                "uri must be s3://bucket/key, http://host/path or https://host/path",
            ),
            (
                "!has(self.uri) || !self.uri.matches('://[^/]*@')",
                "uri must not hold credentials: they belong into the Secret that secretRef names",
            ),
            (
                (
                    "[has(self.uri) ? self.uri : '', has(self.claim) ? self.claim.path : ''].exists(p, "
                    "p.matches('[.](csv|parquet)$'))"
                ),
                "the file must end in .csv or .parquet",
            ),
        )
    )

    uri: Uri | None = None
    """Address of the file: s3://bucket/key, http://… or https://…."""
    claim: Claim | None = None
    """A file on a PersistentVolumeClaim of this namespace, mounted read-only."""
    secret_ref: LocalRef | None = None
    """Secret whose keys become the Job's environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL,
    AWS_REGION). Defaults to the one the chart names."""


class PersonalData(Model):
    """A column that tells who somebody is, and what is to become of it."""

    column: Column
    """The column's name."""
    action: Literal["Drop", "Hash", "Fail"] = "Drop"
    """Drop: it is never a feature, and the inference log never holds it. Hash: the log holds a keyed digest
    (HMAC-SHA-256) instead. Fail: nothing that has this column is taken, neither a table nor a request."""


class DataSpec(Model):
    """The table a model learns from."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("!(self.target in self.exclude)", "target must not be listed in exclude: it is what is learned"),
            ("!has(self.idColumn) || self.idColumn != self.target", "idColumn and target must be different columns"),
            (
                "!has(self.idColumn) || !(self.idColumn in self.exclude)",
                "idColumn must not be listed in exclude: it never is a feature",
            ),
            ("self.pii.all(p, p.column != self.target)", "target must not be listed in pii: it is what is learned"),
            (
                "!has(self.idColumn) || self.pii.all(p, p.column != self.idColumn || p.action != 'Fail')",
                "idColumn must not be listed in pii with the action Fail: every table has it",
            ),
        )
    )

    source: DataSource
    """Where the labelled rows are."""
    target: Column
    """The column that says who left."""
    positive_label: Word | None = None
    """The target's value that means churn. Where absent, the one of Yes, True, 1, Churned that the column holds."""
    id_column: Column | None = None
    """A customer's identifier: decides which rows are held out, and is never a feature."""
    exclude: Annotated[tuple[Column, ...], Field(max_length=256, json_schema_extra=SET_LIST)] = ()
    """Columns that are never features."""
    pii: Annotated[tuple[PersonalData, ...], Field(max_length=64, json_schema_extra=map_list("column"))] = ()
    """Personal data among the columns, and what becomes of each."""


class DataRead(Model):
    """The rows that a run was given: enough to fetch the same ones again."""

    uri: Uri
    """Address that was read."""
    revision: Revision
    """The state of the source that was read."""
    digest: Digest
    """SHA-256 of the bytes that were read."""
    snapshot: Uri | None = None
    """A copy of those bytes, where the source keeps no versions."""
    rows: Annotated[int, Field(ge=0)]
    """Rows read."""
    holdout_rows: Annotated[int, Field(ge=0)] = 0
    """Rows of these that no model is ever trained on."""
