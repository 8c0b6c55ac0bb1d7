output "dataset" {
  value       = google_bigquery_dataset.preptime.dataset_id
  description = "Orders, restaurants, predictions and outcomes."
}

output "prediction_log" {
  value       = google_bigquery_dataset.prediction_log.dataset_id
  description = "What the API was asked and answered."
}
