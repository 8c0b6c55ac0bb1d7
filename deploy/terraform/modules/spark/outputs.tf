output "account" {
  value       = google_service_account.batches.email
  description = "Service account of the batches."
}

output "subnetwork" {
  value       = var.subnetwork == null ? google_compute_subnetwork.batches[0].id : var.subnetwork
  description = "Subnetwork of the batches."
}

output "bucket" {
  value       = google_storage_bucket.batches.name
  description = "Bucket for outputs and temporary files of the batches."
}
