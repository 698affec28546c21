"""`labels`: how many decisions of two versions were wrong, as far as it is known by now.

What counts is what clients were answered, as the log has it: each version's decision at its own threshold, the first
about each customer, beside the label that the table has of them. Columns are called as they were in training.
"""

import logging
from typing import TYPE_CHECKING

from churn_operator.api.contract import CONTRACT_FILE
from churn_operator.api.inference_log import Partition, identifier
from churn_operator.api.reasons import Reason
from churn_operator.api.tasks import ChampionRef, Labelled, LabelsResult, LabelsTask
from churn_operator.jobs import bundle, data, predictions
from churn_operator.storage.failure import Refused

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


def labels(task: LabelsTask) -> LabelsResult:
    """Joins what was logged with the labels that have come.

    Raises:
        JobError: either cannot be read.
    """
    both = [(ref, bundle.load(ref.model, only=(CONTRACT_FILE,))) for ref in (task.champion, task.challenger)]
    names = {ref.version: _id_column(ref.version, model) for ref, model in both}
    content = data.read(task.source)
    table = data.table(content, tuple(set(names.values())))
    counted, contradicted = [], 0
    for ref, model in both:
        target, positive = model.manifest.target, model.manifest.positive_label
        left, several = outcomes(table, names[ref.version], target, positive)
        contradicted = max(contradicted, several)
        counted.append(_counted(task, ref, left))
    champion, challenger = counted
    return LabelsResult(champion=champion, challenger=challenger, contradicted=contradicted, revision=content.revision)


def _id_column(version: str, model: "bundle.Bundle") -> str:
    """By which the version's predictions are joined.

    Raises:
        Refused: the log holds none.
    """
    name = model.contract.id_column
    if name is None:
        raise Refused(
            Reason.ColumnMissing, f"{version} was trained without data.idColumn: nobody can tell whose predictions are"
        )
    if any(item.column == name and item.action != "Hash" for item in model.contract.personal):
        raise Refused(Reason.DataPersonal, f"the inference log of {version} holds no {name!r}, as data.pii said")
    return name


def outcomes(table: "pd.DataFrame", id_column: str, target: str, positive: str) -> "tuple[pd.Series, int]":
    """Whether each customer left, by identifier, and how many have labels that contradict each other.

    Raises:
        Refused: a column is missing, or the identifiers are none.
    """
    from churn_operator.jobs.target import labels as texts

    for name, reason in ((id_column, Reason.ColumnMissing), (target, Reason.TargetMissing)):
        if name not in table.columns:
            raise Refused(reason, f"there is no column {name!r} among the labels' {len(table.columns)}")
    try:
        names = table[id_column].map(identifier, na_action="ignore")
    except ValueError as error:
        raise Refused(Reason.ColumnMixed, f"column {id_column!r} holds what is no identifier: it {error}") from error
    label = texts(table[target])
    known = names.notna() & label.notna()
    left = (label[known] == positive).groupby(names[known]).agg(["min", "max"])
    certain = left["min"] == left["max"]
    return left.loc[certain, "max"].astype(bool), int((~certain).sum())


def _counted(task: LabelsTask, ref: ChampionRef, left: "pd.Series") -> Labelled:
    logged = predictions.read(task.log, Partition(task.namespace, task.churn_model, ref.version)).table
    rows = logged.select(["id", "time", "event_id", "row", "churn"]).to_pandas()
    first = rows[rows["id"].notna()].sort_values(["time", "event_id", "row"]).drop_duplicates("id").set_index("id")
    truth = left.reindex(first.index)
    known = truth.notna()
    found = Labelled(
        version=ref.version,
        predictions=len(rows),
        customers=len(first),
        labelled=int(known.sum()),
        wrong=int((first["churn"][known] != truth[known].astype(bool)).sum()),
    )
    log.info("%s", found)
    return found
