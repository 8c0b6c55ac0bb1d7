# A Cloud Run job that runs one command, and its schedule.

resource "google_cloud_run_v2_job" "job" {
  name                = var.name
  location            = var.region
  deletion_protection = var.deletion_protection

  # Cloud Run asks the policy of the project (modules/attestation).
  dynamic "binary_authorization" {
    for_each = var.attested ? [true] : []

    content {
      use_default = true
    }
  }

  template {
    task_count  = 1
    parallelism = 1

    template {
      service_account       = var.account
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"
      timeout               = var.timeout
      max_retries           = var.retries
      encryption_key        = var.kms_key

      dynamic "vpc_access" {
        for_each = var.egress == null ? [] : [var.egress]

        content {
          egress = "ALL_TRAFFIC"

          network_interfaces {
            network    = vpc_access.value.network
            subnetwork = vpc_access.value.subnetwork
          }
        }
      }

      containers {
        image   = var.image
        command = ["/bin/sh", "-c"]
        args    = [var.command]

        resources {
          limits = {
            cpu    = tostring(var.cpu)
            memory = var.memory
          }
        }

        dynamic "env" {
          for_each = var.settings

          content {
            name  = env.key
            value = env.value
          }
        }

        dynamic "volume_mounts" {
          for_each = var.mounts

          content {
            name       = volume_mounts.value.bucket
            mount_path = volume_mounts.key
          }
        }
      }

      dynamic "volumes" {
        for_each = var.mounts

        content {
          name = volumes.value.bucket

          gcs {
            bucket    = volumes.value.bucket
            read_only = volumes.value.read_only

            # The user of the images (deploy/docker/Dockerfile).
            mount_options = ["uid=10001", "gid=10001"]
          }
        }
      }
    }
  }

  lifecycle {
    # CI deploys images.
    ignore_changes = [
      client,
      client_version,
      template[0].template[0].containers[0].image,
    ]
  }
}

resource "google_cloud_scheduler_job" "daily" {
  name             = var.name
  description      = var.command
  region           = var.region
  schedule         = var.schedule
  time_zone        = var.time_zone
  attempt_deadline = "320s"

  retry_config {
    retry_count = 3
  }

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/${google_cloud_run_v2_job.job.id}:run"

    oauth_token {
      service_account_email = var.scheduler_account
    }
  }
}
