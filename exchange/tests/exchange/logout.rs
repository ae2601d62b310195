//! Back-channel logout: what the issuer says ends sessions, and nobody else can say it.

use kombi_exchange::{address::Reach, assertion::GateKey, logout::LogoutIssuer};
use kombi_spec::code::Code;
use reqwest::Response;
use serde_json::{Value, json};

use crate::{
    exchange::{Exchange, code},
    gate::{Gate, claims},
    instance::{FakeInstance, Script, json as answer},
    issuer::FakeIssuer,
    revocations::until_none_is_pending,
};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// An issuer whose one key is that of `signer`. Its metadata and its key set are one document.
pub(crate) async fn issuer(signer: &Gate) -> FakeIssuer {
    let x = signer.public();
    let kid = GateKey::parse(&x).unwrap().id().to_owned();
    let document = move |url: &str| {
        let keys = json!([
            {"kty": "something new", "kid": "k0"},
            {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "alg": "EdDSA", "use": "sig"},
        ]);
        let document = json!({"issuer": url, "jwks_uri": format!("{url}/keys"), "keys": keys});
        answer(200, &document.to_string())
    };
    FakeIssuer::start_with(document, |_| Script::Send(Vec::new())).await
}

pub(crate) async fn exchange(issuer: &FakeIssuer) -> Exchange {
    let logout = LogoutIssuer::new(&issuer.url(), Reach::Private, ["portal"]).unwrap();
    Exchange::start_with(|config| config.logout = Some(logout)).await
}

pub(crate) fn token(issuer: &FakeIssuer, sub: &str, jti: &str) -> Value {
    let now = claims("", "").iat;
    json!({
        "iss": issuer.url(), "aud": "portal", "sub": sub, "jti": jti, "iat": now,
        "exp": now + 120, "sid": "s1", "events": {EVENT: {}},
    })
}

impl Exchange {
    pub(crate) async fn log_out(&self, token: &str) -> Response {
        let url = format!("http://{}/backchannel-logout", self.addresses.public);
        let form = format!("logout_token={token}");
        let request = self.client.post(url).body(form);
        request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap()
    }
}

#[tokio::test]
async fn what_the_issuer_says_ends_the_persons_sessions_everywhere_and_counts_once() {
    let signer = Gate::new(7);
    let issuer = issuer(&signer).await;
    let exchange = exchange(&issuer).await;
    let ended = || FakeInstance::start(|_| Script::Send(answer(200, r#"{"ended":true}"#)));
    let (first, second) = (ended().await, ended().await);
    exchange.register("a", &first.url(), Reach::Private).await;
    exchange.register("b", &second.url(), Reach::Private).await;
    let jwt = signer.seal("logout+jwt", &token(&issuer, "owner", "j1"));
    let told = exchange.log_out(&jwt).await;
    assert_eq!(
        (told.status().as_u16(), &told.headers()["cache-control"]),
        (200, &"no-store".parse().unwrap())
    );
    until_none_is_pending(&exchange).await;
    assert_eq!(first.calls()[0].claims.sub, "owner");
    assert_eq!(second.calls()[0].claims.aud, "b#end-sessions");
    assert_eq!(code(exchange.log_out(&jwt).await).await, Code::LogoutTokenInvalid);
    until_none_is_pending(&exchange).await;
    assert_eq!((first.calls().len(), second.calls().len()), (1, 1));
    // The next one needs no look at the issuer's keys.
    let next = signer.seal("JWT", &token(&issuer, "owner", "j2"));
    assert_eq!(exchange.log_out(&next).await.status(), 200);
    assert_eq!(issuer.discoveries(), 2, "metadata and key set, once");

    let kept = crate::audit::kept(exchange.data.path());
    for line in [
        "issuer  revoke  owner a, b logout at the issuer ok",
        "exchange  sessions_ended a owner  logout at the issuer ok",
    ] {
        assert!(kept.iter().any(|one| one == line), "{line}: {kept:#?}");
    }
    assert!(kept.iter().any(|one| one.starts_with("issuer  revoke  owner the logout token")));
}

#[tokio::test]
async fn what_the_issuer_did_not_say_ends_nothing() {
    let (signer, other) = (Gate::new(7), Gate::new(8));
    let issuer = issuer(&signer).await;
    let exchange = exchange(&issuer).await;
    exchange.register("a", "http://127.0.0.1:1", Reach::Private).await;
    let good = token(&issuer, "owner", "j1");
    let mut id_token = good.clone();
    id_token["nonce"] = json!("n");
    let mut for_another = good.clone();
    for_another["aud"] = json!("another client");
    let sealed = signer.seal("logout+jwt", &good);
    let (signed, signature) = sealed.rsplit_once('.').unwrap();
    for (name, jwt) in [
        ("another's key", other.seal("logout+jwt", &good)),
        ("an ID token", signer.seal("JWT", &id_token)),
        ("another client's", signer.seal("logout+jwt", &for_another)),
        ("an access token", signer.seal("at+jwt", &good)),
        ("unsigned", format!("{signed}.")),
        ("changed", format!("{signed}x.{signature}")),
        ("nothing", String::new()),
    ] {
        let refused = exchange.log_out(&jwt).await;
        assert_eq!(code(refused).await, Code::LogoutTokenInvalid, "{name}");
    }
    let (_, metrics) = exchange.ops("/metrics").await;
    assert!(metrics.contains("kombi_exchange_revocations_pending 0"), "{metrics}");
    assert!(issuer.discoveries() <= 4, "made-up keys do not flood the issuer");
    let twice = exchange.log_out(&format!("{sealed}&logout_token={sealed}")).await;
    assert_eq!(code(twice).await, Code::BodyMalformed);
}

#[tokio::test]
async fn without_an_issuer_or_its_keys_nobody_is_logged_out_and_the_issuer_may_try_again() {
    let unset = Exchange::start().await;
    assert_eq!(code(unset.log_out("a.b.c").await).await, Code::LogoutNotConfigured);
    let signer = Gate::new(7);
    let document = |_: &str| answer(503, "{}");
    let issuer = FakeIssuer::start_with(document, |_| Script::Send(Vec::new())).await;
    let exchange = exchange(&issuer).await;
    for _ in 0..5 {
        let jwt = signer.seal("logout+jwt", &token(&issuer, "owner", "j1"));
        assert_eq!(code(exchange.log_out(&jwt).await).await, Code::KeysUnavailable);
    }
    assert_eq!(issuer.discoveries(), 1);
}
