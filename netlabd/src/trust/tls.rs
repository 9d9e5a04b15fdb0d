// SPDX-License-Identifier: GPL-3.0-or-later
//! What TLS is told: version 1.3 alone, certificates of one authority, no session tickets.
//!
//! Without tickets each connection proves anew who it is; a resumed session would outlive its
//! certificate. It also costs less memory.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};

use super::certificate::{Facts, SERVER_NAME};
use super::identity::Identity;
use super::token::Hash;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authority's certificate is not taken.
    #[error("failed to use the authority's certificate")]
    Authority {
        /// What TLS says.
        #[source]
        source: Error,
    },
    /// Certificates of its kind cannot be checked.
    #[error("failed to prepare the check of certificates")]
    Verifier {
        /// What TLS says.
        #[source]
        source: rustls::client::VerifierBuilderError,
    },
    /// The version is not known.
    #[error("BUG: TLS 1.3 is not there")]
    Version {
        /// What TLS says.
        #[source]
        source: Error,
    },
}

/// The cryptography: ring.
pub(super) fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// For a server that takes clients without a certificate and those with one of `authority`.
///
/// # Errors
/// When the authority's certificate is unusable.
pub fn server(
    identity: Arc<Identity>,
    authority: CertificateDer<'static>,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(authority)?, provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|source| TlsError::Verifier { source })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| TlsError::Version { source })?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(identity);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// For a client that shows `identity` and takes the server of `authority` alone.
///
/// # Errors
/// When the authority's certificate is unusable.
pub fn client(
    identity: Arc<Identity>,
    authority: CertificateDer<'static>,
) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| TlsError::Version { source })?
        .with_root_certificates(roots(authority)?)
        .with_client_cert_resolver(identity);
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// For a client that knows the hash of the authority and nothing else, and has no certificate.
///
/// # Errors
/// When TLS is not there.
pub fn first_contact(pinned: Arc<Pinned>) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| TlsError::Version { source })?
        .dangerous()
        .with_custom_certificate_verifier(pinned)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The name that the server must have, by whatever address it is reached.
pub fn server_name() -> ServerName<'static> {
    ServerName::try_from(SERVER_NAME).expect("the name is a constant")
}

fn roots(authority: CertificateDer<'static>) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority).map_err(|source| TlsError::Authority { source })?;
    Ok(Arc::new(roots))
}

/// Takes the server whose authority has a given hash, and remembers what it saw.
#[derive(Debug)]
pub struct Pinned {
    hash: Hash,
    provider: CryptoProvider,
    seen: Mutex<Option<Seen>>,
}

/// What a server showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The authority that was looked for: its certificate, and what the server's own says.
    Authority(CertificateDer<'static>, Facts),
    /// Another authority, with this hash.
    Other(Hash),
}

impl Pinned {
    /// Looks for the authority with this hash.
    pub fn new(hash: Hash) -> Pinned {
        Pinned { hash, provider: provider(), seen: Mutex::new(None) }
    }

    /// What the server showed, once there was a handshake.
    pub fn seen(&self) -> Option<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn see(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }
}

impl ServerCertVerifier for Pinned {
    /// The time of the check is moved into the certificate's life: a machine whose clock is off
    /// gets to hear the server's time, and by that a better error than TLS would give. The join
    /// compares the clocks before anything is believed for longer.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authority) = intermediates.iter().find(|der| Hash::of(der) == self.hash) else {
            self.see(Seen::Other(Hash::of(intermediates.last().unwrap_or(end_entity))));
            return Err(CertificateError::UnknownIssuer.into());
        };
        let authority = authority.clone().into_owned();
        let facts = Facts::of(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        let roots = roots(authority.clone()).map_err(|_| CertificateError::BadEncoding)?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots, Arc::new(self.provider.clone()))
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        let seconds = |time: netlab_api::Time| time.timestamp().as_second().unsigned_abs();
        let when = now.as_secs().clamp(
            seconds(facts.not_before),
            seconds(facts.not_after).max(seconds(facts.not_before)),
        );
        let when = UnixTime::since_unix_epoch(std::time::Duration::from_secs(when));
        let verified = verifier.verify_server_cert(end_entity, &[], name, ocsp_response, when)?;
        self.see(Seen::Authority(authority, facts));
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
