-- wrk script: POST the lines of a file in turn, and print one line of JSON at the end.
-- Arguments: URL path, file, API key.
local requests, at = {}, 0

function init(arguments)
  local headers = { ["Content-Type"] = "application/json", ["aikey"] = arguments[3] }
  for line in io.lines(arguments[2]) do
    requests[#requests + 1] = wrk.format("POST", arguments[1], headers, line)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print(string.format('RESULT {"requests": %d, "seconds": %.6f, "failed": %d, "p50_us": %.1f, "p99_us": %.1f}',
    summary.requests, summary.duration / 1e6, failed, latency:percentile(50), latency:percentile(99)))
end
