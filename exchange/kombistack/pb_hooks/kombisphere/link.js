// Who may change the link between a user and a KombiSphere account: this hook and superusers.

// Whoever sets `zitadel_sub` decides who may sign in as that user. PocketBase takes no hidden field
// from clients; this holds even after somebody un-hides it in the dashboard.
function refuseChangeByClient(e) {
  const before = e.record.original().getString("zitadel_sub")
  const after = e.record.getString("zitadel_sub")

  if (after !== before && !e.hasSuperuserAuth()) {
    throw new ForbiddenError("Expected zitadel_sub to stay as it is, found a new value; only a superuser may change it.")
  }
}

module.exports = { refuseChangeByClient }
