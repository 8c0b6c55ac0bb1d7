variable "project" {
  type        = string
  description = "Project ID."
}

variable "region" {
  type        = string
  description = "Region of the cluster and of the images."
}

variable "images" {
  type        = string
  description = "Name of the repository with the images."
}

variable "accounts" {
  type        = map(string)
  description = "Full names of Google service accounts, by the names of Kubernetes service accounts in the namespace preptime."
}

variable "deletion_protection" {
  type        = bool
  description = "Whether Terraform refuses to destroy the cluster."
}

variable "labels" {
  type        = map(string)
  description = "Labels of the cluster."
}
