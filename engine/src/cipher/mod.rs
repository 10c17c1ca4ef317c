//! AES-256 on counter blocks: which code computes it.
//!
//! The crate `aes` computes it on any CPU, fastest where that has AVX-512. It makes and encrypts
//! counters in memory, which costs more than the cipher where vectors are shorter: `x86` keeps them
//! in registers. [`Cipher`] picks the fastest at run time.

mod counters;
mod rust_crypto;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;

use aes::Aes256Enc;
use aes::cipher::KeyInit;
#[cfg(target_arch = "x86_64")]
use x86::RoundKeys;

pub(crate) use counters::BLOCK_BYTES;

/// Code that computes AES-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CipherBackend {
    /// The crate `aes`, with whatever instructions it finds: AVX-512's, VAES, AES-NI, those of
    /// AArch64, and none on any other CPU.
    RustCrypto,
    /// AES-NI: a block in each vector.
    AesNi,
    /// VAES with AVX2: two blocks in each vector.
    Vaes256,
}

impl CipherBackend {
    /// Every backend.
    pub const ALL: [Self; 3] = [Self::RustCrypto, Self::AesNi, Self::Vaes256];

    /// The backends that this CPU has.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|backend| Cipher::new(*backend).is_some())
    }

    /// Name in benches and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RustCrypto => "rustcrypto",
            Self::AesNi => "aes-ni",
            Self::Vaes256 => "vaes-256",
        }
    }
}

impl fmt::Display for CipherBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The cipher of one backend; that there is one proves that the CPU has its instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cipher {
    /// Private, and set by [`Cipher::new`] alone: `x86` relies on it.
    backend: CipherBackend,
}

impl Cipher {
    /// Takes a backend that this CPU has; `None` for any other.
    #[must_use]
    pub fn new(backend: CipherBackend) -> Option<Self> {
        let present = match backend {
            CipherBackend::RustCrypto => true,
            #[cfg(target_arch = "x86_64")]
            CipherBackend::AesNi => {
                is_x86_feature_detected!("aes") && is_x86_feature_detected!("avx2")
            }
            #[cfg(target_arch = "x86_64")]
            CipherBackend::Vaes256 => {
                is_x86_feature_detected!("aes")
                    && is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("vaes")
            }
            #[cfg(not(target_arch = "x86_64"))]
            CipherBackend::AesNi | CipherBackend::Vaes256 => false,
        };
        present.then_some(Self { backend })
    }

    /// Takes the fastest backend that this CPU has.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if !(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("vaes")) {
            let fastest = [CipherBackend::Vaes256, CipherBackend::AesNi];
            if let Some(cipher) = fastest.into_iter().find_map(Self::new) {
                return cipher;
            }
        }
        Self { backend: CipherBackend::RustCrypto }
    }

    /// Which code this cipher is.
    #[must_use]
    pub fn backend(self) -> CipherBackend {
        self.backend
    }
}

/// A cipher with its key.
///
/// # Secrecy
/// The round keys are wiped when dropped. Copies that a move leaves on the stack are not.
pub(crate) enum KeyedCipher {
    RustCrypto(Aes256Enc),
    #[cfg(target_arch = "x86_64")]
    X86(RoundKeys),
}

impl KeyedCipher {
    #[inline]
    pub(crate) fn new(cipher: Cipher, key: &[u8; 32]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(keys) = RoundKeys::new(cipher, key) {
            return Self::X86(keys);
        }
        let _ = cipher;
        Self::RustCrypto(Aes256Enc::new(key.into()))
    }

    /// Writes the cipher of the numbers `first`, `first + 1` and so on, each 128 bits, the highest
    /// byte first.
    #[inline]
    pub(crate) fn encrypt_counters(&self, first: u64, blocks: &mut [[u8; BLOCK_BYTES]]) {
        match self {
            Self::RustCrypto(cipher) => rust_crypto::encrypt_counters(cipher, first, blocks),
            #[cfg(target_arch = "x86_64")]
            Self::X86(keys) => keys.encrypt_counters(first, blocks),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use aes::cipher::BlockCipherEncrypt;

    use super::*;

    /// Key and first counter block of NIST SP 800-38A, F.5.5 (CTR-AES256.Encrypt).
    pub(crate) const KEY: [u8; 32] = [
        0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe, 0x2b, 0x73, 0xae, 0xf0, 0x85, 0x7d, 0x77,
        0x81, 0x1f, 0x35, 0x2c, 0x07, 0x3b, 0x61, 0x08, 0xd7, 0x2d, 0x98, 0x10, 0xa3, 0x09, 0x14,
        0xdf, 0xf4,
    ];

    /// The counter blocks F.5.5 starts from, and its first two output blocks.
    const COUNTER: [u8; 16] = [
        0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe,
        0xff,
    ];
    const OUTPUT: [u8; 32] = [
        0x0b, 0xdf, 0x7d, 0xf1, 0x59, 0x17, 0x16, 0x33, 0x5e, 0x9a, 0x8b, 0x15, 0xc8, 0x60, 0xc5,
        0x02, 0x5a, 0x6e, 0x69, 0x9d, 0x53, 0x61, 0x19, 0x06, 0x54, 0x33, 0x86, 0x3c, 0x8f, 0x65,
        0x7b, 0x94,
    ];

    #[test]
    fn the_reference_gives_the_output_blocks_of_sp_800_38a() {
        let cipher = Aes256Enc::new(&KEY.into());
        for (n, expected) in OUTPUT.chunks(BLOCK_BYTES).enumerate() {
            let mut block = (u128::from_be_bytes(COUNTER) + n as u128).to_be_bytes().into();
            cipher.encrypt_block(&mut block);
            assert_eq!(block[..], *expected, "block {n}");
        }
    }

    #[test]
    fn every_backend_encrypts_the_counters_that_the_reference_does() {
        let mut ran = Vec::new();
        for backend in CipherBackend::available() {
            for seed in 0..20_u8 {
                let mut key = KEY;
                key[usize::from(seed)] ^= seed;
                let reference = Aes256Enc::new(&key.into());
                let cipher = KeyedCipher::new(Cipher::new(backend).expect("available"), &key);
                for first in [0, 1, 3, 254, 65_533, (1 << 32) - 7, (1 << 56) - 2] {
                    for count in [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 64, 65, 128, 300] {
                        let mut blocks = vec![[7; BLOCK_BYTES]; count];
                        cipher.encrypt_counters(first, &mut blocks);
                        for (n, block) in blocks.iter().enumerate() {
                            let counter = u128::from(first) + n as u128;
                            let mut expected = counter.to_be_bytes().into();
                            reference.encrypt_block(&mut expected);
                            let place = format!("{n} of {count} from {first} on, {backend}");
                            assert_eq!(block[..], expected[..], "{place}");
                        }
                    }
                }
            }
            ran.push(backend);
        }
        println!("ciphers that ran: {ran:?}");
        assert!(ran.contains(&Cipher::detect().backend()));
    }
}
