//! What may be stored: names and values as wide as coturn's columns, and nothing that some store cannot hold.
//!
//! coturn's widths are in characters and differ a little between its schemas; these are in bytes and hold everywhere,
//! so that a row can be moved from any store to any other.

use crate::PAGE_ROWS;
use crate::error::{ErrorKind, StoreError};
use crate::rows::{Key, OAuthKey, Row};
use crate::target::Target;

impl Target {
    /// Whether these rows may be stored.
    pub(crate) fn check_rows(&self, rows: &[Row]) -> Result<(), StoreError> {
        if rows.len() > PAGE_ROWS {
            return Err(self.error(
                ErrorKind::TooLong,
                format_args!("{} rows at once; store at most {PAGE_ROWS} at a time", rows.len()),
            ));
        }
        rows.iter().try_for_each(|row| self.check_row(row))
    }

    fn check_row(&self, row: &Row) -> Result<(), StoreError> {
        self.check_key(&row.key())?;
        match row {
            Row::Origin { realm, .. } => self.check("realm", realm, REALM_BYTES),
            Row::RealmLimit { value, .. } if i64::try_from(*value).is_err() => {
                Err(self.error(ErrorKind::Invalid, format_args!("{row:?}: no limit is that large")))
            }
            Row::OAuthKey(key) => self.check_oauth_key(key),
            Row::AdminUser(admin) => {
                self.check("realm", &admin.realm, REALM_BYTES)?;
                self.check("password", &admin.password, ADMIN_PASSWORD_BYTES)
            }
            _ => Ok(()),
        }
    }

    fn check_oauth_key(&self, key: &OAuthKey) -> Result<(), StoreError> {
        self.check("realm", &key.realm, REALM_BYTES)?;
        self.check("algorithm", &key.as_rs_alg, ALGORITHM_BYTES)?;
        if key.key.len() > OAUTH_KEY_BYTES {
            return Err(self.too_long("token key", key.key.len(), OAUTH_KEY_BYTES));
        }
        if i64::try_from(key.timestamp).is_err() || i32::try_from(key.lifetime).is_err() {
            return Err(self.error(
                ErrorKind::Invalid,
                format_args!("{:?}: its time or lifetime is too large", key.kid),
            ));
        }
        Ok(())
    }

    /// Whether this key may name anything.
    pub(crate) fn check_key(&self, key: &Key) -> Result<(), StoreError> {
        match key {
            Key::User { realm, name } => self.check_user(realm, name),
            Key::Secret { realm, value } => {
                self.check_realm(realm)?;
                self.check("secret", value, SECRET_BYTES)
            }
            Key::SecretsOf { realm } | Key::RealmLimit { realm, .. } => self.check_realm(realm),
            Key::AllowedPeer { realm, range } | Key::DeniedPeer { realm, range } => {
                self.check_realm(realm)?;
                self.check("peer range", range, RANGE_BYTES)
            }
            Key::Origin { origin } => self.check("origin", origin, ORIGIN_BYTES),
            Key::OAuthKey { kid } => self.check("key id", kid, KID_BYTES),
            Key::AdminUser { name } => self.check("console user's name", name, ADMIN_NAME_BYTES),
        }
    }

    /// Whether there can be such a user.
    pub(crate) fn check_user(&self, realm: &str, name: &str) -> Result<(), StoreError> {
        self.check_realm(realm)?;
        self.check("user name", name, NAME_BYTES)
    }

    /// Whether there can be such a realm.
    pub(crate) fn check_realm(&self, realm: &str) -> Result<(), StoreError> {
        self.check("realm", realm, REALM_BYTES)
    }

    fn check(&self, what: &str, text: &str, limit: usize) -> Result<(), StoreError> {
        if text.len() > limit {
            return Err(self.too_long(what, text.len(), limit));
        }
        // PostgreSQL's text has no NUL, and coturn, being C, would stop there.
        if text.contains('\0') {
            return Err(self.error(ErrorKind::Invalid, format_args!("a {what} may not hold a NUL character")));
        }
        Ok(())
    }

    fn too_long(&self, what: &str, length: usize, limit: usize) -> StoreError {
        self.error(
            ErrorKind::TooLong,
            format_args!("a {what} of {length} bytes is too long: at most {limit} are stored"),
        )
    }
}

const NAME_BYTES: usize = 512;
const REALM_BYTES: usize = 127;
const SECRET_BYTES: usize = 256;
const RANGE_BYTES: usize = 256;
const ORIGIN_BYTES: usize = 127;
const KID_BYTES: usize = 128;
/// 256 characters of base64.
const OAUTH_KEY_BYTES: usize = 192;
const ALGORITHM_BYTES: usize = 64;
const ADMIN_NAME_BYTES: usize = 32;
const ADMIN_PASSWORD_BYTES: usize = 127;
