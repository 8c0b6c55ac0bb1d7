# The load balancer and the VPC (modules/network), and what they change in the services and jobs.

locals {
  # With a load balancer, the services accept its traffic and that of the VPC only.
  ingress = var.network == null ? var.ingress : {
    external = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
    internal = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  }[var.network.mode]

  default_uri_disabled = try(var.network.default_uri_disabled, false)
  egress               = var.network == null ? null : module.network[0].egress # not module.network[*], which would be a cycle

  api_url = var.network == null ? module.api.uri : "https://${var.network.api_domain}"
  ui_url  = var.network == null ? module.ui.uri : "https://${var.network.ui_domain}"
}

module "network" {
  source = "./modules/network"
  count  = var.network == null ? 0 : 1

  region              = var.region
  mode                = var.network.mode
  services            = { api = module.api.name, ui = module.ui.name }
  api_domain          = var.network.api_domain
  ui_domain           = var.network.ui_domain
  client_ranges       = var.network.client_ranges
  requests_per_minute = var.network.requests_per_minute
  run_range           = var.network.run_range
  proxy_range         = var.network.proxy_range

  depends_on = [google_project_service.apis]
}
