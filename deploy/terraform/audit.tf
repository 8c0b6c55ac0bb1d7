# Logs of reads and writes of objects, tables, and secrets. Google Cloud records them for BigQuery only by default.
resource "google_project_iam_audit_config" "data_access" {
  for_each = toset(["bigquery", "secretmanager", "storage"])

  project = var.project
  service = "${each.key}.googleapis.com"

  audit_log_config {
    log_type = "DATA_READ"
  }

  audit_log_config {
    log_type = "DATA_WRITE"
  }
}
