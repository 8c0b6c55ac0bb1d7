variable "project" {
  type        = string
  description = "Project ID. Bucket names start with it."
}

variable "region" {
  type        = string
  description = "Region of the buckets."
}

variable "kms_key" {
  type        = string
  description = "Key of Cloud KMS that encrypts the buckets. Null: Google's keys."
}

variable "deletion_protection" {
  type        = bool
  description = "Whether Terraform refuses to destroy buckets that contain objects."
}
