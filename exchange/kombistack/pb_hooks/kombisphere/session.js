// The whole way from a signed request to a session, and the answers when there is none.

const { accountFor } = require("./account.js")
const { answering, compactIn } = require("./door.js")
const { Refusal } = require("./refusal.js")
const { verifiedRequest } = require("./request.js")
const { spend } = require("./spent.js")

function openSession(e) {
  return answering(e, (settings, nowS) => {
    const request = verifiedRequest(compactIn(e), settings, nowS)

    spend(e.app, request, nowS)
    signIn(e, request)
  })
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

module.exports = { openSession }
