//! The network file: TOML in, TOML out.

use std::io::Read;
use std::path::Path;

use reshare_engine::party::PartyId;
use reshare_files::durable;
use reshare_files::input_file::{open_input, without_bom};
use reshare_files::private::other_writers;
use serde::Deserialize;

use super::{Network, NetworkDefect, NetworkError};
use crate::session::{quoted, text_position};

impl Network {
    /// Reads a network file that only this user, or root, may write.
    ///
    /// # Errors
    /// A [`NetworkError`] that names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, NetworkError> {
        let read = || Self::parse(&read_text(path)?);
        read().map_err(|defect| NetworkError { path: path.to_owned(), defect })
    }

    /// Reads the text of a network file. Unknown keys are refused, and so are numbers and names
    /// that are there twice.
    ///
    /// # Errors
    /// A [`NetworkDefect`].
    pub fn parse(text: &str) -> Result<Self, NetworkDefect> {
        let table: NetworkTable = toml::from_str(text).map_err(|error| {
            let (line, column) = text_position(text, &error);
            NetworkDefect::Syntax { line, column, message: error.message().to_owned() }
        })?;
        let (got, expected) = (table.version, Self::VERSION);
        if got != expected {
            return Err(NetworkDefect::Version { got, expected });
        }
        let sha256 = &table.trust.ca_sha256;
        let mut ca_sha256 = [0; 32];
        let is_lower = !sha256.bytes().any(|byte| byte.is_ascii_uppercase());
        match hex::decode_to_slice(sha256, &mut ca_sha256) {
            Ok(()) if is_lower => {}
            _ => return Err(NetworkDefect::Hex),
        }
        let mut network = Self::new(ca_sha256);
        for PartyTable { party, certificate_name } in table.parties {
            let party = PartyId::try_from(party).map_err(NetworkDefect::Party)?;
            let name = certificate_name.parse().map_err(NetworkDefect::Name)?;
            if !network.add(party, name)? {
                return Err(NetworkDefect::Repeated { party });
            }
        }
        Ok(network)
    }

    /// Writes the network file. [`Network::parse`] reads it back as the same network.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut lines = vec![
            "# The parties of an MPC network. A party has one number, and so one evaluation point,"
                .to_owned(),
            "# for good: with shares at two points it could compute every record alone.".to_owned(),
            format!("version = {}", Self::VERSION),
            "\n[trust]\n# SHA-256 of the certificate authority (DER).".to_owned(),
            format!("ca_sha256 = \"{}\"", hex::encode(self.ca_sha256())),
        ];
        for (party, name) in self.parties() {
            lines.push(format!("\n[[parties]]\nparty = {party}"));
            lines.push(format!("certificate_name = {}", quoted(name.as_str())));
        }
        lines.join("\n") + "\n"
    }

    /// Writes the file, mode 0600, in place of the one that may be there; durable on return.
    ///
    /// # Errors
    /// A [`NetworkError`]; the earlier file is then unchanged.
    pub fn write(&self, path: &Path) -> Result<(), NetworkError> {
        let written = durable::write_whole(path, self.to_toml().as_bytes());
        let defect =
            |error| NetworkError { path: path.to_owned(), defect: NetworkDefect::Write(error) };
        written.map_err(defect)
    }
}

/// Reads the file after a check of who may write it, made on the opened file and not on its name.
fn read_text(path: &Path) -> Result<String, NetworkDefect> {
    let file = open_input(path).map_err(NetworkDefect::Read)?;
    let metadata = file.metadata().map_err(NetworkDefect::Read)?;
    if let Some(writers) = other_writers(&metadata) {
        return Err(NetworkDefect::Writers(writers));
    }
    let (mut bytes, limit) = (Vec::new(), Network::MAX_FILE_BYTES);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(NetworkDefect::Read)?;
    if bytes.len() as u64 > limit {
        return Err(NetworkDefect::TooLarge { limit });
    }
    String::from_utf8(without_bom(&bytes).to_vec()).map_err(|_| NetworkDefect::NoText)
}

/// The file as written, unchecked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkTable {
    version: u64,
    trust: TrustTable,
    #[serde(default)]
    parties: Vec<PartyTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustTable {
    ca_sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartyTable {
    party: u64,
    certificate_name: String,
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use reshare_files::private::OtherWriters;

    use super::*;

    fn network() -> Network {
        let mut network = Network::new([0xca; 32]);
        for (index, name) in [(0, "spiffe://mpc.example/0"), (14, "party-14.mpc.example")] {
            let party = PartyId::new(index).expect("a party");
            network.add(party, name.parse().expect("a name")).expect("new");
        }
        network
    }

    #[test]
    fn a_network_is_read_back_as_it_was_written() {
        for network in [network(), Network::new([7; 32])] {
            assert_eq!(Network::parse(&network.to_toml()).expect("valid"), network);
        }
    }

    #[test]
    fn what_is_no_network_is_refused_by_name() {
        let text = network().to_toml();
        let more = |block: &str| format!("{text}\n[[parties]]\n{block}\n");
        let other = "certificate_name = \"other.example\"";
        let table = [
            (text.replace("version = 1", "version = 2"), "version: it has version 2"),
            (text.replace("version = 1", "version = 1\ncolour = 1"), "line 4, column 1: unknown"),
            (text.replace("caca", "CACA"), "trust.ca_sha256: expected 64"),
            (text.replace("[trust]", "[trusts]"), "unknown field `trusts`"),
            (more(&format!("party = 15\n{other}")), "parties.party is not usable"),
            (more("party = 3\ncertificate_name = \"*.a\""), "parties.certificate_name"),
            (more(&format!("party = 0\n{other}")), "party 0 is spiffe://mpc.example/0 already"),
            (
                more("party = 3\ncertificate_name = \"spiffe://mpc.example/0\""),
                "spiffe://mpc.example/0 is party 0 already",
            ),
            (
                more("party = 0\ncertificate_name = \"spiffe://mpc.example/0\""),
                "party 0 is there twice",
            ),
            (more(&format!("party = 3\n{other}\nurl = \"x\"")), "unknown field `url`"),
        ];
        for (text, words) in table {
            let refused = Network::parse(&text).expect_err(words).to_string();
            assert!(refused.contains(words), "{words:?}: {refused}");
        }
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("network.toml");
        assert!(Network::load(&path).expect_err("no file").is_missing());
        network().write(&path).expect("written");
        assert_eq!(path.metadata().expect("its metadata").mode() & 0o777, 0o600);
        let chmod = |mode| {
            let permissions = PermissionsExt::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("chmod");
        };
        for mode in [0o600, 0o444, 0o644] {
            chmod(mode);
            assert_eq!(Network::load(&path).expect("valid"), network(), "{mode:o}");
        }
        for mode in [0o620, 0o606, 0o666] {
            chmod(mode);
            let refused = Network::load(&path).expect_err("others may write").defect;
            let writers = OtherWriters::Others { mode };
            assert!(matches!(refused, NetworkDefect::Writers(got) if got == writers));
        }
        let large = "#".repeat(Network::MAX_FILE_BYTES as usize + 1);
        std::fs::write(&path, large).expect("written");
        chmod(0o600);
        let refused = Network::load(&path).expect_err("too large").defect;
        assert!(matches!(refused, NetworkDefect::TooLarge { .. }));
    }
}
