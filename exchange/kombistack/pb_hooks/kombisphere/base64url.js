// base64url without padding (RFC 4648, section 5), the alphabet of JOSE.

function encode(bytes) {
  return bytes.toString("base64").replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "")
}

// Returns null unless the text is what `encode` makes of some bytes, so that nothing has two spellings.
function decode(text) {
  const bytes = Buffer.from(text.replace(/-/g, "+").replace(/_/g, "/"), "base64")

  return encode(bytes) === text ? bytes : null
}

module.exports = { encode, decode }
