"""`python -m churn_operator.collector`: take events until SIGTERM, then flush."""

import asyncio
import os
import signal
import sys

from pydantic import ValidationError

from churn_operator.api import logs
from churn_operator.collector.settings import PREFIX, Settings

EXIT_SETTINGS = 2
"""Exit code: a setting is missing or wrong."""
EXIT_LEFT = 3
"""Exit code: the object store is away, and events are on the own disk only."""


def main() -> int:
    """Run; the exit code."""
    try:
        settings = Settings.from_environment(os.environ)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            name = PREFIX + "_".join(str(part) for part in problem["loc"]).upper()
            print(f"{name}: {problem['msg']}", file=sys.stderr)  # noqa: T201 - a program's last words
        return EXIT_SETTINGS
    logs.configure(sys.stdout)
    return asyncio.run(collect(settings))


async def collect(settings: Settings) -> int:
    from churn_operator.collector.service import Collector

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return 0 if await Collector(settings).run(stop) else EXIT_LEFT


if __name__ == "__main__":
    sys.exit(main())
