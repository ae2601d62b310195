//! Whatever order reservations, settlements and the reaper come in, and however often: one row for
//! each attempt, with the best numbers, and sums that are those of the rows.

use kombi_spec::usage::{
    Call, Endpoint,
    reserve::{Period, ReserveRequest, Scope},
    settle::{self, EndReason, Settlement, UsageSource},
};
use proptest::prelude::*;

use super::{
    budget,
    plan::Plans,
    price::Prices,
    reserve::{Wanted, reserve},
    row::{self, Rank},
    settle::{Settling, settle as settle_one},
    terms::Terms,
};
use crate::{store::Connection, time::UnixTime};

const NOW: UnixTime = UnixTime::from_secs(1_795_478_400);

fn terms() -> Terms {
    let plans = "
        [plan.pro]
        billed = true
        max_output_tokens = 100
        [[plan.pro.budget]]
        scope = \"person\"
        period = \"hour\"
        tokens = 1_000_000
        [[plan.pro.budget]]
        scope = \"plan\"
        period = \"month\"
        money_nano = 1_000_000_000
    ";
    let prices = "
        currency = \"USD\"
        [[price]]
        provider = \"p\"
        model = \"*\"
        from = 2026-01-01
        input = 3_000_000
        output = 5_000_000
    ";
    Terms::of(Plans::parse(plans).unwrap(), Prices::parse(prices).unwrap())
}

fn call() -> Call {
    Call {
        subject: "ada".to_owned(),
        org: None,
        plan: Some("pro".to_owned()),
        provider: "p".to_owned(),
        model: "m".to_owned(),
        endpoint: Endpoint::ChatCompletions,
        stream: true,
        route: "ai".to_owned(),
    }
}

/// Something that can happen to one attempt.
#[derive(Debug, Clone, Copy)]
enum Event {
    Reserve,
    Settle(UsageSource, EndReason, u64),
    Reap,
}

fn events() -> impl Strategy<Value = Vec<(u32, Event)>> {
    let settlement = (0..3_usize, 1..50_u64).prop_map(|(kind, output)| {
        let (source, reason) = [
            (UsageSource::EstimatedAbort, EndReason::ClientLeft),
            (UsageSource::EstimatedMissing, EndReason::Completed),
            (UsageSource::Provider, EndReason::Completed),
        ][kind];
        Event::Settle(source, reason, output)
    });
    let nothing = Just(Event::Settle(UsageSource::Provider, EndReason::NotSent, 0));
    let event = prop_oneof![3 => Just(Event::Reserve), 4 => settlement, 1 => nothing, 1 => Just(Event::Reap)];
    prop::collection::vec((1..4_u32, event), 0..40)
}

/// What the row of one attempt must say: whether it is settled, how well, and its output.
type Expected = Option<(Option<Rank>, u64)>;

fn expect(expected: &mut Expected, event: Event) {
    *expected = match (*expected, event) {
        (None, Event::Reserve) => Some((None, 100)),
        (None, Event::Reap) => None,
        (Some((None, output)), Event::Reap) => Some((Some(Rank::Reaped), output)),
        (known, Event::Settle(source, _, output)) => match known {
            Some((Some(rank), _)) if rank >= Rank::from(source) => known,
            _ => Some((Some(Rank::from(source)), output)),
        },
        (known, _) => known,
    };
}

fn apply(connection: &Connection, terms: &Terms, attempt: u32, event: Event) {
    let request_id = "r".to_owned();
    match event {
        Event::Reserve => {
            let wire = ReserveRequest {
                request_id,
                attempt,
                call: call(),
                fallbacks: Vec::new(),
                input_tokens: 10,
                max_output_tokens: None,
                choices: 1,
            };
            let wanted = Wanted::parse(wire).unwrap();
            let _ = reserve(connection, &wanted, terms, NOW, NOW).unwrap();
        }
        Event::Settle(usage_source, end_reason, output) => {
            let wire = Settlement {
                request_id,
                attempt,
                call: call(),
                sent_at: NOW.as_secs(),
                usage: settle::Tokens { input: output, output, ..settle::Tokens::default() },
                usage_source,
                end_reason,
                status: None,
                provider_request_id: None,
                first_token_ms: None,
                duration_ms: 1,
            };
            settle_one(connection, &Settling::parse(wire).unwrap(), terms, NOW).unwrap();
        }
        Event::Reap => drop(row::reap(connection, NOW, 100).unwrap()),
    }
}

/// The rank of a source as it is written; `None` for an open row.
fn rank(source: Option<&str>) -> Option<Rank> {
    source.map(|source| match source {
        "reaper" => Rank::Reaped,
        "provider" => Rank::Provided,
        _ => Rank::Estimated,
    })
}

proptest! {
    #[test]
    fn any_order_gives_one_row_with_the_best_numbers(events in events()) {
        let connection = Connection::in_memory();
        let (terms, caller) = (terms(), super::call::Call::parse(call()).unwrap().caller("pro"));
        let mut expected: [Expected; 3] = [None; 3];
        for (attempt, event) in &events {
            // Only what is open is reaped, whichever attempt it is.
            if matches!(event, Event::Reap) {
                expected.iter_mut().for_each(|expected| expect(expected, *event));
            } else {
                expect(&mut expected[*attempt as usize - 1], *event);
            }
            apply(&connection, &terms, *attempt, *event);
        }
        let rows = "SELECT attempt, usage_source, output_tokens FROM usage_metrics ORDER BY 1";
        let rows: Vec<(u32, Option<String>, u32)> = connection
            .query_all(rows, &[], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap();
        let found: Vec<_> = rows
            .iter()
            .map(|(attempt, source, output)| (*attempt, rank(source.as_deref()), u64::from(*output)))
            .collect();
        let expected: Vec<_> = (1..)
            .zip(expected)
            .filter_map(|(attempt, expected)| expected.map(|(rank, output)| (attempt, rank, output)))
            .collect();
        prop_assert_eq!(found, expected);

        // The sums that were kept are those that are made anew.
        for (scope, period) in [(Scope::Person, Period::Hour), (Scope::Plan, Period::Month)] {
            let kept = budget::sums(&connection, &caller, scope, period, NOW).unwrap();
            connection.execute("DELETE FROM usage_windows", &[]).unwrap();
            let anew = budget::sums(&connection, &caller, scope, period, NOW).unwrap();
            prop_assert_eq!(kept, anew);
        }
    }
}
