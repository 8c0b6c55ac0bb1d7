terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.5" # 7.5 added mount_options of Cloud Run volumes.
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
