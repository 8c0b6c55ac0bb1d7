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

variable "alert_emails" {
  type        = list(string)
  description = "Email addresses that get alerts."
}

variable "alert_channels" {
  type        = list(string)
  description = "Existing notification channels that get alerts too, for example PagerDuty: projects/…/notificationChannels/…."
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

variable "gke" {
  type        = bool
  description = "Whether to create a cluster too (docs/deploy-gke.md)."
  default     = false
}

variable "deletion_protection" {
  type        = bool
  description = "Whether Terraform refuses to destroy services, jobs, and tables."
  default     = true
}
