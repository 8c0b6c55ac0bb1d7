variable "project" {
  type        = string
  description = "Id of the project that all of this lives in. One project for each environment."
}

variable "region" {
  type        = string
  description = "Where everything runs and lies."
}

variable "environment" {
  type        = string
  description = "staging or production; it becomes a label."
}

variable "images" {
  type        = object({ serve = string, jobs = string, ui = string })
  description = "Images of the first apply. Later ones are deployed by CI, and Terraform leaves them alone."
}

variable "time_zone" {
  type        = string
  description = "Whose mornings the daily jobs mean, and whose local date they are given."
  default     = "Europe/London"
}

variable "orders" {
  type        = string
  description = "Where the daily jobs find orders (PREPTIME_ORDERS). Null: in the BigQuery dataset made here."
  default     = null
}

variable "restaurants" {
  type        = string
  description = "Where the daily jobs find restaurants (PREPTIME_RESTAURANTS). Null: in the BigQuery dataset made here."
  default     = null
}

variable "api" {
  type = object({
    cpu           = number
    memory        = string
    min_instances = number
    max_instances = number
    concurrency   = number
  })
  description = "Size of the API. How concurrency follows from the benchmark: docs/deploy-gcp.md."
}

variable "page_members" {
  type        = list(string)
  description = "Who may open the page: user:…, group:…. Nobody else can reach it."
  default     = []
}

variable "alert_emails" {
  type        = list(string)
  description = "Who is told when something is wrong."
}

variable "repository" {
  type        = string
  description = "The GitHub repository whose workflows deploy, OWNER/NAME."
}

variable "deletion_protection" {
  type        = bool
  description = "Whether Terraform refuses to destroy services, jobs and tables."
  default     = true
}
