// What the doors of the hook have in common: who may speak, and the answers when it goes wrong.

const { Refusal, answerRefusal } = require("./refusal.js")
const { Misconfigured, settingsFromEnvironment } = require("./settings.js")

// Lets `act` answer the request, with the settings and the time.
function answering(e, act) {
  e.response.header().set("Cache-Control", "no-store")

  // Only the signed request speaks here; a superuser's token next to it would switch the authRule off.
  e.auth = null

  try {
    return act(settingsFromEnvironment(), Math.floor(Date.now() / 1000))
  } catch (err) {
    if (err instanceof Refusal) {
      return answerRefusal(e, err)
    }
    if (err instanceof Misconfigured) {
      return answerMisconfigured(e, err)
    }
    throw err
  }
}

function compactIn(e) {
  try {
    return e.requestInfo().body.request
  } catch (_) {
    // A body that cannot be read holds no request, which is refused where one is verified.
    return undefined
  }
}

function answerMisconfigured(e, misconfigured) {
  const message = "KombiSphere sign-in is not configured on this instance; its owner finds the reason in the logs."

  e.app.logger().error("KombiSphere: sign-in is not configured", "reason", misconfigured.message)

  return e.json(503, { status: 503, message, data: {} })
}

module.exports = { answering, compactIn }
