//! The gate's question, read once into types that cannot be wrong.

use kombi_spec::{
    code::Code,
    introspection::{IntrospectionRequest, MAX_TOKEN_BYTES},
};

use super::token::Token;
use crate::refusal::Refusal;

/// What the gate wants to know.
pub(super) struct Question {
    /// The issuer's name, as the token's reader has it.
    pub(super) issuer: String,
    /// The token.
    pub(super) token: Token,
}

impl Question {
    /// Reads what the gate asked. The error quotes nothing of it.
    pub(super) fn parse(asked: &[u8]) -> Result<Self, Refusal> {
        let malformed = |detail: String| Refusal::new(Code::QuestionMalformed, detail);
        let IntrospectionRequest { issuer, token } =
            serde_json::from_slice(asked).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                malformed(format!(
                    "expected {{\"issuer\", \"token\"}}, found something else at {line}:{column}"
                ))
            })?;
        let token = Token::parse(token).ok_or_else(|| {
            malformed(format!("token: expected a b64token of at most {MAX_TOKEN_BYTES} bytes"))
        })?;
        Ok(Self { issuer, token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_but_a_question_is_refused_and_not_quoted() {
        assert!(Question::parse(br#"{"issuer": "https://id.example", "token": "t"}"#).is_ok());
        for body in [
            "",
            "SECRET",
            "null",
            r#"["https://id.example", "SECRET SECRET"]"#,
            r#"{"issuer": "https://id.example"}"#,
            r#"{"issuer": "https://id.example", "token": "SECRET SECRET"}"#,
            r#"{"issuer": "https://id.example", "token": "t", "token": "SECRET"}"#,
            r#"{"issuer": "https://id.example", "token": "t", "SECRET": 1}"#,
            r#"{"issuer": "https://id.example", "token": {"SECRET": 1}}"#,
        ] {
            let refusal = Question::parse(body.as_bytes()).err().expect(body);
            assert_eq!(refusal.code, Code::QuestionMalformed, "{body}");
            assert!(!format!("{refusal:?}").contains("SECRET"), "{refusal:?}");
        }
    }
}
