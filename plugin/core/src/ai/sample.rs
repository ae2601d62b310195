//! A settlement for the tests of those who are told of one.

use kombi_spec::usage::{
    Call, Endpoint,
    settle::{EndReason, Settlement, Tokens, UsageSource},
};

/// That of a call that ended as it should.
pub(super) fn settlement() -> Settlement {
    Settlement {
        request_id: "r".to_owned(),
        attempt: 1,
        call: Call {
            subject: "1".to_owned(),
            org: None,
            plan: None,
            provider: "openai".to_owned(),
            model: "m".to_owned(),
            endpoint: Endpoint::ChatCompletions,
            stream: false,
            route: "ai".to_owned(),
        },
        sent_at: 1,
        usage: Tokens { input: 7, ..Tokens::default() },
        usage_source: UsageSource::Provider,
        end_reason: EndReason::Completed,
        status: Some(200),
        provider_request_id: None,
        first_token_ms: None,
        duration_ms: 5,
    }
}
