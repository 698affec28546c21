"""MLflow's REST API, version 2.0, as far as a Job needs it.

MLflow's own client takes two seconds to import, a third of what training on Telco takes in all. Credentials are those
that it reads too: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.
"""

import os
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from churn_operator.api.reasons import Reason
from churn_operator.storage.failure import Refused, Unavailable
from churn_operator.storage.files import join, open_store, read_seconds

_CONNECT_SECONDS = 5.0
# an answer that was lost may have been to a request that was served: those are left to the next attempt of the Job
_RETRIES = Retry(3, read=0, status_forcelist=(429, 503), allowed_methods=None, backoff_factor=0.5)
_PROXIED = "/api/2.0/mlflow-artifacts/artifacts/"

Json = dict[str, Any]


class Declined(Exception):
    """MLflow answered with an error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Mlflow:
    """A tracking server."""

    def __init__(self, uri: str) -> None:
        self._uri = uri.rstrip("/")
        self._session = requests.Session()
        self._session.mount(self._uri, HTTPAdapter(max_retries=_RETRIES))
        user, token = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_TOKEN")
        if user:
            self._session.auth = (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
        elif token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **query: str) -> Json:
        return self._json("GET", path, params=query)

    def post(self, path: str, body: Json) -> Json:
        return self._json("POST", path, json=body)

    def artifact(self, name: str, version: str, path: str) -> bytes:
        """A file of a registered version, wherever MLflow keeps it."""
        query = {"name": name, "version": version, "path": path}
        return self._request("GET", "/model-versions/get-artifact", params=query).content

    def upload(self, artifact_uri: str, path: str, data: bytes) -> None:
        """Writes an artifact where MLflow keeps those of the run: through the server, or straight to the store."""
        if artifact_uri.startswith("mlflow-artifacts:"):
            target = join(urlsplit(artifact_uri).path.lstrip("/"), path)
            self._request("PUT", _PROXIED + quote(target), data=data)
        else:
            target = join(artifact_uri, path)
            open_store(target).write(target, data)

    def _json(self, method: str, path: str, **arguments: Any) -> Json:
        answer = self._request(method, f"/api/2.0/mlflow/{path}", **arguments)
        try:
            found: Json = answer.json()
        except requests.JSONDecodeError as error:
            raise Unavailable(Reason.TrackingUnavailable, f"{self._uri} answers, but not as MLflow does") from error
        return found

    def _request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            answer = self._session.request(
                method, self._uri + path, timeout=(_CONNECT_SECONDS, read_seconds()), **arguments
            )
        except requests.RequestException as error:
            raise Unavailable(Reason.TrackingUnavailable, f"MLflow does not answer: {error}") from error
        if not answer.ok:
            raise _declined(self._uri, answer)
        return answer


def _declined(uri: str, answer: requests.Response) -> Exception:
    if answer.status_code in {401, 403}:
        return Refused(Reason.TrackingUnavailable, f"MLflow at {uri} refuses the credentials ({answer.status_code})")
    if answer.status_code >= 500 or answer.status_code == 429:
        return Unavailable(Reason.TrackingUnavailable, f"MLflow at {uri} answers {answer.status_code} {answer.reason}")
    try:
        body = answer.json()
        return Declined(str(body["error_code"]), str(body.get("message", "")))
    except (requests.JSONDecodeError, KeyError, TypeError):
        return Unavailable(Reason.TrackingUnavailable, f"{uri} answers {answer.status_code}, but not as MLflow does")
