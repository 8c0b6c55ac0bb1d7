# A service account for each role, with nothing but what grants.tf says. None has a key: what runs in the project gets
# its token from the platform, and CI through Workload Identity Federation.
locals {
  roles = {
    api       = "Answers orders"
    ui        = "Shows people what is known, and lets operators promote and roll back"
    jobs      = "Trains, scores, monitors and responds"
    keeper    = "Removes what is old"
    scheduler = "Starts the daily jobs"
    deployer  = "Pushes images and deploys them, from CI"
  }
}

resource "google_service_account" "roles" {
  for_each = local.roles

  account_id   = "preptime-${each.key}"
  display_name = each.value

  depends_on = [google_project_service.apis]
}
