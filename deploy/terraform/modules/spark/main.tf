# What serverless Spark batches need (docs/scale.md): an account, a subnetwork, and a bucket for their files. A batch itself
# isn't a resource of Terraform: the DAGs or `gcloud` start one for each job and date.

resource "google_project_service" "apis" {
  for_each = toset(["compute", "dataproc"])

  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

resource "google_service_account" "batches" {
  account_id   = "preptime-spark"
  display_name = "Runs Spark batches"
}

locals {
  member = "serviceAccount:${google_service_account.batches.email}"
}

# The batches may register with the service and write logs and metrics. Google requires this role of every account of a
# batch, and a batch belongs to a project, so the grant is for the whole project. The role contains access to all buckets,
# so the condition limits it, and the batches may write to their own bucket only.
resource "google_project_iam_member" "batches_work" {
  project = var.project
  role    = "roles/dataproc.worker"
  member  = local.member

  condition {
    title = "own bucket only"

    expression = join(" || ", [
      "resource.service != \"storage.googleapis.com\"",
      "resource.name == \"projects/_/buckets/${google_storage_bucket.batches.name}\"",
      "resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.batches.name}/\")",
    ])
  }
}

# The batches may read bundles and the champion log, and may not change them. They may also read orders in the data bucket.
resource "google_storage_bucket_iam_member" "batches_read" {
  for_each = { store = var.store_bucket, data = var.data_bucket }

  bucket = each.value
  role   = "roles/storage.objectViewer"
  member = local.member
}

# The batches may write predictions, histories, and temporary files to their own bucket.
resource "google_storage_bucket_iam_member" "batches_write" {
  bucket = google_storage_bucket.batches.name
  role   = "roles/storage.objectUser"
  member = local.member
}

# The batches may read tables in the dataset of the orders.
resource "google_bigquery_dataset_iam_member" "batches_read_tables" {
  dataset_id = var.dataset
  role       = "roles/bigquery.dataViewer"
  member     = local.member
}

# The batches may read tables through BigQuery's Storage API. A read session belongs to a project, so the grant is for the
# whole project.
resource "google_project_iam_member" "batches_open_read_sessions" {
  project = var.project
  role    = "roles/bigquery.readSessionUser"
  member  = local.member
}

# The batches may pull the image.
resource "google_artifact_registry_repository_iam_member" "batches_pull" {
  repository = var.images
  location   = var.region
  role       = "roles/artifactregistry.reader"
  member     = local.member
}

# The starter may create, read, and delete batches. A batch belongs to a project, so the grant is for the whole project.
resource "google_project_iam_member" "starter_creates" {
  project = var.project
  role    = "roles/dataproc.serverlessEditor"
  member  = "serviceAccount:${var.starter.email}"
}

# The starter may start batches with this account only.
resource "google_service_account_iam_member" "starter_acts_as_batches" {
  service_account_id = google_service_account.batches.name
  role               = "roles/iam.serviceAccountUser"
  member             = "serviceAccount:${var.starter.email}"
}

resource "google_storage_bucket" "batches" {
  name                        = "${var.project}-preptime-spark"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  #checkov:skip=CKV_GCP_62:Cloud Audit Logs record reads and writes of objects (audit.tf).
  #checkov:skip=CKV_GCP_78:The batches can write every output again, byte for byte, and deletion is soft.

  dynamic "encryption" {
    for_each = var.kms_key == null ? [] : [var.kms_key]

    content {
      default_kms_key_name = encryption.value
    }
  }

  soft_delete_policy {
    retention_duration_seconds = 604800
  }

  # Google's service writes the files of a batch below this prefix, and nothing reads them after the batch.
  lifecycle_rule {
    action {
      type = "Delete"
    }

    condition {
      age            = 14
      matches_prefix = ["google-cloud-dataproc-metainfo/"]
    }
  }

  # Run folders that an interrupted batch left. A completed batch removes older run folders itself.
  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }

    condition {
      age = 1
    }
  }
}

# Drivers and executors have private addresses only. They reach Google's APIs through Private Google Access.
resource "google_compute_network" "batches" {
  #checkov:skip=CKV2_GCP_18:The network has a firewall rule (below), which checkov doesn't find because both are optional.
  count = var.subnetwork == null ? 1 : 0

  name                    = "preptime-spark"
  description             = "Drivers and executors of Spark batches."
  auto_create_subnetworks = false

  depends_on = [google_project_service.apis]
}

resource "google_compute_subnetwork" "batches" {
  #checkov:skip=CKV_GCP_26:The addresses are of batches that reach Google's APIs only. Audit logs record those calls.
  count = var.subnetwork == null ? 1 : 0

  name                     = "preptime-spark"
  region                   = var.region
  network                  = google_compute_network.batches[0].id
  ip_cidr_range            = var.range
  private_ip_google_access = true
}

# A driver and its executors connect to each other on ports that Spark chooses.
resource "google_compute_firewall" "batches" {
  count = var.subnetwork == null ? 1 : 0

  name          = "preptime-spark-internal"
  description   = "Drivers and executors of Spark batches reach each other."
  network       = google_compute_network.batches[0].id
  direction     = "INGRESS"
  source_ranges = [var.range]

  allow {
    protocol = "all"
  }
}
