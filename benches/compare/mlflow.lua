-- Requests of MLflow's REST API for wrk, which asks faster than either server answers.
--
-- wrk -t1 -c4 -d5s -s mlflow.lua URL -- KIND EXPERIMENT RUN...     KIND: log_metric, log_batch (1,000 points), create_run,
-- get_run, search.
-- A search has the body of its request in the place of the runs. Prints one line of JSON at its end.

local API = "/api/2.0/mlflow/"
local JSON = { ["Content-Type"] = "application/json" }
local kind, experiment, given, count = nil, nil, {}, 0

function init(arguments)
  kind, experiment = arguments[1], arguments[2]
  for i = 3, #arguments do given[#given + 1] = arguments[i] end
end

function request()
  count = count + 1
  local run = given[count % #given + 1]
  if kind == "log_metric" then
    local body = string.format('{"run_id": "%s", "key": "m%d", "value": %.15f, "timestamp": %d, "step": %d}',
      run, count % 8, math.random(), 1700000000000 + count, count)
    return wrk.format("POST", API .. "runs/log-metric", JSON, body)
  elseif kind == "log_batch" then
    local points = {}
    for i = 1, 1000 do
      local step = count * 1000 + i
      points[i] = string.format('{"key": "loss", "value": %.15f, "timestamp": %d, "step": %d}', math.random(), 1700000000000 + step, step)
    end
    local body = string.format('{"run_id": "%s", "metrics": [%s]}', run, table.concat(points, ","))
    return wrk.format("POST", API .. "runs/log-batch", JSON, body)
  elseif kind == "create_run" then
    local body = string.format('{"experiment_id": "%s", "start_time": %d, "run_name": "r%d", "tags": ' ..
      '[{"key": "mlflow.user", "value": "u"}, {"key": "a", "value": "1"}, {"key": "b", "value": "2"}]}',
      experiment, 1700000000000 + count, count)
    return wrk.format("POST", API .. "runs/create", JSON, body)
  elseif kind == "get_run" then
    return wrk.format("GET", API .. "runs/get?run_id=" .. run)
  end
  return wrk.format("POST", API .. "runs/search", JSON, given[1])
end

function done(summary, latency)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format('\n{"requests": %d, "failed": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, "max_ms": %.4f}\n',
    summary.requests, failed, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
