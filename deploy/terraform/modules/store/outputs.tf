output "store_bucket" {
  value       = google_storage_bucket.versioned["store"].name
  description = "Bundles and the champion log."
}

output "data_bucket" {
  value       = google_storage_bucket.versioned["data"].name
  description = "Orders and restaurants as files."
}

output "results_bucket" {
  value       = google_storage_bucket.results.name
  description = "The results of each day."
}
