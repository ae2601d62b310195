//! Made-up tokens, a new one for every request. All but what is wrong with them is as in a good one.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use fastrand::Rng;
use serde_json::{Value, json};

use super::Forgery;

/// Makes up tokens.
pub(super) struct Forger {
    forgery: Forgery,
    /// Of the good token, as they are in it.
    header: String,
    payload: String,
    algorithm: Value,
    signature_bytes: usize,
}

impl Forger {
    /// Makes tokens after the example of `good`.
    pub(super) fn after(good: &str, forgery: Forgery) -> Result<Self> {
        let parts: Vec<&str> = good.split('.').collect();
        let [header, payload, signature] = parts.as_slice() else {
            anyhow::bail!("the issuer minted no JWT");
        };
        let read: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header)?)?;
        Ok(Self {
            forgery,
            header: (*header).to_owned(),
            payload: (*payload).to_owned(),
            algorithm: read.get("alg").cloned().context("a JWT has an alg")?,
            signature_bytes: URL_SAFE_NO_PAD.decode(signature)?.len(),
        })
    }

    /// A token like no other.
    pub(super) fn token(&self, rng: &mut Rng) -> String {
        let mut signature = vec![0; self.signature_bytes];
        rng.fill(&mut signature);
        if let Some(first) = signature.first_mut() {
            // Smaller than any modulus: nothing but the arithmetic can tell that it is wrong.
            *first = 0;
        }
        let signature = URL_SAFE_NO_PAD.encode(signature);
        let payload = &self.payload;
        match self.forgery {
            Forgery::BrokenSignatures => format!("{}.{payload}.{signature}", self.header),
            Forgery::MadeUpKeys => {
                let kid = format!("{:032x}", rng.u128(..));
                let header = json!({"alg": self.algorithm, "kid": kid, "typ": "JWT"});
                format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(header.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tokens_are_alike_and_only_what_is_forged_differs() {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let header = encode(r#"{"alg":"RS256","kid":"real","typ":"JWT"}"#);
        let good = format!("{header}.{}.{}", encode(r#"{"sub":"1"}"#), encode("0123456789"));
        let mut rng = Rng::with_seed(1);
        for forgery in [Forgery::MadeUpKeys, Forgery::BrokenSignatures] {
            let forger = Forger::after(&good, forgery).unwrap();
            let [one, other] = [forger.token(&mut rng), forger.token(&mut rng)];
            assert_ne!(one, other);
            let parts: Vec<&str> = one.split('.').collect();
            assert_eq!(parts[0] == header, forgery == Forgery::BrokenSignatures);
            assert_eq!(parts[1], encode(r#"{"sub":"1"}"#));
            assert_eq!(URL_SAFE_NO_PAD.decode(parts[2]).unwrap().len(), 10);
        }
        assert!(Forger::after("opaque", Forgery::MadeUpKeys).is_err());
    }
}
