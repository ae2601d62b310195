//! What the filter's build flags and its allocator buy: builds it with each, measures it, and prints a
//! table for `ARCHITECTURE.md`. A build takes a minute or two.
//!
//! Times are the shortest of many, with the strict host's own work in them: they tell builds apart,
//! and nothing else. Instructions are Wasmtime's.

use std::time::{Duration, Instant};

use clap::Parser;
use jsonwebtoken::Algorithm;
use kombi_strict_host::{filter::Filter, host::Host, issuer::Issuer, node::Node, request::Request};
use serde_json::json;
use wasmtime::{Result, bail};

/// What is tried: arguments of cargo.
const BUILDS: [(&str, &[&str]); 8] = [
    ("as it ships", &[]),
    ("core at 3", &["--config", "profile.release.package.kombi-gate-core.opt-level=3"]),
    ("core at 2", &["--config", "profile.release.package.kombi-gate-core.opt-level=2"]),
    ("everything at s", &["--config", "profile.release.opt-level='s'"]),
    ("thin LTO", &["--config", "profile.release.lto='thin'"]),
    ("with SIMD", &["--config", "build.rustflags=['-Ctarget-feature=+simd128']"]),
    ("without bulk memory", &["--config", "build.rustflags=['-Ctarget-feature=-bulk-memory']"]),
    ("allocator talc", &["--features", "talc"]),
];

/// How often each thing is timed.
const TIMES: u32 = 300;

/// Measures builds of the filter.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only the builds whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

fn main() -> Result<()> {
    let Arguments { only } = Arguments::parse();
    println!(
        "| build | bytes | start, µs | cold RS256, µs | instructions | cached, µs | instructions |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (name, arguments) in BUILDS.iter().filter(|(name, _)| name.contains(&only)) {
        eprintln!("   Building {name}");
        let path = Filter::build_with(arguments)?;
        let bytes = std::fs::metadata(&path)?.len();
        let Costs { start, cold, cached } = measure(&Filter::load(&path)?)?;
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        println!(
            "| {name} | {bytes} | {:.0} | {:.0} | {} | {:.0} | {} |",
            us(start),
            us(cold.0),
            cold.1,
            us(cached.0),
            cached.1
        );
    }
    Ok(())
}

struct Costs {
    /// A worker with one route is ready.
    start: Duration,
    /// A request with a token that was never seen, signed with RSA of 2048 bits: how long it takes,
    /// and how many instructions.
    cold: (Duration, u64),
    /// The same for a token that was seen before: one role rule, one limit, identity headers.
    cached: (Duration, u64),
}

fn measure(filter: &Filter) -> Result<Costs> {
    let issuer = Issuer::new("https://id.example");
    issuer.rotate(Algorithm::RS256, true);
    let limit = json!({"name": "minute", "key": "sub", "amount": 1_000_000, "per": "minute"});
    let policy = json!({"roles": {"any_of": ["user"]}, "limits": [limit]});
    let begin = || {
        Node::of(filter, Host::Kong)
            .route("/user", issuer.route(policy.clone()))
            .peers(issuer.clone())
            .start()
    };
    let start = shortest(|| drop(begin()));
    let mut node = begin();
    let now_s = node.now_s();
    let fresh = |number: u32| {
        let mut claims = issuer.claims(now_s);
        claims.as_object_mut().map(|claims| claims.insert("jti".to_owned(), number.into()));
        Request::get("/user").bearer(&issuer.sign(&claims))
    };
    let again = fresh(0);
    // The first one fetches the keys.
    node.send(again.clone());
    let mut requests: Vec<_> = (1..=TIMES).map(fresh).collect();
    let cold = shortest(|| {
        requests.pop().map(|request| node.send(request));
    });
    let cached = shortest(|| drop(node.send(again.clone())));
    let mut instructions = |request| {
        let id = node.begin(0, request);
        match node.outcome(id) {
            Some(outcome) if outcome.is_forwarded() => Ok(node.instructions(id)),
            outcome => bail!("the filter is not fit to be measured: {outcome:?}"),
        }
    };
    let cold = (cold, instructions(fresh(TIMES + 1))?);
    Ok(Costs { start, cold, cached: (cached, instructions(again)?) })
}

/// The shortest of many times. What disturbs a measurement makes it longer, never shorter.
fn shortest(mut work: impl FnMut()) -> Duration {
    let time = |_| {
        let begun = Instant::now();
        work();
        begun.elapsed()
    };
    (0..TIMES).map(time).min().unwrap_or_default()
}
