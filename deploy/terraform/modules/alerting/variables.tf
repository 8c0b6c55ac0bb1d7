variable "project" {
  type        = string
  description = "Id of the project."
}

variable "emails" {
  type        = list(string)
  description = "Who is told."
}

variable "api_host" {
  type        = string
  description = "The API's host name."
}

variable "api_service" {
  type        = string
  description = "Name of the API's service."
}

variable "ready_path" {
  type        = string
  description = "Answers 200 when the API has a champion."
}

variable "uptime_check" {
  type        = bool
  description = "Whether the API is asked every minute, from several places, if it is ready."
}

variable "train_job" {
  type        = string
  description = "Name of the job that trains."
}
