"""What records predictions: `python -m churn_operator.collector`."""
