# Binary Authorization: Cloud Run accepts only images that CI has attested with a key of Cloud KMS, and the sidecar's. The
# policy is that of the project.

resource "google_project_service" "apis" {
  for_each = toset(["binaryauthorization", "cloudkms", "containeranalysis"])

  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

# Neither a key ring nor a key can be removed, and their names can't be used again. `name` can change.
resource "google_kms_key_ring" "attestations" {
  name     = var.name
  location = var.region

  depends_on = [google_project_service.apis]
}

resource "google_kms_crypto_key" "attestor" {
  name     = var.name
  key_ring = google_kms_key_ring.attestations.id
  purpose  = "ASYMMETRIC_SIGN"

  #checkov:skip=CKV_GCP_43:Cloud KMS doesn't rotate signing keys, because verifiers need each new public key.
  #checkov:skip=CKV_GCP_82:Destroying the key blocks the next release only. `deletion_protection` would need a second variable.

  version_template {
    algorithm        = "EC_SIGN_P256_SHA256"
    protection_level = "SOFTWARE"
  }
}

data "google_kms_crypto_key_version" "attestor" {
  crypto_key = google_kms_crypto_key.attestor.id
}

resource "google_container_analysis_note" "attestor" {
  name = var.name

  attestation_authority {
    hint {
      human_readable_name = "CI has verified the signature of the image"
    }
  }

  depends_on = [google_project_service.apis]
}

resource "google_binary_authorization_attestor" "ci" {
  name = var.name

  attestation_authority_note {
    note_reference = google_container_analysis_note.attestor.name

    public_keys {
      id = local.key_id

      pkix_public_key {
        public_key_pem      = data.google_kms_crypto_key_version.attestor.public_key[0].pem
        signature_algorithm = data.google_kms_crypto_key_version.attestor.public_key[0].algorithm
      }
    }
  }
}

locals {
  key_version = data.google_kms_crypto_key_version.attestor.name
  key_id      = "//cloudkms.googleapis.com/v1/${local.key_version}"
}

resource "google_binary_authorization_policy" "project" {
  global_policy_evaluation_mode = "ENABLE"

  default_admission_rule {
    evaluation_mode         = "REQUIRE_ATTESTATION"
    enforcement_mode        = var.enforce ? "ENFORCED_BLOCK_AND_AUDIT_LOG" : "DRYRUN_AUDIT_LOG_ONLY"
    require_attestations_by = [google_binary_authorization_attestor.ci.name]
  }

  dynamic "admission_whitelist_patterns" {
    for_each = var.exempt_images

    content {
      name_pattern = admission_whitelist_patterns.value
    }
  }
}

# CI may sign with the key.
resource "google_kms_crypto_key_iam_member" "signer" {
  crypto_key_id = google_kms_crypto_key.attestor.id
  role          = "roles/cloudkms.signerVerifier"
  member        = var.signer
}

# CI may read the attestor.
resource "google_binary_authorization_attestor_iam_member" "signer" {
  attestor = google_binary_authorization_attestor.ci.name
  role     = "roles/binaryauthorization.attestorsViewer"
  member   = var.signer
}

# CI may attach attestations to the attestor's note.
resource "google_container_analysis_note_iam_member" "signer" {
  note   = google_container_analysis_note.attestor.name
  role   = "roles/containeranalysis.notes.attacher"
  member = var.signer
}

# CI may create attestations. An attestation belongs to a project, so the grant is for the whole project.
resource "google_project_iam_member" "signer" {
  project = var.project
  role    = "roles/containeranalysis.occurrences.editor"
  member  = var.signer
}
