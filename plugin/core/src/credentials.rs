//! The bearer token of a request (RFC 6750 section 2.1), and no other credential.

use kombi_spec::code::Code;

use crate::{refusal::Refusal, request::Head};

/// Longest accepted `Authorization` value in bytes. A token with many roles fits.
const MAX_BYTES: usize = 16 * 1024;

/// The bearer token of `head`. Query parameters and cookies are not looked at.
pub fn bearer(head: &Head) -> Result<&str, Refusal> {
    let mut values = head.values("authorization");
    let Some(value) = values.next() else {
        return Err(Refusal::new(Code::TokenMissing, "no Authorization header was sent"));
    };
    if values.next().is_some() {
        return Err(malformed("more than one Authorization header was sent"));
    }
    if value.len() > MAX_BYTES {
        return Err(malformed("the Authorization header is longer than 16 KiB"));
    }
    let value = std::str::from_utf8(value)
        .map_err(|_| malformed("the Authorization header is not text"))?;
    let Some((scheme, token)) = value.split_once(' ') else {
        return Err(malformed("the Authorization header has no scheme or no token"));
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::new(
            Code::TokenMissing,
            "the Authorization header uses a scheme other than Bearer",
        ));
    }
    let token = token.trim_start_matches(' ');
    if token.is_empty() || !token.bytes().all(is_token68) {
        return Err(malformed("the Authorization header is not one bearer token"));
    }
    Ok(token)
}

/// The characters of a bearer token: `token68` of RFC 9110 section 11.2.
const fn is_token68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

fn malformed(detail: &str) -> Refusal {
    Refusal::new(Code::CredentialsMalformed, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(values: &[&[u8]]) -> Head {
        Head {
            headers: values
                .iter()
                .map(|value| (b"Authorization".to_vec(), value.to_vec()))
                .collect(),
            ..Head::default()
        }
    }

    #[test]
    fn one_bearer_token_is_read_whatever_the_case_of_its_scheme() {
        for value in ["Bearer a.b-c_d~e+f/g=", "bearer a.b-c_d~e+f/g=", "BEARER   a.b-c_d~e+f/g="] {
            let head = head(&[value.as_bytes()]);
            assert_eq!(bearer(&head).unwrap(), "a.b-c_d~e+f/g=");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("Bearer {}", "a".repeat(MAX_BYTES));
        let cases: &[(&[&[u8]], Code)] = &[
            (&[], Code::TokenMissing),
            (&[b"Basic dTpw"], Code::TokenMissing),
            (&[b""], Code::CredentialsMalformed),
            (&[b"Bearer"], Code::CredentialsMalformed),
            (&[b"Bearer "], Code::CredentialsMalformed),
            (&[b"Bearer a b"], Code::CredentialsMalformed),
            (&[b"Bearer a, Basic dTpw"], Code::CredentialsMalformed),
            (&[b"Bearer \xff"], Code::CredentialsMalformed),
            (&[b"Bearer a", b"Bearer a"], Code::CredentialsMalformed),
            (&[long.as_bytes()], Code::CredentialsMalformed),
        ];
        for (values, code) in cases {
            assert_eq!(bearer(&head(values)).unwrap_err().code, *code, "{values:?}");
        }
    }
}
