terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 8.7, < 9" # The tests check the files against 8.7.0.
    }
  }

  # `terraform init` sets the bucket. See docs/deploy-gcp.md.
  backend "gcs" {
    prefix = "preptime"
  }
}

provider "google" {
  project        = var.project
  region         = var.region
  default_labels = local.labels
}
