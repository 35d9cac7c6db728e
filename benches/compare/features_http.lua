-- Questions for online features for wrk, which asks faster than either server answers.
--
-- wrk -t1 -c4 -d5s -s features_http.lua URL -- ROWS ENTITIES     Each question is for 15 features of ROWS entities, drawn from ENTITIES.
-- Prints one line of JSON at its end.

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "summary.lua")

local QUESTIONS = 512
local questions, count = {}, 0

function init(arguments)
  local rows, entities = tonumber(arguments[1]), tonumber(arguments[2])
  local features = {}
  for view = 1, 3 do
    for name in ("abcde"):gmatch(".") do features[#features + 1] = string.format('"fv%d:fv%d_%s"', view, view, name) end
  end
  math.randomseed(7)
  for i = 1, QUESTIONS do
    local keys = {}
    for row = 1, rows do keys[row] = math.random(0, entities - 1) end
    local body = string.format('{"features": [%s], "entities": {"driver_id": [%s]}}', table.concat(features, ", "), table.concat(keys, ", "))
    questions[i] = wrk.format("POST", "/get-online-features", { ["Content-Type"] = "application/json" }, body)
  end
end

function request()
  count = count + 1
  return questions[count % QUESTIONS + 1]
end
