"""Writes the CustomResourceDefinitions: `python -m churn_operator.api.crds [FOLDER [THE CHART'S FOLDER]]`.

pydantic speaks JSON schema, Kubernetes a smaller dialect, the "structural schema". What cannot be said in it, and what
ours must say (a description of every field, a bound of everything that can grow), fails the generation.
"""

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from churn_operator.api.base import GROUP, VERSION, rules
from churn_operator.api.churnmodel import ChurnModel
from churn_operator.api.driftmonitor import DriftMonitor
from churn_operator.api.trainingrun import TrainingRun

Schema = dict[str, Any]
Kind = type[ChurnModel] | type[TrainingRun] | type[DriftMonitor]
KINDS: tuple[Kind, ...] = (ChurnModel, TrainingRun, DriftMonitor)

SHARED = (
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
)
"""What both dialects say alike."""
TURNED = (
    "title",
    "description",
    "default",
    "const",
    "exclusiveMinimum",
    "properties",
    "additionalProperties",
    "propertyNames",
    "items",
    "x-kubernetes-validations",
)
"""What is dropped or said another way."""


class SchemaError(ValueError):
    """A model says what a CRD cannot, or leaves out what ours must say."""


@dataclass(frozen=True)
class Converter:
    """Turns one pydantic schema into a structural one, remembering where it is for the sake of its errors."""

    definitions: Mapping[str, Schema]
    path: str
    observed: bool
    """A status holds only what was observed: the API server adds no default to it, and no rule stops its report."""

    def at(self, step: str) -> "Converter":
        return replace(self, path=f"{self.path}{step}")

    def convert(self, source: Schema) -> Schema:
        """The structural schema.

        Raises:
            SchemaError: names the field, and what is wrong with it.
        """
        node = self.resolve(source)
        unknown = node.keys() - {*SHARED, *TURNED}
        if unknown:
            raise SchemaError(f"{self.path}: a CRD cannot say {', '.join(sorted(unknown))}")
        result: Schema = {"description": paragraph(node["description"])} if "description" in node else {}
        result |= {key: node[key] for key in SHARED if key in node}
        if "const" in node:
            result["enum"] = [node["const"]]
        if "exclusiveMinimum" in node:
            result |= {"minimum": node["exclusiveMinimum"], "exclusiveMinimum": True}
        if not self.observed:
            result |= {key: node[key] for key in ("default", "x-kubernetes-validations") if key in node}
        result |= self.convert_nested(node)
        self.check_bound(result)
        return result

    def convert_nested(self, node: Schema) -> Schema:
        nested: Schema = {}
        if "properties" in node:
            nested["properties"] = {
                name: self.at(f".{name}").convert_field(field) for name, field in node["properties"].items()
            }
        if isinstance(node.get("additionalProperties"), dict):
            nested["additionalProperties"] = self.at("{}").convert(node["additionalProperties"])
        if "items" in node:
            nested["items"] = self.at("[]").convert(node["items"])
        return nested

    def convert_field(self, field: Schema) -> Schema:
        # Asked of the field: what its type is does not say what it is here for. pydantic leaves out a repetition.
        if not field.get("description"):
            raise SchemaError(f"{self.path}: has no description of its own")
        converted = self.convert(field)
        return converted | {"description": " ".join([converted["description"], *told_twice(converted)])}

    def resolve(self, node: Schema) -> Schema:
        """Put the definition in the place of its reference, and absent in the place of null."""
        if "anyOf" in node:
            others = [choice for choice in node["anyOf"] if choice != {"type": "null"}]
            if len(others) != 1:
                raise SchemaError(f"{self.path}: a CRD cannot say one of several types")
            rest = {key: value for key, value in node.items() if key not in {"anyOf", "default"}}
            return self.resolve({**others[0], **rest})
        if "$ref" in node:
            rest = {key: value for key, value in node.items() if key != "$ref"}
            return self.resolve({**self.definitions[node["$ref"].rpartition("/")[2]], **rest})
        return {**node, "default": without_nulls(node["default"])} if "default" in node else node

    def check_bound(self, node: Schema) -> None:
        """CEL rules are costed by the largest value a field can hold, and so is etcd."""
        free = "additionalProperties" in node or "x-kubernetes-preserve-unknown-fields" in node
        bounds = {
            "string": ("maxLength", "enum"),
            "array": ("maxItems",),
            "object": ("maxProperties",) if free else (),
        } | dict.fromkeys(("boolean", "integer", "number"), ())
        wanted = ("maxLength",) if "x-kubernetes-int-or-string" in node else bounds[node["type"]]
        if wanted and not any(bound in node for bound in wanted):
            raise SchemaError(f"{self.path}: has no {wanted[0]}")


def paragraph(docstring: str) -> str:
    """The docstring as one line: `kubectl explain` wraps it itself."""
    return " ".join(docstring.split())


def told_twice(node: Schema) -> Iterator[str]:
    """What `kubectl explain` keeps to itself: defaults, more than four choices, and those of a list's items."""
    choices = node.get("items", {}).get("enum") or (node.get("enum", []) if len(node.get("enum", [])) > 4 else [])
    if choices:
        yield f"{'Any' if 'items' in node else 'One'} of {', '.join(choices)}."
    default = node.get("default")
    nested = {name: field["default"] for name, field in node.get("properties", {}).items() if "default" in field}
    if default not in (None, "", [], {}, nested):
        yield f"Defaults to {flow(default)}."


def flow(value: Any) -> str:
    """A value on one line, as one would write it in a file."""
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf, sort_keys=False).removesuffix("...\n").strip()


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def structural(model: type[BaseModel], path: str, *, observed: bool) -> Schema:
    """The structural schema of a model."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    return Converter(definitions, path, observed).convert(schema)


def object_schema(kind: Kind) -> Schema:
    """The schema of the whole object."""
    return {
        "description": kind.doc,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": f"{GROUP}/{VERSION}", "type": "string"},
            "kind": {"description": kind.kind, "type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(kind.spec, "spec", observed=False),
            "status": structural(kind.status, "status", observed=True),
        },
        **rules(*kind.rules),
    }


def definition(kind: Kind) -> Schema:
    """The CustomResourceDefinition."""
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": type_, "jsonPath": path} for name, type_, path in kind.columns
        ],
        "schema": {"openAPIV3Schema": object_schema(kind)},
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                "categories": ["churn"],
            },
            "versions": [version],
        },
    }


def to_yaml(crd: Schema) -> str:
    return yaml.safe_dump(crd, sort_keys=False, width=120, allow_unicode=True)


def for_chart(crd: Schema) -> str:
    """The same as a template: kept when the release goes, because the users' objects would go with it."""
    kept = crd | {"metadata": {**crd["metadata"], "annotations": {"helm.sh/resource-policy": "keep"}}}
    text = to_yaml(kept)
    if "{{" in text:
        raise SchemaError("Helm would take {{ for its own")
    return f"{{{{- if .Values.crds.install }}}}\n{text}{{{{- end }}}}\n"


def files(folder: Path, chart: Path) -> dict[Path, str]:
    """Every file this module writes."""
    crds = {f"{kind.plural}.yaml": definition(kind) for kind in KINDS}
    plain = {folder / name: to_yaml(crd) for name, crd in crds.items()}
    return plain | {chart / name: for_chart(crd) for name, crd in crds.items()}


def main(folder: str = "crds", chart: str = "charts/churn-operator/templates/crds") -> None:
    for path, text in files(Path(folder), Path(chart)).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
