//! A limit that several real gateways share, over real stores that are killed, hang and come back.
//! A store that is not installed here is skipped, and its tests are reported as ignored, not as
//! passed.

// A failure is what a test is for; gateways are looked up by position.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kombi_spec::code::Code;
use libtest_mimic::{Arguments, Failed, Trial};
use stack::{
    answer::{self, Answer},
    limits::{
        load::{Counts, Load},
        most,
    },
    nodes::{Nodes, PATH, Plan, TOLERANT_PATH},
    shared_store::StoreKind,
};

/// How long a gateway goes on without the exchange, in seconds.
const GRACE_S: u64 = 5;

/// What becomes of the store.
#[derive(Clone, Copy)]
enum Fault {
    /// It dies, and comes back without memory.
    Killed,
    /// It keeps its connections and answers nothing.
    Paused,
}

/// Most of the time they wait, for leases to end; a few at once are no burden.
const AT_ONCE: usize = 3;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(AT_ONCE));
    let mut trials = vec![Trial::test("two_gateways_share_a_rule_over_one_exchange_alone", || {
        outcome(run(no_more_is_admitted_than_the_rule_says(2, None)))
    })];
    for kind in StoreKind::ALL {
        let (program, missing) = (kind.program(), kind.find().is_none());
        if missing {
            eprintln!("SKIPPED: the tests on {program} need it: `apt-get install {program}`.");
        }
        let mut add = |name: &str, test: fn(StoreKind) -> Result<()>| {
            let trial = Trial::test(format!("{name}_{program}"), move || outcome(test(kind)));
            trials.push(trial.with_ignored_flag(missing));
        };
        add("three_gateways_share_a_rule_over", |kind| {
            run(no_more_is_admitted_than_the_rule_says(3, Some(kind)))
        });
        add("gateways_go_on_with_their_share_without_a_dead", |kind| {
            run(gateways_go_on_with_their_share(kind, Fault::Killed))
        });
        if kind == StoreKind::Redis {
            // What is left does not depend on what a store forgets, and each of these takes long.
            continue;
        }
        add("what_a_dead_gateway_held_comes_back_over", |kind| {
            run(what_a_dead_gateway_held_comes_back(kind))
        });
        add("gateways_go_on_with_their_share_without_a_hanging", |kind| {
            run(gateways_go_on_with_their_share(kind, Fault::Paused))
        });
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn outcome(test: Result<()>) -> Result<(), Failed> {
    test.map_err(|error| Failed::from(format!("{error:#}")))
}

fn run(test: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(test)
}

fn plan(nodes: usize, store: Option<StoreKind>, amount: u64) -> Plan {
    Plan { host: None, nodes, store, amount, grace_s: GRACE_S }
}

fn admitted(counts: &[Counts]) -> u64 {
    counts.iter().map(|counts| counts.admitted).sum()
}

/// Sends until every gateway has denied a hundred requests and nothing more is to be had.
async fn exhaust(load: &Load) -> Result<()> {
    let before = load.so_far();
    load.until("all is used up", |now| {
        now.iter().zip(&before).all(|(now, before)| now.denied >= before.denied + 100)
    })
    .await
}

/// No more than two hundredths above the rule, and no less than two below: nothing is lost.
fn check(all: u64, amount: u64, nodes: usize, since: Instant) -> Result<()> {
    let most = most(amount, nodes, since.elapsed());
    ensure!(all <= most, "{all} were admitted, and {most} may be");
    println!("{all} of {amount} admitted, {most} may be");
    Ok(())
}

async fn no_more_is_admitted_than_the_rule_says(
    nodes: usize,
    store: Option<StoreKind>,
) -> Result<()> {
    const AMOUNT: u64 = 1_000;
    let running = Nodes::start(plan(nodes, store, AMOUNT)).await?;
    let token = running.issuer.token("ada").await?;
    let began = Instant::now();
    let load = Load::start(&running.urls(PATH), &token, 150)?;
    load.until("the rule's amount is admitted", |now| admitted(now) >= AMOUNT * 98 / 100).await?;
    exhaust(&load).await?;
    let counts = load.stop().await;
    ensure!(counts.iter().all(|counts| counts.unavailable + counts.failed == 0), "{counts:?}");
    ensure!(counts.iter().all(|counts| counts.admitted >= AMOUNT / 10), "unfair: {counts:?}");
    check(admitted(&counts), AMOUNT, nodes, began)
}

async fn what_a_dead_gateway_held_comes_back(kind: StoreKind) -> Result<()> {
    const AMOUNT: u64 = 1_000;
    let mut running = Nodes::start(plan(3, Some(kind), AMOUNT)).await?;
    let token = running.issuer.token("ada").await?;
    let urls = running.urls(PATH);
    let began = Instant::now();
    // The third alone is asked, so by then it holds what it needs for the time of a lease.
    let load = Load::start(&urls[2..], &token, 80)?;
    load.until("it holds a lease", |now| admitted(now) >= 200).await?;
    running.kill(2)?;
    let died = Instant::now();
    let used = admitted(&load.stop().await);
    let load = Load::start(&urls[..2], &token, 150)?;
    // Some of it is taken for used: nobody knows what the dead one did in its last moments. But
    // without the lease, the others would have no more than half of the amount.
    load.until("the lease is back", |now| used + admitted(now) >= AMOUNT * 85 / 100).await?;
    println!("{} s after its death the others have what it held", died.elapsed().as_secs());
    exhaust(&load).await?;
    check(used + admitted(&load.stop().await), AMOUNT, 3, began)
}

async fn gateways_go_on_with_their_share(kind: StoreKind, fault: Fault) -> Result<()> {
    const AMOUNT: u64 = 1_500;
    let mut running = Nodes::start(plan(3, Some(kind), AMOUNT)).await?;
    let token = running.issuer.token("ada").await?;
    let began = Instant::now();
    let load = Load::start(&running.urls(PATH), &token, 50)?;
    let each = |now: &[Counts], before: &[Counts], units| {
        now.iter().zip(before).all(|(now, before)| now.admitted >= before.admitted + units)
    };
    let nothing = [Counts::default(); 3];
    load.until("each has a share", |now| each(now, &nothing, 75)).await?;
    match fault {
        Fault::Killed => running.store()?.kill()?,
        Fault::Paused => running.store()?.pause()?,
    }
    wait_until_leases_are_refused(&running).await?;
    let before = load.so_far();
    load.until("each goes on with its share", |now| each(now, &before, 20)).await?;
    ensure!(load.so_far().iter().all(|counts| counts.unavailable == 0), "{:?}", load.so_far());
    load.until("each is past its grace", |now| now.iter().all(|now| now.unavailable >= 20)).await?;
    for (strict, tolerant) in running.urls(PATH).iter().zip(running.urls(TOLERANT_PATH)) {
        let refused = ask(strict, &token).await?;
        ensure!(refused.code() == Some(Code::LimitUnavailable), "{}", refused.summary());
        // More than a gateway would admit by guess.
        for _ in 0..50 {
            let passed = ask(&tolerant, &token).await?;
            ensure!(passed.status == 200, "{}", passed.summary());
        }
    }
    match fault {
        Fault::Killed => running.store()?.restart().await?,
        Fault::Paused => running.store()?.go_on()?,
    }
    let before = load.so_far();
    load.until("each has a share again", |now| each(now, &before, 20)).await?;
    exhaust(&load).await?;
    let counts = load.stop().await;
    ensure!(counts.iter().all(|counts| counts.failed == 0), "{counts:?}");
    check(admitted(&counts), AMOUNT, 3, began)
}

/// The exchange has refused reports of all gateways.
async fn wait_until_leases_are_refused(running: &Nodes) -> Result<()> {
    let url = format!("{}/metrics", running.exchange.ops_url());
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let metrics = String::from_utf8(Answer::to(answer::client()?.get(&url)).await?.body)?;
        let refused = ["late", "failed"].map(|outcome| {
            let name = format!("kombi_exchange_lease_reports_total{{outcome=\"{outcome}\"}} ");
            let value = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
            value.unwrap_or(0_u64)
        });
        if refused.iter().sum::<u64>() >= 6 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the exchange does not notice: {metrics}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

async fn ask(url: &str, token: &str) -> Result<Answer> {
    Answer::to(answer::client()?.get(url).bearer_auth(token)).await
}
