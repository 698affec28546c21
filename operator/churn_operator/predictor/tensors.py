"""The Open Inference Protocol (V2): one tensor for each column in, the same values out of JSON, bytes and gRPC.

A tensor is named like its column and holds one value for each row: shape [n] or [n, 1]. Numerical columns take any
number, boolean or text that reads as a number, categorical ones text, whatever the datatype says of them. NaN, null and
the empty text are missing values. What is wrong is told in the words of the V1 protocol.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest, ModelInferResponse

from churn_operator.api.contract import Contract
from churn_operator.predictor.request import (
    MAX_INSTANCES,
    Refused,
    Rows,
    TooMuch,
    check_count,
    converters,
    short,
    shown,
    told,
)

RAW: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
"""How numbers travel as bytes; BYTES travels as texts, each behind its length."""
DATATYPES = (*RAW, "BYTES")
CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where a gRPC message keeps the values of a datatype."""
OUTPUTS = {"probability": "FP64", "churn": "BOOL"}
MAX_BRACES = 16 * MAX_INSTANCES
"""Objects in JSON, counted before it is decoded: a row is one, and a million would block everybody for a second."""
_ANY_COLUMNS = 1000
"""Where a fallback takes any: of more, no body holds a thousand rows of lists."""
LARGE = 64 << 10
"""Bytes of JSON from which it is looked at before it is decoded."""
MAX_TENSORS = 4096
"""Of a gRPC message, which holds two millions of empty ones."""
BINARY_HEADER = "inference-header-content-length"
"""Where the JSON of a body ends and the tensors' bytes begin."""


class Tensor(NamedTuple):
    """One column of a request."""

    name: str
    datatype: str
    shape: Sequence[object]
    values: list[Any] | bytes
    """Bytes are decoded by the datatype."""


class Inference(NamedTuple):
    """A request, whatever carried it."""

    id: str
    version: str
    """The version that the client insists on; empty where it takes any."""
    tensors: list[Tensor]
    outputs: dict[str, bool]
    """The outputs that are wanted, and whether as bytes."""


class Outcome(NamedTuple):
    """What is answered."""

    model: str
    version: str
    probability: list[float]
    churn: list[bool]
    threshold: float
    """REST tells it with every answer: what a client that wants no `churn` was told, the inference log works out."""


class TensorReader:
    """The contract, compiled for columns."""

    def __init__(self, contract: Contract) -> None:
        self._numerical = tuple(feature.name for feature in contract.numerical)
        self._categorical = tuple(feature.name for feature in contract.categorical)
        self._columns = converters(contract)
        self._id = contract.id_column

    def read(self, tensors: list[Tensor], *, complete: bool = True) -> Rows:
        """The rows that the tensors hold; unless `complete`, an absent tensor is a column of missing values.

        Raises:
            Refused: names the first tensor that is at fault.
        """
        count = _row_count(tensors)
        given = self._by_column(tensors, complete=complete)
        values = {name: self._values(tensor, count) for name, tensor in given.items() if name != self._id}
        missing = [None] * count
        numbers = [self._converted(name, values.get(name, missing)) for name in self._numerical]
        categories = [self._converted(name, values.get(name, missing)) for name in self._categorical]
        return Rows(_transposed(numbers, count), _transposed(categories, count))

    def _by_column(self, tensors: list[Tensor], *, complete: bool) -> dict[str, Tensor]:
        given: dict[str, Tensor] = {}
        for tensor in tensors:
            where = f"inputs.{short(tensor.name)}"
            if not self._is_known(tensor.name):
                raise Refused(f"{where}: unknown column")
            if tensor.name in given:
                raise Refused(f"{where}: given twice")
            if tensor.datatype not in DATATYPES:
                raise Refused(f"{where}.datatype: must be one of {', '.join(DATATYPES)}, got {shown(tensor.datatype)}")
            given[tensor.name] = tensor
        absent = next((name for name in self._columns if name not in given), None)
        if complete and absent is not None:
            raise Refused(f"inputs.{absent}: required")
        return given

    def _is_known(self, name: str) -> bool:
        return name in self._columns or name == self._id

    @staticmethod
    def _values(tensor: Tensor, count: int) -> list[Any]:
        where = f"inputs.{tensor.name}"
        if list(tensor.shape) not in ([count], [count, 1]):
            raise Refused(f"{where}.shape: must be [{count}] or [{count}, 1], got {shown(list(tensor.shape))}")
        values = tensor.values
        if isinstance(values, bytes):
            values = _unpacked(tensor.datatype, values, count, where)
        elif values and isinstance(values[0], list):
            values = [value for row in values for value in (row if isinstance(row, list) else [row])]
        _check_length(len(values), count, where)
        return values

    def _converted(self, name: str, values: list[Any]) -> list[Any]:
        rule, convert = self._columns[name]
        if values and isinstance(values[0], bytes):
            values = [_text(value, f"inputs.{name}[{position}]") for position, value in enumerate(values)]
        try:
            return [convert(value) for value in values]
        except ValueError:
            for position, value in enumerate(values):
                try:
                    convert(value)
                except ValueError as error:
                    raise Refused(f"inputs.{name}[{position}]: {told(rule, error, value)}") from None
            raise


def _row_count(tensors: list[Tensor]) -> int:
    if not tensors:
        raise Refused("inputs: required")
    count = tensors[0].shape[0] if tensors[0].shape else None
    if not isinstance(count, int) or isinstance(count, bool):
        name = short(tensors[0].name)
        raise Refused(f"inputs.{name}.shape: must be [n] or [n, 1], got {shown(list(tensors[0].shape))}")
    check_count(count, "inputs")
    return count


def _check_length(found: int, count: int, where: str) -> None:
    if found != count:
        raise Refused(f"{where}.data: must hold {count} values, got {found}")


def _transposed(columns: list[list[Any]], count: int) -> list[list[Any]]:
    return [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in range(count)]


def _text(value: Any, where: str) -> str:
    try:
        return str(value, "utf-8")
    except (UnicodeDecodeError, TypeError):
        raise Refused(f"{where}: must be text in UTF-8") from None


def _unpacked(datatype: str, raw: bytes, count: int, where: str) -> list[Any]:
    """The values of a tensor that travelled as bytes; where these are too many, none is made of them."""
    if datatype != "BYTES":
        size = RAW[datatype].itemsize
        if len(raw) % size:
            raise Refused(f"{where}.data: must be a multiple of {size} bytes for {datatype}, got {len(raw)}")
        _check_length(len(raw) // size, count, where)
        values: list[Any] = np.frombuffer(raw, RAW[datatype]).tolist()
        return values
    texts: list[bytes] = []
    at = 0
    while at < len(raw):
        if len(texts) == count:
            raise Refused(f"{where}.data: must hold {count} values, got more")
        start = at + 4
        length = struct.unpack_from("<I", raw, at)[0] if start <= len(raw) else len(raw)
        at = start + length
        if at > len(raw):
            raise Refused(f"{where}.data: ends in the middle of a text")
        texts.append(raw[start:at])
    return texts


def most_lists(contract: Contract) -> int:
    """How many lists a body may hold: each value of a row may be one, and a hundred more are let through."""
    return MAX_INSTANCES * ((len(contract.features) or _ANY_COLUMNS) + 100)


def from_body(body: bytes, headers: Mapping[str, str], lists: int) -> Inference:
    """A REST request; tensors may stand behind the JSON as bytes, as the KServe SDK's client sends them.

    Raises:
        Refused: names the field that is at fault.
    """
    length = headers.get(BINARY_HEADER, str(len(body)))
    if not length.isdecimal() or len(length) > 9 or int(length) > len(body):
        raise Refused(f"{BINARY_HEADER}: must be a number up to {len(body)}, got {shown(length)}")
    given = decoded(body[: int(length)], lists)
    if not isinstance(given, dict):
        raise Refused(f'body: must be an object {{"inputs": […]}}, got {shown(given)}')
    rest = memoryview(body)[int(length) :]
    tensors = []
    for position, each in enumerate(_list(given, "inputs", required=True)):
        tensor, rest = _tensor(each, f"inputs[{position}]", rest)
        tensors.append(tensor)
    if len(rest):
        raise Refused(f"body: has {len(rest)} bytes that belong to no tensor")
    return Inference(str(given.get("id") or ""), "", tensors, _wanted(given))


def decoded(body: bytes, lists: int) -> object:
    """JSON.

    Raises:
        Refused: it is none, or holds more lists or objects than any request needs.
    """
    if len(body) > LARGE and body.count(b"{") > MAX_BRACES:
        raise TooMuch(f"body: must hold at most {MAX_INSTANCES} rows")
    if len(body) > LARGE and body.count(b"[") > lists:
        raise TooMuch(f"body: must hold at most {lists} lists")
    try:
        found: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(f"Unrecognized request format: {error}") from None
    return found


def _tensor(given: object, where: str, rest: memoryview) -> tuple[Tensor, memoryview]:
    """One tensor, and the bytes behind its own."""
    if not isinstance(given, dict):
        raise Refused(f"{where}: must be an object, got {shown(given)}")
    for field, kind, rule in (("name", str, "text"), ("datatype", str, "text"), ("shape", list, "a list")):
        if not isinstance(given.get(field), kind):
            raise Refused(f"{where}.{field}: must be {rule}, got {shown(given.get(field))}")
    where = f"inputs.{short(given['name'])}"
    size = _object(given, where).get("binary_data_size")
    if size is None:
        return Tensor(given["name"], given["datatype"], given["shape"], _list(given, "data", where + ".")), rest
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
        raise Refused(f"{where}.parameters.binary_data_size: must be a number up to {len(rest)}, got {shown(size)}")
    return Tensor(given["name"], given["datatype"], given["shape"], bytes(rest[:size])), rest[size:]


def _list(given: dict[str, Any], field: str, prefix: str = "", *, required: bool = True) -> list[Any]:
    if field not in given and not required:
        return []
    if field not in given:
        raise Refused(f"{prefix}{field}: required")
    found = given[field]
    if not isinstance(found, list):
        raise Refused(f"{prefix}{field}: must be a list, got {shown(found)}")
    return found


def _object(given: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = given.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise Refused(f"{where}.parameters: must be an object, got {shown(parameters)}")
    return parameters


def _wanted(given: dict[str, Any]) -> dict[str, bool]:
    binary = _object(given, "body").get("binary_data_output") is True
    asked = {}
    for position, output in enumerate(_list(given, "outputs", required=False)):
        if not isinstance(output, dict) or output.get("name") not in OUTPUTS:
            raise Refused(f"outputs[{position}]: must name one of {', '.join(OUTPUTS)}, got {shown(output)}")
        own = _object(output, f"outputs[{position}]").get("binary_data", binary)
        asked[output["name"]] = own is True
    return asked or dict.fromkeys(OUTPUTS, binary)


def from_message(message: ModelInferRequest) -> Inference:
    """A gRPC request.

    Raises:
        Refused: names the field that is at fault.
    """
    for where, count in (("inputs", len(message.inputs)), ("outputs", len(message.outputs))):
        if count > MAX_TENSORS:
            raise Refused(f"{where}: must hold at most {MAX_TENSORS} tensors, got {count}")
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise Refused(f"raw_input_contents: must hold one for each of {len(message.inputs)} inputs, got {len(raw)}")
    tensors = []
    for position, each in enumerate(message.inputs):
        field = CONTENTS.get(each.datatype)
        values = raw[position] if raw else list(getattr(each.contents, field)) if field else []
        tensors.append(Tensor(each.name, each.datatype, list(each.shape), values))
    unknown = next((output.name for output in message.outputs if output.name not in OUTPUTS), None)
    if unknown is not None:
        raise Refused(f"outputs: must name one of {', '.join(OUTPUTS)}, got {shown(unknown)}")
    outputs = [output.name for output in message.outputs] or list(OUTPUTS)
    return Inference(message.id, message.model_version, tensors, dict.fromkeys(outputs, bool(raw)))


def to_body(inference: Inference, outcome: Outcome) -> tuple[bytes, dict[str, str]]:
    """A REST answer and its headers."""
    outputs: list[dict[str, Any]] = []
    tail = []
    for name, binary in inference.outputs.items():
        values = getattr(outcome, name)
        output: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": [len(values)]}
        if binary:
            tail.append(_packed(name, outcome))
            output["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            output["data"] = values
        outputs.append(output)
    answer = {
        "model_name": outcome.model,
        "model_version": outcome.version,
        "parameters": {"threshold": outcome.threshold},
        "outputs": outputs,
    }
    head = orjson.dumps({"id": inference.id} | answer if inference.id else answer)
    if not tail:
        return head, {"content-type": "application/json"}
    return b"".join((head, *tail)), {"content-type": "application/octet-stream", BINARY_HEADER: str(len(head))}


def to_message(inference: Inference, outcome: Outcome) -> ModelInferResponse:
    """A gRPC answer: in bytes, when the request came in bytes."""
    message = ModelInferResponse(model_name=outcome.model, model_version=outcome.version, id=inference.id)
    for name, binary in inference.outputs.items():
        values = getattr(outcome, name)
        output = message.outputs.add(name=name, datatype=OUTPUTS[name], shape=[len(values)])
        if binary:
            message.raw_output_contents.append(_packed(name, outcome))
        else:
            getattr(output.contents, CONTENTS[OUTPUTS[name]]).extend(values)
    return message


def _packed(name: str, outcome: Outcome) -> bytes:
    return np.array(getattr(outcome, name), RAW[OUTPUTS[name]]).tobytes()


def inputs(contract: Contract) -> list[dict[str, Any]]:
    """The tensors that a model takes, for its metadata."""
    return [
        {"name": each.name, "datatype": "FP64" if each.kind == "Numerical" else "BYTES", "shape": [-1]}
        for each in contract.features
    ]


def outputs() -> list[dict[str, Any]]:
    """The tensors that a model answers, for its metadata."""
    return [{"name": name, "datatype": datatype, "shape": [-1]} for name, datatype in OUTPUTS.items()]
