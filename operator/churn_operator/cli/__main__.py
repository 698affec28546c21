"""The executable `kubectl-churn`, which kubectl runs as `kubectl churn`."""

import logging

from churn_operator.cli import commands
from churn_operator.cli.app import app

__all__ = ["app", "commands", "main"]


def main() -> None:
    """Run one command."""
    logging.getLogger().addHandler(logging.NullHandler())  # what the client's library logs stands in our sentence
    app(prog_name="kubectl churn")


if __name__ == "__main__":
    main()
