//! What an admin orders about one user of an instance, over PocketBase's API. See
//! [`kombi_spec::account`].

use kombi_spec::{
    account::{Done, Order},
    session::HookRefusal,
};
use serde_json::json;

use super::{
    account::{incomplete, linked_to, literal, refused},
    api::{Api, FEATURE_FLAGS, Trouble, User, Users, ZITADEL_SUB, misbehaved},
    passes::Known,
};
use crate::instance::Subject;

/// Carries `order` out on the user that is linked, or to be linked, to `subject`. For one at a
/// time in an instance.
pub(super) async fn carry_out(
    api: Api<'_>,
    known: &Known,
    subject: &Subject,
    order: &Order,
) -> Result<Done, Trouble> {
    let linked = linked(api, known, subject).await?;
    if let Order::Link { record } = order {
        return link(api, known, subject, linked, record).await;
    }
    let Some(user) = linked else { return Ok(Done { record: None, changed: false }) };
    let changes = match order {
        Order::SetFlags { version, flags } => {
            let wanted = json!({"version": version, "flags": flags});
            let there = user.feature_flags.get("version").and_then(serde_json::Value::as_u64);
            if there.is_some_and(|there| there > *version) {
                return Err(refused(HookRefusal::FlagsOutdated));
            }
            if user.feature_flags == wanted {
                return Ok(Done { record: Some(user.id), changed: false });
            }
            json!({FEATURE_FLAGS: wanted})
        }
        Order::Link { .. } | Order::Unlink => {
            json!({ZITADEL_SUB: "", "tokenKey:autogenerate": ""})
        }
    };
    let after = api.update(&known.pass, &user.id, &changes).await.map_err(incomplete)?;
    // PocketBase takes fields that it does not know, and forgets them.
    if changes.get(FEATURE_FLAGS).is_some_and(|wanted| after.feature_flags != *wanted) {
        return Err(misbehaved("its users have no field feature_flags").into());
    }
    Ok(Done { record: Some(user.id), changed: true })
}

async fn linked(api: Api<'_>, known: &Known, subject: &Subject) -> Result<Option<User>, Trouble> {
    let users = api.find(&known.pass, &linked_to(subject)?).await?;
    if users.is_empty() {
        // An empty list may be what a guest sees; the collection is shown to superusers only.
        let Users { .. } = api.users(&known.pass).await?;
    }
    Ok(users.into_iter().next())
}

async fn link(
    api: Api<'_>,
    known: &Known,
    subject: &Subject,
    linked: Option<User>,
    record: &str,
) -> Result<Done, Trouble> {
    if linked.as_ref().is_some_and(|user| user.id == record) {
        return Ok(Done { record: Some(record.to_owned()), changed: false });
    }
    let found = api.find(&known.pass, &format!("id = {}", literal(record)?)).await?;
    let Some(user) = found.into_iter().next() else {
        return Err(refused(HookRefusal::AccountUnknown));
    };
    if linked.is_some() || user.zitadel_sub.as_deref() != Some("") {
        return Err(refused(HookRefusal::AccountCollision));
    }
    let link = json!({ZITADEL_SUB: subject.as_str()});
    let user = api.update(&known.pass, &user.id, &link).await.map_err(incomplete)?;
    Ok(Done { record: Some(user.id), changed: true })
}
