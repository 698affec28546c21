"""What the client of the API server takes from its environment."""

import pytest

from churn_operator.core.client import proxy_for

API_SERVER = "https://api.example.com:6443"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, None, id="none where none is named"),
        pytest.param({"https_proxy": "http://proxy:3128"}, "http://proxy:3128", id="the one for its scheme"),
        pytest.param({"http_proxy": "http://proxy:3128"}, None, id="not the one for another"),
        pytest.param(
            {"https_proxy": "http://proxy:3128", "no_proxy": ".example.com"}, None, id="none where it is excepted"
        ),
    ],
)
def test_the_proxy_is_the_environments(
    environment: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(API_SERVER) == expected
