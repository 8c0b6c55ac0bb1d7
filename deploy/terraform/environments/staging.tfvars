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
repository   = "example/preptime"

deletion_protection = false
