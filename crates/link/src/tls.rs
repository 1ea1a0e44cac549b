//! TLS: who is at the other end, proven by its identity key.
//!
//! TLS 1.3 with X25519MLKEM768 and nothing else. A node's certificate is self-signed by its
//! Ed25519 identity key; of a certificate nothing counts but that key, and the handshake's
//! signature by it. No resumption, no early data, no server name.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rcgen::{CertificateParams, PublicKeyData, SignatureAlgorithm};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, kx_group, sign};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme, version,
};
use wire::NodeId;
use zeroize::Zeroizing;

use crate::{IdentitySeed, LinkError};

/// The nodes that may show their key when they dial us.
pub(crate) type Admitted = RwLock<BTreeSet<NodeId>>;

/// Everything that the handshakes of one mesh share.
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    identity: Option<Identity>,
}

struct Identity {
    id: NodeId,
    shown: Arc<SingleCertAndKey>,
}

impl Tls {
    /// # Errors
    /// [`LinkError::Tls`] if the library refuses the identity.
    pub(crate) fn new(seed: Option<&IdentitySeed>) -> Result<Self, LinkError> {
        let identity = seed.map(Identity::new).transpose()?;
        let provider = Arc::new(hybrid_only());
        Ok(Self { provider, identity })
    }

    pub(crate) fn node_id(&self) -> Option<NodeId> {
        self.identity.as_ref().map(|identity| identity.id)
    }

    /// For connections that come in: a key that is shown must be admitted, unless strangers may
    /// come; none need be shown if guests may come.
    ///
    /// # Errors
    /// [`LinkError::NoIdentity`] without an identity, [`LinkError::Tls`] if the library refuses.
    pub(crate) fn listening(
        &self,
        admitted: Arc<Admitted>,
        guests: bool,
        strangers: bool,
    ) -> Result<QuicServerConfig, LinkError> {
        let identity = self.identity.as_ref().ok_or(LinkError::NoIdentity)?;
        let verifier = AdmitsNodes {
            keys: Keys(self.provider.clone()),
            admitted,
            guests,
            strangers,
        };
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|_| LinkError::Tls)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(identity.shown.clone());
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.try_into().map_err(|_| LinkError::Tls)
    }

    /// For a connection to `node`: no other key will do. The flag rises if another is shown.
    ///
    /// # Errors
    /// [`LinkError::Tls`] if the library refuses.
    pub(crate) fn dialling(
        &self,
        node: NodeId,
    ) -> Result<(QuicClientConfig, Arc<AtomicBool>), LinkError> {
        let other_key = Arc::new(AtomicBool::new(false));
        let verifier = Pinned {
            keys: Keys(self.provider.clone()),
            expected: node,
            other_key: other_key.clone(),
        };
        let builder = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|_| LinkError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.identity {
            Some(identity) => builder.with_client_cert_resolver(identity.shown.clone()),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        let config = config.try_into().map_err(|_| LinkError::Tls)?;
        Ok((config, other_key))
    }
}

/// The key that the other end of a finished handshake has shown, if any.
pub(crate) fn shown_by(connection: &quinn::Connection) -> Option<NodeId> {
    let shown = connection.peer_identity()?;
    let chain = shown.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    node_id_in(chain.first()?).ok()
}

impl Identity {
    fn new(seed: &IdentitySeed) -> Result<Self, LinkError> {
        let encoded = pkcs8(seed);
        let key = sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(encoded.as_slice()))
            .map_err(|_| LinkError::Tls)?;
        let signer = SelfSigner::new(key.clone()).ok_or(LinkError::Tls)?;
        let id = NodeId(signer.public);
        let params = CertificateParams::new(Vec::new()).map_err(|_| LinkError::Tls)?;
        let certificate = params.self_signed(&signer).map_err(|_| LinkError::Tls)?;
        let certified = CertifiedKey::new(vec![certificate.der().clone()], key);
        Ok(Self {
            id,
            shown: Arc::new(SingleCertAndKey::from(certified)),
        })
    }
}

/// Lends the identity key to the certificate's maker.
struct SelfSigner {
    key: Arc<dyn SigningKey>,
    public: [u8; 32],
}

impl SelfSigner {
    fn new(key: Arc<dyn SigningKey>) -> Option<Self> {
        let public = ed25519_in(key.public_key()?.as_ref())?;
        Some(Self { key, public })
    }
}

impl PublicKeyData for SelfSigner {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for SelfSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key
            .choose_scheme(&[SignatureScheme::ED25519])
            .and_then(|signer| signer.sign(message).ok())
            .ok_or(rcgen::Error::RemoteKeyError)
    }
}

/// Checks of keys and signatures that both directions share.
#[derive(Debug)]
struct Keys(Arc<CryptoProvider>);

impl Keys {
    fn shown(
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<NodeId, Error> {
        if intermediates.is_empty() {
            node_id_in(end_entity)
        } else {
            Err(CertificateError::BadEncoding.into())
        }
    }

    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signed.scheme != SignatureScheme::ED25519 {
            return Err(CertificateError::BadSignature.into());
        }
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }
}

/// Accepts one key: that of the node dialled.
#[derive(Debug)]
struct Pinned {
    keys: Keys,
    expected: NodeId,
    other_key: Arc<AtomicBool>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if Keys::shown(end_entity, intermediates) == Ok(self.expected) {
            Ok(ServerCertVerified::assertion())
        } else {
            self.other_key.store(true, Ordering::Relaxed);
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls13_only())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.keys.verify(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// Accepts the keys of the admitted set.
#[derive(Debug)]
struct AdmitsNodes {
    keys: Keys,
    admitted: Arc<Admitted>,
    guests: bool,
    strangers: bool,
}

impl ClientCertVerifier for AdmitsNodes {
    fn client_auth_mandatory(&self) -> bool {
        !self.guests
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let id = Keys::shown(end_entity, intermediates)?;
        if self.strangers || is_admitted(&self.admitted, &id) {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls13_only())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.keys.verify(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

pub(crate) fn is_admitted(admitted: &Admitted, id: &NodeId) -> bool {
    admitted
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .contains(id)
}

/// Whether a handshake failed because a key was not admitted, or none was shown where one is
/// asked for; at either end.
pub(crate) fn is_refusal_of_key(code: quinn::TransportErrorCode) -> bool {
    [ACCESS_DENIED, CERTIFICATE_REQUIRED]
        .map(quinn::TransportErrorCode::crypto)
        .contains(&code)
}

fn hybrid_only() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![kx_group::X25519MLKEM768],
        ..aws_lc_rs::default_provider()
    }
}

fn tls13_only() -> Error {
    Error::General("TLS 1.3 only".into())
}

fn node_id_in(certificate: &CertificateDer<'_>) -> Result<NodeId, Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    ed25519_in(parsed.subject_public_key_info().as_ref())
        .map(NodeId)
        .ok_or_else(|| CertificateError::BadEncoding.into())
}

/// The key in an Ed25519 `SubjectPublicKeyInfo` (RFC 8410, 4).
fn ed25519_in(info: &[u8]) -> Option<[u8; 32]> {
    info.strip_prefix(&ED25519_INFO)?.try_into().ok()
}

/// The seed as PKCS #8 (RFC 8410, 7).
fn pkcs8(seed: &IdentitySeed) -> Zeroizing<Vec<u8>> {
    let mut encoded = Zeroizing::new(Vec::with_capacity(ED25519_PKCS8.len() + 32));
    encoded.extend_from_slice(&ED25519_PKCS8);
    encoded.extend_from_slice(seed.as_bytes());
    encoded
}

/// The protocol that both ends must name; its number rises when the bytes of a link change.
pub(crate) const PROTOCOL: &[u8] = b"subrosa-link/1";

const ED25519_INFO: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const ED25519_PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// TLS alerts (RFC 8446, 6).
const ACCESS_DENIED: u8 = 49;
const CERTIFICATE_REQUIRED: u8 = 116;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_id_is_the_identitys_public_key() {
        // RFC 8032, 7.1, test 1.
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec,
            0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03,
            0x1c, 0xae, 0x7f, 0x60,
        ];
        let tls = Tls::new(Some(&seed.into())).unwrap();
        assert_eq!(
            tls.node_id().unwrap().to_string(),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
    }

    #[test]
    fn offers_the_hybrid_group_and_no_other() {
        let groups: Vec<_> = hybrid_only().kx_groups.iter().map(|g| g.name()).collect();
        assert_eq!(groups, [rustls::NamedGroup::X25519MLKEM768]);
    }

    #[test]
    fn no_bytes_but_an_ed25519_certificate_name_a_node() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let certificate = CertificateDer::from(bytes);
            assert!(node_id_in(&certificate).is_err());
        });
        let identity = Identity::new(&[7; 32].into()).unwrap();
        let certificate = identity.shown_certificate();
        assert_eq!(node_id_in(&certificate), Ok(identity.id));
        for place in 0..certificate.len() {
            let mut bytes = certificate.to_vec();
            bytes[place] ^= 1;
            // It may still parse: then the handshake's signature decides.
            let _ = node_id_in(&CertificateDer::from(bytes));
        }
    }

    impl Identity {
        fn shown_certificate(&self) -> CertificateDer<'static> {
            use rustls::client::ResolvesClientCert;
            let shown = self.shown.resolve(&[], &[SignatureScheme::ED25519]);
            shown.unwrap().cert[0].clone()
        }
    }
}
