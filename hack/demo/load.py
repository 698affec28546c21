"""Requests at a steady rate, and what became of them."""

import http.client
import json
import secrets
import select
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

WORKERS = 10
TIMEOUT = 5.0


@dataclass(frozen=True)
class Sample:
    """One request: its id, when it was sent (monotonic seconds), how long it took, and the version that answered."""

    id: str
    at: float
    seconds: float
    version: str | None
    problem: str | None


def predict(url: str, instance: dict[str, Any], timeout: float = TIMEOUT, host: str = "") -> dict[str, Any]:
    """The prediction for one customer, by KServe's V1 protocol; `host` is whom a Gateway is asked for.

    Raises:
        OSError: nobody answered, or not with 200.
    """
    with closing(_connection(url, timeout)) as connection:
        return _ask(connection, url, [instance], {"Host": host} if host else {})[0]


def send(url: str, instances: Sequence[dict[str, Any]], name: str, at_once: int = 20) -> int:
    """Ask about every customer once, some at a time, one request after another; how many requests that took.

    Each request has an id of its own, so that the inference log can tell a request that was repeated from two.

    Raises:
        OSError: a request was not answered with 200.
    """
    starts = range(0, len(instances), at_once)
    with closing(_connection(url)) as connection:
        for start in starts:
            _ask(connection, url, instances[start : start + at_once], {"Ce-Id": f"{name}-{start}"})
    return len(starts)


def _connection(url: str, timeout: float = TIMEOUT) -> http.client.HTTPConnection:
    """One that opens itself when it is used, and again after it was closed."""
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)


def _ask(
    connection: http.client.HTTPConnection, url: str, instances: Sequence[dict[str, Any]], headers: dict[str, str]
) -> list[dict[str, Any]]:
    try:
        asked = json.dumps({"instances": list(instances)})
        connection.request("POST", urlsplit(url).path, asked, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        body = answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"{url}: {error!r}") from error
    if answer.status != 200:
        raise NotAnswered(answer.status, f"{url} answered {answer.status}: {body[:300].decode(errors='replace')}")
    predictions: list[dict[str, Any]] = json.loads(body)["predictions"]
    return predictions


class NotAnswered(OSError):
    """The answer was another than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _is_gone(error: OSError) -> bool:
    """Whether nobody is there any more: the connection broke, or leads to a proxy before nothing."""
    return isinstance(error.__cause__ or error, ConnectionError) or (
        isinstance(error, NotAnswered) and error.status == http.HTTPStatus.BAD_GATEWAY
    )


def _was_closed(connection: http.client.HTTPConnection) -> bool:
    """Whether the other end has hung up: nothing is asked, so whatever can be read is its farewell."""
    return connection.sock is not None and bool(select.select([connection.sock], [], [], 0)[0])


@dataclass
class Load:
    """Open loop: a slow answer delays no other request by more than its worker's turn."""

    url: str
    customers: Sequence[dict[str, Any]]
    """Asked about in turn."""
    per_second: float = 50
    host: str = ""
    """The name by which a Gateway knows whom it is asked for; empty: the url's."""
    keep_alive: bool = False
    """Whether a worker keeps its connection, or opens one for each request.

    Clients with a pool look whether a connection they kept was closed meanwhile (RFC 9112, 9.3.1), and ask once more on
    a new one where it led to a server that is gone: KServe's agent says good-bye to none that is in use.
    """
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    """What the ids of its requests begin with (Ce-Id)."""
    repeated: list[float] = field(default_factory=list)
    """When a request had to be repeated on a new connection."""
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
            for number, due in enumerate(_schedule(start, turn / self.per_second, WORKERS / self.per_second)):
                if self._stop.wait(max(0.0, due - time.monotonic())):
                    return
                self.samples.append(self._ask(connection, number * WORKERS + turn))

    def _ask(self, connection: http.client.HTTPConnection, number: int) -> Sample:
        name, customer = f"{self.name}-{number}", self.customers[number % len(self.customers)]
        begin = time.monotonic()
        version, problem = None, None
        try:
            version = self._answered_by(connection, customer, name)
        except (OSError, LookupError, ValueError) as error:
            problem = repr(error)
        if problem or not self.keep_alive:
            connection.close()
        return Sample(name, begin, time.monotonic() - begin, version, problem)

    def _answered_by(self, connection: http.client.HTTPConnection, customer: dict[str, Any], name: str) -> str:
        if _was_closed(connection):
            connection.close()
        was_kept = connection.sock is not None
        try:
            return str(self._predict(connection, customer, name)["version"])
        except OSError as error:
            if not (was_kept and _is_gone(error)):
                raise
            connection.close()
            self.repeated.append(time.monotonic())
            return str(self._predict(connection, customer, name)["version"])

    def _predict(self, connection: http.client.HTTPConnection, customer: dict[str, Any], name: str) -> dict[str, Any]:
        return _ask(connection, self.url, [customer], {"Ce-Id": name} | ({"Host": self.host} if self.host else {}))[0]

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
