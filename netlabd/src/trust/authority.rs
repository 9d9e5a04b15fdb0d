// SPDX-License-Identifier: GPL-3.0-or-later
//! The cluster's certificate authority, on the server. Signs, and decides nothing: whom to sign
//! for is [`Membership`](super::Membership)'s to say.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use netlab_api::Time;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;

use super::certificate::{BACKDATE, Facts, SERVER_NAME, earlier, later, node_name};
use super::identity::{Identity, IdentityError, read_certificate};
use super::pki::{CA_CERTIFICATE, CA_KEY, NODE_CERTIFICATE, NODE_KEY, Pki, PkiError};
use super::token::Hash;

/// How long an authority lasts: ten years. Its end is the end of the cluster's trust, so it is far.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long certificates last unless configured: 90 days.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// X.520's bound on a common name; longer node names stand in the DNS name alone.
const COMMON_NAME_LENGTH: usize = 64;

/// The cluster's certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    hash: Hash,
    not_after: Time,
    lifetime: Duration,
    server: Arc<Identity>,
    server_key: String,
    pki: Pki,
}

/// What the server is known by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerNames {
    /// Name of its node.
    pub node: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Why the authority cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// This daemon has another's certificate.
    #[error(
        "`{path}` is there and its key is not: this state directory belongs to a node that joined \
         another server: start it with --join, or remove all of it with `netlabd teardown`"
    )]
    Joined {
        /// The authority's certificate.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] PkiError),
    /// What is in the files cannot be used.
    #[error("failed to use what is in `{path}`: was it damaged? `netlabd teardown` removes it")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A certificate cannot be made.
    #[error("failed to make a certificate")]
    Make {
        /// What rcgen says.
        #[source]
        source: rcgen::Error,
    },
    /// What was made cannot be used.
    #[error("BUG: made a certificate that cannot be used")]
    Unusable {
        /// What is wrong with it.
        #[source]
        source: IdentityError,
    },
    /// A node's request is not one.
    #[error("the certificate request cannot be read")]
    Request {
        /// What rcgen says.
        #[source]
        source: rcgen::Error,
    },
}

/// A certificate that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The certificate, PEM.
    pub certificate: String,
    /// What it says.
    pub facts: Facts,
}

impl Authority {
    /// Opens the authority of a state directory, or makes it, and the server's certificate with it.
    /// `lifetime` is that of certificates.
    ///
    /// # Errors
    /// [`AuthorityError::Joined`] when the directory is that of a node of another server.
    pub fn open(
        state_dir: &Path,
        lifetime: Duration,
        names: &ServerNames,
        now: Time,
    ) -> Result<Authority, AuthorityError> {
        let pki = Pki::of(state_dir);
        let (certificate, key) = match (pki.read(CA_CERTIFICATE)?, pki.read(CA_KEY)?) {
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(_), None) => {
                return Err(AuthorityError::Joined { path: pki.path(CA_CERTIFICATE) });
            }
            // The key is written first, so a crash leaves one without a certificate at most.
            (None, _) => {
                let (certificate, key) = make_authority(now)?;
                pki.write(CA_KEY, &key)?;
                pki.write(CA_CERTIFICATE, &certificate)?;
                (certificate, key)
            }
        };
        let damaged = |name: &str, source: Box<dyn std::error::Error + Send + Sync>| {
            AuthorityError::Damaged { path: pki.path(name), source }
        };
        let der = read_certificate(&certificate)
            .map_err(|source| damaged(CA_CERTIFICATE, source.into()))?;
        let facts = Facts::of(&der).map_err(|source| damaged(CA_CERTIFICATE, source.into()))?;
        let key = KeyPair::from_pem(&key).map_err(|source| damaged(CA_KEY, source.into()))?;
        let issuer = Issuer::from_ca_cert_der(&der, key)
            .map_err(|source| damaged(CA_CERTIFICATE, source.into()))?;
        let (server_key, stored) = server_key(&pki, &certificate)?;
        let mut made = None;
        let server = match stored {
            Some(identity) => identity,
            None => {
                let end = facts.not_after.min(later(now, lifetime));
                let pem = make_server_certificate(&issuer, &server_key, names, now, end)?;
                let identity = Identity::new(&pem, &server_key, &certificate)
                    .map_err(|source| AuthorityError::Unusable { source })?;
                made = Some(pem);
                identity
            }
        };
        if let Some(pem) = made {
            pki.write(NODE_CERTIFICATE, &pem)?;
        }
        let authority = Authority {
            issuer,
            hash: Hash::of(&der),
            certificate,
            not_after: facts.not_after,
            lifetime,
            server: Arc::new(server),
            server_key,
            pki,
        };
        authority.refresh(names, now)?;
        Ok(authority)
    }

    /// Hash of the authority's certificate, as tokens carry it.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The authority's certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The authority's certificate, DER.
    ///
    /// # Errors
    /// Never, as it was read when the authority was opened.
    pub fn certificate_der(&self) -> Result<CertificateDer<'static>, IdentityError> {
        read_certificate(&self.certificate)
    }

    /// What the server shows.
    pub fn server(&self) -> &Arc<Identity> {
        &self.server
    }

    /// How long certificates last.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Makes the server another certificate when its own nears its end or lacks a name. Tells
    /// whether it did. Connections go on.
    ///
    /// # Errors
    /// When it cannot be made or written; the one there is stays.
    pub fn refresh(&self, names: &ServerNames, now: Time) -> Result<bool, AuthorityError> {
        let facts = self.server.facts();
        let mut wanted = names.all();
        wanted.sort();
        let is_fresh = facts.is_valid(now) && now < facts.renewal();
        if is_fresh && wanted == facts.names {
            return Ok(false);
        }
        let end = self.end(now);
        let pem = make_server_certificate(&self.issuer, &self.server_key, names, now, end)?;
        self.pki.write(NODE_CERTIFICATE, &pem)?;
        self.server
            .replace(&pem, &self.server_key, &self.certificate)
            .map_err(|source| AuthorityError::Unusable { source })?;
        Ok(true)
    }

    /// Signs a node's request (PEM). Of the request only the key is taken: whose certificate it is
    /// the caller says, not the one who asks.
    ///
    /// # Errors
    /// [`AuthorityError::Request`] when it is no request, or not signed by its own key.
    pub fn sign(&self, request: &str, node: &str, now: Time) -> Result<Signed, AuthorityError> {
        let mut request = CertificateSigningRequestParams::from_pem(request)
            .map_err(|source| AuthorityError::Request { source })?;
        let names = vec![dns_name(&node_name(node))?];
        let mut params = leaf(node, names, now, self.end(now));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        request.params = params;
        let certificate =
            request.signed_by(&self.issuer).map_err(|source| AuthorityError::Make { source })?;
        let facts = Facts::of(certificate.der())
            .map_err(|source| AuthorityError::Unusable { source: source.into() })?;
        Ok(Signed { certificate: certificate.pem(), facts })
    }

    fn end(&self, now: Time) -> Time {
        self.not_after.min(later(now, self.lifetime))
    }
}

impl ServerNames {
    fn all(&self) -> Vec<String> {
        let mut names = vec![SERVER_NAME.to_owned(), "localhost".to_owned()];
        names.extend(Some(self.node.clone()).filter(|node| !names.contains(node)));
        names.extend(self.addresses.iter().map(IpAddr::to_string));
        names.sort();
        names.dedup();
        names
    }
}

/// The server's key, made if need be, and its certificate if there is one of this authority.
fn server_key(pki: &Pki, authority: &str) -> Result<(String, Option<Identity>), AuthorityError> {
    let key = match pki.read(NODE_KEY)? {
        Some(key) if KeyPair::from_pem(&key).is_ok() => key,
        // It can be made again at any time: nobody remembers the server's key.
        _ => {
            let key = KeyPair::generate().map_err(|source| AuthorityError::Make { source })?;
            let key = key.serialize_pem();
            pki.write(NODE_KEY, &key)?;
            key
        }
    };
    let certificate = pki.read(NODE_CERTIFICATE)?;
    let identity = certificate.and_then(|pem| Identity::new(&pem, &key, authority).ok());
    Ok((key, identity))
}

fn make_authority(now: Time) -> Result<(String, String), AuthorityError> {
    let make = |source| AuthorityError::Make { source };
    let key = KeyPair::generate().map_err(make)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = subject("netlab CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now, later(now, AUTHORITY_LIFE));
    let certificate = params.self_signed(&key).map_err(make)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn make_server_certificate(
    issuer: &Issuer<'static, KeyPair>,
    key: &str,
    names: &ServerNames,
    now: Time,
    end: Time,
) -> Result<String, AuthorityError> {
    let make = |source| AuthorityError::Make { source };
    let key = KeyPair::from_pem(key).map_err(make)?;
    let mut alternatives = Vec::new();
    for name in names.all() {
        alternatives.push(match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => dns_name(&name)?,
        });
    }
    let mut params = leaf(&names.node, alternatives, now, end);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params.signed_by(&key, issuer).map_err(make)?.pem())
}

fn leaf(node: &str, names: Vec<SanType>, now: Time, end: Time) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(node);
    params.subject_alt_names = names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, end);
    params
}

fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "netlab");
    if name.len() <= COMMON_NAME_LENGTH {
        subject.push(DnType::CommonName, name);
    }
    subject
}

fn dns_name(name: &str) -> Result<SanType, AuthorityError> {
    let name = name.try_into().map_err(|source| AuthorityError::Make { source })?;
    Ok(SanType::DnsName(name))
}

/// Clocks differ: what is made now is valid a little before.
fn set_validity(params: &mut CertificateParams, now: Time, end: Time) {
    let date = |time: Time| {
        let seconds = time.timestamp().as_second();
        x509_parser::time::ASN1Time::from_timestamp(seconds).map(|time| time.to_datetime())
    };
    // Times beyond the year 9999 do not occur: the default, which is longer, would stand.
    if let Ok(begin) = date(earlier(now, BACKDATE)) {
        params.not_before = begin;
    }
    if let Ok(end) = date(end) {
        params.not_after = end;
    }
}
