//! What is in a database, and what of it needs a look.

use turnpike_store::{Kind, PAGE_ROWS, Row, Store, StoreError};

use super::patience::patiently;
use crate::passwords;
use crate::progress::Progress;
use crate::terminal::say;
use crate::tools::turnadmin::kind_name;

/// Prints what is in it, and returns whether all of it can be read.
pub(super) async fn report(store: &dyn Store) -> anyhow::Result<bool> {
    let mut found = Findings::default();
    let counts = patiently(async || store.counts().await).await?;
    let total = Kind::ALL.into_iter().map(|kind| counts.of(kind)).sum();
    let mut progress = Progress::new("read", Some(total));
    let result = found.read(store, &mut progress).await;
    progress.finish();
    result?;
    say!("Database: {} {}", store.kind().name(), store.address());
    for kind in Kind::ALL {
        say!("  {:<13} {:>9}", kind_name(kind), counts.of(kind));
    }
    for remark in found.remarks(store.keeps_sha256_keys().await?) {
        say!("  {remark}");
    }
    Ok(found.corrupt == 0)
}

#[derive(Debug, Default)]
struct Findings {
    corrupt: u64,
    first_corrupt: Option<String>,
    users_without_sha256: u64,
    clear_passwords: u64,
    weak_passwords: u64,
    secrets: u64,
    users: u64,
}

impl Findings {
    async fn read(&mut self, store: &dyn Store, progress: &mut Progress) -> Result<(), StoreError> {
        for kind in Kind::ALL {
            let mut cursor = None;
            loop {
                let after = cursor.as_ref();
                let page = patiently(async || store.list(kind, None, after, PAGE_ROWS).await).await?;
                for error in &page.corrupt {
                    self.corrupt += 1;
                    self.first_corrupt.get_or_insert_with(|| error.to_string());
                }
                page.rows.iter().for_each(|row| self.look_at(row));
                progress.advance(page.rows.len() as u64);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn look_at(&mut self, row: &Row) {
        match row {
            Row::User { user, .. } => {
                self.users += 1;
                self.users_without_sha256 += u64::from(user.sha256.is_none());
            }
            Row::Secret { .. } => self.secrets += 1,
            Row::AdminUser(admin) if passwords::is_clear(&admin.password) => self.clear_passwords += 1,
            Row::AdminUser(admin) if admin.password.starts_with("$5$") => self.weak_passwords += 1,
            _ => {}
        }
    }

    fn remarks(&self, keeps_sha256: bool) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(error) = &self.first_corrupt {
            remarks
                .push(format!("! {} rows make no sense and are not used; the first: {error}", self.corrupt));
        }
        if self.users_without_sha256 > 0 {
            remarks.push(format!(
                "- {} of {} users have an MD5 key alone: it works as before; SHA-256 (RFC 8489) comes with their next \
                 password",
                self.users_without_sha256, self.users
            ));
        }
        if !keeps_sha256 {
            remarks.push("- there is no table turnpike_user_key yet, where SHA-256 keys are kept".to_owned());
        }
        if self.users > 0 && self.secrets > 0 {
            remarks.push(
                "- users and secrets: coturn with use-auth-secret ignores the users, here both work".into(),
            );
        }
        if self.clear_passwords > 0 {
            remarks.push(format!(
                "! {} console passwords are in clear: store them anew with turnadmin -A",
                self.clear_passwords
            ));
        }
        if self.weak_passwords > 0 {
            remarks.push(format!(
                "- {} console passwords are in coturn's form, which is weak: turnadmin -A stores them as Argon2id",
                self.weak_passwords
            ));
        }
        remarks
    }
}
