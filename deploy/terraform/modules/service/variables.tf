variable "name" {
  type        = string
  description = "Name of the service."
}

variable "region" {
  type        = string
  description = "Where it runs."
}

variable "image" {
  type        = string
  description = "Image of the first revision."
}

variable "account" {
  type        = string
  description = "Email of the service account that it runs as."
}

variable "port" {
  type        = number
  description = "Port that the container listens on."
}

variable "health_path" {
  type        = string
  description = "Answers 200 while the process lives."
}

variable "cpu" {
  type        = number
  description = "Cores of an instance."
}

variable "memory" {
  type        = string
  description = "Memory of an instance, the temporary files in it included."
}

variable "min_instances" {
  type        = number
  description = "Instances that always run."
}

variable "max_instances" {
  type        = number
  description = "Instances at most."
}

variable "concurrency" {
  type        = number
  description = "Requests that one instance is given at a time."
}

variable "timeout" {
  type        = string
  description = "How long a request, or a browser's connection, may last."
  default     = "60s"
}

variable "session_affinity" {
  type        = bool
  description = "Whether a browser stays with one instance."
  default     = false
}

variable "settings" {
  type        = map(string)
  description = "Environment, by name."
}

variable "secrets" {
  type        = map(string)
  description = "Environment from Secret Manager: the secret's id, by name."
  default     = {}
}

variable "mounts" {
  type        = map(object({ bucket = string, read_only = bool }))
  description = "Buckets as folders, by path."
  default     = {}
}

variable "deletion_protection" {
  type        = bool
  description = "Whether Terraform refuses to destroy it."
}
