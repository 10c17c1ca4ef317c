//! The session's keys, computed without a line of this program's code.

use std::path::Path;
use std::process::Command;

fn openssl(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output();
    let output = output.expect("the openssl command is needed: run `make setup`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The X coordinate that two agreement keys have in common.
pub(crate) fn shared_secret(directory: &Path, private: &str, public: &str) -> Vec<u8> {
    openssl(directory, &["pkeyutl", "-derive", "-inkey", private, "-peerkey", public])
}

/// The DER of a private key.
pub(crate) fn der_of(directory: &Path, private: &str) -> Vec<u8> {
    openssl(directory, &["pkcs8", "-topk8", "-nocrypt", "-in", private, "-outform", "DER"])
}

/// HKDF-SHA256, extraction and expansion (RFC 5869).
pub(crate) fn hkdf(key: &[u8], salt: &str, info: &[u8], bytes: usize) -> Vec<u8> {
    let key = format!("hexkey:{}", hex::encode(key));
    let salt = format!("hexsalt:{}", hex::encode(salt));
    let info = format!("hexinfo:{}", hex::encode(info));
    let bytes = bytes.to_string();
    let digest = ["kdf", "-binary", "-keylen", &bytes, "-kdfopt", "digest:SHA2-256"];
    let options = ["-kdfopt", &key, "-kdfopt", &salt, "-kdfopt", &info, "HKDF"];
    openssl(Path::new("/"), &[&digest[..], &options].concat())
}

/// HMAC-SHA256, which is also the first step of HKDF.
pub(crate) fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("message"), message).expect("written");
    let key = format!("hexkey:{}", hex::encode(key));
    let mac = ["dgst", "-sha256", "-mac", "HMAC", "-macopt", &key, "-binary", "message"];
    openssl(directory.path(), &mac)
}
