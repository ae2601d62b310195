// Each signed request counts once.

const { Refusal } = require("./refusal.js")

// Outside of the sign-in's transaction on purpose: a request stays spent when the sign-in is refused
// and rolled back, so it cannot be tried again later.
function spend(app, { jti, spentUntilS }, nowS) {
  const db = app.nonconcurrentDB()

  db.newQuery("DELETE FROM _kombisphere_spent WHERE expires_s < {:now}").bind({ now: nowS }).execute()

  const inserted = db
    .newQuery("INSERT OR IGNORE INTO _kombisphere_spent (jti, expires_s) VALUES ({:jti}, {:until})")
    .bind({ jti, until: spentUntilS })
    .execute()
    .rowsAffected()

  if (inserted !== 1) {
    throw new Refusal(
      "request_invalid",
      "The signed request is not acceptable: expected a new jti, found one that was used; sign each request anew.",
    )
  }
}

module.exports = { spend }
