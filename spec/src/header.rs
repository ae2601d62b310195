//! Names of the headers that carry a verified identity.
//!
//! Every name that starts with [`RESERVED_PREFIX`], in any spelling (letter case, or another
//! separator in place of `-`), belongs to the gate: a client that sends one is refused.

/// Prefix of every header that only the gate may set.
pub const RESERVED_PREFIX: &str = "x-kombi-";

/// The user's Zitadel id, the token's `sub`.
pub const SUBJECT: &str = "x-kombi-sub";

/// The Zitadel id of the organisation that owns the user; absent when the token does not say.
pub const ORGANISATION: &str = "x-kombi-org";

/// The roles granted in the token, comma-separated, each percent-encoded where it must be.
pub const ROLES: &str = "x-kombi-roles";

/// The user's plan; absent when the token names none, or more than one.
pub const PLAN: &str = "x-kombi-plan";

/// The issuer that vouched for the user, the token's `iss`.
pub const ISSUER: &str = "x-kombi-issuer";

/// The gateway's id of the request; the same id is in logs and in problem documents.
pub const REQUEST_ID: &str = "x-kombi-request-id";

/// The provider that a call of an AI model goes to. It leads the call through the gateway's second
/// pass and ends there.
pub const AI_PROVIDER: &str = "x-kombi-ai-provider";

/// How the body of a call of an AI model changes for its provider, on the gateway's second pass:
/// `START-END:TEXT`, several of them with commas in between. What is from the byte START to before
/// the byte END becomes TEXT, which is written in hexadecimal.
pub const AI_EDITS: &str = "x-kombi-ai-edits";

/// The headers of one try of a call of an AI model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AiTry {
    /// The provider.
    pub provider: &'static str,
    /// The provider's `Authorization`.
    pub authorization: &'static str,
    /// How the body changes for it.
    pub edits: &'static str,
}

/// The tries of a call of an AI model, in their order. The first leaves; between the gateway's two
/// passes the next one takes its place when a provider could not be reached, or answered 429, 500,
/// 502, 503 or 504. All of these headers but `Authorization` end at the second pass.
pub const AI_TRIES: [AiTry; 3] = [
    AiTry { provider: AI_PROVIDER, authorization: "authorization", edits: AI_EDITS },
    AiTry {
        provider: "x-kombi-ai-provider-2",
        authorization: "x-kombi-ai-authorization-2",
        edits: "x-kombi-ai-edits-2",
    },
    AiTry {
        provider: "x-kombi-ai-provider-3",
        authorization: "x-kombi-ai-authorization-3",
        edits: "x-kombi-ai-edits-3",
    },
];

/// On the answer to a call of an AI model, from between the gateway's passes: the status of each
/// try, with colons in between, and `-` for one that is not known. It does not get to the client.
pub const AI_TRIED: &str = "x-kombi-ai-tried";

/// On an answer that Kong made on the second pass because no provider was reached, with any value:
/// Kong's own headers look as if a provider had answered. It does not get to the client.
pub const AI_UNREACHED: &str = "x-kombi-ai-unreached";

/// There, with any value, on a call of an AI model whose usage was asked for in the client's place,
/// so that the client must not see it. Where the gate cannot take it out of the answer, the second
/// pass makes a comment of it: `:data:` in place of `data:`.
pub const AI_HIDES_USAGE: &str = "x-kombi-ai-hides-usage";

/// What the gate asks the exchange before a request goes on: JSON in base64url without padding
/// (RFC 4648 section 5). It is here and not in the body because of Kong's Wasm host: if a call with
/// a body fails once it is sent, the host loses the body of the refusal that follows.
pub const QUESTION: &str = "x-kombi-question";

/// The signed [assertion](crate::assertion).
pub const ASSERTION: &str = "x-kombi-assertion";
