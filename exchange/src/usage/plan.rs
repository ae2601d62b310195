//! Plans and their budgets: the file that `KOMBI_EXCHANGE_PLANS` names. How it is written is shown
//! in `spec/examples/usage/plans.toml`.

use std::collections::BTreeMap;

use kombi_spec::usage::{
    MAX_TOKENS,
    reserve::{Period, Scope, Unit},
};
use serde::Deserialize;

use super::{call::Caller, file::Mistake};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: Option<String>,
    plan: BTreeMap<String, PlanEntry>,
    #[serde(default)]
    person: BTreeMap<String, Own>,
    #[serde(default)]
    organisation: BTreeMap<String, Own>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanEntry {
    billed: bool,
    max_output_tokens: u64,
    #[serde(default)]
    budget: Vec<PlanBudget>,
}

/// The budgets of one person or organisation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    budget: Vec<OwnBudget>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanBudget {
    scope: Scope,
    period: Period,
    requests: Option<u64>,
    tokens: Option<u64>,
    money_nano: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnBudget {
    period: Period,
    requests: Option<u64>,
    tokens: Option<u64>,
    money_nano: Option<u64>,
}

/// So much of something in every period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) scope: Scope,
    pub(super) period: Period,
    pub(super) unit: Unit,
    pub(super) limit: i64,
}

/// What goes for everybody on a plan.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) billed: bool,
    /// The most tokens of output that one choice is reckoned with.
    pub(super) max_output: u32,
    rules: Vec<Rule>,
}

/// All plans, and who has budgets of their own.
#[derive(Debug)]
pub(super) struct Plans {
    default: Option<String>,
    plans: BTreeMap<String, Plan>,
    persons: BTreeMap<String, Vec<Rule>>,
    organisations: BTreeMap<String, Vec<Rule>>,
}

impl Plans {
    /// Reads the file's text.
    pub(super) fn parse(text: &str) -> Result<Self, Mistake> {
        let File { default, plan, person, organisation } = super::file::parse(text)?;
        let mut plans = BTreeMap::new();
        for (name, entry) in plan {
            let place = format!("plan {name:?}");
            let plan = Plan::parse(&name, entry).map_err(|mistake| mistake.within(&place))?;
            plans.insert(name, plan);
        }
        if let Some(default) = &default
            && !plans.contains_key(default)
        {
            let found = format!("{default:?}");
            return Err(Mistake::new("default", "the name of a plan in this file", found));
        }
        Ok(Self {
            default,
            plans,
            persons: own(person, Scope::Person, "person")?,
            organisations: own(organisation, Scope::Organisation, "organisation")?,
        })
    }

    /// The plan called `name`, or the default for those who have none.
    pub(super) fn plan(&self, name: Option<&str>) -> Option<&Plan> {
        self.plans.get(name.or(self.default.as_deref())?)
    }

    /// The budgets that a call of `caller` on `plan` must keep within: the person's and the
    /// organisation's own take the place of the plan's.
    pub(super) fn rules<'a>(
        &'a self,
        plan: &'a Plan,
        caller: &Caller,
    ) -> impl Iterator<Item = Rule> + use<'a> {
        let person = self.persons.get(&caller.subject);
        let organisation = self.organisations.get(&caller.org);
        let of_plan = plan.rules.iter().filter(move |rule| match rule.scope {
            Scope::Person => person.is_none(),
            Scope::Organisation => organisation.is_none(),
            Scope::Plan => true,
        });
        let own = [person, organisation].into_iter().flatten().flatten();
        of_plan.chain(own).copied()
    }

    /// Whether anything in here cannot be kept without prices, and what.
    pub(super) fn needs_prices(&self) -> Option<String> {
        let own = self.persons.values().chain(self.organisations.values());
        if own.flatten().any(|rule| rule.unit == Unit::MoneyNano) {
            return Some("a budget in money".to_owned());
        }
        let needs = |plan: &&Plan| {
            plan.billed || plan.rules.iter().any(|rule| rule.unit == Unit::MoneyNano)
        };
        let plan = self.plans.values().find(needs)?;
        Some(format!("the plan {:?}, which is billed or has a budget in money", plan.name))
    }
}

impl Plan {
    fn parse(name: &str, entry: PlanEntry) -> Result<Self, Mistake> {
        let PlanEntry { billed, max_output_tokens, budget } = entry;
        if !super::call::is_plan(name) {
            let expected = "a name of 1 to 32 visible ASCII characters without quotes";
            return Err(Mistake::new("name", expected, format!("{name:?}")));
        }
        let max_output = super::tokens::count(max_output_tokens).filter(|tokens| *tokens > 0);
        let max_output = max_output.ok_or_else(|| {
            const { assert!(MAX_TOKENS == 1_000_000_000) };
            let expected = "1 to 1000000000 tokens";
            Mistake::new("max_output_tokens", expected, max_output_tokens.to_string())
        })?;
        let rules = budget.into_iter().enumerate().map(|(index, entry)| {
            let PlanBudget { scope, period, requests, tokens, money_nano } = entry;
            rule(scope, period, (requests, tokens, money_nano), index)
        });
        Ok(Self {
            name: name.to_owned(),
            billed,
            max_output,
            rules: rules.collect::<Result<_, _>>()?,
        })
    }
}

/// The budgets of single persons or organisations.
fn own(
    entries: BTreeMap<String, Own>,
    scope: Scope,
    kind: &'static str,
) -> Result<BTreeMap<String, Vec<Rule>>, Mistake> {
    let rules = |(who, Own { budget }): (String, Own)| {
        let rules = budget.into_iter().enumerate().map(|(index, entry)| {
            let OwnBudget { period, requests, tokens, money_nano } = entry;
            rule(scope, period, (requests, tokens, money_nano), index)
        });
        let rules: Result<Vec<_>, _> = rules.collect();
        match rules {
            Ok(rules) => Ok((who, rules)),
            Err(mistake) => Err(mistake.within(&format!("{kind} {who:?}"))),
        }
    };
    entries.into_iter().map(rules).collect()
}

fn rule(
    scope: Scope,
    period: Period,
    limits: (Option<u64>, Option<u64>, Option<u64>),
    index: usize,
) -> Result<Rule, Mistake> {
    let place = || format!("budget {}", index + 1);
    let (unit, limit) = match limits {
        (Some(limit), None, None) => (Unit::Requests, limit),
        (None, Some(limit), None) => (Unit::Tokens, limit),
        (None, None, Some(limit)) => (Unit::MoneyNano, limit),
        _ => {
            let expected = "exactly one of requests, tokens and money_nano";
            return Err(Mistake::new(place(), expected, "none or several".to_owned()));
        }
    };
    // TOML's integers end there, too.
    let limit = i64::try_from(limit)
        .map_err(|_| Mistake::new(place(), "a number below 2^63", limit.to_string()))?;
    Ok(Rule { scope, period, unit, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        default = "free"

        [plan.free]
        billed = false
        max_output_tokens = 4096

        [[plan.free.budget]]
        scope = "person"
        period = "day"
        tokens = 100_000

        [[plan.free.budget]]
        scope = "organisation"
        period = "minute"
        requests = 10

        [[plan.free.budget]]
        scope = "plan"
        period = "month"
        money_nano = 5

        [plan.pro]
        billed = true
        max_output_tokens = 1

        [[person.ada.budget]]
        period = "hour"
        requests = 0

        [[organisation."9".budget]]
        period = "month"
        tokens = 7
    "#;

    fn caller(subject: &str, org: &str) -> Caller {
        Caller { subject: subject.to_owned(), org: org.to_owned(), plan: "free".to_owned() }
    }

    #[test]
    fn the_example_can_be_used() {
        let plans = Plans::parse(include_str!("../../../spec/examples/usage/plans.toml")).unwrap();
        assert_eq!(plans.plan(None).map(|plan| plan.rules.len()), Some(2));
    }

    #[test]
    fn a_plan_is_found_by_its_name_and_the_default_without_one() {
        let plans = Plans::parse(FILE).unwrap();
        for (asked, found) in
            [(Some("pro"), Some("pro")), (None, Some("free")), (Some("gold"), None)]
        {
            assert_eq!(plans.plan(asked).map(|plan| &*plan.name), found, "{asked:?}");
        }
        let plans = Plans::parse(&FILE.replace("default = \"free\"", "")).unwrap();
        assert!(plans.plan(None).is_none());
    }

    #[test]
    fn own_budgets_take_the_place_of_the_plans() {
        let plans = Plans::parse(FILE).unwrap();
        let free = plans.plan(None).unwrap();
        for (subject, org, limits) in [
            ("bob", "", vec![100_000, 10, 5]),
            ("ada", "", vec![10, 5, 0]),
            ("bob", "9", vec![100_000, 5, 7]),
            ("ada", "9", vec![5, 0, 7]),
        ] {
            let rules = plans.rules(free, &caller(subject, org));
            let found: Vec<i64> = rules.map(|rule| rule.limit).collect();
            assert_eq!(found, limits, "{subject} {org}");
        }
    }

    #[test]
    fn what_is_billed_or_counted_in_money_needs_prices() {
        let free = "[plan.free]\nbilled = false\nmax_output_tokens = 1\n";
        let needs = |more: &str| Plans::parse(&format!("{free}{more}")).unwrap().needs_prices();
        assert_eq!(needs(""), None);
        assert_eq!(needs("[[person.a.budget]]\nperiod = \"day\"\ntokens = 1"), None);
        for more in [
            "[plan.pro]\nbilled = true\nmax_output_tokens = 1",
            "[[person.a.budget]]\nperiod = \"day\"\nmoney_nano = 1",
            "[[plan.free.budget]]\nscope = \"plan\"\nperiod = \"day\"\nmoney_nano = 1",
        ] {
            assert!(needs(more).is_some(), "{more}");
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let plan = "[plan.a]\nbilled = false\n";
        let whole = "[plan.a]\nbilled = false\nmax_output_tokens = 1\n";
        let budget = format!("{whole}[[plan.a.budget]]\nscope = \"person\"\nperiod = \"day\"\n");
        for (text, sentence) in [
            (String::new(), "missing field `plan`"),
            (plan.to_owned(), "missing field `max_output_tokens`"),
            (
                format!("{plan}max_output_tokens = 0"),
                "plan \"a\", max_output_tokens: expected 1 to",
            ),
            (format!("default = \"b\"\n{whole}"), "default: expected the name of a plan"),
            (format!("{whole}rate = 1"), "line 4: expected"),
            (budget.clone(), "plan \"a\", budget 1: expected exactly one of requests, tokens and"),
            (format!("{budget}tokens = 1\nrequests = 1"), "expected exactly one of"),
            (format!("{budget}tokens = -1"), "line 7: expected"),
            (budget.replace("day", "week"), "unknown variant `week`"),
            (
                format!("{whole}[[person.x.budget]]\nperiod = \"day\""),
                "person \"x\", budget 1: expected exactly one of",
            ),
            (
                "[plan.\"a b\"]\nbilled = false\nmax_output_tokens = 1".to_owned(),
                "plan \"a b\", name: expected a name of 1 to 32 visible ASCII",
            ),
        ] {
            let mistake = Plans::parse(&text).unwrap_err().to_string();
            assert!(mistake.contains(sentence), "{text}: {mistake}");
            assert_eq!(mistake.lines().count(), 1, "{mistake}");
        }
    }
}
