//! The form that redeems a code.

use kombi_spec::{code::Code, handoff::field};
use url::form_urlencoded;

use super::codes::{OneTimeCode, Verifier};
use crate::refusal::Refusal;

/// What somebody redeems.
pub struct Redemption {
    /// The code.
    pub code: OneTimeCode,
    /// What belongs to its challenge.
    pub verifier: Verifier,
    /// The page that it was for.
    pub redirect_uri: String,
}

impl Redemption {
    /// Reads a body of type `application/x-www-form-urlencoded`. Its error quotes nothing of it.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let malformed = |detail| Refusal::new(Code::BodyMalformed, detail);
        let once = |name: &str| {
            let mut values = form_urlencoded::parse(body).filter(|(key, _)| key == name);
            let (value, none) = (values.next(), values.next());
            value.filter(|_| none.is_none()).map(|(_, value)| value).ok_or_else(|| {
                malformed(format!("expected a form with {name} once, found something else"))
            })
        };
        let (code, verifier) = (once(field::CODE)?, once(field::CODE_VERIFIER)?);
        let code = OneTimeCode::parse(&code).ok_or_else(|| {
            malformed(format!("{}: expected 43 characters of base64url", field::CODE))
        })?;
        let verifier = Verifier::parse(&verifier).ok_or_else(|| {
            malformed(format!("{}: expected 43 to 128 characters", field::CODE_VERIFIER))
        })?;
        Ok(Self { code, verifier, redirect_uri: once(field::REDIRECT_URI)?.into_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_there_once_and_an_error_quotes_none() {
        let secret = format!("{}A", "S".repeat(42));
        let form = |fields: &[(&str, &str)]| {
            form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
        };
        let good = [
            (field::CODE, secret.as_str()),
            (field::CODE_VERIFIER, &secret),
            (field::REDIRECT_URI, "https://lab.example/?"),
        ];
        let parsed = Redemption::parse(form(&good).as_bytes()).ok().unwrap();
        assert_eq!(parsed.redirect_uri, "https://lab.example/?");
        let twice = [good[0], good[0], good[1], good[2]];
        let short = [(field::CODE, "SSSS"), good[1], good[2]];
        let weak = [good[0], (field::CODE_VERIFIER, "SSSS"), good[2]];
        for bad in [form(&good[1..]), form(&good[..2]), form(&twice), form(&short), form(&weak)] {
            let refusal = Redemption::parse(bad.as_bytes()).err().unwrap();
            assert_eq!(refusal.code, Code::BodyMalformed, "{bad}");
            assert!(!format!("{refusal:?}").contains("SSSS"), "{refusal:?}");
        }
    }
}
