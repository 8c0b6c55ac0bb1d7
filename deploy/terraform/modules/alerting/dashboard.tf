# The dashboard of the API and of the daily jobs in Cloud Monitoring: the metrics that Cloud Run measures, and with the
# sidecar of modules/service the panels of deploy/grafana/api.json. The jobs send no metrics, so the other dashboards have no
# series here.

locals {
  job = "resource.type=\"cloud_run_job\" AND resource.labels.job_name=starts_with(\"preptime-\")"

  charts = [
    {
      title   = "Requests by status class"
      filter  = "${local.service} AND metric.type=\"run.googleapis.com/request_count\""
      aligner = "ALIGN_RATE"
      reducer = "REDUCE_SUM"
      group   = ["metric.label.response_code_class"]
    },
    {
      title   = "Latency, 99th percentile, ms"
      filter  = "${local.service} AND metric.type=\"run.googleapis.com/request_latencies\""
      aligner = "ALIGN_DELTA"
      reducer = "REDUCE_PERCENTILE_99"
      group   = []
    },
    {
      title   = "Instances of the API"
      filter  = "${local.service} AND metric.type=\"run.googleapis.com/container/instance_count\""
      aligner = "ALIGN_MAX"
      reducer = "REDUCE_SUM"
      group   = ["metric.label.state"]
    },
    {
      title   = "Executions of daily jobs by result"
      filter  = "${local.job} AND metric.type=\"run.googleapis.com/job/completed_execution_count\""
      aligner = "ALIGN_SUM"
      reducer = "REDUCE_SUM"
      group   = ["resource.label.job_name", "metric.label.result"]
    },
  ]

  # Cloud Run measures processor and memory itself, so the panel on the metrics of processes is left out.
  panels = [
    for panel in jsondecode(file("${path.module}/../../../grafana/api.json")).panels : panel
    if var.metrics && alltrue([for target in panel.targets : strcontains(target.expr, "preptime_")])
  ]
  panel_queries = flatten([for panel in local.panels : [for target in panel.targets : target.expr]])
  units         = { percentunit = "10^2.%", reqps = "1/s", s = "s", short = "1" }

  widgets = concat(
    [for chart in local.charts : {
      title = chart.title
      xyChart = {
        dataSets = [{
          plotType = "LINE"
          timeSeriesQuery = {
            timeSeriesFilter = {
              filter = chart.filter
              aggregation = {
                alignmentPeriod    = "60s"
                perSeriesAligner   = chart.aligner
                crossSeriesReducer = chart.reducer
                groupByFields      = chart.group
              }
            }
          }
        }]
      }
    }],
    [for panel in local.panels : {
      title = panel.title
      xyChart = {
        dataSets = [for target in panel.targets : {
          plotType       = "LINE"
          legendTemplate = replace(replace(target.legendFormat, "{{", format("$%s", "{")), "}}", "}")
          timeSeriesQuery = {
            # Cloud Monitoring doesn't know Grafana's variable. The sidecar reads the metrics every 30 seconds.
            prometheusQuery = replace(local.run_queries[target.expr], "$__rate_interval", "5m")
            unitOverride    = local.units[panel.fieldConfig.defaults.unit]
          }
        }]
        thresholds = [
          for step in panel.fieldConfig.defaults.thresholds.steps : { value = step.value } if step.value != null
        ]
      }
    }],
  )
}

resource "google_monitoring_dashboard" "preptime" {
  dashboard_json = jsonencode({
    displayName = "preptime"
    mosaicLayout = {
      columns = 48
      tiles = [for index, widget in local.widgets : {
        xPos   = 24 * (index % 2)
        yPos   = 16 * floor(index / 2)
        width  = 24
        height = 16
        widget = widget
      }]
    }
  })
}
