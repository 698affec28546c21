"""What an auditor finds in the API server's log with the policy in samples/."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from support.control_plane import ROOT, ControlPlane
from support.manifests import DATA
from support.people import Person

POLICY = yaml.safe_load((ROOT / "samples/audit-policy.yaml").read_text())
DIGEST = "sha256:" + "a" * 64
APPROVAL = {"decision": "Approved", "by": "second", "at": "2026-11-21T12:00:00Z", "evidenceDigest": DIGEST}


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("audited"), POLICY).serving() as plane:
        plane.kubectl("create", "namespace", "team")
        yield plane


def said(plane: ControlPlane, path: str) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in plane.audit_log.read_text().splitlines()]
    return [event for event in events if f"/{path}" in event["requestURI"]]


def test_who_asked_for_a_run_and_who_approved_it_on_which_evidence_is_told(audited: ControlPlane) -> None:
    admin = Person(audited, "admin", "team")
    assert admin.create("churnmodels", "telco", {"data": DATA}).ok
    assert admin.create("trainingruns", "telco-7", {"modelRef": {"name": "telco"}, "requestedBy": "admin"}).ok
    assert Person(audited, "second", "team").merge("trainingruns/telco-7/status", {"status": {"approval": APPROVAL}}).ok
    (approved,) = said(audited, "trainingruns/telco-7/status")
    assert approved["user"]["username"] == "second"
    assert approved["requestReceivedTimestamp"]
    assert approved["requestObject"]["status"]["approval"] == APPROVAL
    (asked,) = (event for event in said(audited, "trainingruns") if event["verb"] == "create")
    assert (asked["user"]["username"], asked["requestObject"]["spec"]["requestedBy"]) == ("admin", "admin")


def test_who_tried_in_vain_is_told_with_the_answer(audited: ControlPlane) -> None:
    nobody = Person(audited, "nobody", "team")
    assert not nobody.merge("trainingruns/telco-8/status", {"status": {"approval": APPROVAL}}).ok
    (refused,) = said(audited, "trainingruns/telco-8/status")
    assert (refused["user"]["username"], refused["responseStatus"]["code"]) == ("nobody", 403)
    assert "cannot patch resource" in refused["responseStatus"]["message"]


def test_what_was_asked_of_a_model_before_and_after_is_told(audited: ControlPlane) -> None:
    admin = Person(audited, "admin", "team")
    assert admin.create("churnmodels", "gym", {"data": DATA, "approval": {"required": True}}).ok
    assert admin.merge("churnmodels/gym", {"spec": {"approval": {"required": False}}}).ok
    created = [event for event in said(audited, "churnmodels") if event["verb"] == "create"]
    asked = [event["requestObject"]["spec"]["approval"] for event in (created[-1], *said(audited, "churnmodels/gym"))]
    assert [approval["required"] for approval in asked] == [True, False]


def test_reading_leaves_no_trace_and_a_change_of_rights_does(audited: ControlPlane) -> None:
    Person(audited, "admin", "team").call("GET", "churnmodels")
    assert not [event for event in said(audited, "churnmodels") if event["verb"] in {"get", "list"}]
    audited.kubectl("create", "clusterrole", "approve-all", "--verb=approve", "--resource=trainingruns.churnops.dev")
    (granted,) = (event for event in said(audited, "clusterroles") if event["user"]["username"] == "admin")
    assert granted["verb"] == "create"
    assert "requestObject" not in granted
