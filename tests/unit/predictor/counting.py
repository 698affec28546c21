"""What requests add to /metrics."""

import json

import httpx
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(client: httpx.AsyncClient) -> Samples:
    text = (await client.get("/metrics", headers={"accept": "text/plain"})).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        if family.name.startswith("churn_predictor")
        for sample in family.samples
    }


async def grown(client: httpx.AsyncClient, *requests: tuple[str, object, dict[str, str]]) -> dict[str, float]:
    """What a few requests add, written as Prometheus would, without the labels that are everywhere."""
    before = await scrape(client)
    for path, body, headers in requests:
        await client.post(path, content=json.dumps(body), headers=headers)
    after = await scrape(client)
    found = {}
    for (name, labels), value in after.items():
        if (more := value - before.get((name, labels), 0)) and not name.endswith(("_created", "_sum")):
            rest = ",".join(f"{k}={v}" for k, v in sorted(labels) if k not in {"model", "version"})
            found[f"{name}{{{rest}}}"] = more
    return {key: value for key, value in found.items() if "_bucket" not in key}
