//! Agreement keys in KMS, as operators use them: against LocalStack, and against a stub for
//! what LocalStack lets pass.

use std::path::PathBuf;
use std::sync::LazyLock;

use reshare_fixtures::kms::{ThrowAwayKms, environment};
use reshare_fixtures::postgres::ThrowAwayPostgres;
use reshare_fixtures::stub_kms::{StubAnswer, StubKms};
use reshare_format::keys::AgreementKey;
use tempfile::TempDir;

use crate::program;
use reshare_fixtures::network::{Run, psql};

static KMS: LazyLock<ThrowAwayKms> =
    LazyLock::new(|| ThrowAwayKms::start().unwrap_or_else(|error| panic!("{error}")));

const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// A directory of an operator, and an AWS environment.
struct Desk {
    directory: TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Desk {
    fn new(environment: Vec<(&'static str, String)>) -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), environment }
    }

    fn localstack() -> Self {
        Self::new(KMS.environment())
    }

    /// With a stub, which is asked once.
    fn stub(stub: &StubKms) -> Self {
        let mut environment = environment(&stub.endpoint_url());
        environment.push(("AWS_MAX_ATTEMPTS", "1".to_owned()));
        Self::new(environment)
    }

    fn set(&mut self, name: &'static str, value: Option<&str>) {
        self.environment.retain(|(other, _)| *other != name);
        self.environment.extend(value.map(|value| (name, value.to_owned())));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs the program with this environment and no other.
    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = program();
        command.args(arguments).current_dir(&self.directory).env_clear();
        if self.path("shared.key").exists() {
            command.env("RESHARE_SHARED_KEY", "shared.key");
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Run::command(&mut command)
    }

    /// Makes `NUMBER.pub`, and `NUMBER.key` unless the key is in KMS; returns its source.
    fn agreement_key(&self, number: u8, in_kms: bool) -> String {
        let (source, public) = if in_kms {
            let made = self.run(&["kms", "create-key", "--json"]).ends_with(0).report();
            let text = |name| made[name].as_str().expect("text").to_owned();
            (format!("kms:{}", text("arn")), text("public_key"))
        } else {
            let file = format!("{number}.key");
            let made = self.run(&["keygen", "agreement", "--out", &file]).ends_with(0);
            (format!("file:{file}"), made.stdout)
        };
        std::fs::write(self.path(&format!("{number}.pub")), public).expect("written");
        source
    }

    /// Makes a session with certificates, and everybody's approval.
    fn certify(&self) {
        self.run(&["pki", "ca", "--out", "ca"]).ends_with(0);
        let name = |party: &str| format!("spiffe://mpc.example/{party}");
        let mut names = vec![];
        for party in ["0", "1", "2"] {
            let (name, out) = (name(party), format!("certificate-{party}"));
            self.run(&["pki", "issue", "--ca", "ca", "--name", &name, "--out", &out]).ends_with(0);
            names.extend(["--certificate-name".to_owned(), format!("{party}={name}")]);
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let network = ["--network", "network.toml", "--ca-file", "ca/ca.pem"];
        self.run(&[&["network", "new"], &network[..], &names].concat()).ends_with(0);
        let recipient = self.run(&["keygen", "recipient", "--out", "r.age"]).ends_with(0).stdout;
        std::fs::write(self.path("2.pub"), &recipient).expect("written");
        let new = ["session", "new", "--out", "session.toml", "--session-id", "run", "--json"];
        let parties = ["--sender", "0=0.pub", "--sender", "1=1.pub", "--receiver", "2=2.pub"];
        let facts = ["--environment", "dev", "--db-end", "1000"];
        let made = self.run(&[&new[..], &parties, &facts, &network, &names].concat());
        let fingerprint = made.ends_with(0).report();
        let fingerprint = fingerprint["fingerprint"].as_str().expect("text");
        for party in ["0", "1", "2"] {
            let (own, state) = (format!("{party}.pub"), format!("state-{party}"));
            let approve = ["session", "approve", "--session", "session.toml", "--yes"];
            let flags = ["--expect-fingerprint", fingerprint, "--state-dir", &state];
            let flags = [&flags[..], &["--own-public-key", &own]].concat();
            let credentials = self.credentials(party);
            let credentials: Vec<&str> = credentials.iter().map(String::as_str).collect();
            self.run(&[&approve[..], &flags, &credentials].concat()).ends_with(0);
        }
    }

    /// The flags of a party's certificate, and what it is held against.
    fn credentials(&self, party: &str) -> Vec<String> {
        let flags = ["--ca-file", "ca/ca.pem", "--network", "network.toml"].map(str::to_owned);
        let own = format!("certificate-{party}");
        let certificate = ["--certificate".to_owned(), format!("{own}/certificate.pem")];
        let key = ["--certificate-key".to_owned(), format!("{own}/certificate.key")];
        [&flags[..], &certificate, &key].concat()
    }

    /// Makes a session of `0.pub` and `1.pub`, approves it, and returns its fingerprint.
    fn session(&self) -> String {
        let recipient = self.run(&["keygen", "recipient", "--out", "r.age"]).ends_with(0).stdout;
        let receiver = format!("2={}", recipient.trim());
        let new = ["session", "new", "--out", "session.toml", "--session-id", "run", "--json"];
        let parties = ["--sender", "0=0.pub", "--sender", "1=1.pub", "--receiver", &receiver];
        let shared = self.run(&["keygen", "shared", "--out", "shared.key"]).ends_with(0).stdout;
        let facts = ["--environment", "dev", "--db-end", "1000", "--shared-key-id", shared.trim()];
        let made = self.run(&[&new[..], &parties, &facts].concat()).ends_with(0).report();
        let fingerprint = made["fingerprint"].as_str().expect("text").to_owned();
        for sender in ["0", "1"] {
            let session = ["session", "approve", "--session", "session.toml", "--party-id", sender];
            let own = format!("{sender}.pub");
            let state = format!("state-{sender}");
            let flags = ["--yes", "--expect-fingerprint", &fingerprint, "--state-dir", &state];
            let receiver = ["--target-party-id", "2", "--new-party", "2"];
            let flags = [&flags[..], &receiver, &["--own-public-key", &own]].concat();
            self.run(&[&session[..], &flags].concat()).ends_with(0);
        }
        fingerprint
    }
}

/// A stub that has one key, whose public half is a sender's, and comes to one secret.
fn stub_with_key(public: &[u8], secret: [u8; 32]) -> StubKms {
    let public = public.to_vec();
    let stub = StubKms::start(move |action| match action {
        "GetPublicKey" => StubAnswer::public_key(ARN, "KEY_AGREEMENT", "ECC_NIST_P256", &public),
        _ => StubAnswer::shared_secret(ARN, &secret),
    });
    stub.expect("a stub")
}

fn stub_of(status: u16, code: &'static str) -> StubKms {
    StubKms::start(move |_| StubAnswer::error(status, code, "as asked")).expect("a stub")
}

#[test]
fn a_new_key_is_printed_and_shown_again() {
    let desk = Desk::localstack();
    let made = desk.run(&["kms", "create-key", "--description", "sender 0"]).ends_with(0).stdout;
    let (arn, pem) = made.split_once('\n').expect("an ARN and a key");
    assert!(arn.starts_with("arn:aws:kms:us-east-1:000000000000:key/"), "{arn}");
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{pem}");
    assert_eq!(desk.run(&["kms", "public-key", arn]).ends_with(0).stdout, pem);
    let report = desk.run(&["kms", "public-key", arn, "--json"]).ends_with(0).report();
    assert_eq!(report["arn"], arn);
    assert_eq!(report["public_key"], pem.trim_end());
}

#[test]
fn senders_with_keys_in_kms_and_in_a_file_rebuild_the_lost_table() {
    let postgres = ThrowAwayPostgres::start().expect("a PostgreSQL server: run `make setup`");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let create = |name| runtime.block_on(postgres.create_database(name)).expect("a database");
    let databases = [create("zero"), create("one"), create("two")];
    let desk = Desk::localstack();
    for (party, url) in databases.iter().enumerate() {
        desk.run(&["seed", "--rows", "20", "--db", &format!("{party}={url}")]).ends_with(0);
    }
    let keys = [desk.agreement_key(0, true), desk.agreement_key(1, false)];
    let fingerprint = desk.session();
    let arn = keys[0].strip_prefix("kms:").expect("in KMS");
    for (sender, url) in databases[..2].iter().enumerate() {
        let key = match sender {
            0 => ["--my-kms-key-arn", arn].to_vec(),
            _ => vec!["--agreement-key", &keys[1], "--other-kms-key-arn", arn],
        };
        let state = format!("state-{sender}");
        let send = ["send", "--session", "session.toml", "--state-dir", &state, "--db-url", url];
        let send = [&send[..], &["--target-party-id", "2"]].concat();
        let package = format!("p{sender}");
        let flags = ["--expect-fingerprint", &fingerprint, "--to", &package];
        desk.run(&[&send[..], &flags, &key].concat()).ends_with(0);
    }
    let target = create("target");
    let schema = "CREATE SCHEMA \"SMPC_dev_2\"";
    let table = reshare_fixtures::iris_table::IrisTable::Triggers;
    for sql in [schema, &table.create_sql("SMPC_dev_2", "irises")] {
        psql(&target, sql);
    }
    let rebuild = ["rebuild", "--session", "session.toml", "--identity", "r.age"];
    let packages = ["--package", "p0", "--package", "p1", "--db-url", &target];
    desk.run(&[&rebuild[..], &packages].concat()).ends_with(0);
    let urls = ["--db-url", &target, "--db-url", &databases[2], "--json"];
    let verify = [&["verify", "--session", "session.toml"], &urls[..]].concat();
    let verified = desk.run(&verify).ends_with(0).report();
    assert_eq!(verified["rows_equal"], 20, "{verified}");
    // The key ends by a command of its administrator, which is printed and not run.
    let purge = ["purge", "--session", "session.toml", "--receiver-verified", &fingerprint];
    let ended = desk.run(&[&purge[..], &["--keys", &keys[0]]].concat()).ends_with(0);
    let command = format!("aws kms schedule-key-deletion --key-id {arn} --pending-window-in-days");
    assert!(ended.stdout.contains(&command), "{}", ended.stdout);
    desk.run(&["kms", "public-key", arn]).ends_with(0);
    let stranger = desk.agreement_key(3, true);
    let refused = desk.run(&[&purge[..], &["--keys", &stranger]].concat()).ends_with(4);
    refused.says(&["is not a key of this session", "hint: each session has keys of its own"]);
}

#[test]
fn a_sender_with_its_key_in_kms_has_the_one_of_ml_kem_in_a_file() {
    let desk = Desk::localstack();
    let source = desk.agreement_key(0, true);
    let arn = source.strip_prefix("kms:").expect("in KMS");
    desk.agreement_key(1, false);
    let keygen = ["keygen", "agreement", "--kms-key-arn", arn, "--out", "0.kem"];
    let public = desk.run(&keygen).ends_with(0).stdout;
    let in_kms = desk.run(&["kms", "public-key", arn]).ends_with(0).stdout;
    let second = public.strip_prefix(&in_kms).expect("the key on P-256 comes first");
    assert!(second.starts_with("-----BEGIN PUBLIC KEY-----\n") && second.len() > 1600, "{public}");
    std::fs::write(desk.path("0.pub"), &public).expect("written");
    desk.certify();
    let check = |party: usize, key: &[&str]| {
        let (own, state) = (party.to_string(), format!("state-{party}"));
        let other = (1 - party).to_string();
        let check = ["check", "sender", "--session", "session.toml", "--state-dir", &state];
        let approvals = [format!("approval-{other}.json"), "approval-2.json".to_owned()];
        let approvals = ["--approval", &approvals[0], "--approval", &approvals[1]];
        let credentials = desk.credentials(&own);
        let credentials: Vec<&str> = credentials.iter().map(String::as_str).collect();
        let run = desk.run(&[&check[..], key, &approvals, &credentials].concat()).ends_with(0);
        let line = run.stdout.lines().find(|line| line.contains("  key check ")).map(str::to_owned);
        (line, run)
    };
    let lower = ["--agreement-key", &source, "--kem-key", "0.kem"];
    let (zero, run) = check(0, &lower);
    assert!(run.stdout.contains("hybrid: ML-KEM-768 and P-256"), "{}", run.stdout);
    let (one, _) = check(1, &["--agreement-key", "1.key"]);
    assert!(zero.is_some() && zero == one, "{zero:?} {one:?}");
    // Without it, or with another one, there are no keys.
    let pack = |flags: &[&str]| {
        let pack = ["pack", "--session", "session.toml", "--in", "none.share", "--to", "p"];
        let rest = ["--agreement-key", &source, "--state-dir", "state-0"];
        let approvals = ["--approval", "approval-1.json", "--approval", "approval-2.json"];
        let credentials = desk.credentials("0");
        let credentials: Vec<&str> = credentials.iter().map(String::as_str).collect();
        desk.run(&[&pack[..], &rest, &approvals, &credentials, flags].concat())
    };
    pack(&[]).ends_with(2).says(&["needs this sender's key of ML-KEM-768", "--kem-key"]);
    let keygen = ["keygen", "agreement", "--kms-key-arn", arn, "--out", "other.kem"];
    desk.run(&keygen).ends_with(0);
    let other = pack(&["--kem-key", "other.kem"]).ends_with(4);
    other.says(&["another key of ML-KEM-768"]);
    pack(&["--kem-key", "0.kem"]).ends_with(2).says(&["none.share"]);
    // The key ends with its session.
    let fingerprint = desk.run(&["session", "show", "--json", "--session", "session.toml"]);
    let fingerprint = fingerprint.report()["fingerprint"].as_str().expect("text").to_owned();
    let secret = format!("file:state-1/{fingerprint}/secret-1");
    let purge = ["purge", "--session", "session.toml", "--receiver-verified", &fingerprint];
    desk.run(&[&purge[..], &["--keys", "0.kem"]].concat()).ends_with(0);
    desk.run(&[&purge[..], &["--keys", &secret]].concat()).ends_with(0);
    let refused = desk.run(&[&purge[..], &["--keys", "other.kem"]].concat()).ends_with(4);
    refused.says(&["is not a key of this session"]);
    assert!(!desk.path("0.kem").exists() && desk.path("other.kem").exists());
    pack(&["--kem-key", "0.kem"]).ends_with(2).says(&["0.kem"]);
}

#[test]
fn a_key_that_is_not_the_sessions_is_refused() {
    let desk = Desk::localstack();
    let keys = [desk.agreement_key(0, true), desk.agreement_key(1, true)];
    let stranger = desk.agreement_key(3, true);
    let fingerprint = desk.session();
    let pack = |flags: &[&str]| {
        let pack = ["pack", "--session", "session.toml", "--state-dir", "state-0"];
        let pack = [&pack[..], &["--target-party-id", "2"]].concat();
        let rest = ["--in", "none.share", "--to", "p", "--expect-fingerprint", &fingerprint];
        desk.run(&[&pack[..], &rest, flags].concat())
    };
    let [own, other] = [&keys[0], &keys[1]].map(|key| key.strip_prefix("kms:").expect("in KMS"));
    let strange = stranger.strip_prefix("kms:").expect("in KMS");
    pack(&["--agreement-key", &stranger]).ends_with(4).says(&["neither that of sender 0"]);
    let wrong = ["--agreement-key", &keys[0], "--other-kms-key-arn", strange];
    let wrong = pack(&wrong).ends_with(4);
    wrong.says(&[strange, "is not the agreement key of sender 1", "hint: ask the other sender"]);
    // With the right ones it comes as far as the share file, which is not there.
    let right = ["--my-kms-key-arn", own, "--other-kms-key-arn", other];
    pack(&right).ends_with(2).says(&["none.share"]);
    let twice = ["--agreement-key", &keys[0], "--my-kms-key-arn", own];
    pack(&twice).ends_with(2).says(&["cannot be used with"]);
    pack(&["--agreement-key", "kms:0.key"]).ends_with(2).says(&["names no key in KMS"]);
}

#[test]
fn refusals_say_what_to_do() {
    for (code, words) in [
        ("AccessDeniedException", &["kms:GetPublicKey on arn:aws:kms", "must allow"]),
        ("DisabledException", &["is disabled", "aws kms enable-key --key-id arn:"]),
        ("KMSInvalidStateException", &["as asked", "cancel-key-deletion"]),
        ("NotFoundException", &["there is no key", "check the ARN"]),
        ("UnsupportedOperationException", &["KEY_AGREEMENT", "reshare kms create-key"]),
    ] {
        let stub = stub_of(400, code);
        let run = Desk::stub(&stub).run(&["kms", "public-key", ARN]).ends_with(4);
        assert_eq!(run.stdout, "");
        run.says(words).says(&["hint: "]);
    }
}

#[test]
fn what_another_run_may_not_meet_ends_with_1() {
    for (code, words) in [
        ("ThrottlingException", &["too many requests", "AWS_MAX_ATTEMPTS"]),
        ("ExpiredTokenException", &["does not accept the AWS credentials", "log in to AWS again"]),
    ] {
        let stub = stub_of(400, code);
        let run = Desk::stub(&stub).run(&["kms", "public-key", ARN]).ends_with(1);
        run.says(words).says(&["hint: "]);
        assert_eq!(stub.actions().len(), 1);
    }
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr();
    let mut desk = Desk::new(environment(&format!("http://{}", closed.expect("a port"))));
    desk.set("AWS_MAX_ATTEMPTS", Some("2"));
    let run = desk.run(&["kms", "public-key", ARN]).ends_with(1);
    run.says(&["cannot be reached", "AWS_ENDPOINT_URL"]);
}

#[test]
fn attempts_are_as_many_as_the_environment_says() {
    let stub = stub_of(503, "ServiceUnavailable");
    let mut desk = Desk::stub(&stub);
    desk.set("AWS_MAX_ATTEMPTS", Some("2"));
    desk.run(&["kms", "create-key"]).ends_with(1).says(&["not able to answer kms:CreateKey"]);
    assert_eq!(stub.actions(), ["CreateKey", "CreateKey"]);
}

#[test]
fn missing_credentials_and_regions_are_named() {
    let stub = stub_of(500, "Never");
    let mut desk = Desk::stub(&stub);
    desk.set("AWS_ACCESS_KEY_ID", None);
    desk.set("AWS_SECRET_ACCESS_KEY", None);
    let run = desk.run(&["kms", "public-key", ARN]).ends_with(1);
    run.says(&["error: no AWS credentials found", "hint: set AWS_PROFILE"]);
    let mut desk = Desk::stub(&stub);
    desk.set("AWS_REGION", None);
    let run = desk.run(&["kms", "create-key"]).ends_with(1);
    run.says(&["no AWS region", "set AWS_REGION"]);
    assert_eq!(stub.actions(), [""; 0], "no request is made without credentials or region");
}

#[test]
fn the_shared_secret_is_in_no_log() {
    let secret: [u8; 32] = std::array::from_fn(|byte| 0xa5 ^ byte as u8);
    let [own, other] = [(), ()].map(|()| AgreementKey::generate().expect("made"));
    let stub = stub_with_key(own.public_key().as_der(), secret);
    let mut desk = Desk::stub(&stub);
    desk.set("AWS_SECRET_ACCESS_KEY", Some("hunter2-access"));
    desk.set("AWS_SESSION_TOKEN", Some("hunter2-session"));
    std::fs::write(desk.path("0.pub"), own.public_key().to_pem()).expect("written");
    std::fs::write(desk.path("1.pub"), other.public_key().to_pem()).expect("written");
    let fingerprint = desk.session();
    let pack = ["pack", "--session", "session.toml", "--state-dir", "state-0", "-vv"];
    let pack = [&pack[..], &["--target-party-id", "2"]].concat();
    let rest = ["--in", "none.share", "--to", "p", "--expect-fingerprint", &fingerprint];
    let key = ["--my-kms-key-arn", ARN];
    for filter in [None, Some("trace")] {
        desk.set("RUST_LOG", filter);
        let run = desk.run(&[&pack[..], &rest, &key].concat()).ends_with(2).says(&["none.share"]);
        let everything = filter.is_some();
        assert_eq!(run.stderr.contains("DeriveSharedSecret"), everything, "{}", run.stderr);
        // As Base64, hexadecimal, list of bytes; and the credentials.
        for trace in ["paSnpq", "a5a4a7a6", "165, 164, 167", "\\xa5\\xa4", "hunter2"] {
            assert!(!run.stderr.contains(trace), "{trace} in: {}", run.stderr);
        }
    }
    assert_eq!(stub.actions().iter().filter(|action| *action == "DeriveSharedSecret").count(), 2);
}

#[test]
fn a_check_really_derives_and_names_the_permission_that_is_missing() {
    let [own, other] = [(), ()].map(|()| AgreementKey::generate().expect("made"));
    let public = own.public_key().as_der().to_vec();
    // The key may be seen and not be used: what an export of six hours must not begin with.
    let stub = StubKms::start(move |action| match action {
        "GetPublicKey" => StubAnswer::public_key(ARN, "KEY_AGREEMENT", "ECC_NIST_P256", &public),
        _ => StubAnswer::error(400, "AccessDeniedException", "as asked"),
    });
    let stub = stub.expect("a stub");
    let desk = Desk::stub(&stub);
    std::fs::write(desk.path("0.pub"), own.public_key().to_pem()).expect("written");
    std::fs::write(desk.path("1.pub"), other.public_key().to_pem()).expect("written");
    let fingerprint = desk.session();
    let check =
        ["check", "sender", "--json", "--session", "session.toml", "--state-dir", "state-0"];
    let key = ["--my-kms-key-arn", ARN, "--expect-fingerprint", &fingerprint, "--party-id", "0"];
    let report = desk.run(&[&check[..], &key].concat()).ends_with(4).report();
    let find = |what: &str| {
        let checks = report["checks"].as_array().expect("checks").iter();
        checks.clone().find(|check| check["what"] == what).expect("a line").clone()
    };
    let key = find("agreement key");
    assert_eq!(key["state"], "not_ok", "{report:#}");
    assert!(key["detail"].as_str().expect("text").contains("kms:DeriveSharedSecret"), "{key}");
    assert!(key["hint"].as_str().expect("text").contains("must allow"), "{key}");
    assert_eq!(find("ledger")["state"], "ok", "the party is named: the rest is looked at");
    assert_eq!(stub.actions(), ["GetPublicKey", "DeriveSharedSecret"]);
}

#[test]
fn a_check_with_keys_in_kms_holds_both_against_the_session() {
    let desk = Desk::localstack();
    let keys = [desk.agreement_key(0, true), desk.agreement_key(1, true)];
    let stranger = desk.agreement_key(3, true);
    let fingerprint = desk.session();
    let check = |state: &str, own: &str, other: &str| {
        let other = other.strip_prefix("kms:").expect("in KMS");
        let check = ["check", "sender", "--session", "session.toml", "--state-dir", state];
        let keys = ["--agreement-key", own, "--other-kms-key-arn", other];
        desk.run(&[&check[..], &keys, &["--expect-fingerprint", &fingerprint]].concat())
    };
    let key_check = |run: Run| {
        let run = run.ends_with(0);
        let line = run.stdout.lines().find(|line| line.contains("  key check "));
        line.map(str::to_owned)
    };
    let [zero, one] =
        [check("state-0", &keys[0], &keys[1]), check("state-1", &keys[1], &keys[0])].map(key_check);
    assert!(zero.is_some() && zero == one, "{zero:?} {one:?}");
    let wrong = check("state-0", &keys[0], &stranger).ends_with(4);
    assert!(wrong.stdout.contains("is not the agreement key of sender 1"), "{}", wrong.stdout);
}
