# Authentication of the workflow `terraform`, in environments of its own: any branch may plan, only the main branch may apply.

resource "google_iam_workload_identity_pool_provider" "terraform" {
  count = length(var.terraform_accounts) > 0 ? 1 : 0

  workload_identity_pool_id          = google_iam_workload_identity_pool.ci.workload_identity_pool_id
  workload_identity_pool_provider_id = "terraform"
  display_name                       = "GitHub Actions, Terraform"

  #checkov:skip=CKV_GCP_125:The condition checks the repository, environment, and branch. The check doesn't resolve its variables.
  attribute_condition = join(" && ", [
    "assertion.repository_id == '${var.repository.id}'",
    "assertion.repository_owner_id == '${var.repository.owner_id}'",
    "(assertion.environment == '${var.environment}-plan' || (assertion.environment == '${var.environment}-apply' && assertion.ref == 'refs/heads/main'))",
  ])

  # Without attribute.repository_id, so that these tokens can't act as the deployer.
  attribute_mapping = {
    "google.subject"        = "assertion.repository_id + ':' + assertion.environment"
    "attribute.environment" = "assertion.environment"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

# The workflow `terraform` may act as the account of its environment.
resource "google_service_account_iam_member" "workflows_terraform" {
  for_each = var.terraform_accounts

  service_account_id = each.value
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.ci.name}/attribute.environment/${var.environment}-${each.key}"
}
