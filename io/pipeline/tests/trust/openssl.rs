//! Authorities and certificates made by the `openssl` command line.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use reshare_format::keys::certificate::{PartyCertificate, TrustAnchor};

/// What a certificate says, as openssl's configuration takes it.
pub(crate) const SIGNS: &str = "keyUsage=critical,digitalSignature\n";
pub(crate) const INTERMEDIATE: &str =
    "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\n";

/// How `openssl genpkey` makes each kind of key.
pub(crate) const KEYS: [(&str, &[&str]); 4] = [
    ("p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
    ("rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
    ("ed25519", &["-algorithm", "ED25519"]),
];

/// An authority, or an intermediate one, in a directory.
pub(crate) struct OpensslCa {
    pub(crate) directory: PathBuf,
    name: String,
}

/// A certificate chain and its key.
pub(crate) struct Issued {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

pub(crate) fn openssl(directory: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output();
    let output = output.unwrap_or_else(|error| panic!("openssl ({error}): run make setup"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {stderr}");
}

fn generate(directory: &Path, name: &str, kind: &str) {
    let (_, how) = KEYS.iter().find(|(known, _)| *known == kind).expect("a known kind");
    let file = format!("{name}.key");
    openssl(directory, &[&["genpkey", "-out", &file], *how].concat());
    fs::set_permissions(directory.join(file), Permissions::from_mode(0o600)).expect("chmod");
}

impl OpensslCa {
    pub(crate) fn new(directory: &Path, name: &str, kind: &str) -> Self {
        generate(directory, name, kind);
        let (key, out, subject) =
            (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
        openssl(
            directory,
            &["req", "-x509", "-new", "-key", &key, "-out", &out, "-subj", &subject, "-days", "30"],
        );
        Self { directory: directory.to_owned(), name: name.to_owned() }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.join(format!("{}.pem", self.name))
    }

    pub(crate) fn anchor(&self) -> TrustAnchor {
        TrustAnchor::load(&self.file(), None).expect("an authority")
    }

    /// Issues a certificate for 10 days with the given extensions and common name.
    pub(crate) fn issue(&self, name: &str, kind: &str, common: &str, extensions: &str) -> Issued {
        let directory = &self.directory;
        generate(directory, name, kind);
        fs::write(directory.join(format!("{name}.ext")), extensions).expect("written");
        let [key, csr, ext, out] =
            ["key", "csr", "ext", "pem"].map(|suffix| format!("{name}.{suffix}"));
        let subject = format!("/CN={common}");
        openssl(directory, &["req", "-new", "-key", &key, "-out", &csr, "-subj", &subject]);
        let (ca, ca_key) = (format!("{}.pem", self.name), format!("{}.key", self.name));
        openssl(
            directory,
            &[
                "x509",
                "-req",
                "-in",
                &csr,
                "-CA",
                &ca,
                "-CAkey",
                &ca_key,
                "-CAcreateserial",
                "-extfile",
                &ext,
                "-days",
                "10",
                "-out",
                &out,
            ],
        );
        Issued { certificate: directory.join(out), key: directory.join(key) }
    }

    /// Issues a certificate with one alternative name that may sign.
    pub(crate) fn party(&self, name: &str, kind: &str, san: &str) -> PartyCertificate {
        self.issue(name, kind, name, &format!("{SIGNS}subjectAltName={san}\n")).load()
    }

    /// An authority below this one.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        self.issue(name, "p256", name, INTERMEDIATE);
        Self { directory: self.directory.clone(), name: name.to_owned() }
    }
}

impl Issued {
    pub(crate) fn load(&self) -> PartyCertificate {
        PartyCertificate::load(&self.certificate, &self.key).expect("a certificate and its key")
    }

    /// Writes another certificate after this one.
    pub(crate) fn append(&self, other: &Path) {
        let mut text = fs::read(&self.certificate).expect("read");
        text.extend(fs::read(other).expect("read"));
        fs::write(&self.certificate, text).expect("written");
    }
}
