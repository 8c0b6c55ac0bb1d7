output "name" {
  value       = google_cloud_run_v2_service.service.name
  description = "Name of the service."
}

output "uri" {
  value       = google_cloud_run_v2_service.service.uri
  description = "URL of the service."
}
