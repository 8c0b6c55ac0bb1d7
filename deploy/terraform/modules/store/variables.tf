variable "project" {
  type        = string
  description = "Id of the project; bucket names begin with it."
}

variable "region" {
  type        = string
  description = "Where the buckets lie."
}
