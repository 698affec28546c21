"""A version that needs a person's word: on the real cluster, with the chart's policies and roles."""

import json
from dataclasses import dataclass

import pytest
import yaml
from hack.demo.kube import KubectlRefused, Object, condition, holds, wait_until
from hack.demo.stage import SAMPLES, Stage

APPROVER = "bob"


@dataclass(frozen=True)
class Desk:
    """A model whose first run waits."""

    stage: Stage

    def run(self) -> Object:
        return self.stage.kubectl.get("trainingruns", "gym-1") or {}

    def model(self) -> Object:
        return self.stage.kubectl.get("churnmodels", "gym") or {}

    def approve(self, by: str, *, digest: str, user: str | None = None) -> None:
        """With plain kubectl; `user` is who asks, where that is not the one who set the test up."""
        approval = {"decision": "Approved", "by": by, "at": "2026-01-01T00:00:00Z", "evidenceDigest": digest}
        patch = json.dumps({"status": {"approval": approval}})
        flags = [f"--as={user}"] if user else []
        self.stage.kubectl.run("patch", "trun", "gym-1", "--subresource=status", "--type=merge", f"-p={patch}", *flags)


@pytest.fixture(scope="module")
def desk(stage: Stage) -> Desk:
    stage.publish_file(SAMPLES / "gym" / "gym.csv", "gym.csv")
    model = yaml.safe_load(stage.sample("gym/churnmodel.yaml"))
    model["spec"]["approval"] = {"required": True}
    role = "--clusterrole=churn-operator-approver"
    stage.kubectl.run("create", "rolebinding", APPROVER, role, f"--user={APPROVER}")
    stage.kubectl.apply(yaml.safe_dump(model))
    desk = Desk(stage)
    wait_until(
        "gym-1 AwaitingApproval",
        lambda: desk.run().get("status", {}).get("phase") == "AwaitingApproval",
        seconds=300,
        diagnose=stage.kubectl.diagnose,
    )
    return desk


def test_a_run_that_nobody_approved_gets_no_server(desk: Desk) -> None:
    assert desk.stage.kubectl.list("inferenceservices") == []
    assert condition(desk.model(), "Trained")["reason"] == "AwaitingApproval"


@pytest.mark.parametrize(
    ("user", "digest", "words"),
    [
        pytest.param(None, None, "who edits a model does not approve it", id="by who may edit the model"),
        pytest.param("eve", None, 'User "eve" cannot', id="by who may not approve"),
        pytest.param(APPROVER, "sha256:" + "0" * 64, "must be what is on offer", id="for other evidence"),
    ],
)
def test_an_approval_is_refused(desk: Desk, user: str | None, digest: str | None, words: str) -> None:
    by, offered = user or desk.stage.kubectl.whoami(), desk.run()["status"]["evidenceDigest"]
    with pytest.raises(KubectlRefused, match=words):
        desk.approve(by, digest=digest or offered, user=user)


def test_an_approval_by_an_approver_lets_the_version_serve(desk: Desk) -> None:
    desk.approve(APPROVER, digest=desk.run()["status"]["evidenceDigest"], user=APPROVER)
    wait_until("v1 Ready", lambda: holds(desk.model(), "Ready"), seconds=180, diagnose=desk.stage.kubectl.diagnose)
    (version,) = desk.model()["status"]["versions"]
    assert (version["version"], version["state"]) == ("v1", "Champion")
    assert condition(desk.run(), "Approved")["message"].startswith(f"Approved by {APPROVER}")
