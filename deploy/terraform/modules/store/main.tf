# Three buckets: bundles and the champion log; orders and restaurants as files; the results of each day.

locals {
  # One project's names are in the same room as everybody's.
  names = {
    store = "${var.project}-preptime-store"
    data  = "${var.project}-preptime-data"
  }
}

resource "google_storage_bucket" "versioned" {
  for_each = local.names

  name                        = each.value
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  #checkov:skip=CKV_GCP_62:Who read or wrote which object is in Cloud Audit Logs, which are switched on for a project.

  versioning {
    enabled = true
  }

  # What was removed or overwritten can be brought back for a month.
  lifecycle_rule {
    action {
      type = "Delete"
    }

    condition {
      days_since_noncurrent_time = 30
      with_state                 = "ARCHIVED"
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }

    condition {
      age = 1
    }
  }
}

# The jobs mount this one as a folder and rename what they have finished writing: folders that can be renamed need a
# hierarchical namespace, which in turn knows no versions. A day's results can be made again, to the byte.
resource "google_storage_bucket" "results" {
  name                        = "${var.project}-preptime-results"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  #checkov:skip=CKV_GCP_62:Who read or wrote which object is in Cloud Audit Logs, which are switched on for a project.
  #checkov:skip=CKV_GCP_78:A hierarchical namespace has no versions; results can be made again, and deletion is soft.

  hierarchical_namespace {
    enabled = true
  }

  soft_delete_policy {
    retention_duration_seconds = 604800
  }
}
