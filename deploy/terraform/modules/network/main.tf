# Private networking, only with the variable `network`: a VPC through which the services and jobs send all traffic, and a load
# balancer in front of the services. external.tf has the load balancer for the internet, internal.tf the one for the VPC.

locals {
  external = var.mode == "external" ? { this = true } : {}
  internal = var.mode == "internal" ? { this = true } : {}

  # The services, and the revision that CI tests before it gets traffic (scripts/cloud_run.py).
  domains = {
    api       = var.api_domain
    candidate = "candidate.${var.api_domain}"
    ui        = var.ui_domain
  }

  backends = {
    api       = { service = var.services.api, tag = null }
    candidate = { service = var.services.api, tag = "candidate" }
    ui        = { service = var.services.ui, tag = null }
  }
}

resource "google_project_service" "apis" {
  for_each = toset(["certificatemanager", "compute", "dns"])

  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

resource "google_compute_network" "vpc" {
  name                    = "preptime"
  auto_create_subnetworks = false

  depends_on = [google_project_service.apis]
}

# Every instance of a service and every task of a job takes addresses of this range.
resource "google_compute_subnetwork" "run" {
  name                     = "preptime-run"
  region                   = var.region
  network                  = google_compute_network.vpc.id
  ip_cidr_range            = var.run_range
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

# No machine in the VPC accepts connections. Load balancers of serverless backends don't need any.
resource "google_compute_firewall" "deny_ingress" {
  name          = "preptime-deny-ingress"
  network       = google_compute_network.vpc.id
  direction     = "INGRESS"
  priority      = 65534
  source_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }
}

# One group of endpoints for each backend. It routes to a service by its name, so the service needs no default URL.
resource "google_compute_region_network_endpoint_group" "backends" {
  for_each = local.backends

  name                  = "preptime-${each.key}"
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = each.value.service
    tag     = each.value.tag
  }

  depends_on = [google_project_service.apis]
}
