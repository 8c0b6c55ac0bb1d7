# BigQuery: one dataset for orders, predictions, and outcomes, and one for the API's prediction log.

resource "google_bigquery_dataset" "preptime" {
  #checkov:skip=CKV_GCP_81:Google's keys encrypt the data. If you need your own key, set kms_key.
  dataset_id                 = "preptime"
  location                   = var.region
  description                = "Orders, restaurants, predictions, and outcomes. preptime ingest creates the tables."
  delete_contents_on_destroy = !var.deletion_protection

  dynamic "default_encryption_configuration" {
    for_each = var.kms_key == null ? [] : [var.kms_key]

    content {
      kms_key_name = default_encryption_configuration.value
    }
  }
}

resource "google_bigquery_dataset" "prediction_log" {
  #checkov:skip=CKV_GCP_81:Google's keys encrypt the data. If you need your own key, set kms_key.
  dataset_id                      = "preptime_prediction_log"
  location                        = var.region
  description                     = "Prediction log of the API (docs/operations.md)."
  default_partition_expiration_ms = 400 * 24 * 60 * 60 * 1000
  delete_contents_on_destroy      = !var.deletion_protection

  dynamic "default_encryption_configuration" {
    for_each = var.kms_key == null ? [] : [var.kms_key]

    content {
      kms_key_name = default_encryption_configuration.value
    }
  }
}

locals {
  # The prediction log is on standard output, one JSON line for each request. The server's log is on standard error.
  predictions = join(" AND ", [
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=\"${var.api_service}\"",
    "logName=\"projects/${var.project}/logs/run.googleapis.com%2Fstdout\"",
    "jsonPayload.request_id:*",
  ])
}

# Cloud Logging also keeps each entry for 30 days. An exclusion would be cheaper, but would lose what the sink can't write.
resource "google_logging_project_sink" "predictions" {
  name                   = "preptime-predictions"
  description            = "Prediction log, to BigQuery."
  destination            = "bigquery.googleapis.com/${google_bigquery_dataset.prediction_log.id}"
  filter                 = local.predictions
  unique_writer_identity = true

  bigquery_options {
    use_partitioned_tables = true
  }
}

# Keeps 1% of the successful requests, because the prediction log has all of them and an entry costs as much as the
# prediction. Keeps all refusals and errors.
resource "google_logging_project_exclusion" "requests" {
  name        = "preptime-requests"
  description = "Successful requests, except 1%."

  filter = join(" AND ", [
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=\"${var.api_service}\"",
    "logName=\"projects/${var.project}/logs/run.googleapis.com%2Frequests\"",
    "httpRequest.status<400",
    "sample(insertId, 0.99)",
  ])
}

# The sink may write the prediction log into its dataset.
resource "google_bigquery_dataset_iam_member" "sink_writes" {
  dataset_id = google_bigquery_dataset.prediction_log.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = google_logging_project_sink.predictions.writer_identity
}
