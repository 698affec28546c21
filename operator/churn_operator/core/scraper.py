"""What predictors have counted: at the pods themselves, or as a Prometheus last scraped it."""

import json
from collections.abc import Mapping
from typing import Any

import aiohttp
from prometheus_client.samples import Sample

from churn_operator.core.errors import MetricsUnavailable
from churn_operator.core.outage import Outages

TIMEOUT = 2.0
"""Seconds, of a pod."""
QUERY_TIMEOUT = 5.0
"""Seconds, of a Prometheus."""
LIMIT = 1 << 24
"""Bytes of an answer. A hundred pods tell some 3 MB through a Prometheus."""
BUSY = {408, 429}


class Scraper:
    """Reads /metrics, and asks Prometheus by its HTTP API. No redirect is followed: what may be asked was said."""

    def __init__(self, session: aiohttp.ClientSession, query_timeout: float = QUERY_TIMEOUT) -> None:
        self._session = session
        self._query_timeout = query_timeout
        self._outages = Outages(MetricsUnavailable)

    async def metrics(self, url: str) -> str:
        """What a pod's /metrics says."""
        status, body = await self._get(url, TIMEOUT, {})
        if status != 200:
            raise MetricsUnavailable(f"{url} answers {status}")
        return body.decode(errors="replace")

    async def query(self, url: str, promql: str) -> tuple[Sample, ...]:
        """The series of an instant vector."""
        status, body = await self._outages.ask(url, lambda: self._ask(url, promql))
        if body.get("status") != "success":
            raise MetricsUnavailable(f"Prometheus at {url} answers {status}: {str(body.get('error'))[:200]}")
        if body.get("warnings"):
            raise MetricsUnavailable(f"Prometheus at {url} may not know all: {str(body['warnings'])[:200]}")
        try:
            return tuple(_sample(series) for series in body["data"]["result"])
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise MetricsUnavailable(f"what answers at {url} is not Prometheus: {error!r}") from error

    async def _ask(self, url: str, promql: str) -> tuple[int, Mapping[str, Any]]:
        """Status and JSON of an answer that Prometheus itself gave; an answer about the query is one, too."""
        asked = {"query": promql, "timeout": f"{self._query_timeout:g}s"}
        status, body = await self._get(f"{url.rstrip('/')}/api/v1/query", self._query_timeout, asked)
        try:
            answer = json.loads(body)
        except ValueError as error:
            raise MetricsUnavailable(f"what answers {status} at {url} is not Prometheus: {error}") from error
        if not isinstance(answer, dict):
            raise MetricsUnavailable(f"what answers {status} at {url} is not Prometheus")
        return status, answer

    async def _get(self, url: str, seconds: float, params: Mapping[str, str]) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._session.get(url, params=params, timeout=timeout, allow_redirects=False) as response:
                if response.status in BUSY or response.status >= 500:
                    raise MetricsUnavailable(f"{url} answers {response.status}").wanting(response.headers)
                return response.status, await _whole(url, response)
        except TimeoutError as error:
            raise MetricsUnavailable(f"{url} did not answer within {seconds:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise MetricsUnavailable(f"{url} does not answer: {error}") from error


async def _whole(url: str, response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LIMIT:
            raise MetricsUnavailable(f"{url} answers more than {LIMIT >> 20} MiB")
    return bytes(body)


def _sample(series: Mapping[str, Any]) -> Sample:
    labels = {str(name): str(value) for name, value in series["metric"].items()}
    return Sample(labels.pop("__name__"), labels, float(series["value"][1]))
