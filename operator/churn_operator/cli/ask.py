"""A question to whoever sits at the terminal."""

import signal
import sys

import typer

from churn_operator.cli.failure import Failure

YES = frozenset({"y", "yes"})


def sure(question: str) -> None:
    """Return when the answer is yes. Asked beside the answer of the command, which may be JSON.

    Raises:
        Failure: it is not, or there is nobody to ask.
    """
    # For asyncio, ctrl-c only cancels what waits, and nothing here does.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        typer.echo(f"{question} [y/N] ", err=True, nl=False)
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        typer.echo(err=True)
        raise Failure("Nothing was written.") from None
    finally:
        signal.signal(signal.SIGINT, before)
    if not answer:
        typer.echo(err=True)
        raise Failure("Nothing was written: there is nobody to ask. With --yes no question is asked.")
    if answer.strip().lower() not in YES:
        raise Failure("Nothing was written.")
