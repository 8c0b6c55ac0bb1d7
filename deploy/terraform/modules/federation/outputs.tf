output "provider" {
  value       = google_iam_workload_identity_pool_provider.github.name
  description = "Full name of the provider."
}

output "terraform_provider" {
  value       = one(google_iam_workload_identity_pool_provider.terraform[*].name)
  description = "Full name of the provider for the workflow terraform."
}
