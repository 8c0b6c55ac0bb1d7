variable "project" {
  type        = string
  description = "Id of the project."
}

variable "region" {
  type        = string
  description = "Where the datasets lie."
}

variable "api_service" {
  type        = string
  description = "Name of the Cloud Run service whose standard output is the prediction log."
}

variable "deletion_protection" {
  type        = bool
  description = "Whether datasets with tables in them stay."
}
