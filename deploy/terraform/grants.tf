# Who may do what. Each grant stands under one line of English; there are no others, and none on the whole project but
# the two that can be given nowhere else.

locals {
  member = { for role, account in google_service_account.roles : role => "serviceAccount:${account.email}" }
}

# --- The store -------------------------------------------------------------------------------------------------------

# The API, the page and the jobs may read bundles and the champion log.
resource "google_storage_bucket_iam_member" "store_readers" {
  for_each = toset(["api", "ui", "jobs"])

  bucket = module.store.store_bucket
  role   = "roles/storage.objectViewer"
  member = local.member[each.key]
}

# The training job may add bundles and promotions; it may change and remove nothing.
resource "google_storage_bucket_iam_member" "jobs_adds" {
  bucket = module.store.store_bucket
  role   = "roles/storage.objectCreator"
  member = local.member["jobs"]
}

# The page may add promotions and rollbacks to the champion log, for an operator with a key; it may add nothing else.
resource "google_storage_bucket_iam_member" "page_promotes" {
  bucket = module.store.store_bucket
  role   = "roles/storage.objectCreator"
  member = local.member["ui"]

  condition {
    title      = "champion log only"
    expression = "resource.name.startsWith(\"projects/_/buckets/${module.store.store_bucket}/objects/models/champion/\")"
  }
}

# The keeper may remove old bundles.
resource "google_storage_bucket_iam_member" "keeper_removes_bundles" {
  bucket = module.store.store_bucket
  role   = "roles/storage.objectUser"
  member = local.member["keeper"]
}

# --- Data and results ------------------------------------------------------------------------------------------------

# The jobs may read orders and restaurants that lie in the data bucket.
resource "google_storage_bucket_iam_member" "jobs_reads_data" {
  bucket = module.store.data_bucket
  role   = "roles/storage.objectViewer"
  member = local.member["jobs"]
}

# The jobs may write each day's results, and the keeper may remove old ones.
resource "google_storage_bucket_iam_member" "results_writers" {
  for_each = toset(["jobs", "keeper"])

  bucket = module.store.results_bucket
  role   = "roles/storage.objectUser"
  member = local.member[each.key]
}

# The page may read results.
resource "google_storage_bucket_iam_member" "page_reads_results" {
  bucket = module.store.results_bucket
  role   = "roles/storage.objectViewer"
  member = local.member["ui"]
}

# The jobs may read orders and outcomes from the warehouse, and write predictions into it.
resource "google_bigquery_dataset_iam_member" "jobs_edits_tables" {
  dataset_id = module.warehouse.dataset
  role       = "roles/bigquery.dataEditor"
  member     = local.member["jobs"]
}

# The jobs may run queries; a query belongs to a project, so this can be given nowhere else.
resource "google_project_iam_member" "jobs_queries" {
  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = local.member["jobs"]
}

# --- Keys ------------------------------------------------------------------------------------------------------------

# The API may read the hashes of the keys that it accepts.
resource "google_secret_manager_secret_iam_member" "api_reads_keys" {
  secret_id = google_secret_manager_secret.secrets["api-keys"].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.member["api"]
}

# The page may read the hashes of the keys that it accepts, and the key that it asks the API with.
resource "google_secret_manager_secret_iam_member" "page_reads_keys" {
  for_each = toset(local.secrets)

  secret_id = google_secret_manager_secret.secrets[each.key].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = local.member["ui"]
}

# --- Doors -----------------------------------------------------------------------------------------------------------

# Anybody may reach the API; its own keys say who gets an answer.
resource "google_cloud_run_v2_service_iam_member" "api_is_reachable" {
  name     = module.api.name
  location = var.region
  role     = "roles/run.invoker"
  member   = "allUsers"
}

# The people named may reach the page, and nobody else.
resource "google_cloud_run_v2_service_iam_member" "page_people" {
  for_each = toset(var.page_members)

  name     = module.page.name
  location = var.region
  role     = "roles/run.invoker"
  member   = each.key
}

# The scheduler may start the daily jobs.
resource "google_cloud_run_v2_job_iam_member" "scheduler_starts_jobs" {
  for_each = module.jobs

  name     = each.value.name
  location = var.region
  role     = "roles/run.invoker"
  member   = local.member["scheduler"]
}

# --- CI --------------------------------------------------------------------------------------------------------------

# CI may push images.
resource "google_artifact_registry_repository_iam_member" "deployer_pushes" {
  repository = google_artifact_registry_repository.images.name
  location   = var.region
  role       = "roles/artifactregistry.writer"
  member     = local.member["deployer"]
}

# CI may deploy revisions of the API and the page, and move traffic between them.
resource "google_cloud_run_v2_service_iam_member" "deployer_deploys" {
  for_each = { api = module.api.name, page = module.page.name }

  name     = each.value
  location = var.region
  role     = "roles/run.developer"
  member   = local.member["deployer"]
}

# CI may give the daily jobs a new image.
resource "google_cloud_run_v2_job_iam_member" "deployer_updates_jobs" {
  for_each = module.jobs

  name     = each.value.name
  location = var.region
  role     = "roles/run.developer"
  member   = local.member["deployer"]
}

# CI may let what it deploys run as the accounts made for it, and as no other.
resource "google_service_account_iam_member" "deployer_deploys_as" {
  for_each = toset(["api", "ui", "jobs", "keeper"])

  service_account_id = google_service_account.roles[each.key].name
  role               = "roles/iam.serviceAccountUser"
  member             = local.member["deployer"]
}

# CI may ask how a deployment that it started is going; an operation belongs to a project, so this can be given nowhere
# else.
resource "google_project_iam_member" "deployer_watches" {
  project = var.project
  role    = "roles/run.viewer"
  member  = local.member["deployer"]
}
