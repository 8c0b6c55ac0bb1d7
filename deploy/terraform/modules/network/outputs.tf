output "egress" {
  value       = { network = google_compute_network.vpc.id, subnetwork = google_compute_subnetwork.run.id }
  description = "Network and subnetwork for the traffic of services and jobs."
}

output "dns_records" {
  value = flatten([
    [for address in google_compute_global_address.external : [
      for domain in values(local.domains) : { name = "${domain}.", type = "A", data = address.address }
    ]],
    [for authorization in google_certificate_manager_dns_authorization.domains : authorization.dns_resource_record],
  ])
  description = "Records to create in the public zone of the domains."
}
