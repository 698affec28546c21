"""`fetch`: a model's files, checked, in a folder."""

import logging
from pathlib import Path

from churn_operator.api.tasks import FetchTask
from churn_operator.jobs import bundle

log = logging.getLogger(__name__)


def fetch(task: FetchTask) -> None:
    """Brings the files, or none: nothing is written before everything was checked."""
    found = bundle.load(task.model)
    bundle.unpack(found, Path(task.destination))
    log.info("%d files of %s are in %s", len(found.files), task.model.uri, task.destination)
