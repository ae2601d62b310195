use super::*;
use proptest::prelude::*;

fn at_ms(ms: u64) -> UnixTime {
    UnixTime::from_millis(1_750_000_000_000 + ms)
}

/// Takes one unit at each of the moments; says which were admitted.
fn admitted(pace: &Pace, moments_ms: &[u64]) -> Vec<bool> {
    let mut whole_at = WholeAt::default();
    let take = |ms: &u64| match pace.take(whole_at, 1, at_ms(*ms)) {
        Ok(taken) => {
            whole_at = taken;
            true
        }
        Err(_) => false,
    };
    moments_ms.iter().map(take).collect()
}

#[test]
fn a_whole_budget_admits_exactly_its_burst_at_once() {
    for (amount, period, burst) in [
        (1, Period::Second, 1),
        (7, Period::Minute, 7),
        (100, Period::Hour, 30),
        (10, Period::Second, 50),
        (999, Period::Month, 999),
    ] {
        let pace = Pace::new(amount, period, burst);
        let passed = admitted(&pace, &[0; 2_000]).iter().filter(|passed| **passed).count();
        assert_eq!(passed as u64, burst, "{amount} per {period:?}, burst {burst}");
    }
}

#[test]
fn units_come_back_one_by_one() {
    let pace = Pace::new(60, Period::Minute, 3);
    let moments = [0, 0, 0, 0, 999, 1_000, 1_000, 3_000, 3_000, 3_000];
    let expected = [true, true, true, false, false, true, false, true, true, false];
    assert_eq!(admitted(&pace, &moments), expected);
}

#[test]
fn a_refusal_tells_how_long_to_wait() {
    let pace = Pace::new(60, Period::Minute, 2);
    let taken = pace.take(WholeAt::default(), 2, at_ms(0)).unwrap();
    let wait = |units, ms| pace.take(taken, units, at_ms(ms)).map_err(|used_up| used_up.wait);
    assert_eq!(wait(1, 0), Err(Duration::from_secs(1)));
    assert_eq!(wait(1, 400), Err(Duration::from_millis(600)));
    assert_eq!(wait(2, 400), Err(Duration::from_millis(1_600)));
    assert!(wait(1, 1_000).is_ok());
    assert_eq!((pace.left(taken, at_ms(0)), pace.left(taken, at_ms(1_000))), (0, 1));
}

#[test]
fn what_is_given_back_was_never_taken() {
    let pace = Pace::new(10, Period::Hour, 10);
    let one = pace.take(WholeAt::default(), 1, at_ms(0)).unwrap();
    let three = pace.take(one, 2, at_ms(0)).unwrap();
    assert_eq!(pace.give_back(three, 2), one);
    assert_eq!(pace.left(pace.give_back(one, 1), at_ms(0)), 10);
    // Nobody gets more than a whole budget by giving back.
    assert_eq!(pace.left(pace.give_back(one, 5), at_ms(0)), 10);
}

#[test]
fn what_was_used_is_used_even_if_it_was_not_there() {
    let pace = Pace::new(1_000, Period::Day, 1_000);
    let overdrawn = pace.take_anyway(WholeAt::default(), 1_500, at_ms(0));
    assert_eq!(pace.left(overdrawn, at_ms(0)), 0);
    let half_a_day = Duration::from_secs(43_200).as_millis() as u64;
    assert_eq!(pace.left(overdrawn, at_ms(half_a_day)), 0);
    assert!(pace.left(overdrawn, at_ms(half_a_day + 200_000)) > 0);
    // Whatever a call used, a budget is whole again after twice its time.
    let ruined = pace.take_anyway(overdrawn, MOST_UNITS, at_ms(0));
    assert_eq!(ruined.after(at_ms(0)), Duration::from_secs(2 * 86_400));
}

#[test]
fn a_clock_that_is_set_back_locks_nobody_out_and_frees_nobody() {
    let pace = Pace::new(10, Period::Minute, 10);
    let year_ms = 365 * 86_400_000;
    let later = pace.take(WholeAt::default(), 10, at_ms(year_ms)).unwrap();
    let now = at_ms(0);
    let found = pace.plausible(later, now);
    assert_eq!(pace.left(found, now), 0);
    assert_eq!(found.after(now), Duration::from_secs(60));
    // Two workers' clocks differ a little; that changes nothing.
    let used_up = pace.take(WholeAt::default(), 10, at_ms(3)).unwrap();
    assert_eq!(pace.plausible(used_up, now), used_up);
}

#[test]
fn absurd_numbers_become_the_nearest_sensible_ones() {
    let pace = Pace::new(0, Period::Month, u64::MAX);
    assert_eq!((pace.amount(), pace.burst()), (1, 100));
    let pace = Pace::new(u64::MAX, Period::Second, u64::MAX);
    assert_eq!((pace.amount(), pace.burst()), (MOST_UNITS, MOST_UNITS));
    let end = UnixTime::from_millis(u64::MAX);
    assert_eq!(pace.left(pace.take_anyway(WholeAt(u64::MAX), u64::MAX, end), end), pace.burst());
}

fn period() -> impl Strategy<Value = Period> {
    prop_oneof![
        Just(Period::Second),
        Just(Period::Minute),
        Just(Period::Hour),
        Just(Period::Day),
        Just(Period::Month),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// However requests come: in no stretch of time is more admitted than the burst and what
    /// came back; and nobody is refused while a unit is there.
    #[test]
    fn no_stretch_of_time_admits_more_than_its_share(
        amount in 1_u64..200,
        burst in 1_u64..200,
        period in period(),
        gaps in prop::collection::vec((0_u64..2_000, 1_u64..4), 1..200),
    ) {
        let pace = Pace::new(amount, period, burst);
        let burst = pace.burst();
        let (mut ms, mut whole_at) = (0, WholeAt::default());
        // Moments and units of what was admitted.
        let mut passed: Vec<(u64, u64)> = Vec::new();
        for (permille, units) in gaps {
            ms += permille * period.seconds() / amount;
            let left = pace.left(whole_at, at_ms(ms));
            match pace.take(whole_at, units, at_ms(ms)) {
                Ok(taken) => {
                    prop_assert!(left >= units);
                    whole_at = taken;
                    passed.push((ms, units));
                }
                Err(used_up) => {
                    prop_assert!(left < units);
                    prop_assert!(!used_up.wait.is_zero());
                }
            }
        }
        for (index, (from, _)) in passed.iter().enumerate() {
            let mut sum = 0;
            for (to, units) in passed.iter().skip(index) {
                sum += units;
                let came_back = (to - from) * amount / (period.seconds() * 1_000);
                prop_assert!(sum <= burst + came_back, "{sum} in {} ms", to - from);
            }
        }
    }

    /// Nor does giving back what was taken: it only ever makes good a part of it.
    #[test]
    fn giving_back_is_the_inverse_of_taking(
        amount in 1_000_u64..1_000_000,
        taken in 1_u64..1_000,
        kept in 0_u64..1_000,
        later_ms in 0_u64..10_000,
    ) {
        let pace = Pace::new(amount, Period::Hour, MOST_UNITS);
        let kept = kept.min(taken);
        let start = pace.take_anyway(WholeAt::default(), 3, at_ms(0));
        let settled = pace.give_back(pace.take_anyway(start, taken, at_ms(0)), taken - kept);
        let direct = pace.take_anyway(start, kept, at_ms(0));
        prop_assert_eq!(pace.left(settled, at_ms(later_ms)), pace.left(direct, at_ms(later_ms)));
    }
}
