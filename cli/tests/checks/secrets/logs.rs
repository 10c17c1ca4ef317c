//! A whole session with every log on, and the failures that can happen in one.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reshare_engine::fingerprint::Fingerprint;
use serde_json::Value;

use super::needles::Needles;
use super::openssl::{der_of, hkdf, hmac, shared_secret};
use crate::network;
use reshare_fixtures::network::{Flags, Network, TIME_LIMIT};

const PASSWORD: &str = "Correct-Horse/Battery%Staple";
const WRONG_PASSWORD: &str = "Tr0ub4dor-and/three";
const AWS_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const FAILED: i32 = 1;
const REFUSED: i32 = 4;

/// How a run is made to log all it can.
#[derive(Clone, Copy, Debug)]
enum Loud {
    Flag,
    Variable,
}

/// A world whose databases want a password, and everything that its commands print.
struct Watched {
    world: Network,
    loud: Loud,
    urls: [String; 3],
    printed: Vec<u8>,
}

impl Watched {
    fn new(loud: Loud) -> Self {
        let world = network();
        let urls = [0, 1, 2].map(|party| url_with_password(&world, party));
        Self { world, loud, urls, printed: Vec::new() }
    }

    fn program(&self, party: &str, words: &[&str]) -> Command {
        let mut command = self.world.program_as(party, words);
        match self.loud {
            Loud::Flag => command.arg("-vv"),
            Loud::Variable => command.env("RUST_LOG", "trace"),
        };
        command.env("RUST_BACKTRACE", "full").env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE");
        command.env("AWS_SECRET_ACCESS_KEY", AWS_SECRET).env("AWS_MAX_ATTEMPTS", "1");
        command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
        command
    }

    #[track_caller]
    fn run(&mut self, party: &str, words: &[&str], code: i32) -> Vec<u8> {
        let output = self.program(party, words).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
        self.printed.extend_from_slice(&output.stdout);
        self.printed.extend_from_slice(&output.stderr);
        output.stdout
    }

    fn sender(&self, party: usize) -> Flags {
        let mut flags = self.world.sender_flags(party);
        flags.set("--db-url", &self.urls[party]);
        flags
    }

    fn rebuild(&self, packages: [&str; 2]) -> Flags {
        let mut flags = self.world.receiver_flags();
        for flag in ["--listen", "--health-listen", "--inbox", "--keep-free-bytes"] {
            flags.remove(flag);
        }
        flags.set("--db-url", &self.urls[2]).set("--report", "report.json");
        packages.iter().for_each(|package| {
            flags.add("--package", Some(package));
        });
        flags
    }

    /// Sticks, then the network: every command that handles a secret.
    fn whole_session(&mut self) {
        self.run("0", &["keygen", "agreement", "--out", "new.key"], 0);
        self.run("2", &["keygen", "recipient", "--out", "new.age"], 0);
        for party in [0, 1] {
            let sender = self.sender(party);
            self.run(["0", "1"][party], &sender.command("send"), 0);
        }
        let rebuild = self.rebuild(["package-0", "package-1"]);
        self.run("2", &rebuild.command("rebuild"), 0);
        let mut merge = rebuild;
        merge.remove("--db-url").set("--out", "merged.shares").set("--report", "merged.json");
        self.run("2", &merge.command("merge"), 0);
        let verify = ["verify", "--session", "session.toml", "--party-id", "2", "--file"];
        let url = self.urls[2].clone();
        self.run("2", &[&verify[..], &["merged.shares", "--db-url", &url]].concat(), 0);
        self.over_the_network();
    }

    /// One sender sends, the other uploads what it has packed.
    fn over_the_network(&mut self) {
        self.world.sql_at(
            2,
            "TRUNCATE \"SMPC_dev_2\".irises; DROP TABLE \"SMPC_dev_2\".reshare_progress",
        );
        let mut receive = self.world.receiver_flags();
        receive.set("--db-url", &self.urls[2]).add("--rebuild", None);
        receive.add("--keep-packages", None);
        let mut command = self.program("2", &receive.command("receive"));
        let log = std::fs::File::create(self.world.path("receive.log")).expect("a file");
        let mut receiver = command.stdout(Stdio::piped()).stderr(log).spawn().expect("it starts");
        let start = std::time::Instant::now();
        let address = loop {
            let said = std::fs::read_to_string(self.world.path("receive.log")).expect("text");
            let line = said.lines().find_map(|line| line.strip_prefix("receiving on "));
            if let Some((address, _)) = line.and_then(|rest| rest.split_once(',')) {
                break address.to_owned();
            }
            assert!(receiver.try_wait().expect("waited for").is_none(), "{said}");
            assert!(start.elapsed() < TIME_LIMIT, "{said}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        let url = format!("https://{address}");
        let mut send = self.sender(0);
        send.remove("--to").set("--server-url", &url);
        self.run("0", &send.command("send"), 0);
        let upload = ["upload", "package-1", "--session", "session.toml", "--server-url", &url];
        self.run("1", &upload, 0);
        let mut stdout = Vec::new();
        receiver.stdout.take().expect("piped").read_to_end(&mut stdout).expect("read");
        assert_eq!(receiver.wait().expect("it ends").code(), Some(0));
        self.printed.extend(stdout);
    }

    /// The errors that are about a secret.
    fn failures(&mut self) {
        let wrong = self.urls[0].replace("Correct", "Wrong");
        let wrong = wrong.split("password=").next().expect("a parameter").to_owned();
        let wrong = format!("{wrong}password={WRONG_PASSWORD}");
        let mut send = self.sender(0);
        send.set("--db-url", &wrong).set("--to", "other-package");
        self.run("0", &send.command("send"), REFUSED);
        let check = self.sender(0);
        let mut check_wrong = check.clone();
        check_wrong.set("--db-url", &wrong);
        for (flags, code) in [(check, 0), (check_wrong, REFUSED)] {
            self.run("0", &[&["check"], &flags.command("sender")[..]].concat(), code);
        }
        for key in ["file:new.key", "file:certificate-0/certificate.key", "file:r.age"] {
            let mut send = self.sender(0);
            send.set("--agreement-key", key).set("--to", "other-package");
            self.run("0", &send.command("send"), REFUSED);
        }
        let mut send = self.sender(0);
        send.set("--certificate", "certificate-1/certificate.pem").set("--to", "other-package");
        self.run("0", &send.command("send"), REFUSED);
        for identity in ["new.age", "0.key"] {
            let mut rebuild = self.rebuild(["package-0", "package-1"]);
            rebuild.set("--identity", identity);
            self.run("2", &rebuild.command("rebuild"), REFUSED);
        }
        let rebuild = self.rebuild(["package-0", "package-0"]);
        self.run("2", &rebuild.command("rebuild"), REFUSED);
    }

    /// The one place where much is logged: the client of AWS, without a server.
    fn cloud(&mut self) {
        let arn = "arn:aws:kms:eu-central-1:000000000000:key/00000000-0000-0000-0000-000000000000";
        self.run("0", &["kms", "public-key", arn], FAILED);
    }

    /// Every secret there is, computed from the files that may hold one.
    fn secrets(&self) -> (Needles, Vec<PathBuf>) {
        let mut needles = Needles::default();
        let directory = self.world.path("");
        let shared = shared_secret(&directory, "0.key", "1.pub");
        assert_eq!(shared.len(), 32);
        let fingerprint = hex::decode(&self.world.fingerprint).expect("hex");
        let fingerprint = Fingerprint(fingerprint.try_into().expect("32 bytes"));
        let blocks = |name: &str| pem_blocks(&self.world.path(name));
        let kept_secret = format!("state-1/{}/secret-1", self.world.fingerprint);
        let encapsulated = blocks(&kept_secret).remove(0);
        let (ciphertext, ml_kem) = encapsulated[32..].split_at(1088);
        let by_hand = std::fs::read_to_string(self.world.path("shared.key")).expect("Base64");
        let by_hand = STANDARD.decode(by_hand.trim()).expect("Base64");
        let [zero, one] = ["0.pub", "1.pub"].map(blocks);
        let fields: [(&str, &[u8]); 7] = [
            ("ecdh", &shared),
            ("agreement_key", &zero[0]),
            ("agreement_key", &one[0]),
            ("ml_kem", ml_kem),
            ("encapsulation_key", &zero[1]),
            ("ciphertext", ciphertext),
            ("shared_key", &by_hand),
        ];
        let mut all = vec![];
        for bytes in fields.iter().flat_map(|(name, value)| [name.as_bytes(), value]) {
            all.extend((bytes.len() as u64).to_le_bytes());
            all.extend(bytes);
        }
        let agreed = hmac(&fingerprint.label("agreement"), &all);
        let key = |purpose, bytes| hkdf(&agreed, "check", &fingerprint.label(purpose), bytes);
        let manifest = std::fs::read(self.world.path("package-0/manifest.json")).expect("there");
        let check = hex::encode(key("key-check", 16));
        let manifest = String::from_utf8(manifest).expect("text");
        assert!(manifest.contains(&check), "{check} must be public: is the secret right?");
        needles.add_secret("the shared secret", &shared);
        needles.add_secret("the agreed secret", &agreed);
        needles.add_secret("the secret of ML-KEM", ml_kem);
        needles.add_secret("the key of both senders", &by_hand);
        needles.add_secret("a seed of ML-KEM", &blocks("0.key")[1][22..]);
        needles.add_secret("the blinding key", &key("blinding-key", 32));
        needles.add_secret("the AWS key", AWS_SECRET.as_bytes());
        for (name, password) in [("the password", PASSWORD), ("a password", WRONG_PASSWORD)] {
            needles.add_raw(name, password.as_bytes());
            needles.add_raw(name, encoded(password).as_bytes());
            // What is left of one that was cut at a special character.
            let cut = password.split(['/', '%']).max_by_key(|piece| piece.len());
            needles.add_raw(name, cut.expect("a piece").as_bytes());
        }
        let keys = ["0.key", "1.key", "new.key", "ca/ca.key"].map(str::to_owned);
        let certificates = ["0", "1", "2"].map(|n| format!("certificate-{n}/certificate.key"));
        let mut kept: Vec<String> = keys.into_iter().chain(certificates).collect();
        for key in &kept {
            let der = der_of(&directory, key);
            let mark = [2, 1, 1, 4, 32];
            let at = der.windows(5).position(|bytes| bytes == mark).expect("SEC 1, section C.4");
            needles.add_secret(key, &der[at + 5..at + 37]);
            let text = std::fs::read_to_string(self.world.path(key)).expect("PEM");
            let secret_line = text.lines().nth(1).expect("base64");
            needles.add_raw(key, &secret_line.as_bytes()[secret_line.len() - 24..]);
        }
        for identity in ["r.age", "new.age"] {
            let text = std::fs::read_to_string(self.world.path(identity)).expect("text");
            let secret = text.lines().find_map(|line| line.strip_prefix("AGE-SECRET-KEY-PQ-1"));
            let secret = secret.expect("an identity");
            needles.add_raw(identity, secret.as_bytes());
            needles.add_raw(identity, secret.to_lowercase().as_bytes());
            kept.push(identity.to_owned());
        }
        let kept_raw = std::fs::read_to_string(self.world.path(&kept_secret)).expect("PEM");
        let last_line = kept_raw.lines().rev().nth(1).expect("base64");
        needles.add_raw("the kept secret", last_line.as_bytes());
        kept.extend([kept_secret, "shared.key".to_owned()]);
        (needles, kept.iter().map(|name| self.world.path(name)).collect())
    }
}

/// The bytes of each PEM block of a file.
fn pem_blocks(path: &Path) -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(path).expect("PEM");
    let (mut blocks, mut base64) = (vec![], String::new());
    for line in text.lines() {
        if line.starts_with("-----BEGIN ") {
            base64.clear();
        } else if line.starts_with("-----END ") {
            blocks.push(STANDARD.decode(&base64).expect("Base64"));
        } else {
            base64.push_str(line);
        }
    }
    blocks
}

/// Percent-encoded, as in a URL.
fn encoded(password: &str) -> String {
    password.replace('%', "%25").replace('/', "%2F")
}

/// A role that the server asks for its password, and the URL with it.
fn url_with_password(world: &Network, party: usize) -> String {
    let (url, role) = world.url_as(party, "");
    world.sql_at(party, &format!("ALTER ROLE {role} SUPERUSER PASSWORD '{PASSWORD}'"));
    let file = world.sql_at(party, "SHOW hba_file");
    let rules = std::fs::read_to_string(file.trim()).expect("rules");
    std::fs::write(file.trim(), format!("local all {role} scram-sha-256\n{rules}"))
        .expect("written");
    world.sql_at(party, "SELECT pg_reload_conf()");
    format!("{url}&password={}", encoded(PASSWORD))
}

#[test]
fn no_secret_is_in_any_output_or_file_of_a_session_with_every_log_on() {
    for loud in [Loud::Flag, Loud::Variable] {
        let mut watched = Watched::new(loud);
        watched.whole_session();
        watched.failures();
        watched.cloud();
        let (needles, kept) = watched.secrets();
        let log = String::from_utf8_lossy(&watched.printed);
        // What the flag adds is little: it keeps libraries quiet.
        let is_logged = matches!(loud, Loud::Flag) || log.contains("TRACE");
        assert!(is_logged, "{loud:?}: nothing was logged");
        let received = std::fs::read_to_string(watched.world.path("receive.log")).expect("text");
        let served = received
            .lines()
            .filter(|line| line.contains("DEBUG served") && line.contains("status="));
        // Of each sender a part, a chain, a signature and a manifest, and what it asks first.
        assert!(served.count() >= 10, "{loud:?}: {received}");
        assert!(log.contains("password authentication failed"), "no password was asked for");
        assert_eq!(needles.found_in(&watched.printed), None, "{loud:?}: in what was printed");
        let (found, searched) = needles.found_below(&watched.world.path(""), &kept);
        assert_eq!(found, [""; 0], "{loud:?}");
        // Two packages, an inbox and a merged file of 20 rows each.
        assert!(searched > 5 * 20 * 76_800, "{searched} bytes");
        let report = std::fs::read(watched.world.path("report.json")).expect("a report");
        serde_json::from_slice::<Value>(&report).expect("JSON");
        // The same search finds each where it belongs.
        let (found, _) = needles.found_below(&watched.world.path(""), &[]);
        assert_eq!(found.len(), kept.len(), "{found:?}");
    }
}

#[test]
fn what_a_trigger_says_of_a_row_is_not_shown() {
    let world = network();
    for party in [0, 1] {
        world.run_as(["0", "1"][party], &world.sender_flags(party).command("send")).ends_with(0);
    }
    let mut rebuild = world.receiver_flags();
    for flag in ["--listen", "--health-listen", "--inbox", "--keep-free-bytes"] {
        rebuild.remove(flag);
    }
    rebuild.add("--package", Some("package-0")).add("--package", Some("package-1"));
    let words = [&rebuild.command("rebuild")[..], &["-vv"]].concat();
    let trigger = |level: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION \"SMPC_dev_2\".say() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE {level} 'the left code % is bad', NEW.left_code; RETURN NEW; END $$; \
             CREATE OR REPLACE TRIGGER say BEFORE INSERT ON \"SMPC_dev_2\".irises \
             FOR EACH ROW EXECUTE FUNCTION \"SMPC_dev_2\".say()"
        )
    };
    world.sql_at(2, &trigger("EXCEPTION"));
    let run = world.run_as("2", &words).ends_with(REFUSED);
    assert!(run.stderr.contains("the left code [bytes left out] is bad"), "{}", run.stderr);
    world.sql_at(2, &trigger("WARNING"));
    let run = world.run_as("2", &words).ends_with(0);
    assert!(!run.stderr.contains("the left code"), "{}", run.stderr);
}
