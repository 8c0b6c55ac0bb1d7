# Optional: only attested images run (docs/deploy-gcp.md, "Binary Authorization").
module "attestation" {
  source = "./modules/attestation"
  count  = var.binary_authorization == "off" ? 0 : 1

  project = var.project
  region  = var.region
  name    = var.attestor
  enforce = var.binary_authorization == "enforce"
  signer  = local.member["deployer"]

  # Google signs the sidecar. It isn't built by CI.
  exempt_images = var.metrics_sidecar == "" ? [] : ["${regex("^[^:@]+", var.metrics_sidecar)}*"]

  depends_on = [google_project_service.apis]
}

output "attestor" {
  value       = one(module.attestation[*].attestor)
  description = "Attestor of images, for the repository's variable GCP_ATTESTOR."
}

output "attestor_key" {
  value       = one(module.attestation[*].key_version)
  description = "Key version that attests images, for the repository's variable GCP_ATTESTOR_KEY."
}
