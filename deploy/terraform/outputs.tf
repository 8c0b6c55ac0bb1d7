output "api_url" {
  value       = module.api.uri
  description = "Where orders are asked about."
}

output "page_url" {
  value       = module.page.uri
  description = "Where people look; reached with gcloud run services proxy."
}

output "registry" {
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.name}"
  description = "Where images are pushed; the repository's variable GCP_REGISTRY."
}

output "store" {
  value       = local.store_url
  description = "The store, for PREPTIME_STORE."
}

output "data_bucket" {
  value       = module.store.data_bucket
  description = "Where orders and restaurants can be put as files."
}

output "warehouse" {
  value       = local.warehouse
  description = "The BigQuery dataset of orders, predictions and outcomes, for preptime ingest --to."
}

output "workload_identity_provider" {
  value       = module.federation.provider
  description = "For the repository's variable GCP_WORKLOAD_IDENTITY_PROVIDER."
}

output "deployer" {
  value       = google_service_account.roles["deployer"].email
  description = "For the repository's variable GCP_DEPLOYER."
}
