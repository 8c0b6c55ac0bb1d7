output "name" {
  value       = google_cloud_run_v2_job.job.name
  description = "Name of the job."
}
