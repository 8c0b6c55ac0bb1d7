variable "repository" {
  type        = string
  description = "OWNER/NAME on GitHub."
}

variable "environment" {
  type        = string
  description = "The GitHub environment that deploys."
}

variable "account" {
  type        = string
  description = "Full name of the service account that workflows act as."
}
