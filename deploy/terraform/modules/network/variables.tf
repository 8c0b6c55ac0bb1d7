variable "region" {
  type        = string
  description = "Region of the services and of the network."
}

variable "mode" {
  type        = string
  description = "Which load balancer: external (for the internet) or internal (for the VPC)."
}

variable "services" {
  type        = object({ api = string, ui = string })
  description = "Names of the Cloud Run services."
}

variable "api_domain" {
  type        = string
  description = "Domain of the API. The revision that CI tests has the domain candidate.DOMAIN."
}

variable "ui_domain" {
  type        = string
  description = "Domain of the dashboard."
}

variable "client_ranges" {
  type        = list(string)
  description = "Addresses that the external load balancer accepts, in CIDR format, at most ten."
}

variable "requests_per_minute" {
  type        = number
  description = "Limit of requests of one client address, for the external load balancer."
}

variable "run_range" {
  type        = string
  description = "Addresses of instances and tasks, at least a /26."
}

variable "proxy_range" {
  type        = string
  description = "Addresses of the internal load balancer's proxies, at least a /26."
}
