"""Binary Authorization: who attests images, which images run, and what services and jobs ask."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch

import pytest

from tests.deploy.terraform_runs import Plan, Values, Workspace

PREFIX = "module.attestation[0]."
PROJECT = "projects/preptime-test"
KEY_VERSION = f"{PROJECT}/locations/europe-west1/keyRings/preptime-ci/cryptoKeys/preptime-ci/cryptoKeyVersions/1"


@pytest.fixture(scope="module")
def applied_policy(terraform: Workspace, applied: Workspace) -> Iterator[dict[str, Values]]:
    """The applied values of production with enforcement, in a state of its own."""
    assert applied is terraform
    terraform.run("workspace", "new", "attestation")
    terraform.plan("production", "-var=binary_authorization=enforce")
    terraform.apply("production")
    yield terraform.state()
    terraform.run("workspace", "select", "default")


def policy_rule(values: dict[str, Values]) -> Values:
    """Return the rule for images of the project's policy."""
    rule: Values = values[f"{PREFIX}google_binary_authorization_policy.project"]["default_admission_rule"][0]
    return rule


def test_only_attested_images_and_the_sidecar_run(applied_policy: dict[str, Values]) -> None:
    rule = policy_rule(applied_policy)
    assert rule["evaluation_mode"] == "REQUIRE_ATTESTATION"
    assert rule["enforcement_mode"] == "ENFORCED_BLOCK_AND_AUDIT_LOG"
    assert rule["require_attestations_by"] == ["preptime-ci"]
    policy = applied_policy[f"{PREFIX}google_binary_authorization_policy.project"]
    (exempt,) = (pattern["name_pattern"] for pattern in policy["admission_whitelist_patterns"])
    api = applied_policy["module.api.google_cloud_run_v2_service.service"]
    images = [container["image"] for container in api["template"][0]["containers"]]
    assert [fnmatch(image, exempt) for image in images] == [False, True]


def test_attestor_verifies_with_the_key_of_ci(applied_policy: dict[str, Values]) -> None:
    attestor = applied_policy[f"{PREFIX}google_binary_authorization_attestor.ci"]
    (note,) = attestor["attestation_authority_note"]
    (public_key,) = note["public_keys"]
    assert public_key["id"] == f"//cloudkms.googleapis.com/v1/{KEY_VERSION}"
    assert public_key["pkix_public_key"] == [{"public_key_pem": "a key", "signature_algorithm": "EC_SIGN_P256_SHA256"}]
    assert note["note_reference"] == "preptime-ci"


def test_only_ci_attests(applied_policy: dict[str, Values]) -> None:
    grants = {
        values["role"]: values["member"]
        for address, values in applied_policy.items()
        if address.startswith(PREFIX) and "iam_member" in address
    }
    assert set(grants) == {
        "roles/binaryauthorization.attestorsViewer",
        "roles/cloudkms.signerVerifier",
        "roles/containeranalysis.notes.attacher",
        "roles/containeranalysis.occurrences.editor",
    }
    assert set(grants.values()) == {"serviceAccount:preptime-deployer@preptime-test.iam.gserviceaccount.com"}


def test_services_and_jobs_ask_the_policy(applied_policy: dict[str, Values], plans: dict[str, Plan]) -> None:
    """By default, there is no policy, and none of them asks."""
    kinds = (".google_cloud_run_v2_service.", ".google_cloud_run_v2_job.")
    asking = {
        address: [block["use_default"] for block in values["binary_authorization"]]
        for address, values in applied_policy.items()
        if any(kind in address for kind in kinds)
    }
    assert len(asking) == 8
    assert set(map(str, asking.values())) == {"[True]"}
    for address in asking:
        assert plans["production"].resources[address]["binary_authorization"] == []
    assert not any("attestation" in address for address in plans["production"].resources)


def test_audit_blocks_nothing(terraform: Workspace, applied_policy: dict[str, Values]) -> None:
    assert applied_policy
    plan = terraform.plan("production", "-var=binary_authorization=audit")
    assert plan.changes == {f"{PREFIX}google_binary_authorization_policy.project": ["update"]}
    assert policy_rule(plan.resources)["enforcement_mode"] == "DRYRUN_AUDIT_LOG_ONLY"


def test_unknown_choice_is_refused(terraform: Workspace, applied_policy: dict[str, Values]) -> None:
    assert applied_policy
    arguments = ("-var-file=environments/production.tfvars", "-var=binary_authorization=yes", "-no-color")
    completed = terraform.call("plan", "-input=false", "-lock=false", *arguments)
    assert completed.returncode == 1
    assert "Use off, audit, or enforce." in completed.stderr
