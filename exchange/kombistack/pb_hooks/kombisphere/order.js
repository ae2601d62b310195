// What the gateway orders about a user who is linked, or to be linked: to set their feature flags, to
// link or unlink them. And whether all is in place for it.

const { accountLinkedTo, USERS } = require("./account.js")
const { answering, compactIn } = require("./door.js")
const { Refusal } = require("./refusal.js")
const { orderIn, verifiedRequest } = require("./request.js")
const { spend } = require("./spent.js")

// Signed for another audience than a sign-in, so that neither request is good for the other.
const AUDIENCE_SUFFIX = "#account"

// Rises when orders change; the gateway asks for it.
const VERSION = 1

const ORDERS = { check, set_flags: setFlags, link, unlink }

function carryOut(e) {
  return answering(e, (settings, nowS) => {
    const audience = `${settings.instanceId}${AUDIENCE_SUFFIX}`
    const request = verifiedRequest(compactIn(e), { ...settings, instanceId: audience }, nowS)
    const order = orderIn(request, Object.keys(ORDERS))
    let answer

    spend(e.app, request, nowS)
    e.app.runInTransaction((txApp) => {
      answer = ORDERS[order.do](txApp, order)
    })

    return e.json(200, answer)
  })
}

// What the migrations have added, and somebody may have removed.
function check(txApp) {
  const users = txApp.findCollectionByNameOrId(USERS)
  const missing = []

  if (!users.fields.getByName("zitadel_sub")?.getHidden()) {
    missing.push("zitadel_sub")
  }
  if (users.getIndex("idx_users_zitadel_sub") === "") {
    missing.push("idx_users_zitadel_sub")
  }
  if (users.fields.getByName("feature_flags")?.type() !== "json") {
    missing.push("feature_flags")
  }

  return { version: VERSION, missing }
}

// An older version changes nothing, should it arrive late.
function setFlags(txApp, { sub, version, flags }) {
  return change(txApp, sub, (record) => {
    const there = flagsOf(record)

    if (there?.version > version) {
      throw new Refusal("flags_outdated", "Expected flags of a version not older than those that are there, found older ones.")
    }
    if (there?.version === version && same(there.flags, flags)) {
      return false
    }
    record.set("feature_flags", { version, flags })
    return true
  })
}

function link(txApp, { sub, record: id }) {
  const linked = accountLinkedTo(txApp, sub)
  if (linked?.id === id) {
    return { record: id, changed: false }
  }

  const [record] = txApp.findAllRecords(USERS, $dbx.hashExp({ id }))
  if (!record) {
    throw new Refusal("account_unknown", "Expected the id of a user of this instance, found no such user.")
  }
  if (linked || record.getString("zitadel_sub") !== "") {
    throw new Refusal(
      "account_collision",
      "Expected a user and a KombiSphere account that are not linked, found one of them linked to another; unlink it first.",
    )
  }

  record.set("zitadel_sub", sub)
  txApp.saveNoValidate(record)

  return { record: id, changed: true }
}

// Who is unlinked is signed out, too.
function unlink(txApp, { sub }) {
  return change(txApp, sub, (record) => {
    record.set("zitadel_sub", "")
    record.refreshTokenKey()
    return true
  })
}

// Changes the user who is linked to `sub`, if there is one. What else is in the record may not meet
// rules that came later, and is not the gateway's business.
function change(txApp, sub, how) {
  const record = accountLinkedTo(txApp, sub)
  if (!record) {
    return { record: null, changed: false }
  }

  const changed = how(record)
  if (changed) {
    txApp.saveNoValidate(record)
  }

  return { record: record.id, changed }
}

function flagsOf(record) {
  return JSON.parse(record.getString("feature_flags") || "null")
}

function same(a, b) {
  const names = Object.keys(a ?? {})

  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name])
}

module.exports = { carryOut }
