variable "repository" {
  type        = string
  description = "GitHub repository, as OWNER/NAME."
}

variable "environment" {
  type        = string
  description = "GitHub environment that deploys."
}

variable "account" {
  type        = string
  description = "Full name of the workflows' service account."
}
