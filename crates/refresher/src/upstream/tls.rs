//! TLS to upstreams, with the certificates of the machine.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// The machine has no certificates to check an upstream's by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "https:// needs certificates of authorities, and this machine has none{0}: install ca-certificates, or name a file of them \
     in SSL_CERT_FILE"
)]
pub struct NoRoots(String);

/// The authorities that are trusted.
#[derive(Clone, Debug)]
pub struct TlsRoots(Arc<ClientConfig>);

impl TlsRoots {
    /// Those of the machine; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
    ///
    /// # Errors
    /// Where there are none.
    pub fn of_the_machine() -> Result<Self, NoRoots> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(NoRoots(why));
        }
        Self::new(roots).map_err(|error| NoRoots(format!(" ({error})")))
    }

    /// These.
    ///
    /// # Errors
    /// Where the provider has no protocol version in common with this program, which is a bug.
    pub fn new(roots: RootCertStore) -> Result<Self, rustls::Error> {
        // Named, so that nothing depends on a provider that is installed for the whole process.
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let mut config = builder
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }
}
