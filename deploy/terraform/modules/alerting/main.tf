# Notifications. Each policy has a description with the next step.

locals {
  runbooks = "https://github.com/preptime/preptime/blob/main/docs/runbooks"

  service = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.api_service}\""
}

resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.emails)

  display_name = each.key
  type         = "email"

  labels = {
    email_address = each.key
  }
}

# A topic needs no secret, which a webhook or PagerDuty would leave in Terraform's state.
resource "google_monitoring_notification_channel" "topic" {
  for_each = toset(var.topics)

  display_name = each.key
  type         = "pubsub"

  labels = {
    topic = each.key
  }
}

resource "google_monitoring_uptime_check_config" "api" {
  count = var.uptime_check ? 1 : 0

  display_name = "preptime API has a champion"
  period       = "60s"
  timeout      = "10s"

  http_check {
    path         = var.ready_path
    port         = 443
    use_ssl      = true
    validate_ssl = true
  }

  monitored_resource {
    type = "uptime_url"

    labels = {
      project_id = var.project
      host       = var.api_host
    }
  }
}

resource "google_monitoring_alert_policy" "unavailable" {
  count = var.uptime_check ? 1 : 0

  display_name          = "preptime: the API is unavailable or has no champion"
  combiner              = "OR"
  notification_channels = local.channels
  severity              = "CRITICAL"

  conditions {
    display_name = "Checks fail from more than one location"

    condition_threshold {
      filter          = "resource.type=\"uptime_url\" AND metric.type=\"monitoring.googleapis.com/uptime_check/check_passed\" AND metric.labels.check_id=\"${google_monitoring_uptime_check_config.api[0].uptime_check_id}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 1
      duration        = "120s"

      aggregations {
        alignment_period     = "120s"
        per_series_aligner   = "ALIGN_NEXT_OLDER"
        cross_series_reducer = "REDUCE_COUNT_FALSE"
        group_by_fields      = ["resource.label.host"]
      }
    }
  }

  documentation {
    content = "For the reason, request ${var.api_host}${var.ready_path}. See ${local.runbooks}/PreptimeNoReplica.md."
  }
}

# With the API's own metrics, PreptimeChampionRejected, PreptimeStoreUnavailable, and PreptimeStaleChampionPoll alert on the
# same states (metrics.tf).
resource "google_monitoring_alert_policy" "champion_rejected" {
  count = var.metrics ? 0 : 1

  display_name          = "preptime: the API rejects the latest champion"
  combiner              = "OR"
  notification_channels = local.channels
  severity              = "ERROR"

  conditions {
    display_name = "A worker rejects the champion, can't read the store, or has stopped polling"

    # The watcher logs a change of state once, not at every poll: src/preptime/api/champion_watcher.py.
    condition_matched_log {
      filter = "${local.service} AND logName=\"projects/${var.project}/logs/run.googleapis.com%2Fstderr\" AND jsonPayload.logger=\"preptime.api.champion_watcher\" AND jsonPayload.level=(\"warning\" OR \"error\" OR \"critical\")"
    }
  }

  alert_strategy {
    auto_close = "86400s"

    notification_rate_limit {
      period = "3600s"
    }
  }

  documentation {
    content = "The previous champion still predicts. For the reason, see the log and ${var.ready_path}. See ${local.runbooks}/PreptimeChampionRejected.md."
  }
}

resource "google_monitoring_alert_policy" "job_failed" {
  display_name          = "preptime: a daily job failed"
  combiner              = "OR"
  notification_channels = local.channels
  severity              = "ERROR"

  conditions {
    display_name = "An execution failed: refused data, an alert, or an error"

    condition_threshold {
      filter          = "resource.type=\"cloud_run_job\" AND resource.labels.job_name=starts_with(\"preptime-\") AND metric.type=\"run.googleapis.com/job/completed_execution_count\" AND metric.labels.result=\"failed\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = ["resource.label.job_name"]
      }
    }
  }

  documentation {
    content = "The execution's log ends with the reason. See ${local.runbooks}/PreptimeJobFailed.md."
  }
}

resource "google_monitoring_alert_policy" "training_missing" {
  display_name          = "preptime: today's training is missing"
  combiner              = "OR"
  notification_channels = local.channels
  severity              = "WARNING"

  conditions {
    display_name = "No training has succeeded for 25 hours"

    condition_threshold {
      filter                  = "resource.type=\"cloud_run_job\" AND resource.labels.job_name=\"${var.train_job}\" AND metric.type=\"run.googleapis.com/job/completed_execution_count\" AND metric.labels.result=\"succeeded\""
      comparison              = "COMPARISON_LT"
      threshold_value         = 1
      duration                = "3600s"
      evaluation_missing_data = "EVALUATION_MISSING_DATA_ACTIVE"

      aggregations {
        alignment_period     = "86400s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    content = "The champion still predicts, with the history of an earlier date. See ${local.runbooks}/PreptimeStaleHistory.md."
  }
}

locals {
  channels = concat(
    [for channel in google_monitoring_notification_channel.email : channel.id],
    [for channel in google_monitoring_notification_channel.topic : channel.id],
    var.channels,
  )
}
