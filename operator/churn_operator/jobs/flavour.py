"""The folder that MLflow keeps: the bundle's files, with an MLmodel beside them so that `mlflow.pyfunc` loads it.

A loaded model takes a dict of the two input arrays that `api.contract` describes.
"""

from importlib.metadata import version
from pathlib import Path

from churn_operator.api.contract import MODEL_FILE
from churn_operator.jobs.bundle import Bundle, unpack

ARTIFACT_PATH = "model"


def write(bundle: Bundle, folder: Path, run_id: str) -> None:
    """Writes the folder."""
    from mlflow.models import Model

    unpack(bundle, folder)
    # by hand: mlflow.onnx.log_model would import onnx and load the model again to guess at requirements
    model = Model(artifact_path=ARTIFACT_PATH, run_id=run_id)
    model.add_flavor(
        "python_function", loader_module="mlflow.onnx", data=MODEL_FILE, python_version="3.11", env="requirements.txt"
    )
    providers = ["CPUExecutionProvider"]
    model.add_flavor(
        "onnx", onnx_version=version("onnx"), data=MODEL_FILE, providers=providers, onnx_session_options=None
    )
    model.save(str(folder / "MLmodel"))
    needed = ("mlflow-skinny", "onnx", "onnxruntime", "numpy", "pandas")
    (folder / "requirements.txt").write_text("".join(f"{name}=={version(name)}\n" for name in needed))
