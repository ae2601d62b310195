//! The issuer's answer to an introspection (RFC 7662 section 2.2).

use kombi_spec::introspection::MAX_CLAIMS_BYTES;
use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};

use super::client::AskError;
use crate::time::UnixTime;

/// What the issuer says about a token.
#[derive(Debug)]
pub(super) enum Answer {
    /// It is good.
    Active {
        /// Everything else that the answer says, written anew: what is read here, of members with
        /// the same name too, is what the gate will read.
        claims: Box<RawValue>,
        /// When it stops being good, if the issuer says so.
        exp: Option<UnixTime>,
    },
    /// It is not; why is not told.
    Inactive,
}

impl Answer {
    /// Reads the body of an answer. Its error quotes nothing of it: there may be personal data.
    pub(super) fn parse(body: &[u8]) -> Result<Self, AskError> {
        let mut members: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            AskError::Misbehaved(format!("its answer is not a JSON object ({line}:{column})"))
        })?;
        match members.remove("active") {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Ok(Self::Inactive),
            _ => return Err(misbehaved("its answer has no boolean active")),
        }
        let exp = match members.get("exp") {
            None | Some(Value::Null) => None,
            Some(exp) => Some(exp.as_u64().map(UnixTime::from_secs).ok_or_else(|| {
                misbehaved("the exp in its answer is not a whole number of seconds since 1970")
            })?),
        };
        let claims = to_raw_value(&members).map_err(|error| misbehaved(&error.to_string()))?;
        if claims.get().len() > MAX_CLAIMS_BYTES {
            return Err(misbehaved("the claims in its answer are too large"));
        }
        Ok(Self::Active { claims, exp })
    }
}

fn misbehaved(problem: &str) -> AskError {
    AskError::Misbehaved(problem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_everything_but_active() {
        let body = br#"{"active": true, "exp": 1700000000, "sub": "u1",
                        "urn:zitadel:iam:org:project:roles": {"admin": {"1": "a.example"}}}"#;
        let Ok(Answer::Active { claims, exp }) = Answer::parse(body) else {
            panic!("expected an active token");
        };
        assert_eq!(exp, Some(UnixTime::from_secs(1_700_000_000)));
        let claims: Value = serde_json::from_str(claims.get()).unwrap();
        assert_eq!(
            claims,
            serde_json::json!({"exp": 1_700_000_000, "sub": "u1",
                "urn:zitadel:iam:org:project:roles": {"admin": {"1": "a.example"}}})
        );
    }

    #[test]
    fn the_last_of_two_members_is_the_one_that_counts_for_everybody() {
        let parse = |body: &str| Answer::parse(body.as_bytes()).unwrap();
        assert!(matches!(parse(r#"{"active":true,"active":false}"#), Answer::Inactive));
        let Answer::Active { claims, exp } = parse(r#"{"active":true,"exp":1,"exp":2}"#) else {
            panic!("expected an active token");
        };
        assert_eq!((claims.get(), exp), (r#"{"exp":2}"#, Some(UnixTime::from_secs(2))));
    }

    #[test]
    fn only_a_boolean_makes_a_token_active_and_errors_quote_nothing() {
        assert!(matches!(Answer::parse(br#"{"active":false,"sub":"u"}"#), Ok(Answer::Inactive)));
        for exp in ["null", "0", "18446744073709551615"] {
            let body = format!(r#"{{"active":true,"exp":{exp}}}"#);
            assert!(matches!(Answer::parse(body.as_bytes()), Ok(Answer::Active { .. })), "{exp}");
        }
        let large = format!(r#"{{"active":true,"SECRET":"{}"}}"#, "x".repeat(MAX_CLAIMS_BYTES));
        for body in [
            "",
            "SECRET",
            "null",
            "[true]",
            "{}",
            r#"{"active":"true","SECRET":1}"#,
            r#"{"active":1,"SECRET":1}"#,
            r#"{"active":null,"SECRET":1}"#,
            r#"{"Active":true,"SECRET":1}"#,
            r#"{"active":true,"exp":"SECRET"}"#,
            r#"{"active":true,"exp":-1}"#,
            r#"{"active":true,"exp":1.5}"#,
            r#"{"active":true,"exp":18446744073709551616}"#,
            r#"{"active":true} SECRET"#,
            &large,
        ] {
            let error = Answer::parse(body.as_bytes()).unwrap_err();
            assert!(matches!(error, AskError::Misbehaved(_)), "{body}");
            assert!(!error.to_string().contains("SECRET"), "{error}");
        }
    }
}
