"""Requests at a steady rate, and what became of them."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

WORKERS = 10
TIMEOUT = 5.0


@dataclass(frozen=True)
class Sample:
    """One request: when it was sent (monotonic seconds), how long it took, and the version that answered."""

    at: float
    seconds: float
    version: str | None
    problem: str | None


def predict(url: str, instance: dict[str, Any], timeout: float = TIMEOUT) -> dict[str, Any]:
    """The prediction for one customer, by KServe's V1 protocol.

    Raises:
        OSError: nobody answered, or not with 200.
    """
    with closing(_connection(url, timeout)) as connection:
        return _predict(connection, url, instance)


def _connection(url: str, timeout: float = TIMEOUT) -> http.client.HTTPConnection:
    """One that opens itself when it is used, and again after it was closed."""
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)


def _predict(connection: http.client.HTTPConnection, url: str, instance: dict[str, Any]) -> dict[str, Any]:
    try:
        asked = json.dumps({"instances": [instance]})
        connection.request("POST", urlsplit(url).path, asked, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"{url}: {error!r}") from error
    if answer.status != 200:
        raise OSError(f"{url} answered {answer.status}: {body[:300].decode(errors='replace')}")
    prediction: dict[str, Any] = json.loads(body)["predictions"][0]
    return prediction


@dataclass
class Load:
    """Open loop: a slow answer delays no other request by more than its worker's turn."""

    url: str
    instance: dict[str, Any]
    per_second: float = 50
    keep_alive: bool = False
    """Whether a worker keeps its connection, as clients with a pool do, or opens one for each request."""
    samples: list[Sample] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        start = time.monotonic()
        self._threads = [
            threading.Thread(target=self._work, args=(start, turn), daemon=True) for turn in range(WORKERS)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT * 2)

    def _work(self, start: float, turn: int) -> None:
        with closing(_connection(self.url)) as connection:
            for due in _schedule(start, turn / self.per_second, WORKERS / self.per_second):
                if self._stop.wait(max(0.0, due - time.monotonic())):
                    return
                self.samples.append(self._ask(connection))

    def _ask(self, connection: http.client.HTTPConnection) -> Sample:
        begin = time.monotonic()
        version, problem = None, None
        try:
            version = str(_predict(connection, self.url, self.instance)["version"])
        except (OSError, LookupError, ValueError) as error:
            problem = repr(error)
        if problem or not self.keep_alive:
            connection.close()
        return Sample(begin, time.monotonic() - begin, version, problem)

    @property
    def failures(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.problem]

    @property
    def versions(self) -> list[str]:
        """The versions that answered, in the order in which they first did."""
        answered = sorted((sample for sample in self.samples if sample.version), key=lambda sample: sample.at)
        return list(dict.fromkeys(str(sample.version) for sample in answered))

    def quantile(self, share: float) -> float:
        """Seconds that this share of the answered requests stayed below."""
        times = sorted(sample.seconds for sample in self.samples if not sample.problem)
        return times[min(int(share * len(times)), len(times) - 1)]

    def summary(self) -> str:
        return (
            f"{len(self.samples)} requests, {len(self.failures)} failed, "
            f"p50 {self.quantile(0.5) * 1000:.1f} ms, p95 {self.quantile(0.95) * 1000:.1f} ms, "
            f"answered by {' then '.join(self.versions)}"
        )


def _schedule(start: float, offset: float, interval: float) -> Iterator[float]:
    due = start + offset
    while True:
        yield due
        due = max(due + interval, time.monotonic())
