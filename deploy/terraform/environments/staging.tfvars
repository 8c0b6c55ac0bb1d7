project     = "preptime-staging"
region      = "europe-west1"
environment = "staging"

images = {
  serve = "europe-west1-docker.pkg.dev/preptime-staging/preptime/serve:first"
  jobs  = "europe-west1-docker.pkg.dev/preptime-staging/preptime/jobs:first"
  ui    = "europe-west1-docker.pkg.dev/preptime-staging/preptime/ui:first"
}

# Staging scales to zero. The first request waits for a start.
api = {
  cpu           = 1
  memory        = "1Gi"
  min_instances = 0
  max_instances = 2
  concurrency   = 32
}

ui_members   = ["group:preptime@example.com"]
alert_emails = ["preptime@example.com"]

# From: gh api repos/OWNER/NAME --jq '.id, .owner.id'
repository = { id = "123456789", owner_id = "1234567" }

deletion_protection = false

# CI of production promotes the images of staging. Create production first, or leave this list empty until then.
image_readers = ["serviceAccount:preptime-deployer@preptime-production.iam.gserviceaccount.com"]
