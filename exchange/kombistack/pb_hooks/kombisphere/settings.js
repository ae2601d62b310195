// What the owner of the instance configures, from the environment.

const base64url = require("./base64url.js")

const KEY_BYTES = 32

// Nothing in it can end the directive of a Content-Security-Policy that it becomes part of.
const URL_SHAPE = /^(https?:\/\/[A-Za-z0-9.\-]+(?::[0-9]{1,5})?|https?:\/\/\[[0-9a-f:]+\](?::[0-9]{1,5})?)\/[A-Za-z0-9._~\/\-]*$/

// A setting is missing or wrong. Nothing but the owner can help, so nobody is signed in.
class Misconfigured extends Error {}

function settingsFromEnvironment() {
  return { instanceId: instanceId(), key: key() }
}

function instanceId() {
  const id = $os.getenv("KOMBISPHERE_INSTANCE_ID")

  if (id === "") {
    throw new Misconfigured("KOMBISPHERE_INSTANCE_ID: expected the instance's id, found nothing; set it and restart.")
  }

  return id
}

// The key stays text: PocketBase's HMAC takes a string, and a string cannot carry 32 arbitrary bytes
// unchanged. The gateway signs with the same 43 characters.
function key() {
  const text = $os.getenv("KOMBISPHERE_SSO_KEY")
  const bytes = base64url.decode(text)

  if (bytes === null || bytes.length !== KEY_BYTES) {
    throw new Misconfigured(
      `KOMBISPHERE_SSO_KEY: expected ${KEY_BYTES} bytes as base64url without padding (43 characters), ` +
      `found ${text === "" ? "nothing" : "something else"}; copy it from KombiSphere and restart.`,
    )
  }

  return text
}

// What the sign-in page needs; an instance that the gateway serves itself does without.
function pageSettingsFromEnvironment() {
  return {
    instance: instanceId(),
    portal: url("KOMBISPHERE_PORTAL_URL", "https://portal.example/"),
    gateway: url("KOMBISPHERE_GATEWAY_URL", "https://api.example/"),
  }
}

function url(name, example) {
  const text = $os.getenv(name)

  if (!URL_SHAPE.test(text)) {
    throw new Misconfigured(`${name}: expected a URL like ${example}, found ${text === "" ? "nothing" : "something else"}; set it and restart.`)
  }

  return text
}

// The origin of a URL that has the shape above.
function originOf(text) {
  return URL_SHAPE.exec(text)[1]
}

module.exports = { Misconfigured, originOf, pageSettingsFromEnvironment, settingsFromEnvironment }
