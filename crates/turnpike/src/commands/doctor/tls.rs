//! The certificate and its key.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Context;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use turnpike_config::{Config, Secret, SystemEnvironment, locate};

use super::Patient;
use crate::certificate_checks::{CHAIN, EXPIRY, NAME, authorities, first_name, judge};
use crate::findings::Finding;
use crate::private_key;

pub(super) fn expiry(patient: &Patient) -> Vec<Finding> {
    of(patient, EXPIRY)
}

pub(super) fn chain(patient: &Patient) -> Vec<Finding> {
    const HOW: &str =
        "browsers need no TLS to relay, but where UDP is blocked it is the way through; set cert and pkey";
    if patient.config.certificate.is_none() {
        return vec![Finding::note(CHAIN, "there is none: neither TLS nor DTLS is served", HOW)];
    }
    match read_chain(&patient.config) {
        Ok(_) => of(patient, CHAIN),
        Err(error) => {
            vec![Finding::error(CHAIN, format!("{error:#}"), "without it the server serves no TLS")]
        }
    }
}

pub(super) fn name(patient: &Patient) -> Vec<Finding> {
    of(patient, NAME)
}

/// The findings of one check.
fn of(patient: &Patient, id: &str) -> Vec<Finding> {
    let Ok(chain) = read_chain(&patient.config) else { return Vec::new() };
    // The realm is most often the server's name; a certificate without it is nothing wrong by itself.
    let realm = patient.config.realm.as_str();
    let own_name = chain.first().and_then(|own| first_name(own));
    let name = if realm.contains('.') { Some(realm) } else { own_name.as_deref() };
    let findings = judge(&chain, name, authorities(None).as_ref());
    let of_id = findings.into_iter().filter(|finding| finding.id == id);
    of_id
        .map(|mut finding| {
            if id == NAME && finding.severity > crate::findings::Severity::Note {
                finding.severity = crate::findings::Severity::Note;
                finding.fix =
                    "fine if the URIs name the server otherwise than its realm; else get one for it"
                        .to_owned();
            }
            finding
        })
        .collect()
}

/// The certificates of the file, in DER.
///
/// # Errors
/// There is no file, or none in it that can be read.
pub(super) fn read_chain(config: &Config) -> anyhow::Result<Vec<Vec<u8>>> {
    let path = file(config.certificate.as_deref()).context("no certificate is named")?;
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.with_context(|| format!("{} holds a broken certificate", path.display()))?;
    anyhow::ensure!(!chain.is_empty(), "{} holds no certificate in PEM form", path.display());
    Ok(chain.iter().map(|der| der.to_vec()).collect())
}

pub(super) fn private_key(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "private-key";
    let config = &patient.config;
    let Some(path) = file(config.private_key.as_deref()) else { return Vec::new() };
    let mut findings = Vec::new();
    if let Ok(metadata) = std::fs::metadata(&path) {
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o044 != 0 && mode & 0o004 != 0 {
            findings.push(Finding::warning(
                ID,
                format!("everybody on this machine may read {} (mode {mode:04o})", path.display()),
                format!("chown root:turnserver {0}; chmod 640 {0}", path.display()),
            ));
        }
    }
    let key = private_key::read(&path, config.private_key_passphrase.as_ref().map(Secret::expose));
    let key = match key {
        Ok(key) => key,
        Err(error) => {
            let fix = "the service's user must be able to read it: with certbot, a deploy hook that copies it, or LoadCredential";
            findings.push(Finding::error(ID, format!("{error:#}"), fix));
            return findings;
        }
    };
    let Ok(chain) = read_chain(config) else { return findings };
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    let builder = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into());
    let fits = builder
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    findings.push(match fits {
        Ok(_) => Finding::ok(ID, format!("{} fits the certificate", path.display())),
        Err(error) => Finding::error(
            ID,
            format!("{} does not fit the certificate: {error}", path.display()),
            "give the key that the certificate was made with: both of one renewal",
        ),
    });
    findings
}

fn file(name: Option<&str>) -> Option<PathBuf> {
    name.map(|name| locate(&SystemEnvironment, name))
}
