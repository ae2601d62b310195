-- Tells the gate how many tries there were. How those before the last have failed, Envoy does not say.
function envoy_on_response(handle)
  local headers = handle:headers()
  local tries = tonumber(headers:get("x-envoy-attempt-count")) or 1
  headers:replace("x-kombi-ai-tried", ("- : "):rep(tries - 1) .. headers:get(":status"))
  headers:remove("x-envoy-attempt-count")
end
