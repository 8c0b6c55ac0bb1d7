# A service account for each role, with the permissions in grants.tf. No account has a key: services and jobs get their
# tokens from Google Cloud, and CI from Workload Identity Federation.
locals {
  roles = {
    api       = "Predicts orders"
    ui        = "Shows the dashboard, and lets operators promote and roll back"
    jobs      = "Trains, scores, monitors, and responds"
    pruner    = "Removes old bundles and results"
    scheduler = "Starts the daily jobs"
    deployer  = "Pushes and deploys images, from CI"
  }
}

resource "google_service_account" "roles" {
  for_each = local.roles

  account_id   = "preptime-${each.key}"
  display_name = each.value

  depends_on = [google_project_service.apis]
}
