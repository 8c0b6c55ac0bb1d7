output "attestor" {
  value       = "projects/${var.project}/attestors/${google_binary_authorization_attestor.ci.name}"
  description = "Full name of the attestor."
}

output "key_version" {
  value       = local.key_version
  description = "Full name of the key version that signs."
}
