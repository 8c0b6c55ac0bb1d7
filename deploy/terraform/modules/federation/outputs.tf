output "provider" {
  value       = google_iam_workload_identity_pool_provider.github.name
  description = "Full name of the provider."
}
