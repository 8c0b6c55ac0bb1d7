output "store_bucket" {
  value       = google_storage_bucket.versioned["store"].name
  description = "Bucket of bundles and the champion log."
}

output "data_bucket" {
  value       = google_storage_bucket.versioned["data"].name
  description = "Bucket of orders and restaurants as files."
}

output "results_bucket" {
  value       = google_storage_bucket.results.name
  description = "Bucket of daily results."
}
