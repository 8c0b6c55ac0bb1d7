# The load balancer for the VPC and networks that are connected to it: a regional internal Application Load Balancer.

resource "google_compute_subnetwork" "proxies" {
  for_each = local.internal

  #checkov:skip=CKV_GCP_26:A subnetwork of proxies has no flow logs. The load balancer logs requests.
  #checkov:skip=CKV_GCP_74:A subnetwork of proxies has no Private Google Access, because no machine is in it.
  #checkov:skip=CKV_GCP_76:A subnetwork of proxies has no Private Google Access, because no machine is in it.
  name          = "preptime-proxies"
  region        = var.region
  network       = google_compute_network.vpc.id
  ip_cidr_range = var.proxy_range
  purpose       = "REGIONAL_MANAGED_PROXY"
  role          = "ACTIVE"
}

resource "google_compute_address" "internal" {
  for_each = local.internal

  name         = "preptime"
  region       = var.region
  subnetwork   = google_compute_subnetwork.run.id
  address_type = "INTERNAL"
  purpose      = "SHARED_LOADBALANCER_VIP"
}

# A record in the public zone of the domain proves that it's yours (output `dns_records`).
resource "google_certificate_manager_dns_authorization" "domains" {
  for_each = var.mode == "internal" ? local.domains : {}

  name     = "preptime-${each.key}"
  location = var.region
  domain   = each.value
  type     = "PER_PROJECT_RECORD"

  depends_on = [google_project_service.apis]
}

resource "google_certificate_manager_certificate" "internal" {
  for_each = local.internal

  name     = "preptime"
  location = var.region

  managed {
    domains            = values(local.domains)
    dns_authorizations = [for authorization in google_certificate_manager_dns_authorization.domains : authorization.id]
  }
}

resource "google_compute_region_backend_service" "internal" {
  for_each = var.mode == "internal" ? local.backends : {}

  name                  = "preptime-${each.key}"
  region                = var.region
  load_balancing_scheme = "INTERNAL_MANAGED"
  protocol              = "HTTPS"

  backend {
    group           = google_compute_region_network_endpoint_group.backends[each.key].id
    balancing_mode  = "UTILIZATION"
    capacity_scaler = 1
  }

  log_config {
    enable      = true
    sample_rate = 0.01
  }
}

resource "google_compute_region_url_map" "internal" {
  for_each = local.internal

  name            = "preptime"
  region          = var.region
  default_service = google_compute_region_backend_service.internal["api"].id

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
      default_service = google_compute_region_backend_service.internal[path_matcher.key].id
    }
  }
}

resource "google_compute_region_target_https_proxy" "internal" {
  for_each = local.internal

  name                             = "preptime"
  region                           = var.region
  url_map                          = google_compute_region_url_map.internal["this"].id
  certificate_manager_certificates = [google_certificate_manager_certificate.internal["this"].id]
}

resource "google_compute_forwarding_rule" "internal" {
  for_each = local.internal

  name                  = "preptime-https"
  region                = var.region
  load_balancing_scheme = "INTERNAL_MANAGED"
  network               = google_compute_network.vpc.id
  subnetwork            = google_compute_subnetwork.run.id
  ip_address            = google_compute_address.internal["this"].id
  port_range            = "443"
  target                = google_compute_region_target_https_proxy.internal["this"].id

  depends_on = [google_compute_subnetwork.proxies]
}

# The VPC resolves the domains to the load balancer. No other network does.
resource "google_dns_managed_zone" "internal" {
  for_each = var.mode == "internal" ? local.domains : {}

  name        = "preptime-${each.key}"
  dns_name    = "${each.value}."
  description = "Address of preptime's load balancer."
  visibility  = "private"

  private_visibility_config {
    networks {
      network_url = google_compute_network.vpc.id
    }
  }
}

resource "google_dns_record_set" "internal" {
  for_each = google_dns_managed_zone.internal

  managed_zone = each.value.name
  name         = each.value.dns_name
  type         = "A"
  ttl          = 300
  rrdatas      = [google_compute_address.internal["this"].address]
}
