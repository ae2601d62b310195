//! The body of every refusal: a problem document (RFC 9457).

use serde::{Deserialize, Serialize};

use crate::code::Code;

/// Media type of [`Problem`] (RFC 9457 section 6.1).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A problem document. `code` and `request_id` are extension members (RFC 9457 section 3.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A URN made of the code; an identifier, not a page. Or a registered type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What this code means, the same for every occurrence.
    pub title: String,
    /// The HTTP status, repeated for those who only see the body.
    pub status: u16,
    /// What was found this time, and what to do about it.
    pub detail: String,
    /// The stable code; programs decide by it.
    pub code: Code,
    /// The gateway's id of the request, to be quoted to the operator.
    pub request_id: String,
    /// With [`QUOTA_EXCEEDED`]: the names of the limits that are used up.
    #[serde(rename = "violated-policies", default, skip_serializing_if = "Vec::is_empty")]
    pub violated_policies: Vec<String>,
}

/// The problem type of a limit that is used up, with its member `violated-policies`
/// (draft-ietf-httpapi-ratelimit-headers-11 section 5.1).
pub const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

impl Problem {
    /// The document for one occurrence of `code`.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>, request_id: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:kombisphere:problem:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            request_id: request_id.into(),
            violated_policies: Vec::new(),
        }
    }
}
