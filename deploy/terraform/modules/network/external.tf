# The load balancer for the internet: a global external Application Load Balancer with Cloud Armor.

# The dashboard calls the API at its domain, and a data source or a tracking server can be on the internet.
resource "google_compute_router" "nat" {
  for_each = local.external

  name    = "preptime"
  region  = var.region
  network = google_compute_network.vpc.id
}

resource "google_compute_router_nat" "nat" {
  for_each = local.external

  name                               = "preptime"
  region                             = var.region
  router                             = google_compute_router.nat["this"].name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"

  subnetwork {
    name                    = google_compute_subnetwork.run.id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}

resource "google_compute_global_address" "external" {
  for_each = local.external

  name = "preptime"

  depends_on = [google_project_service.apis]
}

# Google issues the certificate when the domains have the load balancer's address.
resource "google_compute_managed_ssl_certificate" "external" {
  for_each = local.external

  name = "preptime"

  managed {
    domains = values(local.domains)
  }

  depends_on = [google_project_service.apis]
}

resource "google_compute_ssl_policy" "external" {
  for_each = local.external

  name            = "preptime"
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"

  depends_on = [google_project_service.apis]
}

resource "google_compute_security_policy" "external" {
  for_each = local.external

  name        = "preptime"
  description = "Allowed addresses, and a limit for each client."
  type        = "CLOUD_ARMOR"

  rule {
    description = "Known attacks that aren't requests of clients (Log4j)"
    action      = "deny(403)"
    priority    = 1000

    match {
      expr {
        expression = "evaluatePreconfiguredWaf('cve-canary')"
      }
    }
  }

  # All addresses of a client share the limit of one address. Beyond the limit, a client gets 429.
  rule {
    description = "Limit of each client"
    action      = "throttle"
    priority    = 2000

    match {
      versioned_expr = "SRC_IPS_V1"

      config {
        src_ip_ranges = var.client_ranges
      }
    }

    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      enforce_on_key = "IP"

      rate_limit_threshold {
        count        = var.requests_per_minute
        interval_sec = 60
      }
    }
  }

  rule {
    description = "All other addresses"
    action      = "deny(403)"
    priority    = 2147483647

    match {
      versioned_expr = "SRC_IPS_V1"

      config {
        src_ip_ranges = ["*"]
      }
    }
  }

  depends_on = [google_project_service.apis]
}

resource "google_compute_backend_service" "external" {
  for_each = var.mode == "external" ? local.backends : {}

  name                  = "preptime-${each.key}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.external["this"].id

  backend {
    group = google_compute_region_network_endpoint_group.backends[each.key].id
  }

  log_config {
    enable      = true
    sample_rate = 0.01
  }
}

resource "google_compute_url_map" "external" {
  for_each = local.external

  name            = "preptime"
  default_service = google_compute_backend_service.external["api"].id

  dynamic "host_rule" {
    for_each = local.domains

    content {
      hosts        = [host_rule.value]
      path_matcher = host_rule.key
    }
  }

  dynamic "path_matcher" {
    for_each = local.domains

    content {
      name            = path_matcher.key
      default_service = google_compute_backend_service.external[path_matcher.key].id
    }
  }
}

resource "google_compute_target_https_proxy" "external" {
  for_each = local.external

  name             = "preptime"
  url_map          = google_compute_url_map.external["this"].id
  ssl_certificates = [google_compute_managed_ssl_certificate.external["this"].id]
  ssl_policy       = google_compute_ssl_policy.external["this"].id
}

resource "google_compute_global_forwarding_rule" "https" {
  for_each = local.external

  name                  = "preptime-https"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.external["this"].id
  port_range            = "443"
  target                = google_compute_target_https_proxy.external["this"].id
}
