"""The ports of tests' servers."""

import socket

from hack.bench.ports import COUNT, FIRST, free_port


def test_no_port_is_given_out_twice_and_none_that_a_client_could_take() -> None:
    ports = [free_port() for _ in range(100)]
    assert len(set(ports)) == 100
    assert all(FIRST <= port < FIRST + COUNT for port in ports)
    assert FIRST + COUNT <= 32_768, "where Linux begins with those of clients"


def test_a_port_on_which_somebody_listens_is_passed_over() -> None:
    next_one = FIRST + (free_port() + 1 - FIRST) % COUNT
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", next_one))
        taken.listen()
        assert free_port() != next_one
