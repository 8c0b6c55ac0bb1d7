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

variable "alert_emails" {
  type        = list(string)
  description = "Email addresses that get alerts."
}

variable "repository" {
  type        = string
  description = "GitHub repository whose workflows deploy, as OWNER/NAME."
}

variable "deletion_protection" {
  type        = bool
  description = "Whether Terraform refuses to destroy services, jobs, and tables."
  default     = true
}
