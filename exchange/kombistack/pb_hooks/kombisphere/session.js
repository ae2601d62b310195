// The whole way from a signed request to a session, and the answers when there is none.

const { accountFor } = require("./account.js")
const { Refusal, answerRefusal } = require("./refusal.js")
const { verifiedRequest } = require("./request.js")
const { Misconfigured, settingsFromEnvironment } = require("./settings.js")
const { spend } = require("./spent.js")

function openSession(e) {
  e.response.header().set("Cache-Control", "no-store")

  // Only the signed request speaks here; a superuser's token next to it would switch the authRule off.
  e.auth = null

  try {
    const settings = settingsFromEnvironment()
    const nowS = Math.floor(Date.now() / 1000)
    const request = verifiedRequest(compactIn(e), settings, nowS)

    spend(e.app, request, nowS)
    signIn(e, request)
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

function signIn(e, request) {
  const app = e.app

  try {
    app.runInTransaction((txApp) => {
      // PocketBase then judges the sign-in inside the transaction and answers after the commit: a
      // refusal leaves neither a new user nor a new link behind.
      e.app = txApp

      const { record, origin } = accountFor(txApp, request)
      answerSession(e, record, origin)
    })
  } finally {
    e.app = app
  }
}

// The sign-in method stays empty: with any other name, PocketBase would ask for a second factor
// where MFA is on, and mail about a new device. Both are Zitadel's to do, and the device seen here
// is the gateway.
function answerSession(e, record, origin) {
  try {
    $apis.recordAuthResponse(e, record, "", { kombisphere: origin })
  } catch (err) {
    if (err.value?.status !== 403) {
      throw err
    }

    throw new Refusal(
      "account_refused",
      "Expected a user whom the rules of this instance let sign in, found one they keep out; ask the owner of this instance.",
    )
  }
}

function answerMisconfigured(e, misconfigured) {
  const message = "KombiSphere sign-in is not configured on this instance; its owner finds the reason in the logs."

  e.app.logger().error("KombiSphere: sign-in is not configured", "reason", misconfigured.message)

  return e.json(503, { status: 503, message, data: {} })
}

module.exports = { openSession }
