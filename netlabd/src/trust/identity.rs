// SPDX-License-Identifier: GPL-3.0-or-later
//! The key and certificate that a daemon shows, replaceable while connections go on.
//!
//! TLS asks for them at each handshake; a connection that is there keeps what it began with.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::{CertificateError, Facts};
use super::tls::provider;

/// The key and certificate that a daemon shows.
pub struct Identity {
    current: RwLock<Arc<Current>>,
}

struct Current {
    key: Arc<CertifiedKey>,
    facts: Facts,
}

/// Why a key and a certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The text is no PEM of that kind.
    #[error("failed to read a {what}")]
    Pem {
        /// `key` or `certificate`.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// They do not belong together, or are of a kind that is not known.
    #[error("failed to use the certificate with its key")]
    Mismatch {
        /// What TLS says.
        #[source]
        source: rustls::Error,
    },
    /// The certificate says nothing.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl Identity {
    /// Reads a certificate and its key, PEM, and the authority's certificate to send along.
    ///
    /// # Errors
    /// When they do not belong together.
    pub fn new(certificate: &str, key: &str, authority: &str) -> Result<Identity, IdentityError> {
        let current = Current::read(certificate, key, authority)?;
        Ok(Identity { current: RwLock::new(Arc::new(current)) })
    }

    /// Shows this from now on.
    ///
    /// # Errors
    /// When they do not belong together; what was shown before is shown still.
    pub fn replace(
        &self,
        certificate: &str,
        key: &str,
        authority: &str,
    ) -> Result<(), IdentityError> {
        let current = Arc::new(Current::read(certificate, key, authority)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    /// What the certificate says.
    pub fn facts(&self) -> Facts {
        self.current().facts.clone()
    }

    fn current(&self) -> Arc<Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Current {
    fn read(certificate: &str, key: &str, authority: &str) -> Result<Current, IdentityError> {
        let certificate = read_certificate(certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|source| IdentityError::Pem { what: "key", source })?;
        let facts = Facts::of(&certificate)?;
        let chain = vec![certificate, read_certificate(authority)?];
        let key = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|source| IdentityError::Mismatch { source })?;
        Ok(Current { key: Arc::new(key), facts })
    }
}

/// Reads a certificate, PEM.
///
/// # Errors
/// When it is none.
pub fn read_certificate(pem: &str) -> Result<CertificateDer<'static>, IdentityError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|source| IdentityError::Pem { what: "certificate", source })
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().key.clone())
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current().key.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("facts", &self.current().facts).finish_non_exhaustive()
    }
}
