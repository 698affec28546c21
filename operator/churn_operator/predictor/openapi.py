"""What a client can read about a model: an OpenAPI document made of its contract, and the same as a page.

The page is plain HTML: no script and no style sheet from elsewhere, so that it opens in a cluster without the internet.
"""

import json
from html import escape
from typing import Any

from churn_operator.api.contract import Contract, Feature
from churn_operator.predictor.request import MAX_BODY, MAX_INSTANCES

EXAMPLES = 10
"""Categories of a column that are shown."""
JSON = "application/json"
LIMITS = f"A request holds at most {MAX_INSTANCES} rows and {MAX_BODY} bytes."
FALLBACK = "A fallback answers, and no model: every row gets the same probability, whatever its columns."
ANY = (Feature(name="any", kind="Numerical"),)
"""What an example shows where any column is taken."""
ERRORS = {
    "400": "The request is at fault; the text names the field, the rule and what was found.",
    "408": "The body did not arrive in time.",
    "413": LIMITS,
}


def document(name: str, version: str, contract: Contract) -> dict[str, Any]:
    """OpenAPI 3.1 of one version of a model."""
    row = {"$ref": "#/components/schemas/Row"}
    prediction = {"$ref": "#/components/schemas/Prediction"}
    tensors = [_tensor(feature) for feature in contract.features or ANY]
    purpose = "Will this customer churn?" if contract.features else FALLBACK
    return {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": version,
            "description": f"{purpose} {LIMITS} A header x-request-id is answered back.",
        },
        "paths": {
            "/predict": _post(
                "Predict one row, or many",
                {"oneOf": [row, _rows(row)]},
                {"oneOf": [prediction, {"type": "array", "items": prediction}]},
                example(contract),
            ),
            f"/v1/models/{name}:predict": _post(
                "KServe's V1 protocol",
                _object(instances=_rows(row)),
                _object(predictions={"type": "array", "items": prediction}),
                {"instances": [example(contract)]},
            ),
            f"/v2/models/{name}/infer": _post(
                "The Open Inference Protocol (V2): a tensor for each column; also over gRPC",
                _object(inputs={"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}}),
                _object(
                    model_name={"type": "string"},
                    model_version={"type": "string"},
                    parameters=_object(threshold={"type": "number"}),
                    outputs={"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
                ),
                {"inputs": tensors},
            ),
            f"/v2/models/{name}": _get("The tensors that are taken and answered"),
            "/ready": _get("Whether predictions are answered; 503 while the server stops"),
            "/health": _get("Whether the server lives"),
            "/metrics": _get("Prometheus metrics"),
        },
        "components": {"schemas": _schemas(contract)},
    }


def example(contract: Contract) -> dict[str, Any]:
    """A row that would be answered."""
    return {feature.name: _example(feature) for feature in contract.features}


def _example(feature: Feature) -> float | str | None:
    if feature.kind == "Categorical":
        return feature.categories[0] if feature.categories else None
    return feature.minimum if feature.minimum is not None else 0.0


def _tensor(feature: Feature) -> dict[str, Any]:
    datatype = "FP64" if feature.kind == "Numerical" else "BYTES"
    return {"name": feature.name, "datatype": datatype, "shape": [1], "data": [_example(feature)]}


def _schemas(contract: Contract) -> dict[str, Any]:
    properties = {feature.name: _column(feature) for feature in contract.features}
    if contract.id_column:
        properties[contract.id_column] = {"description": "Names the customer; optional, never scored."}
    row = _object(**properties)
    row |= {"required": [feature.name for feature in contract.features], "additionalProperties": not contract.features}
    tensor = _object(
        name={"type": "string"},
        datatype={"type": "string", "examples": ["FP64", "BYTES", "INT64", "BOOL"]},
        shape={"type": "array", "items": {"type": "integer"}, "description": "[n] or [n, 1]"},
        data={"type": "array"},
    )
    prediction = _object(
        probability={"type": "number", "minimum": 0, "maximum": 1},
        churn={"type": "boolean", "description": "Whether the probability reaches the model's threshold."},
        version={"type": "string", "description": "The version that answered."},
    )
    return {"Row": row, "Prediction": prediction, "Tensor": tensor, "Error": _object(error={"type": "string"})}


def _column(feature: Feature) -> dict[str, Any]:
    missing = f"null is a missing value ({feature.null_share:.1%} of the training rows)"
    if feature.kind == "Categorical":
        shown = list(feature.categories[:EXAMPLES])
        more = len(feature.categories) - len(shown)
        seen = f"{len(feature.categories)} categories seen in training" + (f", {more} not shown" if more else "")
        return {
            "type": ["string", "null"],
            "description": f"{seen}; others are scored as unknown; {missing}",
            "examples": shown,
        }
    seen = (
        f"{feature.minimum:g} to {feature.maximum:g} in training; "
        if feature.minimum is not None and feature.maximum is not None
        else ""
    )
    return {
        "type": ["number", "boolean", "string", "null"],
        "description": f"A number, or text that reads as one; {seen}{missing}",
        "examples": [value for value in (feature.minimum, feature.maximum) if value is not None],
    }


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _rows(row: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": row, "minItems": 1, "maxItems": MAX_INSTANCES}


def _post(summary: str, asked: dict[str, Any], answered: dict[str, Any], sample: object) -> dict[str, Any]:
    error = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    answers: dict[str, Any] = {
        "200": {"description": "Predictions, in the order of the rows", "content": {JSON: {"schema": answered}}}
    }
    answers |= {status: {"description": text, "content": error} for status, text in ERRORS.items()}
    body = {"required": True, "content": {JSON: {"schema": asked, "example": sample}}}
    return {"post": {"summary": summary, "requestBody": body, "responses": answers}}


def _get(summary: str) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": {"200": {"description": summary}}}}


STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.3rem .6rem;text-align:left;"
    "vertical-align:top}pre{background:#f4f4f4;padding:1rem;overflow:auto}code{font-size:.9em}"
)


def page(spec: dict[str, Any]) -> str:
    """The document for people."""
    info, row = spec["info"], spec["components"]["schemas"]["Row"]
    paths = "".join(
        f"<tr><td><code>{method.upper()} {escape(path)}</code><td>{escape(operation['summary'])}"
        for path, operations in spec["paths"].items()
        for method, operation in operations.items()
    )
    columns = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{escape(column['description'])}"
        f"<td>{escape(', '.join(map(str, column.get('examples', ()))))}"
        for name, column in row["properties"].items()
    )
    errors = "".join(f"<tr><td>{status}<td>{escape(text)}" for status, text in ERRORS.items())
    sample = json.dumps(spec["paths"]["/predict"]["post"]["requestBody"]["content"][JSON]["example"], indent=2)
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f'<h1>{title}</h1><p>{escape(info["description"])} <a href="openapi.json">openapi.json</a>'
        f"<h2>Paths</h2><table>{paths}</table>"
        f"<h2>Columns of a row</h2><table><tr><th>Column<th>Value<th>Examples{columns}</table>"
        f"<h2>POST /predict</h2><pre>{escape(sample)}</pre>"
        '<pre>{"probability": 0.71, "churn": true, "version": "' + escape(info["version"]) + '"}</pre>'
        f"<h2>Errors</h2><table>{errors}</table></html>"
    )
