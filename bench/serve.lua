-- wrk's part of serve.py: sends inputs in turn, compares every answer with the one of its id.
-- Arguments: folder of `K.request` and `K.answer`, how many there are, how many answers a thread
-- takes, path, bytes of the requests' JSON (0: all of it).

local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

local function read(path)
    local file = assert(io.open(path, "rb"))
    local content = file:read("*a")
    file:close()
    return content
end

function init(arguments)
    local folder, count, path = arguments[1], tonumber(arguments[2]), arguments[4]
    most, json_bytes = tonumber(arguments[3]), tonumber(arguments[5])
    answers, requests = {}, {}
    for at = 0, count - 1 do
        local headers = { ["content-type"] = "application/json" }
        if json_bytes > 0 then
            headers["inference-header-content-length"] = tostring(json_bytes)
        end
        requests[at] = wrk.format("POST", path, headers, read(folder .. "/" .. at .. ".request"))
        answers[at] = read(folder .. "/" .. at .. ".answer")
    end
    sent, right, wrong, refused = 0, 0, 0, 0
    first_wrong = ""
end

function request()
    sent = sent + 1
    return requests[(sent - 1) % (#requests + 1)]
end

local function is_right(body)
    local id = body:match('"id":"(%d+)"')
    local answer = id and answers[tonumber(id)]
    -- The id of the request in the functions' metrics is the only part that differs.
    return answer and body:gsub('"request_id":"%x+"', '"request_id":""', 1) == answer
end

function response(status, headers, body)
    if status ~= 200 then
        refused = refused + 1
    elseif is_right(body) then
        right = right + 1
    else
        wrong = wrong + 1
        if first_wrong == "" then first_wrong = body:sub(1, 400) end
    end
    if right + wrong + refused == most then
        -- wrk itself sleeps until its time is over or it is interrupted, which serve.py does.
        io.stderr:write("ENOUGH\n")
        io.stderr:flush()
        wrk.thread:stop()
    end
end

function done(summary, latency, _)
    local totals = { right = 0, wrong = 0, refused = 0 }
    for _, thread in ipairs(threads) do
        for name in pairs(totals) do
            totals[name] = totals[name] + thread:get(name)
        end
        io.stderr:write(thread:get("first_wrong"), "\n")
    end
    local errors = summary.errors
    io.write(string.format(
        'RESULT {"right": %d, "wrong": %d, "refused": %d, "connection_errors": %d, "seconds": %.3f, ' ..
        '"p50_ms": %.4f, "p90_ms": %.4f, "p99_ms": %.4f, "max_ms": %.4f}\n',
        totals.right, totals.wrong, totals.refused,
        errors.connect + errors.read + errors.write + errors.timeout, summary.duration / 1e6,
        latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3,
        latency.max / 1e3))
end
