# Secrets by name, not by content: their versions are added by hand (docs/deploy-gcp.md), so that no key is ever in the
# state. They come before the services, which do not start without them.
locals {
  secrets = ["api-keys", "operator-keys", "page-key"]
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
