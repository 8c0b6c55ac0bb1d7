variable "project" {
  type        = string
  description = "Project ID."
}

variable "region" {
  type        = string
  description = "Region of the datasets."
}

variable "api_service" {
  type        = string
  description = "Name of the Cloud Run service that writes the prediction log."
}

variable "kms_key" {
  type        = string
  description = "Key of Cloud KMS that encrypts the tables. Null: Google's keys."
}

variable "deletion_protection" {
  type        = bool
  description = "Whether Terraform refuses to destroy datasets that contain tables."
}
