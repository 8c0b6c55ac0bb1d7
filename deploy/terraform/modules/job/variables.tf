variable "name" {
  type        = string
  description = "Name of the job and of its schedule."
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
  description = "Email address of the job's service account."
}

variable "scheduler_account" {
  type        = string
  description = "Email address of the service account that starts the job."
}

variable "command" {
  type        = string
  description = "Shell command."
}

variable "schedule" {
  type        = string
  description = "Schedule in cron format."
}

variable "time_zone" {
  type        = string
  description = "Time zone of the schedule."
}

variable "cpu" {
  type        = number
  description = "Number of CPUs."
}

variable "memory" {
  type        = string
  description = "Memory, including temporary files."
}

variable "timeout" {
  type        = string
  description = "Timeout of one try."
}

variable "retries" {
  type        = number
  description = "Number of retries."
}

variable "settings" {
  type        = map(string)
  description = "Environment variables."
}

variable "egress" {
  type        = object({ network = string, subnetwork = string })
  description = "Network and subnetwork for all traffic of the job. Null: no VPC."
  default     = null
}

variable "mounts" {
  type        = map(object({ bucket = string, read_only = bool }))
  description = "Mounted buckets, by path."
}

variable "kms_key" {
  type        = string
  description = "Key of Cloud KMS that encrypts the job. Null: Google's keys."
}

variable "attested" {
  type        = bool
  description = "Whether the project's policy decides which images run."
}

variable "deletion_protection" {
  type        = bool
  description = "Whether Terraform refuses to destroy the job."
}
