"""What runs in Jobs: `python -m churn_operator.jobs probe|train|drift|fetch`."""

import os

# Since 1.29 onnxruntime sends telemetry from Linux too, unless this is set before it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
