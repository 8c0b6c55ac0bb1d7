variable "repository" {
  type        = object({ id = string, owner_id = string })
  description = "GitHub's IDs of the repository and its owner."
}

variable "environment" {
  type        = string
  description = "GitHub environment that deploys."
}

variable "account" {
  type        = string
  description = "Full name of the workflows' service account."
}

variable "pool" {
  type        = string
  description = "ID of the workload identity pool."
}

variable "terraform_accounts" {
  type        = map(string)
  description = "Full names of the accounts that plan and apply, by plan and apply. Empty: none."
}
