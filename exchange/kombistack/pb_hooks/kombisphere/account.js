// Which user of this instance a KombiSphere account is.
//
// Runs inside one transaction. PocketBase writes through one connection, so of several first sign-ins
// at once the first makes the user and the others find it.

const { Refusal } = require("./refusal.js")

const USERS = "users"

function accountFor(txApp, request) {
  const linked = accountLinkedTo(txApp, request.sub)
  if (linked) {
    // Its e-mail address stays as it is, even if it changed at KombiSphere: the owner changes it here.
    return { record: linked, origin: "found" }
  }

  const sameEmail = usersWithEmail(txApp, request.email)
  if (sameEmail.length === 0) {
    return { record: create(txApp, request), origin: "created" }
  }

  const [only] = sameEmail
  if (sameEmail.length === 1 && mayLink(only, request)) {
    only.set("zitadel_sub", request.sub)
    save(txApp, only)
    return { record: only, origin: "linked" }
  }

  throw new Refusal(
    "account_collision",
    "Expected no user with this e-mail address, or exactly one that is verified here and at KombiSphere and not linked yet, " +
    "found otherwise; sign in with the local password, or ask the owner of this instance.",
  )
}

// The user who is linked to `sub`, which is never empty: that is every local user.
function accountLinkedTo(txApp, sub) {
  const [linked] = txApp.findAllRecords(USERS, $dbx.hashExp({ zitadel_sub: sub }))

  return linked
}

// SQLite's LOWER folds ASCII only. That is wanted: folding by Unicode would take an address with a
// letter such as the Kelvin sign for somebody else's.
function usersWithEmail(txApp, email) {
  if (email === "") {
    return []
  }

  return txApp.findAllRecords(USERS, $dbx.exp("LOWER([[email]]) = LOWER({:email})", { email }))
}

// An address that one side has not verified may belong to somebody else, who waits there for its
// real owner to come by and be linked.
function mayLink(record, request) {
  return request.emailVerified && record.verified() && record.getString("zitadel_sub") === ""
}

// An address that KombiSphere has not verified is not written: its real owner could reset the
// password by mail and share the user with whoever made it.
function create(txApp, request) {
  const users = txApp.findCollectionByNameOrId(USERS)
  const record = new Record(users)
  const email = request.emailVerified ? request.email : ""

  record.set("zitadel_sub", request.sub)
  record.setEmail(email)
  record.setEmailVisibility(false)
  record.setVerified(email !== "")
  record.setRandomPassword()
  if (users.fields.getByName("name")) {
    record.set("name", request.name)
  }

  save(txApp, record)

  return record
}

function save(txApp, record) {
  try {
    txApp.save(record)
  } catch (err) {
    const fields = invalidFields(err)
    if (fields.length === 0) {
      throw err
    }

    throw new Refusal(
      "account_incomplete",
      `Expected an account that the users collection accepts, found ${fields.join(", ")} missing, not verified or not valid; ` +
      "complete the account at KombiSphere, or ask the owner of this instance.",
    )
  }
}

// PocketBase's own error type knows which errors are validation errors; any other has no fields.
function invalidFields(err) {
  return Object.keys(new ApiError(422, "", err.value).data).sort()
}

module.exports = { accountFor, accountLinkedTo, USERS }
