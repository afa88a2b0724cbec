//! Logging in, and if that fails, finding out why: with a secret of one's own even the server's clock can be read, by
//! which credentials it takes for expired.

use std::time::Duration;

use anyhow::bail;
use clap::ArgMatches;
use turnpike_client::{Allocated, Credentials, Failure};
use turnpike_control::in_words;

use super::caller::{Caller, Unanswered};
use super::target::Carrier;
use super::way::Way;
use crate::commands::credentials::unix_now;
use crate::findings::Finding;
use crate::rest::{RestCredential, examine};
use crate::state::StateDirectory;

/// Who the probe is to the server.
#[derive(Clone)]
pub(crate) enum Identity {
    /// A user with a password.
    User { user: String, password: String },
    /// Anybody, by a secret that credentials are minted with.
    Secret { secret: String, user: String },
}

impl Identity {
    /// What a command line says, by `--user` and `--password` or `--secret-file`; `user` stands in the name of a minted
    /// credential where none is given.
    ///
    /// # Errors
    /// The file cannot be read, or half of it is missing.
    pub(crate) fn of(arguments: &ArgMatches, user: &str) -> anyhow::Result<Option<Self>> {
        let text = |name: &str| arguments.get_one::<String>(name).cloned();
        Ok(match (text("user"), text("password"), text("secret-file")) {
            (Some(user), Some(password), None) => Some(Identity::User { user, password }),
            (named, None, Some(file)) => {
                let secret = StateDirectory::read_secret(file.as_ref())?;
                Some(Identity::Secret { secret, user: named.unwrap_or_else(|| user.to_owned()) })
            }
            (None, None, None) => None,
            (Some(_), None, None) => {
                bail!("--user needs --password, or --secret-file to mint a credential with")
            }
            (None, Some(_), _) => bail!("--password needs --user"),
            (_, Some(_), Some(_)) => bail!("give --password or --secret-file, not both"),
        })
    }

    /// Credentials as of now.
    pub(crate) fn credentials(&self) -> Credentials {
        self.credentials_until(unix_now().saturating_add(LIFETIME))
    }

    fn credentials_until(&self, expires: u64) -> Credentials {
        match self {
            Identity::User { user, password } => {
                Credentials { username: user.clone(), password: password.clone() }
            }
            Identity::Secret { secret, user } => {
                let RestCredential { username, password, .. } =
                    RestCredential::mint(secret, user, ':', expires, Duration::ZERO);
                Credentials { username, password }
            }
        }
    }
}

/// Allocates; `None` where that failed, with why.
pub(super) fn log_in(
    identity: &Identity,
    carrier: Carrier,
    open: &dyn Fn() -> Option<Way>,
    findings: &mut Vec<Finding>,
) -> Option<(Caller, Allocated)> {
    let way = open()?;
    let mut caller = Caller::new(way, carrier, Some(identity.credentials())).ok()?;
    match caller.allocate(None) {
        Ok(allocated) => {
            let evidence =
                format!("accepted: relayed address {}, for {} s", allocated.relayed, allocated.lifetime);
            findings.push(Finding::ok(CREDENTIALS, evidence));
            return Some((caller, allocated));
        }
        Err(Unanswered::Failure(Failure::CredentialsRejected { realm })) => {
            findings.push(explain_rejection(identity, &realm, carrier, open));
        }
        Err(Unanswered::Failure(failure)) => findings.push(explain(&failure)),
        Err(Unanswered::Broken(error)) => {
            let evidence = format!("the connection broke at Allocate: {error}");
            findings.push(Finding::error(CREDENTIALS, evidence, "look at the server's log"));
        }
    }
    None
}

fn explain_rejection(
    identity: &Identity,
    realm: &str,
    carrier: Carrier,
    open: &dyn Fn() -> Option<Way>,
) -> Finding {
    match identity {
        Identity::User { user, password } => {
            let evidence =
                format!("401 again after credentials: user {user:?} of realm {realm:?} is not accepted");
            // A REST credential tells much by itself.
            let said: Vec<String> = examine(user, Some(password), &[], ':', unix_now())
                .into_iter()
                .filter(|finding| finding.fatal && !finding.text.contains("no expiry"))
                .map(|finding| finding.text)
                .collect();
            let fix = match said.is_empty() {
                true => "the password or the name is wrong, or the user is of another realm: keys made for one (turnadmin -k) \
                         are of no use in another"
                    .to_owned(),
                false => said.join("; "),
            };
            Finding::error(CREDENTIALS, evidence, fix)
        }
        Identity::Secret { .. } => {
            let accepted = |expires: u64| {
                let caller = open().and_then(|way| {
                    Caller::new(way, carrier, Some(identity.credentials_until(expires))).ok()
                });
                caller.is_some_and(|mut caller| {
                    let accepted = caller.allocate(None).is_ok();
                    caller.delete();
                    accepted
                })
            };
            match clock_ahead(unix_now(), &accepted) {
                Some(ahead) => Finding::error(
                    CREDENTIALS,
                    format!(
                        "401 for a credential that is good for an hour, not for one that is good for longer: the server's clock \
                         is some {} ahead of this one's",
                        in_words(ahead)
                    ),
                    "set both clocks by NTP (chronyc tracking, timedatectl)",
                ),
                None => Finding::error(
                    CREDENTIALS,
                    format!("401 again after credentials, however long they are good for (realm {realm:?})"),
                    "the secret is another than the server's static-auth-secret, or use-auth-secret is off there; mind line ends \
                     and quotation marks in the file",
                ),
            }
        }
    }
}

/// How many seconds the server's clock is ahead, told by the earliest expiry it takes for one to come; `None` where it
/// takes none. To within a minute.
fn clock_ahead(now: u64, accepted: &dyn Fn(u64) -> bool) -> Option<u64> {
    let mut refused = LIFETIME;
    let mut taken = FARTHEST;
    if !accepted(now + taken) {
        return None;
    }
    while taken - refused > 60 {
        let middle = refused + (taken - refused) / 2;
        if accepted(now + middle) {
            taken = middle;
        } else {
            refused = middle;
        }
    }
    Some(taken)
}

/// Any other refusal of an Allocate.
fn explain(failure: &Failure) -> Finding {
    let number = match failure {
        Failure::Refused { number, .. } => number.number(),
        _ => 0,
    };
    let fix = match number {
        403 => "the server forbids it: is it draining, or is this address denied? Its log says which",
        437 | 441 => "another allocation is on this 5-tuple: try again",
        438 => {
            "the nonce is stale again and again: do several servers share this address without stateless-nonce-secret?"
        }
        442 => "this transport is not relayed there (no-udp-relay)",
        440 => "this address family is not relayed there",
        486 => "the user has as many allocations as user-quota allows: raise it, or wait",
        508 => "no port is free: raise max-port, or end what holds them; or no address of this family",
        _ => match failure {
            Failure::NoCredentials { .. } => "the server asks again: several servers behind one address?",
            Failure::TimedOut => {
                "the answer to a request with credentials is lost: fragments dropped on the way, or a database that \
                 does not answer"
            }
            _ => "look at the server's log",
        },
    };
    Finding::error(CREDENTIALS, format!("Allocate: {failure}"), fix)
}

pub(super) const CREDENTIALS: &str = "credentials";

/// Seconds a minted credential is good for.
const LIFETIME: u64 = 3600;
/// A clock that is further off is not off, but stopped.
const FARTHEST: u64 = 10 * 365 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_ahead_is_told_to_within_a_minute() {
        let now = 1_800_000_000;
        for ahead in [4000, 86_400, 40_000_000] {
            let said = clock_ahead(now, &|expires| expires > now + ahead).unwrap();
            assert!(said.abs_diff(ahead) <= 61, "{ahead}: {said}");
        }
        assert_eq!(clock_ahead(now, &|_| false), None);
    }
}
