# BigQuery: orders, predictions and outcomes in one dataset; what the API was asked and answered in another.

resource "google_bigquery_dataset" "preptime" {
  #checkov:skip=CKV_GCP_81:Google's own keys encrypt it; a company with a rule adds default_encryption_configuration.
  dataset_id                 = "preptime"
  location                   = var.region
  description                = "Orders, restaurants, predictions and outcomes. preptime ingest makes the tables."
  delete_contents_on_destroy = !var.deletion_protection
}

resource "google_bigquery_dataset" "prediction_log" {
  #checkov:skip=CKV_GCP_81:Google's own keys encrypt it; a company with a rule adds default_encryption_configuration.
  dataset_id                      = "preptime_prediction_log"
  location                        = var.region
  description                     = "Every answered request, as the API wrote it (docs/operations.md)."
  default_partition_expiration_ms = 400 * 24 * 60 * 60 * 1000
  delete_contents_on_destroy      = !var.deletion_protection
}

locals {
  # The prediction log is standard output, one line of JSON a request; the server's own log is standard error.
  predictions = join(" AND ", [
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=\"${var.api_service}\"",
    "logName=\"projects/${var.project}/logs/run.googleapis.com%2Fstdout\"",
    "jsonPayload.request_id:*",
  ])
}

resource "google_logging_project_sink" "predictions" {
  name                   = "preptime-predictions"
  description            = "The prediction log, into BigQuery."
  destination            = "bigquery.googleapis.com/${google_bigquery_dataset.prediction_log.id}"
  filter                 = local.predictions
  unique_writer_identity = true

  bigquery_options {
    use_partitioned_tables = true
  }
}

# They would be kept, and paid for, a second time: orders belong into one place.
resource "google_logging_project_exclusion" "predictions" {
  name        = "preptime-predictions"
  description = "The prediction log goes to BigQuery alone."
  filter      = local.predictions
}

# Of requests that went well one in a hundred stays in the log: the prediction log has them all, and each would cost as
# much as the answer itself. Refusals and errors all stay.
resource "google_logging_project_exclusion" "requests" {
  name        = "preptime-requests"
  description = "Requests that were answered well, but for one in a hundred."

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
