"""A registered version as the challenger: nothing is fitted, and whatever its files hold is read as data.

Who may register a version need not be who trains: every file is checked by the digest that the version says of itself,
and the model must be one that could have been trained by the spec. It is fetched through MLflow, which knows no more of
the object store than it may, and never by an address that somebody wrote down.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx
import pandas as pd
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from pydantic import ValidationError

from churn_operator.api.contract import CONTRACT_FILE, GOLDEN_FILE, MANIFEST_FILE, MODEL_FILE, PROFILE_FILE
from churn_operator.api.data import DataSpec
from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import MODEL_DIGEST_TAG, Golden, ModelRef
from churn_operator.jobs import compare, convert
from churn_operator.jobs.bundle import Bundle
from churn_operator.jobs.compare import Challenger
from churn_operator.jobs.frame import conform
from churn_operator.jobs.metrics import Forecast
from churn_operator.jobs.mlflow import Declined, Mlflow
from churn_operator.jobs.rows import Rows
from churn_operator.storage.bundle import load_files
from churn_operator.storage.failure import Refused
from churn_operator.storage.files import Gone

log = logging.getLogger(__name__)

FILES = (MODEL_FILE, CONTRACT_FILE, PROFILE_FILE, GOLDEN_FILE)
"""All that a model consists of, beside its manifest."""
OPERATORS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""Standard operators of ONNX: what training writes consists of them, and they compute and do nothing else."""


def fetch(server: Mlflow, name: str, version: str) -> Bundle:
    """The version's files, checked.

    Raises:
        Refused: there is no such version, or it is no model in the operator's own format.
    """
    try:
        found = server.get("model-versions/get", name=name, version=version)["model_version"]
    except Declined as error:
        if error.code != "RESOURCE_DOES_NOT_EXIST":
            raise
        message = f"MLflow has no version {version} of registered model {name}"
        raise Refused(Reason.CandidateNotFound, message) from error
    digest = {tag["key"]: tag.get("value") for tag in found.get("tags", ())}.get(MODEL_DIGEST_TAG, "")
    try:
        ref = ModelRef(uri=f"models:/{name}/{version}", digest=digest)
    except ValidationError as error:
        raise _unfit(version, f"has no digest in its tag {MODEL_DIGEST_TAG}") from error
    bundle = Bundle(*load_files(ref, FILES, read=partial(_read, server, name, version)))
    if set(bundle.manifest.files) != set(FILES):
        raise _unfit(version, f"has a {MANIFEST_FILE} that lists other files than {', '.join(FILES)}")
    return bundle


def _read(server: Mlflow, name: str, version: str, uri: str) -> bytes:
    file = uri.rpartition("/")[2]
    try:
        return server.artifact(name, version, file)
    except Declined as error:
        raise Gone(uri) from error


def judge(bundle: Bundle, version: str, rows: Rows, spec: DataSpec) -> Challenger:
    """The version, asked about the held-out rows.

    Raises:
        Refused: it could not have been trained by this spec, or does not answer.
    """
    try:
        _check_files(bundle, version)
        golden = Golden.model_validate_json(bundle.files[GOLDEN_FILE])
        known = {feature.name for feature in bundle.contract.features}
    except (ValidationError, DecodeError) as error:
        raise _unfit(version, f"has files that cannot be read: {error}") from error
    instances, expected = zip(*golden.rows, strict=True)
    if not set().union(*instances) <= known:
        raise _unfit(version, f"has a {GOLDEN_FILE} with columns that the model does not know")
    _check_spec(bundle, version, rows, spec)
    common = compare.common_rows(rows, bundle)
    if not common.unseen:
        raise _unfit(version, "does not say of enough held-out rows that it was not trained on them")
    answers = _ask(bundle, version, rows.table[common.mask])
    replayed = _ask(bundle, version, pd.DataFrame(list(instances), dtype=object))
    manifest = bundle.manifest
    return Challenger(
        bundle=bundle,
        rows=replace(rows, held_out=common.mask),
        forecast=Forecast(rows.truth[common.mask], answers, manifest.threshold),
        parity=float(np.abs(replayed - expected).max()),
        golden=golden,
        params={"estimator": manifest.estimator, "threshold": manifest.threshold, "registry_version": version},
        scores={},
    )


def _check_files(bundle: Bundle, version: str) -> None:
    """They are what their names say, and the graph computes and does nothing else."""
    _ = bundle.profile
    if bundle.manifest.features != tuple(feature.name for feature in bundle.contract.features):
        raise _unfit(version, f"has other features in {CONTRACT_FILE} than in {MANIFEST_FILE}")
    graph = onnx.load_model_from_string(bundle.onnx)
    if foreign := {entry.domain for entry in graph.opset_import} - OPERATORS:
        raise _unfit(version, f"has operators of {', '.join(sorted(foreign))}, which are no standard ones")
    # onnxruntime would read them from whatever file they name, below the folder it runs in
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(graph)):
        raise _unfit(version, "keeps numbers outside of its files")


def _tensors(message: Any) -> Iterator[onnx.TensorProto]:
    """Those of the graph, of graphs within it, and of whatever else can hold one."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else (value,):
                yield from _tensors(part)


def _check_spec(bundle: Bundle, version: str, rows: Rows, spec: DataSpec) -> None:
    """It foretells the same of the same customers, from columns that it may know, and keeps their secrets as well."""
    manifest, contract = bundle.manifest, bundle.contract
    if (manifest.target, manifest.positive_label) != (spec.target, rows.positive_label):
        foretells = f"{manifest.target} = {manifest.positive_label}"
        raise _unfit(version, f"foretells {foretells} and not {spec.target} = {rows.positive_label}")
    if foreign := sorted(set(manifest.features) - set(rows.frame.columns)):
        raise _unfit(version, f"asks for columns that spec.data does not learn from: {', '.join(foreign)[:256]}")
    if (contract.id_column, contract.personal) != (spec.id_column, spec.pii):
        raise _unfit(version, "has another idColumn or other pii than spec.data, by which predictions are recorded")


def _ask(bundle: Bundle, version: str, table: pd.DataFrame) -> NDArray[np.float64]:
    clean, notes = conform(table, bundle.contract)
    for note in notes:
        log.warning("for version %s, %s", version, note)
    try:
        answers: NDArray[Any] = convert.Model(bundle.onnx, bundle.contract).probabilities(clean)
    except Exception as error:  # onnxruntime's have no class in common
        raise _unfit(version, f"does not answer: {error}") from error
    if answers.shape != (len(clean),) or not ((answers >= 0) & (answers <= 1)).all():
        raise _unfit(version, "answers what are no probabilities")
    return answers


def _unfit(version: str, message: str) -> Refused:
    return Refused(Reason.CandidateUnfit, f"version {version} of the registered model {message}")
