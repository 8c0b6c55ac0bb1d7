variable "project" {
  type        = string
  description = "Project ID. Use one project for each environment."
}

variable "region" {
  type        = string
  description = "Region of all resources."
}

variable "environment" {
  type        = string
  description = "Name of the environment, staging or production. It is a label of all resources."
}

variable "images" {
  type        = object({ serve = string, jobs = string, ui = string })
  description = "Images for the first apply. CI deploys later ones, and Terraform ignores them."
}

variable "time_zone" {
  type        = string
  description = "Time zone of the daily jobs: their schedules and their dates."
  default     = "Europe/London"
}

variable "orders" {
  type        = string
  description = "Orders of the daily jobs (PREPTIME_ORDERS). Null: the table in this project's BigQuery dataset."
  default     = null
}

variable "restaurants" {
  type        = string
  description = "Restaurants of the daily jobs (PREPTIME_RESTAURANTS). Null: the table in this project's BigQuery dataset."
  default     = null
}

variable "schema" {
  type        = string
  description = "Schema of the orders for the daily jobs (PREPTIME_SCHEMA): a path in the results bucket, which is mounted at /data/results. Empty: the built-in schema."
  default     = ""
}

variable "api" {
  type = object({
    cpu           = number
    memory        = string
    min_instances = number
    max_instances = number
    concurrency   = number
  })
  description = "Size of the API. For the reason of the concurrency, see docs/deploy-gcp.md."
}

variable "metrics_sidecar" {
  type        = string
  description = "Image that sends the API's own metrics to Managed Service for Prometheus. Empty: no metrics, and no alerts on them. For its digest, see docs/deploy-gcp.md."
  default     = "us-docker.pkg.dev/cloud-ops-agents-artifacts/cloud-run-gmp-sidecar/cloud-run-gmp-sidecar:1.2.0"

  validation {
    condition     = var.metrics_sidecar == "" || can(regex("(:[0-9][0-9.]*|@sha256:[0-9a-f]{64})$", var.metrics_sidecar))
    error_message = "Use an image with a version or a digest, or an empty text."
  }
}

variable "binary_authorization" {
  type        = string
  description = "Whether Cloud Run accepts attested images only: off, audit (the audit log names others), or enforce. Use audit until CI has released once."
  default     = "off"

  validation {
    condition     = contains(["off", "audit", "enforce"], var.binary_authorization)
    error_message = "Use off, audit, or enforce."
  }
}

variable "attestor" {
  type        = string
  description = "Name of the attestor and of its key. The name of a key can't be used again."
  default     = "preptime-ci"
}

variable "ui_members" {
  type        = list(string)
  description = "Members who may open the dashboard, for example user:… or group:…."
  default     = []
}

variable "ingress" {
  type        = string
  description = "Networks that can reach the API and the dashboard. For a value other than the default, see docs/deploy-gcp.md."
  default     = "INGRESS_TRAFFIC_ALL"

  validation {
    condition     = contains(["INGRESS_TRAFFIC_ALL", "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER", "INGRESS_TRAFFIC_INTERNAL_ONLY"], var.ingress)
    error_message = "Use a value of Cloud Run's ingress setting."
  }
}

variable "network" {
  type = object({
    mode                 = string
    api_domain           = string
    ui_domain            = string
    client_ranges        = optional(list(string), ["*"])
    requests_per_minute  = optional(number, 60000)
    default_uri_disabled = optional(bool, true)
    run_range            = optional(string, "10.8.0.0/24")
    proxy_range          = optional(string, "10.8.1.0/26")
  })
  description = "A load balancer and a VPC for the services and jobs: mode external (internet) or internal (VPC). For the other values, see modules/network. Null: neither, and ingress applies."
  default     = null

  validation {
    condition     = var.network == null || contains(["external", "internal"], try(var.network.mode, ""))
    error_message = "Use external or internal as the mode."
  }

  validation {
    condition     = try(length(var.network.client_ranges), 0) <= 10
    error_message = "Cloud Armor accepts at most ten ranges of addresses."
  }
}

variable "kms_key" {
  type        = string
  description = "Key of Cloud KMS in the same region that encrypts buckets, tables, images, secrets, services, and jobs: projects/…/cryptoKeys/…. Null: Google's keys."
  default     = null
}

variable "alert_emails" {
  type        = list(string)
  description = "Email addresses that get alerts."
}

variable "alert_channels" {
  type        = list(string)
  description = "Existing notification channels that get alerts too, for example PagerDuty: projects/…/notificationChannels/…."
  default     = []
}

variable "alert_topics" {
  type        = list(string)
  description = "Pub/Sub topics that get alerts too, for example for a webhook: projects/…/topics/…."
  default     = []
}

variable "budget" {
  type        = object({ billing_account = string, amount = number })
  description = "Monthly budget of the project, in the currency of the billing account. An email follows at 50%, 90%, and 100%, and if the forecast exceeds it. Null: no budget."
  default     = null
}

variable "repository" {
  type        = object({ id = string, owner_id = string })
  description = "GitHub's IDs of the repository whose workflows deploy: gh api repos/OWNER/NAME --jq '.id, .owner.id'."
}

variable "image_readers" {
  type        = list(string)
  description = "Members who may read the images too, for example the deployer of production for the images of staging."
  default     = []
}

variable "ci_pool" {
  type        = string
  description = "ID of the workload identity pool of CI. The ID of a deleted pool can't be used for 30 days."
  default     = "preptime-ci"
}

variable "terraform_pipeline" {
  type        = bool
  description = "Whether the workflow terraform may plan and apply, with two accounts of its own (docs/deploy-gcp.md)."
  default     = false
}

variable "gke" {
  type        = bool
  description = "Whether to create a cluster too (docs/deploy-gke.md)."
  default     = false
}

variable "spark" {
  type        = object({ subnetwork = optional(string), range = optional(string, "10.96.0.0/24") })
  description = "Whether to create what Spark batches need too (docs/scale.md). With subnetwork, they use an existing one with Private Google Access. Null: nothing."
  default     = null
}

variable "deletion_protection" {
  type        = bool
  description = "Whether Terraform refuses to destroy services, jobs, and tables."
  default     = true
}
