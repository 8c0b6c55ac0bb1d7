variable "project" {
  type        = string
  description = "Project ID."
}

variable "region" {
  type        = string
  description = "Region of the API."
}

variable "emails" {
  type        = list(string)
  description = "Email addresses that get alerts."
}

variable "channels" {
  type        = list(string)
  description = "Existing notification channels that get alerts too."
}

variable "topics" {
  type        = list(string)
  description = "Pub/Sub topics that get alerts too."
}

variable "api_host" {
  type        = string
  description = "Host name of the API."
}

variable "api_service" {
  type        = string
  description = "Name of the API's service."
}

variable "ready_path" {
  type        = string
  description = "Path that returns 200 if the API has a champion."
}

variable "uptime_check" {
  type        = bool
  description = "Whether to check every minute, from several locations, that the API is ready."
}

variable "metrics" {
  type        = bool
  description = "Whether Managed Service for Prometheus has the API's own metrics."
}

variable "has_instances" {
  type        = bool
  description = "Whether the API always has an instance."
}

variable "train_job" {
  type        = string
  description = "Name of the training job."
}
