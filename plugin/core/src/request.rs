//! What the core knows of a request.

use crate::limit::address::Source;

/// The head of a request, as the host received it.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// The method, `GET` and so on.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// All headers in order, without the pseudo-headers. Neither names nor values need be text.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The gateway's own id of the request; never the client's choice.
    pub request_id: String,
    /// Where the request comes from, if the host tells and it matters.
    pub source: Option<Source>,
}

impl Head {
    /// The values of all headers called `name` (in lower case), letter case ignored.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.as_slice())
    }
}
