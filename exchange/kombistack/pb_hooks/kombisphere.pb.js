/// <reference path="../pb_data/types.d.ts" />

// Single sign-on from KombiSphere: its gateway asks for a user's session here, or orders something
// about a user, and only with a request that it signed for this very instance.
//
// PocketBase runs each handler below in a context of its own, so each loads what it needs itself.

routerAdd("POST", "/api/kombisphere/session", (e) => {
  return require(`${__hooks}/kombisphere/session.js`).openSession(e)
}, $apis.bodyLimit(16 * 1024))

routerAdd("POST", "/api/kombisphere/end-sessions", (e) => {
  return require(`${__hooks}/kombisphere/end.js`).endSessions(e)
}, $apis.bodyLimit(16 * 1024))

routerAdd("POST", "/api/kombisphere/account", (e) => {
  return require(`${__hooks}/kombisphere/order.js`).carryOut(e)
}, $apis.bodyLimit(64 * 1024))

routerAdd("GET", "/kombisphere/{$}", (e) => {
  return require(`${__hooks}/kombisphere/page.js`).showPage(e)
})

onRecordCreateRequest((e) => {
  require(`${__hooks}/kombisphere/link.js`).refuseChangeByClient(e)
  e.next()
}, "users")

onRecordUpdateRequest((e) => {
  require(`${__hooks}/kombisphere/link.js`).refuseChangeByClient(e)
  e.next()
}, "users")
