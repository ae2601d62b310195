//! The instances: whether each can be entered, as `instance check` looks.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::Line;
use crate::{
    config::SEAL_KEY,
    connector::{Doors, Finding},
    database::Database,
    instance::InstanceId,
    outbound::Outbound,
    registration,
    registry::{self, Listed, Registry},
    seal::Seal,
};

/// How many are looked at at once.
const AT_ONCE: usize = 8;

/// Looks at every registered instance, if the database is `usable`.
pub(super) async fn look(
    outbound: &Outbound,
    database: &Database,
    seal: Option<Seal>,
    usable: bool,
) -> Vec<Line> {
    let Some(seal) = seal else {
        return vec![Line::skipped("instances", format!("set {SEAL_KEY}"))];
    };
    if !usable {
        return vec![Line::skipped("instances", "mend the database first")];
    }
    let opened = async {
        let store = database.open().map_err(|error| error.to_string())?;
        let registry = Registry::open(store.clone(), seal).await.map_err(|e| e.to_string())?;
        let listed = registry::list(&store).await.map_err(|error| error.to_string())?;
        Ok::<_, String>((registry, listed))
    };
    match opened.await {
        Ok((registry, listed)) => look_at(Arc::new(registry), outbound, listed).await,
        Err(error) => {
            vec![Line::fail("instances", "registry", error, "mend what it names, and look again")]
        }
    }
}

async fn look_at(registry: Arc<Registry>, outbound: &Outbound, listed: Vec<Listed>) -> Vec<Line> {
    if listed.is_empty() {
        return vec![Line::ok("instances", "registry", "no instance is registered")];
    }
    let doors = Arc::new(Doors::new(outbound.clone()));
    let (mut looking, mut lines) = (JoinSet::new(), Vec::new());
    for Listed { id, url, .. } in listed {
        if looking.len() >= AT_ONCE {
            lines.extend(looking.join_next().await.and_then(Result::ok));
        }
        let (registry, doors) = (Arc::clone(&registry), Arc::clone(&doors));
        looking.spawn(async move { check(&registry, &doors, &id, &url).await });
    }
    lines.extend(looking.join_all().await);
    lines.sort_by(|a, b| a.look.cmp(&b.look));
    lines
}

async fn check(registry: &Registry, doors: &Doors, id: &str, url: &str) -> Line {
    let findings = match InstanceId::parse(id) {
        Ok(id) => registration::check(registry, doors, &id).await.map_err(|e| e.to_string()),
        Err(unfit) => Err(unfit.to_string()),
    };
    match findings {
        Err(error) => Line::fail("instances", id, error, "register it anew"),
        Ok(findings) => match findings.into_iter().find(|finding| !finding.ok) {
            None => Line::ok("instances", id, format!("{url} can be entered")),
            Some(Finding { look, found, mend, .. }) => {
                let found = format!("{}: {}", look.as_str(), found.unwrap_or_default());
                Line::fail("instances", id, found, mend.unwrap_or_default())
            }
        },
    }
}
