variable "name" {
  type        = string
  description = "Name of the service."
}

variable "region" {
  type        = string
  description = "Region."
}

variable "image" {
  type        = string
  description = "Image for the first apply."
}

variable "account" {
  type        = string
  description = "Email address of the service's service account."
}

variable "access" {
  type        = string
  description = "What checks callers: keys (the container checks keys, and everyone can reach it) or iap (Identity-Aware Proxy)."

  validation {
    condition     = contains(["keys", "iap"], var.access)
    error_message = "Use keys or iap."
  }
}

variable "ingress" {
  type        = string
  description = "Networks that can reach the service."
}

variable "default_uri_disabled" {
  type        = bool
  description = "Whether the service has no run.app URL."
  default     = false
}

variable "egress" {
  type        = object({ network = string, subnetwork = string })
  description = "Network and subnetwork for all traffic of the service. Null: no VPC."
  default     = null
}

variable "port" {
  type        = number
  description = "Port that the container listens on."
}

variable "health_port" {
  type        = number
  description = "Port of the health checks. Cloud Run can check another port than the one that gets requests."
}

variable "health_path" {
  type        = string
  description = "Path that returns 200 while the process is live."
}

variable "cpu" {
  type        = number
  description = "Number of CPUs of an instance."
}

variable "memory" {
  type        = string
  description = "Memory of an instance, including temporary files."
}

variable "cpu_between_requests" {
  type        = bool
  description = "Whether an instance has its CPUs between requests too. If not, time without an open request costs nothing."
}

variable "min_instances" {
  type        = number
  description = "Minimum number of instances of all revisions together."
}

variable "max_instances" {
  type        = number
  description = "Maximum number of instances."
}

variable "concurrency" {
  type        = number
  description = "Maximum number of concurrent requests of an instance."
}

variable "timeout" {
  type        = string
  description = "Timeout of a request or of a browser's connection."
  default     = "60s"
}

variable "settings" {
  type        = map(string)
  description = "Environment variables."
}

variable "secrets" {
  type        = map(string)
  description = "Environment variables from Secret Manager: secret IDs by variable name."
  default     = {}
}

variable "mounts" {
  type        = map(object({ bucket = string, read_only = bool }))
  description = "Mounted buckets, by path."
  default     = {}
}

variable "metrics_sidecar" {
  type        = string
  description = "Image of the container that reads /metrics of port 8080. Empty: none."
  default     = ""
}

variable "kms_key" {
  type        = string
  description = "Key of Cloud KMS that encrypts the service. Null: Google's keys."
}

variable "attested" {
  type        = bool
  description = "Whether the project's policy decides which images run."
}

variable "deletion_protection" {
  type        = bool
  description = "Whether Terraform refuses to destroy the service."
}
