"""Ports for servers of tests and benches."""

import itertools
import secrets
import socket
from contextlib import suppress

FIRST, COUNT = 20_000, 10_000
"""Below those that Linux gives to clients, of which one could take a port before its server has started."""
_numbers = itertools.count(secrets.randbelow(COUNT))
"""A process gives out none twice, as long as it gives out fewer than there are."""


def free_port() -> int:
    """One of loopback on which nobody listens."""
    while True:
        port = FIRST + next(_numbers) % COUNT
        with suppress(OSError), socket.socket() as found:
            found.bind(("127.0.0.1", port))
            return port
