//! Certificates made with the `openssl` command, as an operator makes them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A certificate authority in a directory of its own.
pub(crate) struct Authority {
    directory: PathBuf,
}

impl Authority {
    pub(crate) fn make(directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        let authority = Self { directory: directory.to_owned() };
        let subject = format!("/CN=authority {}", directory.file_name().unwrap().display());
        authority.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-days",
            "2",
            "-subj",
            &subject,
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign",
        ]);
        authority
    }

    pub(crate) fn pem(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    pub(crate) fn sha256(&self) -> [u8; 32] {
        self.openssl(&["x509", "-in", "ca.pem", "-outform", "der", "-out", "ca.der"]);
        let der = fs::read(self.directory.join("ca.der")).unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
        digest.as_ref().try_into().unwrap()
    }

    /// Makes `file.pem` and `file.key` for one name: `DNS:...` or `URI:...`.
    pub(crate) fn issue(&self, file: &str, name: &str) -> Files {
        self.issue_for(file, name, &["-days", "1"])
    }

    /// The same, but expired.
    pub(crate) fn issue_expired(&self, file: &str, name: &str) -> Files {
        let life = ["-not_before", "20200101000000Z", "-not_after", "20200102000000Z"];
        if self.knows("-not_after") {
            self.issue_for(file, name, &life)
        } else {
            self.issue_by_ca(file, name)
        }
    }

    fn knows(&self, option: &str) -> bool {
        let help = Command::new("openssl").args(["x509", "-help"]).output().unwrap();
        String::from_utf8_lossy(&help.stderr).contains(option)
    }

    fn request(&self, file: &str, name: &str) {
        let extensions = format!(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
             extendedKeyUsage=clientAuth,serverAuth\nsubjectAltName={name}\n"
        );
        fs::write(self.directory.join(format!("{file}.ext")), extensions).unwrap();
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            &format!("{file}.key"),
            "-out",
            &format!("{file}.csr"),
            "-subj",
            "/CN=party",
        ]);
    }

    fn issue_for(&self, file: &str, name: &str, life: &[&str]) -> Files {
        self.request(file, name);
        let (csr, pem, ext) = (format!("{file}.csr"), format!("{file}.pem"), format!("{file}.ext"));
        let mut arguments = vec![
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-out",
            &pem,
            "-extfile",
            &ext,
        ];
        arguments.extend(life);
        self.openssl(&arguments);
        self.files(file)
    }

    /// `openssl x509` before 3.4 takes no dates; `openssl ca` always did.
    fn issue_by_ca(&self, file: &str, name: &str) -> Files {
        self.request(file, name);
        let config = "[ca]\ndefault_ca=me\n[me]\ndatabase=index.txt\nserial=serial.txt\n\
                      new_certs_dir=.\ndefault_md=sha256\npolicy=any\n[any]\ncommonName=optional\n";
        fs::write(self.directory.join("ca.cnf"), config).unwrap();
        fs::write(self.directory.join("index.txt"), "").unwrap();
        fs::write(self.directory.join("serial.txt"), "77\n").unwrap();
        self.openssl(&[
            "ca",
            "-batch",
            "-notext",
            "-config",
            "ca.cnf",
            "-cert",
            "ca.pem",
            "-keyfile",
            "ca.key",
            "-in",
            &format!("{file}.csr"),
            "-out",
            &format!("{file}.pem"),
            "-extfile",
            &format!("{file}.ext"),
            "-startdate",
            "20200101000000Z",
            "-enddate",
            "20200102000000Z",
        ]);
        self.files(file)
    }

    fn files(&self, file: &str) -> Files {
        let key = self.directory.join(format!("{file}.key"));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        Files { certificate: self.directory.join(format!("{file}.pem")), key }
    }

    fn openssl(&self, arguments: &[&str]) {
        let out = Command::new("openssl").args(arguments).current_dir(&self.directory).output();
        let out = out.expect("the openssl command is needed: run `make setup`");
        assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
}

/// A certificate and its key.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}
