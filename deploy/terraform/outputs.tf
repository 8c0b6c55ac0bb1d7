output "api_url" {
  value       = local.api_url
  description = "URL of the API."
}

output "ui_url" {
  value       = local.ui_url
  description = "URL of the dashboard, for the members in ui_members."
}

output "registry" {
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.name}"
  description = "Registry of the images, for the repository's variable GCP_REGISTRY."
}

output "store" {
  value       = local.store_url
  description = "The store, for PREPTIME_STORE."
}

output "data_bucket" {
  value       = module.store.data_bucket
  description = "Bucket for orders and restaurants as files."
}

output "warehouse" {
  value       = local.warehouse
  description = "BigQuery dataset of orders, predictions, and outcomes, for preptime ingest --to."
}

output "workload_identity_provider" {
  value       = module.federation.provider
  description = "Workload identity provider, for the repository's variable GCP_WORKLOAD_IDENTITY_PROVIDER."
}

output "deployer" {
  value       = google_service_account.roles["deployer"].email
  description = "Service account of CI, for the repository's variable GCP_DEPLOYER."
}

output "dns_records" {
  value       = one(module.network[*].dns_records)
  description = "Records to create in the public zone of the domains, if network is set."
}

output "terraform_provider" {
  value       = module.federation.terraform_provider
  description = "Workload identity provider of the workflow terraform, for the variable GCP_TERRAFORM_PROVIDER, if terraform_pipeline is set."
}

output "terraform_accounts" {
  value       = { for name, account in google_service_account.terraform : name => account.email }
  description = "Service accounts of the workflow terraform, for the variable GCP_TERRAFORM_ACCOUNT of the environments -plan and -apply."
}

output "spark" {
  value       = one(module.spark[*])
  description = "Account, subnetwork, and bucket of the Spark batches, for PREPTIME_SPARK_ACCOUNT, PREPTIME_SPARK_SUBNETWORK, and PREPTIME_SPARK_STAGING_BUCKET."
}
