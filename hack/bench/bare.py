"""A bare training script: reads rows, cross-validates and fits the candidates of the Telco sample, dumps the winner.

What somebody would write who needs none of the rest. python bare.py URL
"""

import sys

import joblib  # type: ignore[import-untyped]  # it ships no types
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

rows = pd.read_csv(sys.argv[1]).sample(frac=0.8, random_state=0)
features, left = rows.drop(columns="churn"), rows["churn"] == "Yes"
text = list(features.select_dtypes(exclude="number"))
numbers = [name for name in features if name not in text]
scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
candidates = (
    make_pipeline(
        make_column_transformer((scaled, numbers), (OneHotEncoder(handle_unknown="ignore"), text)),
        LogisticRegression(max_iter=1000),
    ),
    make_pipeline(
        make_column_transformer((OrdinalEncoder(), text), remainder="passthrough"),
        HistGradientBoostingClassifier(learning_rate=0.05, max_leaf_nodes=15, random_state=0),
    ),
)
scores = [cross_val_score(model, features, left, cv=5, scoring="roc_auc").mean() for model in candidates]
joblib.dump(candidates[scores.index(max(scores))].fit(features, left), "/tmp/model.joblib")  # noqa: S108 - its pod's own
print(scores)
