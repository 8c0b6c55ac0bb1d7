# Three buckets: the store (bundles and the champion log), orders and restaurants as files, and daily results.

locals {
  # Bucket names are globally unique, so they start with the project ID.
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
  force_destroy               = !var.deletion_protection

  dynamic "encryption" {
    for_each = var.kms_key == null ? [] : [var.kms_key]

    content {
      default_kms_key_name = encryption.value
    }
  }

  #checkov:skip=CKV_GCP_62:Cloud Audit Logs record reads and writes of objects (audit.tf).

  versioning {
    enabled = true
  }

  # You can restore removed or overwritten objects for a month.
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

# The jobs mount this bucket as a folder and rename folders. This needs a hierarchical namespace, which doesn't support
# versions. You can recreate the results of any day byte for byte.
resource "google_storage_bucket" "results" {
  name                        = "${var.project}-preptime-results"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  dynamic "encryption" {
    for_each = var.kms_key == null ? [] : [var.kms_key]

    content {
      default_kms_key_name = encryption.value
    }
  }

  #checkov:skip=CKV_GCP_62:Cloud Audit Logs record reads and writes of objects (audit.tf).
  #checkov:skip=CKV_GCP_78:A hierarchical namespace has no versions. You can recreate results, and deletion is soft.

  hierarchical_namespace {
    enabled = true
  }

  soft_delete_policy {
    retention_duration_seconds = 604800
  }
}
