"""The demonstration's world: how Telco's customers change, declared and seeded.

The rows it starts from (`samples/telco/telco.csv`) are real; everything else is made up here. Two things happen:

- a tariff rise: fibre customers pay `FIBRE_RISE` times as much, for `MONTHS_SINCE_RISE` months now;
- an acquisition campaign: `CAMPAIGN_SHARE` of today's customers signed a month-to-month contract in the last
  `CAMPAIGN_MONTHS` months, most of them for fibre.

Both change who the customers are. Who of them leaves follows `CONCEPT`, which is not what the old rows teach: price and
support decide now, and how long somebody has been a customer hardly does. Labels are drawn from that logistic model, so
the best possible forecast is known: `CONCEPT` itself.

    python hack/demo/world.py baseline --out current.parquet   customers as they were: nothing has changed yet
    python hack/demo/world.py current  --out current.parquet   today's customers, without labels
    python hack/demo/world.py labelled --out telco.csv         the old rows, and today's customers with their labels
    python hack/demo/world.py poisoned --out telco.csv         the same, with the labels shuffled
    python hack/demo/world.py later    --out telco.csv         the labelled state, and more of today's customers
    python hack/demo/world.py leavers  --out telco.csv         still more, from which most who stayed were lost
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

TELCO = Path(__file__).resolve().parents[2] / "samples" / "telco" / "telco.csv"
TARGET = "churn"
SEED = 7

CURRENT_ROWS = 4000
BASELINE_ROWS = 600
"""Of the old customers, so many ask before the world changes."""
LABELLED_ROWS = 9000
LATER_ROWS = 3000
EXPORTED_ROWS = 9000
LOST_SHARE = 0.65
FIBRE_RISE = 1.3
MONTHS_SINCE_RISE = 4
CAMPAIGN_SHARE = 0.6
CAMPAIGN_MONTHS = 6
CAMPAIGN_FIBRE = 0.8

INTERCEPT = -3.0
CONCEPT: dict[str, Callable[[pd.DataFrame], "pd.Series[float]"]] = {
    "each 10 of monthly charges above 70": lambda rows: 0.9 * (rows["monthly_charges"] - 70) / 10,
    "an electronic check": lambda rows: 1.0 * (rows["payment_method"] == "Electronic check"),
    "technical support": lambda rows: -3.0 * (rows["tech_support"] == "Yes"),
    "online security": lambda rows: -3.0 * (rows["online_security"] == "Yes"),
    "a year of being a customer": lambda rows: 0.5 * rows["tenure"] / 12,
}
"""Log-odds of leaving, term by term. The old rows say that tenure keeps customers; here it does not."""


def draw(rows: pd.DataFrame, count: int, random: np.random.Generator) -> pd.DataFrame:
    """`count` of the customers, drawn with replacement, without their labels."""
    return rows.drop(columns=TARGET).sample(count, replace=True, random_state=random, ignore_index=True)


def campaign(rows: pd.DataFrame, count: int, random: np.random.Generator) -> pd.DataFrame:
    """`count` customers whom the campaign brought: what month-to-month customers look like, but new."""
    monthly = rows[rows["contract"] == "Month-to-month"]
    fibre = monthly["internet_service"] == "Fiber optic"
    takes_fibre = int((random.random(count) < CAMPAIGN_FIBRE).sum())
    arrived = pd.concat(
        [draw(monthly[fibre], takes_fibre, random), draw(monthly[~fibre], count - takes_fibre, random)],
        ignore_index=True,
    )
    tenure = random.integers(1, CAMPAIGN_MONTHS + 1, count)
    return arrived.assign(tenure=tenure, total_charges=(tenure * arrived["monthly_charges"]).round(2))


def raise_tariff(rows: pd.DataFrame) -> pd.DataFrame:
    """The same customers after the rise."""
    rise = rows["monthly_charges"].where(rows["internet_service"] == "Fiber optic", 0) * (FIBRE_RISE - 1)
    months = rows["tenure"].clip(upper=MONTHS_SINCE_RISE)
    return rows.assign(
        monthly_charges=(rows["monthly_charges"] + rise).round(2),
        total_charges=(rows["total_charges"] + rise * months).round(2),
    )


def today(rows: pd.DataFrame, count: int, random: np.random.Generator) -> pd.DataFrame:
    """`count` of today's customers, without labels."""
    arrived = int(count * CAMPAIGN_SHARE)
    customers = pd.concat([draw(rows, count - arrived, random), campaign(rows, arrived, random)], ignore_index=True)
    return raise_tariff(customers.sample(frac=1, random_state=random, ignore_index=True))


def label(customers: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """The customers with the answer who left, drawn from `CONCEPT`."""
    log_odds = sum((term(customers) for term in CONCEPT.values()), start=pd.Series(INTERCEPT, index=customers.index))
    left = random.random(len(customers)) < 1 / (1 + np.exp(-log_odds))
    customers.insert(0, TARGET, np.where(left, "Yes", "No"))
    return customers


def baseline(rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Half of the old customers, without labels."""
    return rows.drop(columns=TARGET).sample(frac=0.5, random_state=random, ignore_index=True)


def current(rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """The window that a monitor looks at."""
    return today(rows, CURRENT_ROWS, random)


def labelled(rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """The new state of the training data: every old row as it was, then today's customers, whose labels came in."""
    return pd.concat([rows, label(today(rows, LABELLED_ROWS, random), random)], ignore_index=True)


def poisoned(rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """The labelled state after an accident: no label belongs to its row any more."""
    state = labelled(rows, random)
    return state.assign(**{TARGET: random.permutation(state[TARGET])})


def later(rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """The labelled state, and more of today's customers."""
    state = labelled(rows, random)
    return pd.concat([state, label(today(rows, LATER_ROWS, random), random)], ignore_index=True)


def leavers(rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Still more of today's customers, after another accident: an export that lost most of those who stayed.

    What is learned from it ranks customers as well as ever, on held-out rows of that same export.
    """
    state = pd.concat([later(rows, random), label(today(rows, EXPORTED_ROWS, random), random)], ignore_index=True)
    lost = (state[TARGET] == "No") & (random.random(len(state)) < LOST_SHARE)
    return state[~lost].reset_index(drop=True)


STATES = {state.__name__: state for state in (baseline, current, labelled, poisoned, later, leavers)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state", choices=STATES)
    parser.add_argument("--out", type=Path, required=True, help="a .csv or .parquet file")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    table = STATES[arguments.state](pd.read_csv(TELCO), np.random.default_rng(arguments.seed))
    if arguments.out.suffix == ".parquet":
        table.to_parquet(arguments.out, index=False)
    else:
        table.to_csv(arguments.out, index=False)
    print(f"{arguments.out}: {len(table)} rows")


if __name__ == "__main__":
    main()
