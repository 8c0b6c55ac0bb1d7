output "dataset" {
  value       = google_bigquery_dataset.preptime.dataset_id
  description = "Dataset of orders, restaurants, predictions, and outcomes."
}

output "prediction_log" {
  value       = google_bigquery_dataset.prediction_log.dataset_id
  description = "Dataset of the prediction log."
}
