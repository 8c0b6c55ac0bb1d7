# Encryption with a key of your own, only with the variable `kms_key`. The key is in another project or in this one, and
# Terraform doesn't create it: a destroyed key destroys the data.

locals {
  # Google's accounts that encrypt and decrypt, by product.
  service_agents = {
    artifactregistry = "service-${data.google_project.project.number}@gcp-sa-artifactregistry"
    bigquery         = "bq-${data.google_project.project.number}@bigquery-encryption"
    run              = "service-${data.google_project.project.number}@serverless-robot-prod"
    secretmanager    = "service-${data.google_project.project.number}@gcp-sa-secretmanager"
    storage          = "service-${data.google_project.project.number}@gs-project-accounts"
  }
}

# Google's products may encrypt and decrypt with the key.
resource "google_kms_crypto_key_iam_member" "service_agents" {
  for_each = var.kms_key == null ? {} : local.service_agents

  crypto_key_id = var.kms_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${each.value}.iam.gserviceaccount.com"
}
