"""What MLflow keeps of a model: the bundle's files, with an MLmodel beside them so that `mlflow.pyfunc` loads it.

A loaded model takes a dict of the two input arrays that `api.contract` describes.
"""

import json
from importlib.metadata import version

from churn_operator.api.contract import MODEL_FILE
from churn_operator.jobs.bundle import Bundle

ARTIFACT_PATH = "model"
_NEEDED = ("onnx", "onnxruntime", "numpy", "pandas")


def files(bundle: Bundle, run_id: str) -> dict[str, bytes]:
    """The folder, by file name."""
    providers = ["CPUExecutionProvider"]
    model = {
        "artifact_path": ARTIFACT_PATH,
        "run_id": run_id,
        "flavors": {
            "python_function": {"loader_module": "mlflow.onnx", "data": MODEL_FILE, "env": "requirements.txt"},
            "onnx": {"onnx_version": version("onnx"), "data": MODEL_FILE, "providers": providers},
        },
    }
    needed = "".join(f"{name}=={version(name)}\n" for name in _NEEDED)
    # an MLmodel is YAML, and JSON is YAML
    return {
        **bundle.files,
        "MLmodel": json.dumps(model, indent=2).encode(),
        "requirements.txt": f"mlflow-skinny\n{needed}".encode(),
    }
