//! `kombi-exchange keygen`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::{
    command::Failure,
    config::{ASSERTION_KEYS, SEAL_KEY},
    random,
};

/// Where the gate's signing key is configured.
const GATE_KEY: &str = "DECK_KOMBI_ASSERTION_KEY";

/// Flags of `keygen`.
#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Makes keys and prints them.
pub fn run(args: &KeygenArgs) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Other(format!("no keys: {error}"));
    let seed: [u8; 32] = random::bytes().map_err(|error| failed(&error))?;
    let seal: [u8; 32] = random::bytes().map_err(|error| failed(&error))?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|error| failed(&error))?;
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (seed, public, seal) = (encode(&seed), encode(pair.public_key().as_ref()), encode(&seal));
    if args.json {
        let keys = serde_json::json!({
            "signing_key": seed, "assertion_key": public, "seal_key": seal,
        });
        println!("{keys}");
        return Ok(());
    }
    println!("# secret, for rendering the gateway's configuration");
    println!("{GATE_KEY}={seed}");
    println!("# the public half of it, for the exchange");
    println!("{ASSERTION_KEYS}={public}");
    println!("# secret, for the exchange; without it the keys of registered instances are lost");
    println!("{SEAL_KEY}={seal}");
    Ok(())
}
