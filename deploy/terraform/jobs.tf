# The daily commands, with their schedules (in var.time_zone) and service accounts. Each command depends on its date only.
# To run a command for another date, set RUN_DATE (see docs/deploy-gcp.md).
locals {
  results = "/data/results"
  date    = "\"$${RUN_DATE:-`date +%F`}\""

  jobs = {
    # Orders can be late, and Cloud Run retries immediately. Therefore, the schedule repeats the training until the day has
    # a decision. A run with RUN_DATE always trains.
    train = {
      command  = "test -z \"$RUN_DATE\" && test -e ${local.results}/date=${local.date}/training.json && exit; exec preptime train --date ${local.date}"
      schedule = "0,30 5-6 * * *"
      role     = "jobs"
      cpu      = 4
      memory   = "8Gi"
      timeout  = "3600s"
      retries  = 0
    }
    # A day whose challenger loses creates two bundles, and monitoring reads 42 days.
    prune-bundles = {
      command  = "exec preptime bundles prune --keep 100"
      schedule = "15 6 * * *"
      role     = "pruner"
      cpu      = 1
      memory   = "1Gi"
      timeout  = "900s"
      retries  = 3
    }
    prune-results = {
      command  = "exec preptime results prune --days 400"
      schedule = "30 6 * * *"
      role     = "pruner"
      cpu      = 1
      memory   = "1Gi"
      timeout  = "900s"
      retries  = 3
    }
    score = {
      command  = "exec preptime score --date ${local.date} --out '${local.warehouse}'"
      schedule = "0 7 * * *"
      role     = "jobs"
      cpu      = 2
      memory   = "4Gi"
      timeout  = "3600s"
      retries  = 3
    }
    # An alert is exit status 1. A retry doesn't change it, so the run fails immediately and sends a notification.
    monitor = {
      command  = "exec preptime monitor --date ${local.date}"
      schedule = "0 9 * * *"
      role     = "jobs"
      cpu      = 2
      memory   = "4Gi"
      timeout  = "1800s"
      retries  = 0
    }
    respond = {
      command  = "exec preptime respond --date ${local.date}"
      schedule = "30 9 * * *"
      role     = "jobs"
      cpu      = 4
      memory   = "8Gi"
      timeout  = "3600s"
      retries  = 2
    }
  }
}
