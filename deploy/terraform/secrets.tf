# Secrets without values. You add their versions (see docs/deploy-gcp.md), so that the state never contains a key. Services
# don't start without a version, so add them first.
locals {
  secrets = ["api-keys", "operator-keys", "ui-key"]
}

resource "google_secret_manager_secret" "secrets" {
  for_each = toset(local.secrets)

  secret_id = "preptime-${each.key}"

  replication {
    user_managed {
      replicas {
        location = var.region

        dynamic "customer_managed_encryption" {
          for_each = var.kms_key == null ? [] : [var.kms_key]

          content {
            kms_key_name = customer_managed_encryption.value
          }
        }
      }
    }
  }

  depends_on = [google_project_service.apis, google_kms_crypto_key_iam_member.service_agents]
}
