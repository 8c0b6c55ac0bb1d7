locals {
  labels = {
    app         = "preptime"
    environment = var.environment
  }

  apis = [
    "artifactregistry", "bigquery", "billingbudgets", "cloudresourcemanager", "cloudscheduler", "iam", "iamcredentials", "iap", "logging", "monitoring",
    "run", "secretmanager", "storage", "sts",
  ]

  attested = var.binary_authorization != "off"

  store_url = "gs://${module.store.store_bucket}/models"
  warehouse = "bigquery://${var.project}.${module.warehouse.dataset}?location=${var.region}"

  # Inputs and outputs of the daily commands. For the settings, see docs/settings.md.
  job_settings = {
    PREPTIME_STORE       = local.store_url
    PREPTIME_ORDERS      = coalesce(var.orders, "${local.warehouse}&table=orders")
    PREPTIME_RESTAURANTS = coalesce(var.restaurants, "${local.warehouse}&table=restaurants")
    PREPTIME_SCHEMA      = var.schema
    PREPTIME_RESULTS     = local.results
    TZ                   = var.time_zone

    PREPTIME_PREDICTION_LOG_SOURCE = join("", [
      "bigquery://${var.project}.${module.warehouse.prediction_log}",
      "?table=run_googleapis_com_stdout&location=${var.region}",
    ])
  }
}

resource "google_project_service" "apis" {
  for_each = toset(local.apis)

  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

resource "google_artifact_registry_repository" "images" {
  repository_id = "preptime"
  location      = var.region
  format        = "DOCKER"
  description   = "preptime images."
  kms_key_name  = var.kms_key

  #checkov:skip=CKV_GCP_84:Google's keys encrypt the images, which contain public code. If you need your own key, set kms_key.

  # CI deploys digests, so tags can move. Immutable tags would prevent the cleanup.
  cleanup_policy_dry_run = false

  cleanup_policies {
    id     = "delete-after-a-month"
    action = "DELETE"

    condition {
      older_than = "2592000s"
    }
  }

  cleanup_policies {
    id     = "keep-latest"
    action = "KEEP"

    most_recent_versions {
      # A release is three versions of each image: the image, its signature, and its bill of materials.
      keep_count = 50
    }
  }

  depends_on = [google_project_service.apis, google_kms_crypto_key_iam_member.service_agents]
}

module "store" {
  source = "./modules/store"

  project             = var.project
  region              = var.region
  kms_key             = var.kms_key
  deletion_protection = var.deletion_protection

  depends_on = [google_project_service.apis, google_kms_crypto_key_iam_member.service_agents]
}

module "warehouse" {
  source = "./modules/warehouse"

  project             = var.project
  region              = var.region
  api_service         = module.api.name
  kms_key             = var.kms_key
  deletion_protection = var.deletion_protection

  depends_on = [google_project_service.apis, google_kms_crypto_key_iam_member.service_agents]
}

module "api" {
  source = "./modules/service"

  name                = "preptime-api"
  region              = var.region
  image               = var.images.serve
  account             = google_service_account.roles["api"].email
  access              = "keys"
  metrics_sidecar     = var.metrics_sidecar
  ingress             = local.ingress
  kms_key             = var.kms_key
  port                = 8000
  health_port         = 8080 # Clients with slow headers can occupy all connections of the other port.
  health_path         = "/healthz"
  cpu                 = var.api.cpu
  memory              = var.api.memory
  min_instances       = var.api.min_instances
  max_instances       = var.api.max_instances
  concurrency         = var.api.concurrency
  attested            = local.attested
  deletion_protection = var.deletion_protection

  default_uri_disabled = local.default_uri_disabled
  egress               = local.egress

  # The API polls the champion log and writes predictions between requests too.
  cpu_between_requests = true

  settings = {
    PREPTIME_STORE                 = local.store_url
    PREPTIME_HOST                  = "0.0.0.0"
    PREPTIME_PORT                  = "8000"
    PREPTIME_HEALTH_PORT           = "8080" # The port that the metrics' sidecar reads without a configuration.
    PREPTIME_WORKERS               = tostring(var.api.cpu)
    PREPTIME_CHAMPION_POLL_SECONDS = "30"
    # Parts of the instance's memory: see docs/operations.md, "Limits and memory".
    PREPTIME_BUNDLE_LOAD_MEMORY_MB = "256"
    PREPTIME_MAX_CONCURRENT_BYTES  = "8388608"
    PREPTIME_PREDICTION_LOG        = "stdout"
    # Cloud Run kills a container ten seconds after SIGTERM.
    PREPTIME_SHUTDOWN_TIMEOUT_SECONDS = "8"
    # Clients can't reach /readyz, because Cloud Run reserves paths that end in z. This route returns the same response.
    AIP_HEALTH_ROUTE = "/ready"
    # Metrics name clients and their load, and reasons name the bucket. Both stay on port 8080, which clients can't reach.
    PREPTIME_PUBLIC_DETAILS = "false"
  }

  secrets = {
    PREPTIME_API_KEYS = google_secret_manager_secret.secrets["api-keys"].secret_id
  }

  depends_on = [google_secret_manager_secret_iam_member.api_reads_keys]
}

module "ui" {
  source = "./modules/service"

  name                = "preptime-ui"
  region              = var.region
  image               = var.images.ui
  account             = google_service_account.roles["ui"].email
  access              = "iap"
  ingress             = local.ingress
  kms_key             = var.kms_key
  port                = 8501
  health_port         = 8501 # Streamlit has one port.
  health_path         = "/_stcore/health"
  cpu                 = 1
  memory              = "1Gi"
  min_instances       = 0
  max_instances       = 1 # A user's session is in the memory of its process.
  concurrency         = 40
  timeout             = "3600s" # An open browser tab holds its connection.
  attested            = local.attested
  deletion_protection = var.deletion_protection

  cpu_between_requests = false
  default_uri_disabled = local.default_uri_disabled
  egress               = local.egress

  settings = {
    PREPTIME_STORE   = local.store_url
    PREPTIME_RESULTS = local.results
    PREPTIME_UI_HOST = "0.0.0.0"
    PREPTIME_UI_PORT = "8501"
    PREPTIME_API_URL = local.api_url
    # Cloud Run accepts requests of up to 32 MB. Its files are in memory: 3 × 160 MB, and 400 MB for the process.
    PREPTIME_UI_MAX_UPLOAD_MB       = "32"
    PREPTIME_UI_MAX_TOTAL_UPLOAD_MB = "160"
  }

  secrets = {
    PREPTIME_API_KEYS      = google_secret_manager_secret.secrets["api-keys"].secret_id
    PREPTIME_OPERATOR_KEYS = google_secret_manager_secret.secrets["operator-keys"].secret_id
    PREPTIME_API_KEY       = google_secret_manager_secret.secrets["ui-key"].secret_id
  }

  mounts = {
    (local.results) = { bucket = module.store.results_bucket, read_only = true }
  }

  depends_on = [
    google_secret_manager_secret_iam_member.ui_reads_keys,
    google_storage_bucket_iam_member.ui_reads_results,
  ]
}

module "jobs" {
  source   = "./modules/job"
  for_each = local.jobs

  name                = "preptime-${each.key}"
  region              = var.region
  image               = var.images.jobs
  account             = google_service_account.roles[each.value.role].email
  scheduler_account   = google_service_account.roles["scheduler"].email
  command             = each.value.command
  schedule            = each.value.schedule
  time_zone           = var.time_zone
  cpu                 = each.value.cpu
  memory              = each.value.memory
  timeout             = each.value.timeout
  retries             = each.value.retries
  settings            = local.job_settings
  kms_key             = var.kms_key
  egress              = local.egress
  attested            = local.attested
  deletion_protection = var.deletion_protection

  mounts = {
    (local.results) = { bucket = module.store.results_bucket, read_only = false }
  }

  depends_on = [google_project_service.apis]
}

module "federation" {
  source = "./modules/federation"

  pool        = var.ci_pool
  repository  = var.repository
  environment = var.environment
  account     = google_service_account.roles["deployer"].name

  terraform_accounts = { for name, account in google_service_account.terraform : name => account.name }

  depends_on = [google_project_service.apis]
}

module "alerting" {
  source = "./modules/alerting"

  project     = var.project
  region      = var.region
  emails      = var.alert_emails
  channels    = var.alert_channels
  topics      = var.alert_topics
  api_host    = trimprefix(local.api_url, "https://")
  api_service = module.api.name
  ready_path  = "/ready"
  train_job   = module.jobs["train"].name
  metrics     = var.metrics_sidecar != ""

  has_instances = var.api.min_instances > 0

  # With a check every minute, the API would never scale to zero.
  # Its locations are on the internet.
  uptime_check = var.api.min_instances > 0 && (local.ingress == "INGRESS_TRAFFIC_ALL" || try(var.network.mode, "") == "external")

  depends_on = [google_project_service.apis]
}

module "gke" {
  source = "./modules/gke"
  count  = var.gke ? 1 : 0

  project             = var.project
  region              = var.region
  labels              = local.labels
  images              = google_artifact_registry_repository.images.name
  accounts            = { for role in ["api", "ui", "jobs", "pruner"] : role => google_service_account.roles[role].name }
  deletion_protection = var.deletion_protection

  depends_on = [google_project_service.apis]
}
