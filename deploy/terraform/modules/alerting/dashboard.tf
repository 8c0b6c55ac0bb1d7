# The dashboard of the API and of the daily jobs in Cloud Monitoring: the metrics that Cloud Run measures. The API's own
# metrics are in deploy/grafana.

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
}

resource "google_monitoring_dashboard" "preptime" {
  dashboard_json = jsonencode({
    displayName = "preptime"
    mosaicLayout = {
      columns = 48
      tiles = [for index, chart in local.charts : {
        xPos   = 24 * (index % 2)
        yPos   = 16 * floor(index / 2)
        width  = 24
        height = 16
        widget = {
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
        }
      }]
    }
  })
}
