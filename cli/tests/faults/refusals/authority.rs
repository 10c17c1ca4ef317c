//! Authorities and certificates made by the `openssl` command, of any name, life and purpose.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a certificate is to say.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The sort of key, as `openssl req -newkey` takes it.
    pub(crate) key: &'a [&'a str],
    /// The subject, a path of openssl's.
    pub(crate) subject: &'a str,
    /// The alternative names, as openssl's configuration takes them.
    pub(crate) names: Option<&'a str>,
    pub(crate) purposes: &'a str,
    /// First and last moment; ten days from now on when there is none.
    pub(crate) life: Option<[&'a str; 2]>,
}

pub(crate) const P256: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
pub(crate) const ED25519: &[&str] = &["ed25519"];
pub(crate) const RSA: &[&str] = &["rsa:2048"];

pub(crate) const OVER: [&str; 2] = ["20200101000000Z", "20200102000000Z"];
pub(crate) const TO_COME: [&str; 2] = ["20900101000000Z", "20900102000000Z"];

impl<'a> Wanted<'a> {
    /// A certificate like those of the parties, with these alternative names.
    pub(crate) fn named(names: &'a str) -> Self {
        let purposes = "clientAuth,serverAuth";
        Self { key: P256, subject: "/CN=party", names: Some(names), purposes, life: None }
    }
}

/// Makes `DIRECTORY/ca.pem` and `ca.key`.
pub(crate) fn make_authority(directory: &Path, subject: &str) {
    fs::create_dir_all(directory).expect("made");
    let new = ["req", "-x509", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "30"];
    let says = ["-addext", "basicConstraints=critical,CA:TRUE"];
    let may = ["-addext", "keyUsage=critical,keyCertSign", "-subj", subject, "-newkey"];
    openssl(directory, &[&new[..], &says, &may, P256].concat());
}

/// Makes `DIRECTORY/certificate.pem` and `certificate.key`, issued by an authority.
pub(crate) fn issue(authority: &Path, directory: &Path, wanted: Wanted<'_>) {
    fs::create_dir_all(directory).expect("made");
    let names = wanted.names.map_or(String::new(), |names| format!("subjectAltName={names}\n"));
    let extensions = format!(
        "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
         extendedKeyUsage={}\n{names}",
        wanted.purposes
    );
    // `openssl x509` takes dates from version 3.4 on; `openssl ca` always did.
    let config = "[ca]\ndefault_ca=me\n[me]\ndatabase=index.txt\nserial=serial.txt\n\
                  new_certs_dir=.\ndefault_md=sha256\npolicy=any\n[any]\ncommonName=optional\n";
    let files = [("ca.cnf", config), ("index.txt", ""), ("serial.txt", "77\n")];
    for (name, text) in files.into_iter().chain([("names.ext", &*extensions)]) {
        fs::write(directory.join(name), text).expect("written");
    }
    let request = ["req", "-nodes", "-keyout", "certificate.key", "-out", "request.csr"];
    openssl(directory, &[&request[..], &["-subj", wanted.subject, "-newkey"], wanted.key].concat());
    let [pem, key] = ["ca.pem", "ca.key"].map(|name| text_of(authority.join(name)));
    let sign = ["ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", &pem, "-keyfile", &key];
    let files = ["-in", "request.csr", "-out", "certificate.pem", "-extfile", "names.ext"];
    let life = match wanted.life {
        None => vec!["-days", "10"],
        Some([from, to]) => vec!["-startdate", from, "-enddate", to],
    };
    openssl(directory, &[&sign[..], &files, &life].concat());
    let private = Permissions::from_mode(0o600);
    fs::set_permissions(directory.join("certificate.key"), private).expect("changed");
}

pub(crate) fn openssl(directory: &Path, arguments: &[&str]) {
    let out = Command::new("openssl").args(arguments).current_dir(directory).output();
    let out = out.expect("the openssl command is needed: run `make setup`");
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
}

fn text_of(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("UTF-8")
}
