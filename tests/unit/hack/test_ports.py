"""The ports of tests' servers."""

import itertools
import socket

import pytest
from hack.bench import ports
from hack.bench.ports import COUNT, FIRST, free_port


def test_no_port_is_given_out_twice_and_none_that_a_client_could_take() -> None:
    given = [free_port() for _ in range(100)]
    assert len(set(given)) == 100
    assert all(FIRST <= port < FIRST + COUNT for port in given)
    assert FIRST + COUNT <= 32_768, "where Linux begins with those of clients"


def test_a_port_on_which_somebody_listens_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setattr(ports, "_numbers", itertools.count(port - FIRST))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert free_port() != port
