//! What the AI route serves: OpenAI's paths, and no others.

use kombi_spec::{code::Code, usage::Endpoint};

use crate::refusal::Refusal;

/// What a request wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Service {
    /// The models that may be used.
    List,
    /// What there is to say about one of them.
    Describe(String),
    /// An answer of a model.
    Call(Endpoint),
}

const ENDPOINTS: [Endpoint; 4] =
    [Endpoint::ChatCompletions, Endpoint::Completions, Endpoint::Embeddings, Endpoint::Responses];

/// The path of `endpoint` below the API's own.
const fn path_of(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::ChatCompletions => "/chat/completions",
        Endpoint::Completions => "/completions",
        Endpoint::Embeddings => "/embeddings",
        Endpoint::Responses => "/responses",
    }
}

impl Service {
    /// What `method path` wants of the API at `base`.
    pub(super) fn find(base: &str, method: &str, path: &str) -> Result<Self, Refusal> {
        let below = path.strip_prefix(base).unwrap_or_default();
        let (service, needed) = if below == "/models" {
            (Self::List, "GET")
        } else if let Some(model) = below.strip_prefix("/models/") {
            (Self::Describe(model.to_owned()), "GET")
        } else if let Some(endpoint) = ENDPOINTS.iter().find(|e| path_of(**e) == below) {
            (Self::Call(*endpoint), "POST")
        } else {
            return Err(Refusal::new(Code::NotFound, "this API has no such path"));
        };
        if method == needed {
            Ok(service)
        } else {
            Err(Refusal::new(Code::MethodNotAllowed, format!("this path is for {needed}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_its_method_and_no_other_path_is_served() {
        let find = |method, path| Service::find("/ai/v1", method, path).map_err(|r| r.code);
        for (method, path, expected) in [
            ("POST", "/ai/v1/chat/completions", Ok(Service::Call(Endpoint::ChatCompletions))),
            ("POST", "/ai/v1/completions", Ok(Service::Call(Endpoint::Completions))),
            ("POST", "/ai/v1/embeddings", Ok(Service::Call(Endpoint::Embeddings))),
            ("POST", "/ai/v1/responses", Ok(Service::Call(Endpoint::Responses))),
            ("GET", "/ai/v1/models", Ok(Service::List)),
            ("GET", "/ai/v1/models/a/b", Ok(Service::Describe("a/b".to_owned()))),
            ("GET", "/ai/v1/chat/completions", Err(Code::MethodNotAllowed)),
            ("POST", "/ai/v1/models", Err(Code::MethodNotAllowed)),
            ("POST", "/ai/v1/chat/completions/", Err(Code::NotFound)),
            ("POST", "/ai/v1/../chat/completions", Err(Code::NotFound)),
            ("POST", "/ai/v1/files", Err(Code::NotFound)),
            ("POST", "/chat/completions", Err(Code::NotFound)),
            ("POST", "/ai/v1", Err(Code::NotFound)),
        ] {
            assert_eq!(find(method, path), expected, "{method} {path}");
        }
    }
}
