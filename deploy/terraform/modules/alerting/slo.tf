# Service level objectives of the API and alerts on their error budgets (Site Reliability Workbook, chapter 5). They are those
# of deploy/k8s/alerts/alerts.yaml.

resource "google_monitoring_service" "api" {
  service_id   = var.api_service
  display_name = "preptime API"

  basic_service {
    service_type = "CLOUD_RUN"

    service_labels = {
      service_name = var.api_service
      location     = var.region
    }
  }
}

resource "google_monitoring_slo" "availability" {
  service             = google_monitoring_service.api.service_id
  slo_id              = "availability"
  display_name        = "99.9% of requests without a 5xx status"
  goal                = 0.999
  rolling_period_days = 28

  request_based_sli {
    good_total_ratio {
      total_service_filter = "${local.service} AND metric.type=\"run.googleapis.com/request_count\""
      bad_service_filter   = "${local.service} AND metric.type=\"run.googleapis.com/request_count\" AND metric.labels.response_code_class=\"5xx\""
    }
  }
}

resource "google_monitoring_slo" "latency" {
  service             = google_monitoring_service.api.service_id
  slo_id              = "latency"
  display_name        = "99% of requests within 250 ms"
  goal                = 0.99
  rolling_period_days = 28

  request_based_sli {
    distribution_cut {
      distribution_filter = "${local.service} AND metric.type=\"run.googleapis.com/request_latencies\""

      range {
        max = 250
      }
    }
  }
}

locals {
  objectives = {
    availability = { id = google_monitoring_slo.availability.name, title = "fail", runbook = "PreptimeErrorBudgetBurn" }
    latency      = { id = google_monitoring_slo.latency.name, title = "are slow", runbook = "PreptimeLatencyBudgetBurn" }
  }

  # Factor of the burn rate, and the long and the short window in seconds.
  burns = {
    fast = { factor = 14.4, long = 3600, short = 300, severity = "CRITICAL" }
    slow = { factor = 3, long = 86400, short = 7200, severity = "WARNING" }
  }

  budget_alerts = merge([
    for name, objective in local.objectives : {
      for speed, burn in local.burns : "${name}-${speed}" => merge(objective, burn)
    }
  ]...)
}

resource "google_monitoring_alert_policy" "budget" {
  for_each = local.budget_alerts

  display_name          = "preptime: too many requests ${each.value.title} (${split("-", each.key)[1]} burn)"
  combiner              = "AND"
  notification_channels = local.channels
  severity              = each.value.severity

  dynamic "conditions" {
    for_each = [each.value.long, each.value.short]

    content {
      display_name = "The budget is used ${each.value.factor} times too fast for ${conditions.value} s"

      condition_threshold {
        filter          = "select_slo_burn_rate(\"${each.value.id}\", \"${conditions.value}s\")"
        comparison      = "COMPARISON_GT"
        threshold_value = each.value.factor
        duration        = "0s"
      }
    }
  }

  documentation {
    content = "See ${local.runbooks}/${each.value.runbook}.md."
  }
}
