//! The cryptography behind `jsonwebtoken`: `ring`, which TLS uses as well, so that the process has
//! one implementation of each algorithm.

use std::sync::Once;

use jsonwebtoken::Algorithm;
use jsonwebtoken::AlgorithmFamily;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::DecodingKeyKind;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::crypto::CryptoProvider;
use jsonwebtoken::crypto::JwtSigner;
use jsonwebtoken::crypto::JwtVerifier;
use jsonwebtoken::crypto::KeyUtils;
use jsonwebtoken::errors::Error;
use jsonwebtoken::errors::ErrorKind;
use ring::hmac as mac;
use ring::rand::SystemRandom;
use ring::signature::EcdsaKeyPair;
use ring::signature::EcdsaSigningAlgorithm;
use ring::signature::Ed25519KeyPair;
use ring::signature::RsaEncoding;
use ring::signature::RsaKeyPair;
use ring::signature::RsaParameters;
use ring::signature::RsaPublicKeyComponents;
use ring::signature::UnparsedPublicKey;
use ring::signature::VerificationAlgorithm;

/// Makes `ring` the provider of this process; later calls do nothing.
pub(super) fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |algorithm, key| Ok(Box::new(Signer::new(*algorithm, key)?)),
        verifier_factory: |algorithm, key| Ok(Box::new(Verifier::new(*algorithm, key)?)),
        // For the making of JWKs from keys, which this server never does.
        key_utils: KeyUtils::new_unimplemented(),
    };
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        assert!(PROVIDER.install_default().is_ok(), "nobody else installs a provider");
    });
}

/// One key with the one algorithm that it is used for.
struct Verifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Verifier {
    fn new(algorithm: Algorithm, key: &DecodingKey) -> Result<Self, Error> {
        check_family(algorithm, key.family())?;
        Ok(Self { algorithm, key: key.clone() })
    }

    fn verify_rsa(
        &self,
        scheme: &'static RsaParameters,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), ring::error::Unspecified> {
        match self.key.kind() {
            DecodingKeyKind::SecretOrDer(der) => {
                UnparsedPublicKey::new(scheme, der).verify(message, signature)
            }
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(scheme, message, signature)
            }
        }
    }

    fn verify_public(
        &self,
        scheme: &'static dyn VerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), ring::error::Unspecified> {
        let key = self.key.try_get_as_bytes().map_err(|_| ring::error::Unspecified)?;
        UnparsedPublicKey::new(scheme, key).verify(message, signature)
    }

    fn verify_hmac(
        &self,
        scheme: mac::Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), ring::error::Unspecified> {
        let key = self.key.try_get_as_bytes().map_err(|_| ring::error::Unspecified)?;
        // Compares in constant time.
        mac::verify(&mac::Key::new(scheme, key), message, signature)
    }
}

impl signature::Verifier<Vec<u8>> for Verifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        use ring::signature as ring;
        let done = match Scheme::of(self.algorithm).map_err(signature::Error::from_source)? {
            Scheme::Hmac(scheme) => self.verify_hmac(scheme, message, signature),
            Scheme::Rsa { verify, .. } => self.verify_rsa(verify, message, signature),
            Scheme::Ecdsa { verify, .. } => self.verify_public(verify, message, signature),
            Scheme::Ed25519 => self.verify_public(&ring::ED25519, message, signature),
        };
        done.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Verifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// One private key with the one algorithm that it is used for.
struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    fn new(algorithm: Algorithm, key: &EncodingKey) -> Result<Self, Error> {
        check_family(algorithm, key.family())?;
        Ok(Self { algorithm, key: key.clone() })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let random = SystemRandom::new();
        let bytes = self.key.as_bytes();
        let wrong = |what: &str| Error::from(ErrorKind::InvalidRsaKey(what.to_owned()));
        match Scheme::of(self.algorithm)? {
            Scheme::Hmac(scheme) => {
                Ok(mac::sign(&mac::Key::new(scheme, bytes), message).as_ref().to_vec())
            }
            Scheme::Rsa { sign, .. } => {
                let pair = RsaKeyPair::from_der(bytes).map_err(|it| wrong(&it.to_string()))?;
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(sign, &random, message, &mut signature)
                    .map_err(|it| wrong(&it.to_string()))?;
                Ok(signature)
            }
            Scheme::Ecdsa { sign, .. } => {
                let pair = EcdsaKeyPair::from_pkcs8(sign, bytes, &random)
                    .map_err(|_| Error::from(ErrorKind::InvalidEcdsaKey))?;
                let signature = pair.sign(&random, message);
                Ok(signature.map_err(|_| ErrorKind::InvalidEcdsaKey)?.as_ref().to_vec())
            }
            Scheme::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes)
                    .map_err(|_| Error::from(ErrorKind::InvalidEddsaKey))?;
                Ok(pair.sign(message).as_ref().to_vec())
            }
        }
    }
}

impl signature::Signer<Vec<u8>> for Signer {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        self.sign(message).map_err(signature::Error::from_source)
    }
}

impl JwtSigner for Signer {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn check_family(algorithm: Algorithm, family: AlgorithmFamily) -> Result<(), Error> {
    if algorithm.family() == family { Ok(()) } else { Err(ErrorKind::InvalidAlgorithm.into()) }
}

/// What `ring` calls an algorithm, for both directions.
enum Scheme {
    Hmac(mac::Algorithm),
    Rsa { verify: &'static RsaParameters, sign: &'static dyn RsaEncoding },
    Ecdsa { verify: &'static dyn VerificationAlgorithm, sign: &'static EcdsaSigningAlgorithm },
    Ed25519,
}

impl Scheme {
    fn of(algorithm: Algorithm) -> Result<Self, Error> {
        use ring::signature as ring;
        let rsa = |verify, sign: &'static dyn RsaEncoding| Self::Rsa { verify, sign };
        Ok(match algorithm {
            Algorithm::HS256 => Self::Hmac(mac::HMAC_SHA256),
            Algorithm::HS384 => Self::Hmac(mac::HMAC_SHA384),
            Algorithm::HS512 => Self::Hmac(mac::HMAC_SHA512),
            Algorithm::RS256 => rsa(&ring::RSA_PKCS1_2048_8192_SHA256, &ring::RSA_PKCS1_SHA256),
            Algorithm::RS384 => rsa(&ring::RSA_PKCS1_2048_8192_SHA384, &ring::RSA_PKCS1_SHA384),
            Algorithm::RS512 => rsa(&ring::RSA_PKCS1_2048_8192_SHA512, &ring::RSA_PKCS1_SHA512),
            Algorithm::PS256 => rsa(&ring::RSA_PSS_2048_8192_SHA256, &ring::RSA_PSS_SHA256),
            Algorithm::PS384 => rsa(&ring::RSA_PSS_2048_8192_SHA384, &ring::RSA_PSS_SHA384),
            Algorithm::PS512 => rsa(&ring::RSA_PSS_2048_8192_SHA512, &ring::RSA_PSS_SHA512),
            Algorithm::ES256 => Self::Ecdsa {
                verify: &ring::ECDSA_P256_SHA256_FIXED,
                sign: &ring::ECDSA_P256_SHA256_FIXED_SIGNING,
            },
            Algorithm::ES384 => Self::Ecdsa {
                verify: &ring::ECDSA_P384_SHA384_FIXED,
                sign: &ring::ECDSA_P384_SHA384_FIXED_SIGNING,
            },
            Algorithm::EdDSA => Self::Ed25519,
            _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
        })
    }
}
