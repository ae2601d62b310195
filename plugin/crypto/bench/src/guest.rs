//! Verifies the same tokens with both providers and prints the best times.

use std::{hint::black_box, time::Instant};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    crypto::{CryptoProvider, rust_crypto},
    jwk::Jwk,
};
use serde::Deserialize;

/// A token of about the size of Zitadel's access tokens, and its key; made for this.
#[derive(Deserialize)]
struct Sample {
    name: String,
    alg: Algorithm,
    jwk: Jwk,
    token: String,
}

const ROUNDS: usize = 300;

pub(crate) fn main() {
    let samples: Vec<Sample> =
        serde_json::from_str(include_str!("../tokens.json")).expect("tokens.json is ours");
    println!("{:12} {:>12} {:>12} {:>8}", "", "this µs", "rust_crypto", "ratio");
    for sample in samples {
        let own = best_us(&kombi_gate_crypto::PROVIDER, &sample);
        let other = best_us(&rust_crypto::DEFAULT_PROVIDER, &sample);
        println!("{:12} {own:12.1} {other:12.1} {:8.3}", sample.name, own / other);
    }
}

/// The shortest time of a cold verification, which noise can only lengthen: from the key as the
/// gate keeps it, just as `jsonwebtoken::crypto::verify` does it.
fn best_us(provider: &CryptoProvider, sample: &Sample) -> f64 {
    let key = DecodingKey::from_jwk(&sample.jwk).expect("the key is ours");
    let (message, signature) = sample.token.rsplit_once('.').expect("the token is ours");
    let once = || {
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("the token is ours");
        let verifier = (provider.verifier_factory)(&sample.alg, &key).expect("the key is ours");
        assert!(verifier.verify(message.as_bytes(), black_box(&signature)).is_ok());
    };
    (0..ROUNDS).fold(f64::MAX, |best, _| {
        let start = Instant::now();
        once();
        best.min(start.elapsed().as_secs_f64() * 1e6)
    })
}
