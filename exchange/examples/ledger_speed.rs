//! How many calls the ledger settles in a second, on this machine and disk:
//! `cargo run --release -p kombi-exchange --example ledger_speed`.
//!
//! The whole way is measured: HTTP over loopback, the assertion, JSON, and SQLite with a commit that
//! is on disk before the answer. The client is in the same process and shares its processors.

use std::{
    error::Error,
    fs::File,
    io::Write,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{StreamExt, stream};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use kombi_exchange::{
    assertion::GateKey,
    config::{Config, Limits},
    leases::store::Local,
    outbound::system_lookup,
    seal::Seal,
    server::Server,
    usage::{Providers, Settings, TermsFiles},
};
use kombi_spec::{
    assertion::{Assertion, EXCHANGE_AUDIENCE, ISSUER, LIFETIME_S, TYP},
    header,
    usage::{
        Call, Endpoint, SUBJECT,
        reserve::{self, ReserveRequest},
        settle::{self, EndReason, SettleRequest, Settlement, Tokens, UsageSource},
    },
};
use reqwest::Client;
use ring::signature::{Ed25519KeyPair, KeyPair};

type Outcome<T> = Result<T, Box<dyn Error>>;

const SEED: [u8; 32] = [1; 32];

/// How many requests are under way at once.
const AT_ONCE: usize = 128;

const PLANS: &str = "
[plan.pro]
billed = true
max_output_tokens = 4096
[[plan.pro.budget]]
scope = \"person\"
period = \"minute\"
requests = 1_000_000_000
[[plan.pro.budget]]
scope = \"organisation\"
period = \"month\"
money_nano = 1_000_000_000_000_000
";

const PRICES: &str = "
currency = \"USD\"
[[price]]
provider = \"openai\"
model = \"gpt*\"
from = 2020-01-01
input = 150_000_000
output = 600_000_000
";

#[tokio::main]
async fn main() -> Outcome<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Not the system's directory for temporary files: that may be no disk at all.
    std::fs::create_dir_all("target")?;
    let directory = tempfile::tempdir_in("target")?;
    println!("one write and fsync: {:.2} ms (median of 100)", fsync_ms(directory.path())?);

    let server = Server::bind(config(directory.path())?).await?;
    let exchange = format!("http://{}", server.addresses().public);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async { drop(stopped.await) }));
    let client = Client::builder().no_proxy().build()?;

    // Reserved first, then settled one by one, ten by ten and a hundred by a hundred.
    let count = 20_000;
    let bodies = (0..count).map(|n| wanted(&format!("r{n}"))).collect();
    let (rate, latencies) = run(&client, &exchange, reserve::PATH, bodies).await?;
    println!("reserved one by one: {rate:.0}/s, {}", told(latencies));
    for (batch, from, to) in [(1, 0, 6_000), (10, 6_000, 12_000), (100, 12_000, count)] {
        let ids: Vec<usize> = (from..to).collect();
        let bodies = ids.chunks(batch).map(settled).collect();
        let (rate, latencies) = run(&client, &exchange, settle::PATH, bodies).await?;
        let events = rate * f64::from(batch as u32);
        println!("settled in batches of {batch}: {events:.0} events/s, {}", told(latencies));
    }
    drop(stop);
    serving.await?;
    Ok(())
}

/// Sends all of `bodies`; how many in a second, and how long each took.
async fn run(
    client: &Client,
    exchange: &str,
    path: &str,
    bodies: Vec<Vec<u8>>,
) -> Outcome<(f64, Vec<Duration>)> {
    let url = format!("{exchange}{path}");
    // As the gate does: signed once in a while, not for every call.
    let (mut signed_at, mut signed) = (0, String::new());
    let count = bodies.len();
    let started = Instant::now();
    let latencies: Vec<_> = stream::iter(bodies)
        .map(|body| {
            if now() >= signed_at + LIFETIME_S / 3 {
                (signed_at, signed) = (now(), assertion(path).unwrap_or_default());
            }
            let request = client.post(&url).header(header::ASSERTION, &signed);
            let request = match path {
                reserve::PATH => request.header(header::QUESTION, URL_SAFE_NO_PAD.encode(body)),
                _ => request.body(body),
            };
            async move {
                let sent = Instant::now();
                let response = request.send().await?.error_for_status()?;
                response.bytes().await?;
                Ok::<_, reqwest::Error>(sent.elapsed())
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let rate = count as f64 / started.elapsed().as_secs_f64();
    Ok((rate, latencies.into_iter().collect::<Result<_, _>>()?))
}

fn told(mut latencies: Vec<Duration>) -> String {
    latencies.sort_unstable();
    let at = |share: usize| latencies.get(latencies.len() * share / 100).copied();
    let ms = |share| at(share).unwrap_or_default().as_secs_f64() * 1_000.0;
    format!("{AT_ONCE} at once, p50 {:.1} ms, p99 {:.1} ms", ms(50), ms(99))
}

fn fsync_ms(directory: &Path) -> Outcome<f64> {
    let mut file = File::create(directory.join("fsync"))?;
    let mut times = Vec::new();
    for _ in 0..100 {
        let started = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        times.push(started.elapsed().as_secs_f64() * 1_000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(50).copied().unwrap_or_default())
}

fn config(directory: &Path) -> Outcome<Config> {
    let (plans, prices) = (directory.join("plans.toml"), directory.join("prices.toml"));
    std::fs::write(&plans, PLANS)?;
    std::fs::write(&prices, PRICES)?;
    let key = ("KOMBI_EXCHANGE_PROVIDER_OPENAI_KEY".into(), "sk-none".into());
    Ok(Config {
        listen: "127.0.0.1:0".parse()?,
        ops_listen: "127.0.0.1:0".parse()?,
        data: directory.join("data"),
        gate_keys: vec![GateKey::parse(&public())?],
        seal: Seal::new(&[9; 32]).ok_or("no seal")?,
        clock_skew: Duration::from_secs(5),
        instance_timeout: Duration::from_secs(2),
        introspection: None,
        logout: None,
        backup: None,
        leases: std::sync::Arc::new(Local::new()),
        usage: Some(Settings {
            terms: TermsFiles { plans, prices: Some(prices) },
            providers: Providers::parse([key])?,
            longest_call: Duration::from_secs(900),
        }),
        max_connections: 1024,
        limits: Limits::default(),
        lookup: system_lookup,
    })
}

fn call(id: &str) -> Call {
    Call {
        // Ten people of one organisation.
        subject: format!("27345678901234567{}", id.chars().last().unwrap_or_default()),
        org: Some("9".to_owned()),
        plan: Some("pro".to_owned()),
        provider: "openai".to_owned(),
        model: "gpt-4o-mini".to_owned(),
        endpoint: Endpoint::ChatCompletions,
        stream: true,
        route: "ai-chat".to_owned(),
    }
}

fn wanted(id: &str) -> Vec<u8> {
    let request = ReserveRequest {
        request_id: id.to_owned(),
        attempt: 1,
        call: call(id),
        input_tokens: 400,
        max_output_tokens: Some(1_000),
        choices: 1,
    };
    serde_json::to_vec(&request).unwrap_or_default()
}

fn settled(ids: &[usize]) -> Vec<u8> {
    let settlement = |n: &usize| {
        let request_id = format!("r{n}");
        Settlement {
            call: call(&request_id),
            request_id,
            attempt: 1,
            sent_at: now(),
            usage: Tokens { input: 390, output: 250, ..Tokens::default() },
            usage_source: UsageSource::Provider,
            end_reason: EndReason::Completed,
            status: Some(200),
            provider_request_id: Some("chatcmpl-0123456789abcdef".to_owned()),
            first_token_ms: Some(180),
            duration_ms: 900,
        }
    };
    let request = SettleRequest { settlements: ids.iter().map(settlement).collect() };
    serde_json::to_vec(&request).unwrap_or_default()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn public() -> String {
    let pair = Ed25519KeyPair::from_seed_unchecked(&SEED);
    pair.map_or_else(|_| String::new(), |pair| URL_SAFE_NO_PAD.encode(pair.public_key()))
}

fn assertion(path: &str) -> Outcome<String> {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(TYP.to_owned());
    header.kid = Some(GateKey::parse(&public())?.id().to_owned());
    let claims = Assertion {
        iss: ISSUER.to_owned(),
        aud: EXCHANGE_AUDIENCE.to_owned(),
        sub: SUBJECT.to_owned(),
        iat: now(),
        exp: now() + LIFETIME_S,
        jti: "bench".to_owned(),
        htm: Some("POST".to_owned()),
        htp: Some(path.to_owned()),
        org: None,
        roles: Vec::new(),
        email: None,
        email_verified: false,
        name: None,
    };
    let prefix = URL_SAFE_NO_PAD.decode("MC4CAQAwBQYDK2VwBCIEIA")?;
    let key = EncodingKey::from_ed_der(&[prefix.as_slice(), &SEED].concat());
    Ok(jsonwebtoken::encode(&header, &claims, &key)?)
}
