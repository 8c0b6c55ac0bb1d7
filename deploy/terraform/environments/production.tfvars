project     = "preptime-production"
region      = "europe-west1"
environment = "production"

images = {
  serve = "europe-west1-docker.pkg.dev/preptime-production/preptime/serve:first"
  jobs  = "europe-west1-docker.pkg.dev/preptime-production/preptime/jobs:first"
  ui    = "europe-west1-docker.pkg.dev/preptime-production/preptime/ui:first"
}

ui_members   = ["group:preptime@example.com"]
alert_emails = ["preptime@example.com"]

# From: gcloud billing accounts list
budget = { billing_account = "000000-000000-000000", amount = 300 }

# From: gh api repos/OWNER/NAME --jq '.id, .owner.id'
repository = { id = "123456789", owner_id = "1234567" }

# Two instances, so that one can be replaced. Each is planned for 300,000 orders a minute (docs/deploy-gcp.md#size).
api = {
  cpu           = 1
  memory        = "1Gi"
  min_instances = 2
  max_instances = 10
  concurrency   = 32
}
