-- Requests of MLflow's REST API for wrk, which asks faster than either server answers.
--
-- wrk -t1 -c4 -d5s -s mlflow.lua URL -- KIND EXPERIMENT RUN...     KIND: log_metric, log_batch (1,000 points), create_run,
-- get_run, search.
-- A search has the body of its request in the place of the runs. Prints one line of JSON at its end.

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "summary.lua")

local API = "/api/2.0/mlflow/"
local JSON = { ["Content-Type"] = "application/json" }
local kind, experiment, given, count = nil, nil, {}, 0

-- 1,000 points as pieces of text, of which a request replaces all but the last three digits of the timestamps and steps: to format
-- each point anew takes wrk as long as an answer takes the server, and the answers that came meanwhile would look late.
local pieces = {}
for i = 0, 999 do
  local head = i == 0 and "" or string.format("%03d}, ", i - 1)
  pieces[4 * i + 1] = string.format('%s{"key": "loss", "value": %.15f, "timestamp": ', head, math.random())
  pieces[4 * i + 3] = string.format('%03d, "step": ', i)
end
pieces[4001] = "999}]}"

function batch(run)
  local at, step = tostring(1700000000 + count), tostring(count)
  for i = 2, 3998, 4 do pieces[i], pieces[i + 2] = at, step end
  return string.format('{"run_id": "%s", "metrics": [', run) .. table.concat(pieces)
end

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
    return wrk.format("POST", API .. "runs/log-batch", JSON, batch(run))
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
