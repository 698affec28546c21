"""The generator of the CRDs."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from churn_operator.api.base import FreeForm, Model, Quantity, rules
from churn_operator.api.crds import SchemaError, files, main, structural

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["churnmodels", "trainingruns", "driftmonitors"])
def test_what_is_committed_is_what_the_models_say(name: str) -> None:
    expected = files(ROOT / "crds", ROOT / "charts/churn-operator/templates/crds")
    mine = {path: text for path, text in expected.items() if path.stem == name}
    assert len(mine) == 2
    for path, text in mine.items():
        assert path.read_text() == text, f"{path.name} is not what the models say: run `make crds`"


class Part(Model):
    """A part."""

    model_config = {"json_schema_extra": rules(("self.size > 0", "size must be positive"))}

    size: int = 1
    """How big it is."""


class Everything(Model):
    """Every sort of field."""

    word: Annotated[str, Field(max_length=5)]
    """A word."""
    maybe: Annotated[str, Field(max_length=5)] | None = None
    """Perhaps a word."""
    fixed: Literal["a"] = "a"
    """One choice."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """More than nothing."""
    words: Annotated[tuple[Annotated[str, Field(max_length=5)], ...], Field(max_length=3)] = ("a",)
    """Some words."""
    part: Part = Part()
    """A part of it."""
    parts: Annotated[tuple[Part, ...], Field(max_length=2)] = ()
    """More of them."""
    sizes: Annotated[dict[str, Quantity], Field(max_length=2)] = {}
    """By name."""
    free: FreeForm = {}
    """Whatever it is."""


PART = {"size": {"type": "integer"}}


def test_everything_is_said_in_the_dialect_of_kubernetes() -> None:
    """In a status: as in a spec, without defaults, rules, and what is told of them."""
    schema = structural(Everything, "status", observed=True)
    assert schema["required"] == ["word"]
    assert without_descriptions(schema["properties"]) == {
        "word": {"type": "string", "maxLength": 5},
        "maybe": {"type": "string", "maxLength": 5},
        "fixed": {"type": "string", "enum": ["a"]},
        "share": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1},
        "words": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 3},
        "part": {"type": "object", "properties": PART},
        "parts": {"type": "array", "maxItems": 2, "items": {"type": "object", "properties": PART}},
        "sizes": {
            "type": "object",
            "maxProperties": 2,
            "additionalProperties": {
                "x-kubernetes-int-or-string": True,
                "maxLength": 32,
                "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$",
            },
        },
        "free": {"type": "object", "maxProperties": 1024, "x-kubernetes-preserve-unknown-fields": True},
    }


def without_descriptions(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_descriptions(item) for key, item in value.items() if key != "description"}
    return value


def test_a_spec_has_defaults_and_rules_and_tells_them() -> None:
    fields = structural(Everything, "spec", observed=False)["properties"]
    assert {name: field["default"] for name, field in fields.items() if "default" in field} == {
        "fixed": "a",
        "share": 0.5,
        "words": ["a"],
        "part": {"size": 1},
        "parts": [],
        "sizes": {},
        "free": {},
    }
    assert fields["part"]["x-kubernetes-validations"] == [{"rule": "self.size > 0", "message": "size must be positive"}]
    assert fields["maybe"]["description"] == "Perhaps a word."
    assert fields["words"]["description"] == "Some words. Defaults to [a]."
    assert fields["part"]["description"] == "A part of it."


def test_null_is_nowhere() -> None:
    """Optional means absent."""
    for text in files(Path("crds"), Path("chart")).values():
        assert "null" not in text


class Undescribed(Model):
    """A model."""

    word: Annotated[str, Field(max_length=5)]


class Unbounded(Model):
    """A model."""

    word: str
    """A word."""


class EndlessList(Model):
    """A model."""

    parts: tuple[Part, ...] = ()
    """Parts."""


class EndlessMap(Model):
    """A model."""

    inside: dict[str, int] = {}
    """Numbers."""


class Union(Model):
    """A model."""

    either: int | Annotated[str, Field(max_length=5)] = 1
    """Two types."""


class Foreign(Model):
    """A model."""

    number: Annotated[int, Field(multiple_of=2)] = 2
    """An even number."""


@pytest.mark.parametrize(
    ("model", "message"),
    [
        pytest.param(Undescribed, "spec.word: has no description", id="a field without a docstring"),
        pytest.param(Unbounded, "spec.word: has no maxLength", id="a string without an end"),
        pytest.param(EndlessList, "spec.parts: has no maxItems", id="a list without an end"),
        pytest.param(EndlessMap, "spec.inside: has no maxProperties", id="a map without an end"),
        pytest.param(Union, "spec.either: a CRD cannot say one of several types", id="one of two types"),
        pytest.param(Foreign, "spec.number: a CRD cannot say multipleOf", id="a word that is not looked after"),
    ],
)
def test_what_cannot_be_said_fails_the_generation(model: type[Model], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        structural(model, "spec", observed=False)


def test_the_charts_crds_are_kept_and_can_be_left_out() -> None:
    for path, text in files(Path("crds"), Path("chart")).items():
        if path.parent == Path("chart"):
            assert text.startswith("{{- if .Values.crds.install }}\n")
            assert "helm.sh/resource-policy: keep" in text
        else:
            assert "helm.sh" not in text


def test_no_key_is_one_that_yaml_takes_for_a_boolean() -> None:
    """kubectl reads YAML 1.1: `on: [Drift]` reaches the API server as `true: [Drift]`."""
    words = {"y", "n", "yes", "no", "on", "off", "true", "false"}
    for model in files(Path("crds"), Path("chart")).values():
        keys = {line.strip().rstrip(":").strip("'\"").lower() for line in model.splitlines() if line.endswith(":")}
        assert "spec" in keys
        assert not keys & words


def test_a_model_survives_the_way_through_json() -> None:
    everything = Everything(word="a", sizes={"cpu": "500m"}, free={"x": [1, None]})
    assert Everything.model_validate(json.loads(json.dumps(everything.to_dict()))) == everything


def test_the_files_are_written_where_asked(tmp_path: Path) -> None:
    main(str(tmp_path / "crds"), str(tmp_path / "chart"))
    written = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.yaml")}
    assert written == {path.as_posix(): text for path, text in files(Path("crds"), Path("chart")).items()}
