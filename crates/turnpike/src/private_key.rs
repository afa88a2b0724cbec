//! The private key of the certificate: in clear, or encrypted with a passphrase (PKCS #8, PBES2: RFC 5958, RFC 8018).

use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use pkcs8::der::Document;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Reads it. `passphrase` is for one that is encrypted; to one in clear it does no harm.
///
/// # Errors
/// There is none that can be read; the message says what to do.
pub(crate) fn read(path: &Path, passphrase: Option<&str>) -> anyhow::Result<PrivateKeyDer<'static>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read the private key {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let convert =
        || format!("convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in {} -out NEW", path.display());
    if text.contains(LEGACY) {
        bail!(
            "the private key {} is encrypted in the old way of OpenSSL (\"{LEGACY}\"), which is not read here; {}",
            path.display(),
            convert()
        );
    }
    let Some(begin) = text.find(BEGIN) else {
        return PrivateKeyDer::from_pem_slice(&bytes)
            .with_context(|| format!("{} holds no private key in PEM form", path.display()));
    };
    let Some(passphrase) = passphrase else {
        bail!("the private key {} is encrypted: give its passphrase with pkey-pwd", path.display());
    };
    let document = encrypted_document(&text[begin..])
        .with_context(|| format!("{} holds a broken encrypted private key", path.display()))?;
    let decrypted = decrypt(&document, passphrase).with_context(|| {
        format!(
            "the private key {} cannot be decrypted: the passphrase of pkey-pwd is wrong, or another cipher than AES \
             was used; in that case {}",
            path.display(),
            convert()
        )
    })?;
    Ok(PrivatePkcs8KeyDer::from(decrypted.as_bytes().to_vec()).into())
}

/// The first encrypted key in the text, which begins with it.
fn encrypted_document(text: &str) -> anyhow::Result<Document> {
    let end = text.find(END).ok_or_else(|| anyhow!("its end is missing"))?;
    let (label, document) =
        Document::from_pem(&text[..end + END.len()]).map_err(|error| anyhow!("{error}"))?;
    anyhow::ensure!(label == "ENCRYPTED PRIVATE KEY", "it is called {label}");
    Ok(document)
}

fn decrypt(document: &Document, passphrase: &str) -> anyhow::Result<SecretDocument> {
    let encrypted =
        EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|error| anyhow!("{error}"))?;
    encrypted.decrypt(passphrase).map_err(|error| anyhow!("{error}"))
}

const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
const LEGACY: &str = "Proc-Type: 4,ENCRYPTED";
