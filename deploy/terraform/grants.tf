# All permissions. A comment explains each grant. A few grants are for the whole project, because their roles require it.

locals {
  member = { for role, account in google_service_account.roles : role => "serviceAccount:${account.email}" }
}

# --- The store -------------------------------------------------------------------------------------------------------

# The API, the dashboard, the jobs, and the pruner may read bundles and the champion log.
resource "google_storage_bucket_iam_member" "store_readers" {
  for_each = toset(["api", "ui", "jobs", "pruner"])

  bucket = module.store.store_bucket
  role   = "roles/storage.objectViewer"
  member = local.member[each.key]
}

# The jobs may add bundles and promotions, but may not change or remove any.
resource "google_storage_bucket_iam_member" "jobs_add" {
  bucket = module.store.store_bucket
  role   = "roles/storage.objectCreator"
  member = local.member["jobs"]
}

# The dashboard may add promotions and rollbacks of operators to the champion log, and nothing else.
resource "google_storage_bucket_iam_member" "ui_promotes" {
  bucket = module.store.store_bucket
  role   = "roles/storage.objectCreator"
  member = local.member["ui"]

  condition {
    title      = "champion log only"
    expression = "resource.name.startsWith(\"projects/_/buckets/${module.store.store_bucket}/objects/models/champion/\")"
  }
}

# The pruner may remove bundles, but not entries of the champion log.
resource "google_storage_bucket_iam_member" "pruner_removes_bundles" {
  bucket = module.store.store_bucket
  role   = "roles/storage.objectUser"
  member = local.member["pruner"]

  condition {
    title      = "bundles only"
    expression = "resource.name.startsWith(\"projects/_/buckets/${module.store.store_bucket}/objects/models/bundles/\")"
  }
}

# --- Data and results ------------------------------------------------------------------------------------------------

# The jobs may read orders and restaurants in the data bucket.
resource "google_storage_bucket_iam_member" "jobs_read_data" {
  bucket = module.store.data_bucket
  role   = "roles/storage.objectViewer"
  member = local.member["jobs"]
}

# The jobs may write daily results, and the pruner may remove old ones.
resource "google_storage_bucket_iam_member" "results_writers" {
  for_each = toset(["jobs", "pruner"])

  bucket = module.store.results_bucket
  role   = "roles/storage.objectUser"
  member = local.member[each.key]
}

# The dashboard may read results.
resource "google_storage_bucket_iam_member" "ui_reads_results" {
  bucket = module.store.results_bucket
  role   = "roles/storage.objectViewer"
  member = local.member["ui"]
}

# The jobs may read orders and outcomes in BigQuery, and write predictions.
resource "google_bigquery_dataset_iam_member" "jobs_edit_tables" {
  dataset_id = module.warehouse.dataset
  role       = "roles/bigquery.dataEditor"
  member     = local.member["jobs"]
}

# The jobs may read the API's predictions, to monitor them.
resource "google_bigquery_dataset_iam_member" "jobs_read_prediction_log" {
  dataset_id = module.warehouse.prediction_log
  role       = "roles/bigquery.dataViewer"
  member     = local.member["jobs"]
}

# The jobs may run queries. A query belongs to a project, so the grant is for the whole project.
resource "google_project_iam_member" "jobs_query" {
  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = local.member["jobs"]
}

# --- Keys ------------------------------------------------------------------------------------------------------------

# The API may read the hashes of accepted keys.
resource "google_secret_manager_secret_iam_member" "api_reads_keys" {
  secret_id = google_secret_manager_secret.secrets["api-keys"].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.member["api"]
}

# The dashboard may read the hashes of accepted keys, and its own key for the API.
resource "google_secret_manager_secret_iam_member" "ui_reads_keys" {
  for_each = toset(local.secrets)

  secret_id = google_secret_manager_secret.secrets[each.key].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.member["ui"]
}

# --- Metrics ---------------------------------------------------------------------------------------------------------

# The API's sidecar may write metrics. A metric belongs to a project, so the grant is for the whole project.
resource "google_project_iam_member" "api_writes_metrics" {
  count = var.metrics_sidecar == "" ? 0 : 1

  project = var.project
  role    = "roles/monitoring.metricWriter"
  member  = local.member["api"]
}

# --- Access ----------------------------------------------------------------------------------------------------------

# The API has no grant: it checks its own keys, and Cloud Run checks no caller (modules/service, `access`). A grant to
# allUsers would fail in organizations that restrict the domains of members.

# Only the members in var.ui_members may open the dashboard, through Identity-Aware Proxy.
resource "google_iap_web_cloud_run_service_iam_member" "ui_members" {
  for_each = toset(var.ui_members)

  cloud_run_service_name = module.ui.name
  location               = var.region
  role                   = "roles/iap.httpsResourceAccessor"
  member                 = each.key
}

data "google_project" "project" {
  project_id = var.project
}

# Identity-Aware Proxy may forward requests to the dashboard.
resource "google_cloud_run_v2_service_iam_member" "iap_invokes_ui" {
  name     = module.ui.name
  location = var.region
  role     = "roles/run.invoker"
  member   = "serviceAccount:service-${data.google_project.project.number}@gcp-sa-iap.iam.gserviceaccount.com"
}

# The scheduler may start the daily jobs.
resource "google_cloud_run_v2_job_iam_member" "scheduler_starts_jobs" {
  for_each = module.jobs

  name     = each.value.name
  location = var.region
  role     = "roles/run.invoker"
  member   = local.member["scheduler"]
}

# --- Alerts ----------------------------------------------------------------------------------------------------------

# Cloud Monitoring may publish alerts to the topics in var.alert_topics.
resource "google_pubsub_topic_iam_member" "monitoring_publishes" {
  for_each = toset(var.alert_topics)

  topic  = each.key
  role   = "roles/pubsub.publisher"
  member = "serviceAccount:service-${data.google_project.project.number}@gcp-sa-monitoring-notification.iam.gserviceaccount.com"
}

# --- CI --------------------------------------------------------------------------------------------------------------

# CI may push images.
resource "google_artifact_registry_repository_iam_member" "deployer_pushes" {
  repository = google_artifact_registry_repository.images.name
  location   = var.region
  role       = "roles/artifactregistry.writer"
  member     = local.member["deployer"]
}

# CI of another environment may read the images, to promote them.
resource "google_artifact_registry_repository_iam_member" "image_readers" {
  for_each = toset(var.image_readers)

  repository = google_artifact_registry_repository.images.name
  location   = var.region
  role       = "roles/artifactregistry.reader"
  member     = each.key
}

# CI may deploy revisions of the API and the dashboard, and shift traffic between them.
resource "google_cloud_run_v2_service_iam_member" "deployer_deploys" {
  for_each = { api = module.api.name, ui = module.ui.name }

  name     = each.value
  location = var.region
  role     = "roles/run.developer"
  member   = local.member["deployer"]
}

# CI may update the image of the daily jobs.
resource "google_cloud_run_v2_job_iam_member" "deployer_updates_jobs" {
  for_each = module.jobs

  name     = each.value.name
  location = var.region
  role     = "roles/run.developer"
  member   = local.member["deployer"]
}

# CI may deploy services and jobs with these service accounts only.
resource "google_service_account_iam_member" "deployer_deploys_as" {
  for_each = toset(["api", "ui", "jobs", "pruner"])

  service_account_id = google_service_account.roles[each.key].name
  role               = "roles/iam.serviceAccountUser"
  member             = local.member["deployer"]
}

# CI may read the requests of a revision, to compare them with limits. Metrics belong to a project, so the grant is for the
# whole project.
resource "google_project_iam_member" "deployer_reads_metrics" {
  project = var.project
  role    = "roles/monitoring.viewer"
  member  = local.member["deployer"]
}

# CI may read the state of its deployments. An operation belongs to a project, so the grant is for the whole project.
resource "google_project_iam_member" "deployer_reads_operations" {
  project = var.project
  role    = "roles/run.viewer"
  member  = local.member["deployer"]
}
