variable "project" {
  type        = string
  description = "Project ID. Bucket names start with it."
}

variable "region" {
  type        = string
  description = "Region of the buckets."
}
