variable "name" {
  type        = string
  description = "Name of the job and of its schedule."
}

variable "region" {
  type        = string
  description = "Where it runs."
}

variable "image" {
  type        = string
  description = "Image of the first apply."
}

variable "account" {
  type        = string
  description = "Email of the service account that it runs as."
}

variable "scheduler_account" {
  type        = string
  description = "Email of the service account that starts it."
}

variable "command" {
  type        = string
  description = "The verb and its options, for a shell."
}

variable "schedule" {
  type        = string
  description = "When it runs, as cron says it."
}

variable "time_zone" {
  type        = string
  description = "Whose hours the schedule means."
}

variable "cpu" {
  type        = number
  description = "Cores."
}

variable "memory" {
  type        = string
  description = "Memory, the temporary files in it included."
}

variable "timeout" {
  type        = string
  description = "How long one try may take."
}

variable "retries" {
  type        = number
  description = "Tries after the first."
}

variable "settings" {
  type        = map(string)
  description = "Environment, by name."
}

variable "mounts" {
  type        = map(object({ bucket = string, read_only = bool }))
  description = "Buckets as folders, by path."
}

variable "deletion_protection" {
  type        = bool
  description = "Whether Terraform refuses to destroy it."
}
