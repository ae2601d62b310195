// Why a request of the gateway is refused, and how that is answered.

// The codes are the contract with the gateway.
const STATUS = {
  request_invalid: 401,
  account_refused: 403,
  account_unknown: 404,
  account_collision: 409,
  flags_outdated: 409,
  account_incomplete: 422,
}

class Refusal extends Error {
  constructor(code, message) {
    super(message)
    this.code = code
  }
}

// Answers in the shape of PocketBase's own errors. Not by throwing an ApiError: that takes what is
// in `data` for validation errors, and the code would not survive.
function answerRefusal(e, refusal) {
  const status = STATUS[refusal.code]

  e.app.logger().warn("KombiSphere: request refused", "code", refusal.code, "reason", refusal.message)

  return e.json(status, { status, message: refusal.message, data: { code: refusal.code } })
}

module.exports = { Refusal, answerRefusal }
