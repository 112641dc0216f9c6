//! `lineal ledger keys`, `rotate`, `revoke`.

use lineal_app::keys::{self, RevokeSubject};
use lineal_app::{Code, Failure, Project};
use lineal_facts::Digest;
use lineal_facts::predicate::KeyRole;
use lineal_store::keys::Pkcs11Uri;

use crate::cli::Role;
use crate::printer::{Printer, table};

impl From<Role> for KeyRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Builder => Self::Builder,
            Role::Approver => Self::Approver,
            Role::Router => Self::Router,
        }
    }
}

pub(super) async fn list(project: &Project, printer: &Printer) -> Result<(), Failure> {
    let keyring = project.store.index().keyring().await?;
    let value: Vec<_> = keyring
        .entries()
        .iter()
        .map(|key| {
            serde_json::json!({
                "holder": key.holder, "role": key.role, "id": key.key.id(), "active_from": key.active_from,
                "revoked_at": key.revoked_at, "reason": key.reason, "replaces": key.replaces,
                "public_key": key.key.to_pem(),
            })
        })
        .collect();
    printer.result(&value, || {
        let rows = keyring.entries().iter().map(|key| {
            let reason = key.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let state = match key.revoked_at {
                None => "active".to_owned(),
                Some(at) => format!("revoked at {at}{reason}"),
            };
            // The id first: only a last column is cut, and `revoke` needs all of it.
            vec![key.key.id().to_string(), key.holder.clone(), key.role.to_string(), state]
        });
        let rows = rows.collect::<Vec<_>>();
        let history = project.store.ledger().log_keys().get();
        let first = history.all().next().map(|key| format!("ledger key {key}\n")).unwrap_or_default();
        let later = history.later().iter().map(|(from, key)| format!("from size {from} {key}\n"));
        format!("{first}{}{}", later.collect::<String>(), table(&["KEY", "HOLDER", "ROLE", "STATE"], &rows))
    });
    Ok(())
}

pub(super) fn encrypt(project: &Project, printer: &Printer) -> Result<(), Failure> {
    let done = keys::encrypt(project)?;
    printer.result(&done, || match done.len() {
        0 => "every key file is encrypted".to_owned(),
        count => format!("{count} key files encrypted; copies of the unencrypted ones elsewhere still sign"),
    });
    Ok(())
}

pub(super) async fn rotate(
    project: &Project,
    holder: &str,
    role: Role,
    signed_by: Option<&str>,
    printer: &Printer,
) -> Result<(), Failure> {
    let signed_by = signed_by.map(str::parse::<Pkcs11Uri>).transpose();
    let signed_by = signed_by.map_err(|e| Failure::caused(Code::Usage, &e))?;
    let done = keys::rotate(project, holder, role.into(), signed_by.as_ref()).await?;
    printer.result(&done, || {
        // A running control plane takes up a new builder file, not a new router key, and it reads settings once.
        let in_token = project.store.keys().token(holder, role.into()).is_some();
        let restart = match role {
            Role::Router => "\n  restart `lineal serve` and `lineal gateway`; they still have the old one",
            Role::Builder if in_token => "\n  restart `lineal serve`; it still has the old one",
            Role::Builder | Role::Approver => "",
        };
        let old = done.old.map(|old| format!("\n  {old} is revoked")).unwrap_or_default();
        format!("{holder} has a new {} key {}{old}\n  it is in {}{restart}", done.role, done.new, done.place)
    });
    Ok(())
}

pub(super) async fn rotate_log(project: &Project, printer: &Printer) -> Result<(), Failure> {
    let done = keys::rotate_log(project).await?;
    printer.result(&done, || {
        format!(
            "new ledger key {}\n  it signs checkpoints of {} entries and more; those before stay good under {}",
            done.new, done.from, done.old
        )
    });
    Ok(())
}

pub(super) async fn revoke(
    project: &Project,
    key: &str,
    role: Option<Role>,
    reason: &str,
    printer: &Printer,
) -> Result<(), Failure> {
    let subject = match (key.parse::<Digest>(), role) {
        (Ok(id), None) => RevokeSubject::Key(id),
        (Err(_), Some(role)) => RevokeSubject::Holder(key.to_owned(), role.into()),
        (Ok(_), Some(_)) | (Err(_), None) => {
            let text = "name a key by its id, or by holder and role: lineal ledger revoke ana approver";
            return Err(Failure::new(Code::Usage, text));
        }
    };
    let done = keys::revoke(project, &subject, reason).await?;
    printer.result(&done, || {
        let keys = done.keys.iter().map(|key| format!("{key} counts no more from entry {}\n", done.at));
        keys.collect::<String>().trim_end().to_owned()
    });
    Ok(())
}
