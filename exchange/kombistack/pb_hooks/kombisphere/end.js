// The end of every session of one user, because somebody who may says so.

const { answering, compactIn } = require("./door.js")
const { verifiedRequest } = require("./request.js")
const { spend } = require("./spent.js")

// Whoever asks for this has signed it for another audience than a sign-in, so that neither request
// is good for the other.
const AUDIENCE_SUFFIX = "#end-sessions"

function endSessions(e) {
  return answering(e, (settings, nowS) => {
    const audience = `${settings.instanceId}${AUDIENCE_SUFFIX}`
    const request = verifiedRequest(compactIn(e), { ...settings, instanceId: audience }, nowS)

    spend(e.app, request, nowS)

    return e.json(200, { ended: rotate(e.app, request.sub) })
  })
}

// A user's tokens are signed with a key of their own; with another one, all of them are void.
function rotate(app, sub) {
  let ended = false

  app.runInTransaction((txApp) => {
    for (const user of txApp.findAllRecords("users", $dbx.hashExp({ zitadel_sub: sub }))) {
      user.refreshTokenKey()
      // Whether the rest of the record is valid by today's rules is not the question here.
      txApp.saveNoValidate(user)
      ended = true
    }
  })

  return ended
}

module.exports = { endSessions }
