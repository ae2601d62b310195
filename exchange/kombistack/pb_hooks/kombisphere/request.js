// The signed request: a compact JWS (RFC 7515) that says for whom the gateway wants a session, or what
// it orders about whom.

const base64url = require("./base64url.js")
const { Refusal } = require("./refusal.js")

const ISSUER = "kombi-exchange"
const LIFETIME_S = 30
const SKEW_S = 5
const TEXT_MAX = 255
const FLAGS_MAX = 64

// Turns the compact JWS into what it asks for. The signature comes first: whoever lacks the key
// learns nothing about what else is expected.
function verifiedRequest(compact, settings, nowS) {
  const [header, payload] = signedParts(compact, settings.key)

  checkHeader(header)
  checkAddress(payload, settings.instanceId)
  checkTimes(payload, nowS)

  return {
    jti: requiredText(payload, "jti"),
    spentUntilS: payload.exp + SKEW_S,
    sub: requiredText(payload, "sub"),
    email: optional(payload, "email", "string", ""),
    emailVerified: optional(payload, "email_verified", "boolean", false),
    name: optional(payload, "name", "string", ""),
    payload,
  }
}

// What is ordered, which must be one of `known`.
function orderIn({ sub, payload }, known) {
  const order = { do: requiredText(payload, "do"), sub }

  if (!known.includes(order.do)) {
    throw invalid(`expected do to be one of ${known.join(", ")}, found something else; install the current hook`)
  }
  if (order.do === "link") {
    order.record = requiredText(payload, "record")
  }
  if (order.do === "set_flags") {
    order.version = requiredVersion(payload)
    order.flags = requiredFlags(payload)
  }

  return order
}

function requiredVersion({ version }) {
  if (!Number.isSafeInteger(version) || version < 1) {
    throw invalid("expected version to be a whole number from 1 on, found otherwise")
  }

  return version
}

function requiredFlags({ flags }) {
  const entries = flags !== null && typeof flags === "object" && !Array.isArray(flags) ? Object.entries(flags) : null
  const fits = ([name, value]) => name.length <= TEXT_MAX && (typeof value === "boolean" || typeof value === "string")

  if (entries === null || entries.length > FLAGS_MAX || !entries.every(fits)) {
    throw invalid(`expected flags to be at most ${FLAGS_MAX} names with true, false or a text each, found otherwise`)
  }

  return flags
}

function signedParts(compact, key) {
  const parts = typeof compact === "string" ? compact.split(".") : []

  if (parts.length !== 3) {
    throw invalid("expected a JSON body whose request is a compact JWS, found something else")
  }

  const [header, payload, signature] = parts
  const expected = base64url.encode(Buffer.from($security.hs256(`${header}.${payload}`, key), "hex"))

  if (!$security.equal(signature, expected)) {
    throw invalid("expected a signature by this instance's key, found another; compare KOMBISPHERE_SSO_KEY on both sides")
  }

  return [object(header, "header"), object(payload, "payload")]
}

function object(part, what) {
  const bytes = base64url.decode(part)

  try {
    const value = JSON.parse(bytes.toString("utf8"))
    if (value !== null && typeof value === "object") {
      return value
    }
  } catch (_) {
    // Said below, together with JSON that is no object.
  }

  throw invalid(`expected the ${what} to be a JSON object as base64url, found something else`)
}

// A parameter that is not understood may change what the signature means (`crit`, `b64`), so none is let through.
function checkHeader(header) {
  const unknown = Object.keys(header).find((name) => name !== "alg" && name !== "typ")

  if (header.alg !== "HS256" || unknown !== undefined) {
    throw invalid("expected a header of alg HS256 and at most typ, found another")
  }
}

function checkAddress(payload, instanceId) {
  if (payload.iss !== ISSUER) {
    throw invalid(`expected iss "${ISSUER}", found another`)
  }
  if (payload.aud !== instanceId) {
    throw invalid("expected aud to be this instance's id, found another; compare KOMBISPHERE_INSTANCE_ID on both sides")
  }
}

function checkTimes({ iat, exp }, nowS) {
  if (!Number.isSafeInteger(iat) || !Number.isSafeInteger(exp) || exp <= iat || exp - iat > LIFETIME_S) {
    throw invalid(`expected iat and an exp at most ${LIFETIME_S} s later, found otherwise`)
  }
  if (iat > nowS + SKEW_S || exp < nowS - SKEW_S) {
    throw invalid(
      `expected a request of now, found iat ${iat - nowS} s and exp ${exp - nowS} s from now; ` +
      "compare the clocks and sign each request anew",
    )
  }
}

function requiredText(payload, claim) {
  const value = payload[claim]

  if (typeof value !== "string" || value === "" || value.length > TEXT_MAX) {
    throw invalid(`expected ${claim} to be a text of 1 to ${TEXT_MAX} characters, found otherwise`)
  }

  return value
}

function optional(payload, claim, type, absent) {
  const value = payload[claim] ?? absent

  if (typeof value !== type) {
    throw invalid(`expected ${claim} to be a ${type} or absent, found otherwise`)
  }

  return value
}

function invalid(why) {
  return new Refusal("request_invalid", `The signed request is not acceptable: ${why}.`)
}

module.exports = { orderIn, verifiedRequest }
