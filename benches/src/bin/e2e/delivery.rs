//! `send` over a long line, next to curl with a package that is ready.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::line::Line;
use crate::network::Network;
use crate::one_pass::listening_at;
use crate::processes::{output, seconds, spawn};

/// Connections of curl: as many as a browser opens to one host, and no more than `send` may.
const CONNECTIONS: usize = 4;

impl Network {
    /// Delivers party 0's rows over a line, and returns the seconds of `send` with `uploads`.
    pub(crate) fn send_over_line(
        &self,
        window_bytes: usize,
        uploads: Option<usize>,
    ) -> Result<f64, Failure> {
        self.over_line(window_bytes, |url| {
            let mut send = self.deliver_command("0", url);
            if let Some(uploads) = uploads {
                send.args(["--uploads", &uploads.to_string()]);
            }
            seconds([send])
        })
    }

    /// The same parts, ready on a disk, with curl.
    pub(crate) fn curl_over_line(&self, window_bytes: usize) -> Result<f64, Failure> {
        self.approve_all()?;
        let package = self.path("curl-package");
        if package.exists() {
            fs::remove_dir_all(&package)?;
        }
        output(self.send_flags("0").arg("--to").arg(&package))?;
        self.over_line(window_bytes, |url| {
            let mut configs = vec![String::new(); CONNECTIONS];
            let mut parts = fs::read_dir(&package)?
                .map(|entry| Ok(entry?.path()))
                .filter(|path| {
                    path.as_ref().is_ok_and(|path| path.extension() == Some("age".as_ref()))
                })
                .collect::<Result<Vec<_>, std::io::Error>>()?;
            parts.sort();
            for (index, part) in parts.iter().enumerate() {
                let digest = ["dgst", "-sha256", "-binary"];
                let mut base64 = Command::new("bash");
                base64.args(["-c", "openssl \"$1\" \"$2\" \"$3\" \"$4\" | base64", "-"]);
                let digest = output(base64.args(digest).arg(part))?;
                let name = part.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let config = &mut configs[index % CONNECTIONS];
                if !config.is_empty() {
                    config.push_str("next\n");
                }
                write!(
                    config,
                    "url = \"{url}/v1/sessions/one-pass/parties/0/parts/{name}\"\n\
                     upload-file = \"{}\"\nheader = \"Repr-Digest: sha-256=:{}:\"\n\
                     cert = \"certificate-0/certificate.pem\"\n\
                     key = \"certificate-0/certificate.key\"\ninsecure\nhttp1.1\nfail\nsilent\nshow-error\n\
                     output = \"/dev/null\"\n",
                    part.display(),
                    digest.trim(),
                )?;
            }
            let mut clients = Vec::new();
            for (index, config) in configs.iter().filter(|config| !config.is_empty()).enumerate() {
                let path = self.path(&format!("curl-{index}"));
                fs::write(&path, config)?;
                let mut curl = Command::new("curl");
                curl.current_dir(self.path("")).arg("--config").arg(path);
                clients.push(curl);
            }
            seconds(clients)
        })
    }

    /// Runs a delivery to a receiver that only receives, over a line.
    fn over_line(
        &self,
        window_bytes: usize,
        deliver: impl FnOnce(&str) -> Result<f64, Failure>,
    ) -> Result<f64, Failure> {
        self.approve_all()?;
        let mut receive = self.party("2", &["receive", "--quiet"]);
        receive.args(["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"]);
        receive.args(["--inbox", "inbox"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut receiver = spawn(&mut receive)?;
        let delivered = listening_at(&mut receiver).and_then(|address| {
            let line = Line::to(address.parse()?, window_bytes)?;
            deliver(&format!("https://{}", line.address))
        });
        receiver.kill()?;
        receiver.wait()?;
        delivered
    }
}
