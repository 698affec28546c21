"""What serves one version of a model: ONNX and JSON in, the V1 protocol out. Talks to nobody."""

import os

# Since 1.29 onnxruntime sends telemetry from Linux too, unless this is set before it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
