// Who may change what links a user to a KombiSphere account, and the user's feature flags: this hook
// and superusers.

const KEPT = ["zitadel_sub", "feature_flags"]

// Whoever sets `zitadel_sub` decides who may sign in as that user. PocketBase takes no hidden field
// from clients; this holds even after somebody un-hides it in the dashboard.
function refuseChangeByClient(e) {
  const changed = KEPT.find((field) => e.record.original().getString(field) !== e.record.getString(field))

  if (changed !== undefined && !e.hasSuperuserAuth()) {
    throw new ForbiddenError(`Expected ${changed} to stay as it is, found a new value; only a superuser may change it.`)
  }
}

module.exports = { refuseChangeByClient }
