"""How a result fits into a termination message."""

import base64
import json
import zlib

from churn_operator.api.base import Model
from churn_operator.api.tasks import RESULT_LIMIT

PREFIX = "zlib:"
_DECODED_LIMIT = 1 << 20
"""No result is larger; a message that claims to be is no result."""


def encode_result(result: Model) -> str:
    """The result as JSON, or, where that is over RESULT_LIMIT bytes, as `zlib:` and the base64 of its zlib stream.

    Raises:
        ValueError: it is over RESULT_LIMIT even so.
    """
    text = json.dumps(result.to_dict(), ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) <= RESULT_LIMIT:
        return text
    packed = PREFIX + base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    if len(packed) > RESULT_LIMIT:
        raise ValueError(f"the result takes {len(packed)} bytes of {RESULT_LIMIT}")
    return packed


def decode_result(text: str) -> str:
    """The JSON that `encode_result` was given.

    Raises:
        ValueError: the text is packed and cannot be unpacked.
    """
    if not text.startswith(PREFIX):
        return text
    inflate = zlib.decompressobj()
    try:
        data = inflate.decompress(base64.b64decode(text[len(PREFIX) :], validate=True), _DECODED_LIMIT)
    except zlib.error as error:
        raise ValueError(f"not a zlib stream: {error}") from error
    if not inflate.eof:
        raise ValueError("the packed result is cut off, or too large")
    return data.decode()
