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
      }
    }
  }

  depends_on = [google_project_service.apis]
}
