//! One secret from all that the two senders have agreed on.

use std::fmt;

use hkdf::HkdfExtract;
use sha2::Sha256;

use crate::fingerprint::Fingerprint;
use crate::key_schedule::SharedSecret;

/// What the two senders of a session have agreed on, each in its own way.
///
/// The combined secret is unknown to everybody else while any one of the ways holds: elliptic
/// curves, which a large quantum computer breaks, or ML-KEM and the shared key, which it does not.
#[derive(Clone, Copy)]
pub struct AgreedSecrets<'a> {
    /// ECDH on P-256.
    pub ecdh: &'a SharedSecret,
    /// Both public keys of it, as SubjectPublicKeyInfo in DER, the lower sender's first.
    pub agreement_keys: [&'a [u8]; 2],
    /// ML-KEM-768, where the session has a key of it.
    pub encapsulated: Option<Encapsulated<'a>>,
    /// The key that both senders have in a file, where the session names one.
    pub shared_key: Option<&'a SharedSecret>,
}

/// A secret that one sender has encapsulated for the other.
#[derive(Clone, Copy)]
pub struct Encapsulated<'a> {
    /// The secret, 32 bytes.
    pub secret: &'a SharedSecret,
    /// The public key that it was encapsulated for.
    pub public_key: &'a [u8],
    /// What carries it.
    pub ciphertext: &'a [u8],
}

impl AgreedSecrets<'_> {
    /// Combines everything into one secret, from which [`KeySchedule`] derives the session's keys.
    ///
    /// `HKDF-Extract-SHA256(salt = label("agreement"), ikm = field || field || ...)` with
    /// `field(name, value) = u64(length of name) || name || u64(length of value) || value`, in this
    /// order: `ecdh`, `agreement_key` of each sender, `ml_kem`, `encapsulation_key` and
    /// `ciphertext` if there is an encapsulated secret, `shared_key` if there is one.
    ///
    /// [`KeySchedule`]: crate::key_schedule::KeySchedule
    ///
    /// # Secrecy
    /// As secret as the strongest of its inputs.
    ///
    /// # Source
    /// RFC 5869; NIST SP 800-56C rev. 2, section 2, for hybrid secrets; `docs/format.md`, *Agreed
    /// secret*.
    #[must_use]
    pub fn combine(&self, fingerprint: &Fingerprint) -> SharedSecret {
        let mut extract = HkdfExtract::<Sha256>::new(Some(&fingerprint.label("agreement")));
        let mut field = |name: &str, value: &[u8]| {
            for bytes in [name.as_bytes(), value] {
                extract.input_ikm(&(bytes.len() as u64).to_le_bytes());
                extract.input_ikm(bytes);
            }
        };
        field("ecdh", self.ecdh.expose());
        for key in self.agreement_keys {
            field("agreement_key", key);
        }
        if let Some(Encapsulated { secret, public_key, ciphertext }) = &self.encapsulated {
            field("ml_kem", secret.expose());
            field("encapsulation_key", public_key);
            field("ciphertext", ciphertext);
        }
        if let Some(key) = self.shared_key {
            field("shared_key", key.expose());
        }
        SharedSecret::new(extract.finalize().0.into())
    }
}

impl fmt::Debug for AgreedSecrets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("AgreedSecrets");
        out.field("encapsulated", &self.encapsulated.is_some());
        out.field("shared_key", &self.shared_key.is_some()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Encapsulated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encapsulated(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn combined(agreed: &AgreedSecrets<'_>) -> [u8; 32] {
        *agreed.combine(&Fingerprint([9; 32])).expose()
    }

    #[test]
    fn every_input_changes_the_secret() {
        let [one, two, three, four] = [1, 2, 3, 4].map(|byte| SharedSecret::new([byte; 32]));
        let kem = Encapsulated { secret: &two, public_key: b"public", ciphertext: b"cipher" };
        let base = AgreedSecrets {
            ecdh: &one,
            agreement_keys: [b"lower", b"higher"],
            encapsulated: Some(kem),
            shared_key: Some(&three),
        };
        let with = |kem| AgreedSecrets { encapsulated: Some(kem), ..base };
        let all = [
            base,
            AgreedSecrets { ecdh: &four, ..base },
            AgreedSecrets { agreement_keys: [b"higher", b"lower"], ..base },
            AgreedSecrets { agreement_keys: [b"lowerh", b"igher"], ..base },
            AgreedSecrets { encapsulated: None, ..base },
            AgreedSecrets { shared_key: None, ..base },
            AgreedSecrets { shared_key: Some(&four), ..base },
            with(Encapsulated { secret: &four, ..kem }),
            with(Encapsulated { public_key: b"publi", ciphertext: b"ccipher", ..kem }),
            with(Encapsulated { ciphertext: b"cypher", ..kem }),
        ];
        let secrets = all.map(|agreed| combined(&agreed));
        for (index, secret) in secrets.iter().enumerate() {
            assert!(!secrets[..index].contains(secret), "{index}");
        }
        let elsewhere = base.combine(&Fingerprint([8; 32]));
        assert_ne!(*elsewhere.expose(), secrets[0]);
    }

    #[test]
    fn debug_prints_no_secret() {
        let secret = SharedSecret::new([0xab; 32]);
        let agreed = AgreedSecrets {
            ecdh: &secret,
            agreement_keys: [&[], &[]],
            encapsulated: None,
            shared_key: Some(&secret),
        };
        let shown = format!("{agreed:?}");
        assert_eq!(shown, "AgreedSecrets { encapsulated: false, shared_key: true, .. }");
    }
}
