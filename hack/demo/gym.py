"""Makes `samples/gym/gym.csv`: subscriptions of a gym, made up, seeded. A second data set whose columns are all others.

python hack/demo/gym.py --out samples/gym/gym.csv
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

ROWS = 1500
SEED = 11
CLUBS = ("Harbour", "Old Town", "Station", "University")
PLANS = {"Basic": 19.9, "Plus": 29.9, "Premium": 49.9}


def members(random: np.random.Generator) -> pd.DataFrame:
    """One row a member: few visits, a long way and a fee that rose make members cancel."""
    plan = random.choice(list(PLANS), ROWS, p=[0.5, 0.35, 0.15])
    visits = random.poisson(random.gamma(2.0, 2.5, ROWS))
    distance = random.gamma(2.0, 2.0, ROWS).round(1)
    rise = random.choice([0.0, 2.0, 5.0], ROWS, p=[0.6, 0.25, 0.15])
    trainer = random.random(ROWS) < 0.2
    log_odds = 0.6 - 0.55 * visits + 0.2 * distance + 0.4 * rise - 1.2 * trainer
    return pd.DataFrame(
        {
            "member": [f"G{number:05d}" for number in random.permutation(ROWS)],
            "club": random.choice(CLUBS, ROWS),
            "plan": plan,
            "monthly_fee": (np.vectorize(PLANS.get)(plan) + rise).round(2),
            "fee_rise": rise,
            "visits_last_month": visits,
            "kilometres_to_club": np.where(random.random(ROWS) < 0.05, np.nan, distance),
            "personal_trainer": trainer,
            "cancelled": (random.random(ROWS) < 1 / (1 + np.exp(-log_odds))).astype(int),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    members(np.random.default_rng(SEED)).to_csv(parser.parse_args().out, index=False)


if __name__ == "__main__":
    main()
