//! Who may enter what, in the few words that it takes: what the exchange is held against.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, sample::Index};

/// Two people with an instance each, as it begins, and somebody without any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Ada,
    Ben,
    Eve,
}

impl Who {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ada => "ada",
            Self::Ben => "ben",
            Self::Eve => "eve",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lab {
    First,
    Second,
}

impl Lab {
    pub(crate) const BOTH: [Self; 2] = [Self::First, Self::Second];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// A role and the organisation that grants it; none of them is the other.
pub(crate) type Role = (&'static str, &'static str);

const ROLES: [Role; 3] = [("keeper", "7"), ("keeper", "8"), ("guest", "7")];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Entrant {
    Member(Who),
    Role(Role),
}

/// Somebody, with what their token says they have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Visitor {
    pub(crate) who: Who,
    pub(crate) roles: Vec<Role>,
}

/// One thing that is done, or tried.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Register(Lab, Who),
    Remove(Lab),
    RotateKey(Lab),
    Admit(Lab, Entrant),
    Dismiss(Lab, Entrant),
    /// Somebody who was admitted.
    DismissOne(Lab, Index),
    /// Somebody who is no admin admits.
    Presume(Visitor, Lab, Entrant),
    LogIn(Visitor, Lab),
    /// With an assertion for the other instance.
    LogInElsewhere(Visitor, Lab),
    /// With an assertion that was used, and perhaps for something else.
    LogInAgain(Index, Lab),
    Begin(Visitor, Lab),
    /// For the page of the other instance.
    BeginElsewhere(Visitor, Lab),
    /// The last code but so many; at the right page or not, with the right verifier or not.
    Redeem(usize, bool, bool),
    Link(Lab, Who),
    Unlink(Lab, Who),
    SetFlags(Lab, Who),
    LogOut(Who),
    Revoke(Who),
    Block(Who),
    Unblock(Who),
}

/// What is done, one after the other: anything, and now and then somebody gets a code, and something
/// happens before they redeem it.
pub(crate) fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let anything = deed().prop_map(|deed| vec![deed]);
    let some = prop_oneof![4 => anything, 1 => code_and_what_comes_between()];
    proptest::collection::vec(some, 1..30).prop_map(|some| some.concat())
}

fn code_and_what_comes_between() -> impl Strategy<Value = Vec<Deed>> {
    let between = |lab, entrant| {
        prop_oneof![Just(Deed::Dismiss(lab, entrant)), Just(Deed::Remove(lab)), deed()]
    };
    (lab(), entrant(), who()).prop_flat_map(move |(lab, entrant, who)| {
        let visitor = match entrant {
            Entrant::Member(who) => Visitor { who, roles: Vec::new() },
            Entrant::Role(role) => Visitor { who, roles: vec![role] },
        };
        between(lab, entrant).prop_map(move |between| {
            let (admit, begin) = (Deed::Admit(lab, entrant), Deed::Begin(visitor.clone(), lab));
            vec![admit, begin, between, Deed::Redeem(0, true, true)]
        })
    })
}

pub(crate) fn who() -> impl Strategy<Value = Who> {
    proptest::sample::select(&[Who::Ada, Who::Ben, Who::Eve][..])
}

pub(crate) fn lab() -> impl Strategy<Value = Lab> {
    proptest::sample::select(&Lab::BOTH[..])
}

pub(crate) fn entrant() -> impl Strategy<Value = Entrant> {
    let role = proptest::sample::select(&ROLES[..]);
    prop_oneof![who().prop_map(Entrant::Member), role.prop_map(Entrant::Role)]
}

fn visitor() -> impl Strategy<Value = Visitor> {
    let roles = proptest::sample::subsequence(&ROLES[..], 0..=2);
    (who(), roles).prop_map(|(who, roles)| Visitor { who, roles })
}

fn deed() -> impl Strategy<Value = Deed> {
    let index = any::<Index>;
    let mostly = || proptest::bool::weighted(0.9);
    prop_oneof![
        2 => (lab(), who()).prop_map(|(lab, who)| Deed::Register(lab, who)),
        1 => lab().prop_map(Deed::Remove),
        1 => lab().prop_map(Deed::RotateKey),
        6 => (lab(), entrant()).prop_map(|(lab, entrant)| Deed::Admit(lab, entrant)),
        1 => (lab(), entrant()).prop_map(|(lab, entrant)| Deed::Dismiss(lab, entrant)),
        4 => (lab(), index()).prop_map(|(lab, nth)| Deed::DismissOne(lab, nth)),
        1 => (visitor(), lab(), entrant()).prop_map(|(v, lab, e)| Deed::Presume(v, lab, e)),
        8 => (visitor(), lab()).prop_map(|(visitor, lab)| Deed::LogIn(visitor, lab)),
        2 => (visitor(), lab()).prop_map(|(visitor, lab)| Deed::LogInElsewhere(visitor, lab)),
        2 => (index(), lab()).prop_map(|(nth, lab)| Deed::LogInAgain(nth, lab)),
        6 => (visitor(), lab()).prop_map(|(visitor, lab)| Deed::Begin(visitor, lab)),
        1 => (visitor(), lab()).prop_map(|(visitor, lab)| Deed::BeginElsewhere(visitor, lab)),
        6 => (0..3_usize, mostly(), mostly()).prop_map(|(nth, page, verifier)| Deed::Redeem(nth, page, verifier)),
        2 => (lab(), who()).prop_map(|(lab, who)| Deed::Link(lab, who)),
        2 => (lab(), who()).prop_map(|(lab, who)| Deed::Unlink(lab, who)),
        1 => (lab(), who()).prop_map(|(lab, who)| Deed::SetFlags(lab, who)),
        1 => who().prop_map(Deed::LogOut),
        1 => who().prop_map(Deed::Revoke),
        1 => who().prop_map(Deed::Block),
        2 => who().prop_map(Deed::Unblock),
    ]
}

/// What the registry should say.
#[derive(Default)]
pub(crate) struct Model {
    labs: BTreeMap<Lab, (Who, BTreeSet<Entrant>)>,
    blocked: BTreeSet<Who>,
    codes: Vec<Code>,
}

struct Code {
    lab: Lab,
    visitor: Visitor,
    good: bool,
}

impl Model {
    pub(crate) fn is_registered(&self, lab: Lab) -> bool {
        self.labs.contains_key(&lab)
    }

    /// Whether it was not registered before.
    pub(crate) fn register(&mut self, lab: Lab, owner: Who) -> bool {
        let new = !self.is_registered(lab);
        self.labs.entry(lab).or_insert_with(|| (owner, BTreeSet::new()));
        new
    }

    /// Whether it was registered.
    pub(crate) fn remove(&mut self, lab: Lab) -> bool {
        let codes = self.codes.iter_mut().filter(|code| code.lab == lab);
        codes.for_each(|code| code.good = false);
        self.labs.remove(&lab).is_some()
    }

    pub(crate) fn admit(&mut self, lab: Lab, entrant: Entrant) {
        self.labs.get_mut(&lab).unwrap().1.insert(entrant);
    }

    pub(crate) fn dismiss(&mut self, lab: Lab, entrant: Entrant) {
        self.labs.get_mut(&lab).unwrap().1.remove(&entrant);
    }

    /// One of those who were admitted to `lab`.
    pub(crate) fn one_of_those_in(&self, lab: Lab, nth: &Index) -> Option<Entrant> {
        let (_, entrants) = self.labs.get(&lab).filter(|(_, entrants)| !entrants.is_empty())?;
        entrants.iter().nth(nth.index(entrants.len())).copied()
    }

    pub(crate) fn may(&self, visitor: &Visitor, lab: Lab) -> bool {
        let lets_in = |(owner, entrants): &(Who, BTreeSet<Entrant>)| {
            *owner == visitor.who
                || entrants.contains(&Entrant::Member(visitor.who))
                || visitor.roles.iter().any(|role| entrants.contains(&Entrant::Role(*role)))
        };
        !self.blocked.contains(&visitor.who) && self.labs.get(&lab).is_some_and(lets_in)
    }

    /// Whether that is new.
    pub(crate) fn block(&mut self, who: Who) -> bool {
        self.blocked.insert(who)
    }

    pub(crate) fn unblock(&mut self, who: Who) -> bool {
        self.blocked.remove(&who)
    }

    pub(crate) fn give_code(&mut self, visitor: Visitor, lab: Lab) {
        self.codes.push(Code { lab, visitor, good: true });
    }

    /// The last code but so many, and where it is for.
    pub(crate) fn one_of_the_codes(&self, back: usize) -> Option<(usize, Lab)> {
        let nth = self.codes.len().checked_sub(back + 1)?;
        Some((nth, self.codes[nth].lab))
    }

    /// Who enters with the `nth` code at the page of `lab`; nobody can with it afterwards.
    pub(crate) fn redeem(&mut self, nth: usize, lab: Lab, verifier: bool) -> Option<Visitor> {
        let code = &mut self.codes[nth];
        let good = std::mem::take(&mut code.good) && code.lab == lab && verifier;
        let visitor = code.visitor.clone();
        (good && self.may(&visitor, lab)).then_some(visitor)
    }
}
