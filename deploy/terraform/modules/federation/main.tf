# Authentication of CI without keys: GitHub signs a token for each run, and Google accepts it.

resource "google_iam_workload_identity_pool" "ci" {
  workload_identity_pool_id = var.pool
  display_name              = "preptime CI"
}

resource "google_iam_workload_identity_pool_provider" "github" {
  workload_identity_pool_id          = google_iam_workload_identity_pool.ci.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub Actions"

  #checkov:skip=CKV_GCP_125:The condition checks the repository, environment, and branch. The check doesn't resolve its variables.

  # Accepts only runs of the main branch in this GitHub environment, which can require an approval. A pull request from a
  # fork has no access. IDs never change and are never used again. Names do, and the format of GitHub's subject has changed.
  attribute_condition = join(" && ", [
    "assertion.repository_id == '${var.repository.id}'",
    "assertion.repository_owner_id == '${var.repository.owner_id}'",
    "assertion.environment == '${var.environment}'",
    "assertion.ref == 'refs/heads/main'",
  ])

  # GitHub's subject can be longer than Google's limit of 127 bytes.
  attribute_mapping = {
    "google.subject"          = "assertion.repository_id + ':' + assertion.environment"
    "attribute.repository_id" = "assertion.repository_id"
    "attribute.repository"    = "assertion.repository"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

# Workflows of this repository may act as the deployer.
resource "google_service_account_iam_member" "workflows_deploy" {
  service_account_id = var.account
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.ci.name}/attribute.repository_id/${var.repository.id}"
}
