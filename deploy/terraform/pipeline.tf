# Accounts of the workflow `terraform`, only with the variable `terraform_pipeline`: one reads and plans, one applies.

locals {
  terraform_roles = {
    plan  = "Plans Terraform's changes, from CI"
    apply = "Applies Terraform's changes, from CI"
  }
}

resource "google_service_account" "terraform" {
  for_each = var.terraform_pipeline ? local.terraform_roles : {}

  account_id   = "preptime-terraform-${each.key}"
  display_name = each.value

  depends_on = [google_project_service.apis]
}

# CI may read all resources and permissions, to plan.
resource "google_project_iam_member" "terraform_reads" {
  for_each = var.terraform_pipeline ? toset(["roles/viewer", "roles/iam.securityReviewer"]) : []

  project = var.project
  role    = each.key
  member  = "serviceAccount:${google_service_account.terraform["plan"].email}"
}

# CI may change everything in the project, after an approval.
resource "google_project_iam_member" "terraform_applies" {
  count = var.terraform_pipeline ? 1 : 0

  #checkov:skip=CKV_GCP_117:Terraform creates accounts, grants, and keys, which takes the permissions of an owner.
  project = var.project
  role    = "roles/owner"
  member  = "serviceAccount:${google_service_account.terraform["apply"].email}"
}

# CI may read Terraform's state to plan, and write it to apply.
resource "google_storage_bucket_iam_member" "terraform_state" {
  for_each = var.terraform_pipeline ? { plan = "roles/storage.objectViewer", apply = "roles/storage.objectUser" } : {}

  bucket = "${var.project}-terraform"
  role   = each.value
  member = "serviceAccount:${google_service_account.terraform[each.key].email}"
}
