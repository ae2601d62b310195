//! How a call leaves: to which providers, in which order, with whose key and which body.

use std::fmt;

use kombi_spec::usage::reserve::{Fallback, Reservation};

use super::ask::Edits;

/// The client's headers that go to a provider. Without `Accept-Encoding`, because what is
/// compressed could not be counted.
pub const KEPT_HEADERS: &[&str] = &["accept", "content-type", "content-length"];

/// How a call leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// To whom. From each the gateway goes on to the next, where it fails before the first byte
    /// of an answer.
    pub ways: Vec<Way>,
    /// Whether usage was asked for in the client's place.
    pub hides_usage: bool,
}

/// How a call leaves for one provider.
#[derive(Clone, PartialEq, Eq)]
pub struct Way {
    /// The provider's name.
    pub provider: String,
    /// The value of `Authorization`; empty where the provider needs none.
    pub authorization: String,
    /// How the body changes for the provider.
    pub edits: Edits,
}

/// Tells where to, and not the key.
impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "to {}", self.provider)
    }
}

/// Where a call would go, and how its body changes for it.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) place: Fallback,
    pub(super) edits: Edits,
}

impl Departure {
    /// To those of `candidates` that `reservation` has in it; to all, without a key, where there
    /// is none. Returns also where the ways lead to.
    pub(super) fn to(
        candidates: Vec<Candidate>,
        reservation: Option<&Reservation>,
        hides_usage: bool,
    ) -> (Self, Vec<Fallback>) {
        let (mut ways, mut places) = (Vec::new(), Vec::new());
        for (index, Candidate { place, edits }) in candidates.into_iter().enumerate() {
            let granted = |reservation: &Reservation| {
                if index == 0 {
                    return Some(reservation.authorization.clone());
                }
                let mut granted = reservation.fallbacks.iter();
                let granted = granted.find(|granted| granted.fallback == place)?;
                Some(granted.authorization.clone())
            };
            let Some(authorization) = reservation.map_or(Some(None), granted) else { continue };
            let (provider, authorization) =
                (place.provider.clone(), authorization.unwrap_or_default());
            ways.push(Way { provider, authorization, edits });
            places.push(place);
        }
        (Self { ways, hides_usage }, places)
    }
}
