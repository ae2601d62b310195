//! Reports: who may see what, and what they look like.

use kombi_spec::{
    code::Code,
    usage::{
        report::{Report, Sums},
        settle::{Settlement, UsageSource},
    },
};

use crate::{
    exchange::{Exchange, code},
    ledger::{Books, Terms, call, settlement, wanted},
};

const ADMIN: (&str, &[&str]) = ("root", &["user", "admin:billing"]);
const ADA: (&str, &[&str]) = ("ada", &["user"]);

/// Three settled calls and an open one: two people, two models, one of the numbers an estimate.
async fn start() -> (Terms, Exchange, Books) {
    let terms = Terms::write();
    let settings = terms.settings();
    let exchange = Exchange::start_with(|config| config.usage = Some(settings)).await;
    let books = Books::of(exchange.addresses.public);
    let mut other_model = settlement("b", call("ada", "metered"));
    other_model.call.model = "gpt-y".to_owned();
    let estimated = Settlement {
        usage_source: UsageSource::EstimatedAbort,
        ..settlement("c", call("<bob>", "metered"))
    };
    books.settle(vec![settlement("a", call("ada", "metered")), other_model, estimated]).await;
    books.reserved(&wanted("d", call("ada", "metered"))).await;
    (terms, exchange, books)
}

async fn rows(books: &Books, who: (&str, &[&str]), path: &str) -> Vec<Sums> {
    let response = books.report(who, path, None).await;
    assert_eq!(response.status(), 200, "{path}");
    assert_eq!(response.headers()["content-type"], "application/json");
    let report: Report = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    report.rows
}

#[tokio::test]
async fn people_see_their_own_calls_and_nobody_elses() {
    let (_terms, _exchange, books) = start().await;
    for path in ["/me/usage?by=subject", "/me/usage?by=subject&subject=%3Cbob%3E"] {
        let rows = rows(&books, ADA, path).await;
        let [row] = &*rows else { panic!("expected one row, found {rows:?}") };
        assert_eq!(row.subject.as_deref(), Some("ada"));
        assert_eq!((row.calls, row.requests, row.open, row.estimated), (2, 2, 1, 0));
        assert_eq!((row.input_tokens, row.output_tokens), (16, 40));
        assert_eq!((row.cost_nano, &*row.currency), (2 * 28 * 4_000, "EUR"));
    }
    assert!(rows(&books, ("eve", &[]), "/me/usage").await.is_empty());
    let by_default = rows(&books, ADA, "/me/usage").await;
    let models: Vec<_> = by_default.iter().map(|row| row.model.as_deref().unwrap()).collect();
    assert_eq!(models, ["gpt-x", "gpt-y"]);
    assert!(by_default.iter().all(|row| row.day.is_some() && row.subject.is_none()));
}

#[tokio::test]
async fn everybodys_usage_is_for_those_who_bill() {
    let (_terms, _exchange, books) = start().await;
    for roles in [&["user"][..], &["admin:tools"], &["admin:billings"], &[]] {
        for accept in [None, Some("text/csv"), Some("text/html")] {
            let refused = books.report(("ada", roles), "/admin/usage", accept).await;
            assert_eq!(code(refused).await, Code::RoleMissing, "{roles:?}");
        }
    }
    let all = rows(&books, ADMIN, "/admin/usage?by=subject").await;
    let super_admin = ("root", &["admin:super"][..]);
    assert_eq!(rows(&books, super_admin, "/admin/usage?by=subject").await.len(), all.len());
    let people: Vec<_> =
        all.iter().map(|row| (row.subject.as_deref().unwrap(), row.calls, row.estimated)).collect();
    assert_eq!(people, [("<bob>", 1, 1), ("ada", 2, 0)]);
    for (filter, calls) in [
        ("subject=ada", 2),
        ("model=gpt-y", 1),
        ("org=9", 3),
        ("org=8", 0),
        ("plan=metered&provider=openai&model=gpt-x", 2),
        ("subject=", 3),
        ("from=2026-01-01&to=2026-01-02", 0),
    ] {
        let rows = rows(&books, ADMIN, &format!("/admin/usage?by=plan&{filter}")).await;
        assert_eq!(rows.iter().map(|row| row.calls).sum::<i64>(), calls, "{filter}");
    }
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused() {
    let (_terms, _exchange, books) = start().await;
    for query in [
        "by=",
        "by=week",
        "by=day,day",
        "from=2026-02-30&to=2026-03-01",
        "from=2026-03-01&to=2026-03-01",
        "from=2020-01-01&to=2026-01-01",
        "subject=a&subject=b",
        "limit=1",
        "to=tomorrow",
    ] {
        let refused = books.report(ADMIN, &format!("/admin/usage?{query}"), None).await;
        assert_eq!(code(refused).await, Code::QueryMalformed, "{query}");
    }
}

#[tokio::test]
async fn a_report_comes_as_a_spreadsheet_too() {
    let (_terms, _exchange, books) = start().await;
    let response = books.report(ADMIN, "/admin/usage?by=subject,model", Some("text/csv")).await;
    assert_eq!(response.headers()["content-type"], "text/csv; charset=utf-8");
    assert_eq!(response.headers()["vary"], "accept");
    let text = String::from_utf8(response.bytes().await.unwrap().to_vec()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("subject,model,currency,calls,"), "{text}");
    assert_eq!(lines[1], "<bob>,gpt-x,EUR,1,1,8,0,20,0,0,112000,1,0");
    assert_eq!(lines[2], "ada,gpt-x,EUR,1,1,8,0,20,0,0,112000,0,1");
    assert_eq!(lines.len(), 4, "{text}");
}

#[tokio::test]
async fn a_page_with_charts_runs_nothing_and_loads_nothing() {
    let (_terms, _exchange, books) = start().await;
    let response = books.report(ADMIN, "/admin/usage", Some("text/html,*/*;q=0.8")).await;
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'nonce-"), "{policy}");
    let page = String::from_utf8(response.bytes().await.unwrap().to_vec()).unwrap();
    let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert!(page.contains(&format!("<style nonce=\"{nonce}\">")), "{page}");
    assert_eq!(page.matches("<svg").count(), 3, "{page}");
    for found in ["&lt;bob&gt;", "gpt-y", "0.0002 EUR"] {
        assert!(page.contains(found), "{found}\n{page}");
    }
    for never in ["<script", "<bob>", " style=", " onload", "http:", "https:", "<link", "<img"] {
        assert!(!page.contains(never), "{never}\n{page}");
    }
}

#[tokio::test]
async fn an_assertion_for_a_report_is_good_once() {
    let (_terms, exchange, _books) = start().await;
    let claims = crate::ledger::claims("ada", "GET", "/me/usage");
    let assertion = exchange.gate.sign(&claims);
    let url = format!("http://{}/me/usage", exchange.addresses.public);
    let ask = || exchange.client.get(&url).header(kombi_spec::header::ASSERTION, &assertion).send();
    assert_eq!(ask().await.unwrap().status(), 200);
    assert_eq!(code(ask().await.unwrap()).await, Code::AssertionReplayed);
    let posted = exchange.client.post(&url).send().await.unwrap();
    assert_eq!(posted.headers()["allow"], "GET");
    assert_eq!(code(posted).await, Code::MethodNotAllowed);
}
