//! What is to be said of a certificate chain: whether it is good, for how long, for which name, and whether everybody can
//! see that.

use std::path::PathBuf;

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use turnpike_control::in_words;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::commands::credentials::{time_of, unix_now};
use crate::findings::Finding;

/// Everything that is to be said of a chain, its own certificate first. `name` is what clients connect to.
pub(crate) fn judge(
    chain: &[Vec<u8>],
    name: Option<&str>,
    authorities: Option<&RootCertStore>,
) -> Vec<Finding> {
    let Some((own, further)) = chain.split_first() else {
        return vec![Finding::error(CHAIN, "there is no certificate", "give one with cert and pkey")];
    };
    let parsed = X509Certificate::from_der(own);
    let Ok((_, certificate)) = parsed else {
        return vec![Finding::error(CHAIN, "the certificate cannot be read", "give one in PEM form")];
    };
    let mut findings = vec![expiry(&certificate)];
    findings.push(completeness(own, further, &certificate, authorities));
    findings.extend(name.map(|name| bears(own, &certificate, name)));
    findings
}

/// The authorities that programs on this machine believe, or those in a file of one's own.
pub(crate) fn authorities(file: Option<&str>) -> Option<RootCertStore> {
    let of_environment = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = BUNDLES.iter().map(PathBuf::from);
    let places = file.map(PathBuf::from).into_iter().chain(of_environment).chain(usual);
    let path = places.into_iter().find(|path| path.is_file())?;
    let mut roots = RootCertStore::empty();
    let listed = CertificateDer::pem_file_iter(path).ok()?.filter_map(Result::ok);
    let (usable, _) = roots.add_parsable_certificates(listed);
    (usable > 0).then_some(roots)
}

fn expiry(certificate: &X509Certificate<'_>) -> Finding {
    let now = unix_now() as i64;
    let validity = certificate.validity();
    let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let when = |time: i64| time_of(u64::try_from(time).unwrap_or_default());
    let span = |seconds: i64| in_words(u64::try_from(seconds).unwrap_or_default());
    let renew = "renew it (certbot renew, or whatever made it); the server reads a new one by itself";
    if now < from {
        let evidence = format!("it is good from {} on only", when(from));
        return Finding::error(EXPIRY, evidence, "set this machine's clock, or use a certificate of today");
    }
    match until - now {
        left if left < 0 => Finding::error(EXPIRY, format!("it has expired {} ago", span(-left)), renew),
        left if left < 14 * DAY => {
            Finding::warning(EXPIRY, format!("it expires in {}, {}", span(left), when(until)), renew)
        }
        left => Finding::ok(EXPIRY, format!("it is good for {}, until {}", span(left), when(until))),
    }
}

/// Whether a client that knows the usual authorities alone can find the way to one of them.
fn completeness(
    own: &[u8],
    further: &[Vec<u8>],
    certificate: &X509Certificate<'_>,
    authorities: Option<&RootCertStore>,
) -> Finding {
    let issuer = certificate.issuer().to_string();
    if certificate.issuer().as_raw() == certificate.subject().as_raw() {
        return Finding::warning(
            CHAIN,
            "it has signed itself: browsers and phones refuse it",
            "get one of an authority, such as by certbot; for tests alone it will do",
        );
    }
    let Some(roots) = authorities else {
        return match further.is_empty() {
            true => Finding::warning(
                CHAIN,
                format!("it stands alone, without that of {issuer}, which has signed it"),
                "give the whole chain: with Let's Encrypt fullchain.pem rather than cert.pem",
            ),
            false => Finding::note(CHAIN, format!("signed by {issuer}; nobody here to compare with"), ""),
        };
    };
    let own = CertificateDer::from(own);
    let further: Vec<CertificateDer<'_>> = further.iter().map(|der| der.as_slice().into()).collect();
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let verified = ParsedCertificate::try_from(&own).and_then(|parsed| {
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, &further, UnixTime::now(), algorithms)
    });
    match verified {
        Ok(()) => Finding::ok(CHAIN, format!("complete: signed by {issuer}, of an authority known here")),
        // Told already.
        Err(Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        )) => Finding::note(CHAIN, format!("signed by {issuer}; not good today"), ""),
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) if further.is_empty() => {
            Finding::error(
                CHAIN,
                format!(
                    "it stands alone: clients do not know {issuer}, which has signed it. Browsers often forgive that, phones do not"
                ),
                "give the whole chain: with Let's Encrypt fullchain.pem rather than cert.pem",
            )
        }
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => Finding::warning(
            CHAIN,
            format!("it leads to {issuer}, and to no authority that is known here"),
            "fine with an authority of your own that all clients know; else give the whole chain",
        ),
        Err(error) => Finding::error(CHAIN, format!("clients refuse it: {error}"), "get another one"),
    }
}

fn bears(own: &[u8], certificate: &X509Certificate<'_>, name: &str) -> Finding {
    let der = CertificateDer::from(own);
    let wanted = ServerName::try_from(name.to_owned());
    let verified = match (ParsedCertificate::try_from(&der), &wanted) {
        (Ok(parsed), Ok(wanted)) => verify_server_name(&parsed, wanted).is_ok(),
        _ => false,
    };
    if verified {
        return Finding::ok(NAME, format!("it is for {name}"));
    }
    Finding::error(
        NAME,
        format!("it is not for {name}, but for {}", names(certificate)),
        "use a name it is for in the URIs, or get one for this name",
    )
}

/// The names a certificate is for, as people read them.
pub(crate) fn names(certificate: &X509Certificate<'_>) -> String {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names: Vec<String> = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .take(MOST_NAMES)
        .map(|name| match name {
            x509_parser::extensions::GeneralName::DNSName(name) => (*name).to_owned(),
            x509_parser::extensions::GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string()),
                _ => <[u8; 16]>::try_from(*bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string()),
            }
            .unwrap_or_default(),
            other => other.to_string(),
        })
        .collect();
    if names.is_empty() { certificate.subject().to_string() } else { names.join(", ") }
}

/// The first DNS name a certificate is for.
pub(crate) fn first_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let alternative = certificate.subject_alternative_name().ok().flatten()?;
    alternative.value.general_names.iter().find_map(|name| match name {
        x509_parser::extensions::GeneralName::DNSName(name) if !name.starts_with('*') => {
            Some((*name).to_owned())
        }
        _ => None,
    })
}

pub(crate) const EXPIRY: &str = "certificate-expiry";
pub(crate) const CHAIN: &str = "certificate-chain";
pub(crate) const NAME: &str = "certificate-name";

/// Where systems keep the authorities they believe.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

const DAY: i64 = 86_400;
const MOST_NAMES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::Severity;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

    struct World {
        roots: RootCertStore,
        between: Vec<u8>,
        issuer: Issuer<'static, KeyPair>,
    }

    fn authority(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    impl World {
        fn new() -> Self {
            let root_key = KeyPair::generate().unwrap();
            let root = authority("Root").self_signed(&root_key).unwrap();
            let root_issuer = Issuer::new(authority("Root"), root_key);
            let key = KeyPair::generate().unwrap();
            let between = authority("Between").signed_by(&key, &root_issuer).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(root.der().clone()).unwrap();
            World { roots, between: between.der().to_vec(), issuer: Issuer::new(authority("Between"), key) }
        }

        fn leaf(&self, until_year: i32) -> Vec<u8> {
            let mut params = CertificateParams::new(vec!["turn.example.org".to_owned()]).unwrap();
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(until_year, 1, 1);
            let key = KeyPair::generate().unwrap();
            params.signed_by(&key, &self.issuer).unwrap().der().to_vec()
        }

        fn severity(&self, chain: &[Vec<u8>], id: &str) -> Severity {
            let findings = judge(chain, Some("turn.example.org"), Some(&self.roots));
            findings.iter().find(|finding| finding.id == id).unwrap().severity
        }
    }

    #[test]
    fn a_whole_chain_is_told_from_one_that_lacks_what_lies_between() {
        let world = World::new();
        let leaf = world.leaf(2090);
        assert_eq!(world.severity(&[leaf.clone(), world.between.clone()], CHAIN), Severity::Ok);
        assert_eq!(world.severity(std::slice::from_ref(&leaf), CHAIN), Severity::Error);
        let itself = authority("Self").self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(world.severity(&[itself.der().to_vec()], CHAIN), Severity::Warning);
    }

    #[test]
    fn expiry_and_name_are_looked_at() {
        let world = World::new();
        let good = world.leaf(2090);
        assert_eq!(world.severity(std::slice::from_ref(&good), EXPIRY), Severity::Ok);
        assert_eq!(world.severity(&[world.leaf(2021)], EXPIRY), Severity::Error);
        assert_eq!(world.severity(std::slice::from_ref(&good), NAME), Severity::Ok);
        let other = judge(&[good], Some("other.example.org"), Some(&world.roots));
        let name = other.iter().find(|finding| finding.id == NAME).unwrap();
        assert!(name.severity == Severity::Error && name.evidence.contains("turn.example.org"), "{name:?}");
    }
}
