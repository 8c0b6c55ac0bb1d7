# A Cloud Run service: a container with settings, secrets, and buckets, and perhaps one that reads its metrics. For its
# permissions, see grants.tf.

locals {
  # Cloud Run needs a name only where another container depends on this one.
  main_container = var.metrics_sidecar == "" ? null : "main"
}

resource "google_cloud_run_v2_service" "service" {
  name                = var.name
  location            = var.region
  ingress             = var.ingress
  deletion_protection = var.deletion_protection

  # Exactly one of these checks callers, or the container does it itself.
  invoker_iam_disabled = var.access == "keys"
  iap_enabled          = var.access == "iap"

  # Without this URL, callers reach the service through a load balancer only (modules/network).
  default_uri_disabled = var.default_uri_disabled

  # On the service, not on its revisions: only revisions with traffic share it.
  scaling {
    min_instance_count = var.min_instances
  }

  # Cloud Run asks the policy of the project (modules/attestation).
  dynamic "binary_authorization" {
    for_each = var.attested ? [true] : []

    content {
      use_default = true
    }
  }

  template {
    service_account                  = var.account
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    max_instance_request_concurrency = var.concurrency
    timeout                          = var.timeout
    encryption_key                   = var.kms_key

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

    scaling {
      max_instance_count = var.max_instances
    }

    containers {
      image = var.image
      name  = local.main_container

      ports {
        container_port = var.port
      }

      resources {
        limits = {
          cpu    = tostring(var.cpu)
          memory = var.memory
        }

        cpu_idle          = !var.cpu_between_requests
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = var.settings

        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = var.secrets

        content {
          name = env.key

          value_source {
            secret_key_ref {
              secret  = env.value
              version = "latest"
            }
          }
        }
      }

      dynamic "volume_mounts" {
        for_each = var.mounts

        content {
          name       = volume_mounts.value.bucket
          mount_path = volume_mounts.key
        }
      }

      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1
        failure_threshold = 60

        http_get {
          path = var.health_path
          port = var.health_port
        }
      }

      liveness_probe {
        period_seconds    = 10
        timeout_seconds   = 5
        failure_threshold = 3

        http_get {
          path = var.health_path
          port = var.health_port
        }
      }
    }

    # Reads the main container's metrics from port 8080, and sends them to Managed Service for Prometheus.
    dynamic "containers" {
      for_each = var.metrics_sidecar == "" ? [] : [var.metrics_sidecar]

      content {
        name       = "metrics"
        image      = containers.value
        depends_on = [local.main_container]

        resources {
          limits = {
            cpu    = "0.1"
            memory = "256Mi"
          }

          cpu_idle = !var.cpu_between_requests
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

  lifecycle {
    # CI deploys images and shifts traffic (scripts/cloud_run.py). It never names a revision: the next change of Terraform
    # would use the name again, which Cloud Run refuses.
    ignore_changes = [
      client,
      client_version,
      template[0].annotations,
      template[0].containers[0].image,
      traffic,
    ]
  }
}
