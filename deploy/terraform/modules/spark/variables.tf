variable "project" {
  type        = string
  description = "Project ID. The bucket's name starts with it."
}

variable "region" {
  type        = string
  description = "Region of the batches, the bucket, and the images."
}

variable "images" {
  type        = string
  description = "Name of the repository with the images."
}

variable "store_bucket" {
  type        = string
  description = "Bucket of bundles and the champion log."
}

variable "data_bucket" {
  type        = string
  description = "Bucket of orders and restaurants as files."
}

variable "dataset" {
  type        = string
  description = "BigQuery dataset of orders and restaurants."
}

variable "starter" {
  type        = object({ email = string })
  description = "Service account that starts batches."
}

variable "subnetwork" {
  type        = string
  description = "Existing subnetwork with Private Google Access, in which all ports are open between its own addresses. Null: a new network."
}

variable "range" {
  type        = string
  description = "Addresses of a new subnetwork. Each driver and each executor needs one."
}

variable "kms_key" {
  type        = string
  description = "Key of Cloud KMS that encrypts the bucket. Null: Google's keys."
}

variable "deletion_protection" {
  type        = bool
  description = "Whether Terraform refuses to destroy a bucket that contains objects."
}
