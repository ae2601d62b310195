//! A node's report, read once into numbers that cannot overflow and names that can be kept.

use kombi_spec::{
    code::Code,
    lease::{Holding, LeaseReport, MAX_HOLDINGS, MAX_NAME_BYTES, MAX_PERIOD_MS, MAX_UNITS, TTL_MS},
};

use crate::refusal::Refusal;

/// Reads the body of a request.
pub(super) fn parse(body: &[u8]) -> Result<LeaseReport, Refusal> {
    let report: LeaseReport = serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        malformed(&format!("expected a lease report, found something else at {line}:{column}"))
    })?;
    name("node", &report.node)?;
    report.memory.as_deref().map_or(Ok(()), |memory| name("memory", memory))?;
    if report.holdings.is_empty() || report.holdings.len() > MAX_HOLDINGS {
        return Err(malformed(&format!("holdings: expected 1 to {MAX_HOLDINGS}")));
    }
    report.holdings.iter().try_for_each(check)?;
    let mut names: Vec<_> = report.holdings.iter().map(|h| (&h.rule, &h.key)).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() != report.holdings.len() {
        return Err(malformed("holdings: expected no two with one rule and key"));
    }
    Ok(report)
}

fn check(holding: &Holding) -> Result<(), Refusal> {
    name("rule", &holding.rule)?;
    name("key", &holding.key)?;
    for (field, number, (least, most)) in [
        ("amount", holding.amount, (1, MAX_UNITS)),
        ("period_ms", holding.period_ms, (1_000, MAX_PERIOD_MS)),
        ("burst", holding.burst, (1, MAX_UNITS)),
        ("ttl_ms", holding.ttl_ms, TTL_MS),
        ("lease", holding.lease, (0, MAX_UNITS)),
        ("seq", holding.seq, (1, MAX_UNITS)),
        ("granted", holding.granted, (0, MAX_UNITS)),
        ("used", holding.used, (0, MAX_UNITS)),
        ("released", holding.released, (0, MAX_UNITS)),
        ("wanted", holding.wanted, (0, MAX_UNITS)),
        ("left", holding.left.unsigned_abs(), (0, MAX_UNITS)),
        ("told_at_ms", holding.told_at_ms, (0, MAX_UNITS)),
    ] {
        if !(least..=most).contains(&number) {
            return Err(malformed(&format!("{field}: expected {least} to {most}")));
        }
    }
    Ok(())
}

fn name(field: &str, text: &str) -> Result<(), Refusal> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(());
    }
    Err(malformed(&format!(
        "{field}: expected 1 to {MAX_NAME_BYTES} letters, digits, and any of -_.:"
    )))
}

fn malformed(detail: &str) -> Refusal {
    Refusal::new(Code::BodyMalformed, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn report() -> Value {
        json!({"node": "n1", "memory": "m1", "holdings": [{
            "rule": "per-user", "key": "9f86d081", "amount": 1000, "period_ms": 60_000,
            "burst": 1000, "ttl_ms": 10_000, "lease": 7, "seq": 8, "granted": 100, "used": 40,
            "released": 0, "wanted": 120, "left": 300, "told_at_ms": 1_000_000,
        }]})
    }

    #[test]
    fn each_mistake_is_refused_and_names_its_field() {
        assert!(parse(report().to_string().as_bytes()).is_ok());
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        for (pointer, value, field) in [
            ("/node", json!(""), "node"),
            ("/node", json!(long), "node"),
            ("/memory", json!("a b"), "memory"),
            ("/holdings", json!([]), "holdings"),
            ("/holdings/0/rule", json!("a/b"), "rule"),
            ("/holdings/0/key", json!("Ada\n"), "key"),
            ("/holdings/0/amount", json!(0), "amount"),
            ("/holdings/0/burst", json!(0), "burst"),
            ("/holdings/0/burst", json!(MAX_UNITS + 1), "burst"),
            ("/holdings/0/period_ms", json!(999), "period_ms"),
            ("/holdings/0/ttl_ms", json!(10), "ttl_ms"),
            ("/holdings/0/seq", json!(0), "seq"),
            ("/holdings/0/used", json!(u64::MAX), "used"),
            ("/holdings/0/left", json!(i64::MIN), "left"),
            ("/holdings/0/left", json!("1"), "expected a lease report"),
        ] {
            let mut wrong = report();
            *wrong.pointer_mut(pointer).unwrap() = value;
            let refusal = parse(wrong.to_string().as_bytes()).unwrap_err();
            assert_eq!(refusal.code, Code::BodyMalformed);
            assert!(refusal.detail.starts_with(field), "{pointer}: {}", refusal.detail);
        }
    }

    #[test]
    fn the_examples_of_the_contract_are_taken_or_refused() {
        for (folder, taken) in [("valid", true), ("invalid", false)] {
            let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../spec/examples/lease_report");
            let files = std::fs::read_dir(format!("{examples}/{folder}")).unwrap();
            let mut seen = 0;
            for file in files {
                let path = file.unwrap().path();
                let found = parse(&std::fs::read(&path).unwrap()).is_ok();
                assert_eq!(found, taken, "{}", path.display());
                seen += 1;
            }
            assert!(seen > 0, "{folder}");
        }
    }

    #[test]
    fn a_quota_is_reported_once_and_not_too_many_are() {
        let with = |holdings: Vec<Value>| {
            let mut report = report();
            report["holdings"] = holdings.into();
            parse(report.to_string().as_bytes())
        };
        let holding = |n: usize| {
            let mut holding = report()["holdings"][0].clone();
            holding["key"] = json!(format!("k{n}"));
            holding
        };
        assert!(with((0..MAX_HOLDINGS).map(holding).collect()).is_ok());
        assert!(with((0..=MAX_HOLDINGS).map(holding).collect()).is_err());
        assert!(with(vec![holding(1), holding(1)]).is_err());
    }
}
