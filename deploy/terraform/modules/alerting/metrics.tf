# Alerts on the API's own metrics: the rules of the group preptime-api in deploy/k8s/alerts, on the series of Cloud Run. The
# sidecar of modules/service sends them.

locals {
  alert_groups = yamldecode(file("${path.module}/../../../k8s/alerts/alerts.yaml")).groups
  api_rules    = [for group in local.alert_groups : group.rules if group.name == "preptime-api"][0]

  # An API that scales to zero has no replica most of the time.
  metric_alerts = {
    for rule in local.api_rules : rule.alert => rule
    if var.metrics && (var.has_instances || rule.alert != "PreptimeNoReplica")
  }

  # A cluster of the same project has its own series, so each metric gets the label of Cloud Run's series. The first text
  # replaces metrics with other labels, and the second one metrics without labels.
  run_label = "cluster=\"__run__\""
  run_queries = {
    for query in distinct(concat([for rule in local.metric_alerts : rule.expr], local.panel_queries)) : query => replace(
      replace(query, "/(preptime_[a-z_]+)\\{/", "$1{${local.run_label},"),
      "/(preptime_[a-z_]+)([^{a-z_]|$)/", "$1{${local.run_label}}$2"
    )
  }
}

resource "google_monitoring_alert_policy" "metrics" {
  for_each = local.metric_alerts

  display_name          = "preptime: ${each.key}"
  combiner              = "OR"
  notification_channels = local.channels
  severity              = each.value.labels.severity == "page" ? "CRITICAL" : "WARNING"

  conditions {
    display_name = each.key

    condition_prometheus_query_language {
      query               = local.run_queries[each.value.expr]
      duration            = "${60 * tonumber(trimsuffix(try(each.value["for"], "0m"), "m"))}s"
      evaluation_interval = "60s"
      alert_rule          = each.key
      rule_group          = "preptime-api"

      # The metrics don't exist before the first instance has started.
      disable_metric_validation = true
    }
  }

  documentation {
    content = "See ${each.value.annotations.runbook_url}."
  }
}
