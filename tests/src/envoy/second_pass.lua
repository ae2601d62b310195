-- Puts the provider of this try in its place, with its key, and changes the body as the gate wants
-- it for that provider: what `kong/loopback.conf` and the pre-function in `kong/kong.yml` do on Kong.
function envoy_on_request(handle)
  local headers = handle:headers()
  local try = headers:get("x-envoy-attempt-count")
  if try == "2" or try == "3" then
    for name, own in pairs({
      ["x-kombi-ai-provider"] = "x-kombi-ai-provider-",
      ["x-kombi-ai-edits"] = "x-kombi-ai-edits-",
      authorization = "x-kombi-ai-authorization-",
    }) do
      local value = headers:get(own .. try)
      if value then
        headers:replace(name, value)
      else
        headers:remove(name)
      end
    end
  end
  local edits = headers:get("x-kombi-ai-edits")
  if edits then
    local body = handle:body()
    local whole, parts, from = body:getBytes(0, body:length()), {}, 1
    for first, last, text in edits:gmatch("(%d+)-(%d+):(%x*)") do
      table.insert(parts, whole:sub(from, tonumber(first)))
      table.insert(parts, (text:gsub("%x%x", function(hex)
        return string.char(tonumber(hex, 16))
      end)))
      from = tonumber(last) + 1
    end
    table.insert(parts, whole:sub(from))
    headers:replace("content-length", tostring(body:setBytes(table.concat(parts))))
  end
  handle:clearRouteCache()
end
