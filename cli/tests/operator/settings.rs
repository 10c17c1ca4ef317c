//! Settings from `reshare.toml` and the environment, and `reshare config show`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use reshare_fixtures::network::{Network, Run, Setup, program};

use crate::{RESHARE, ROWS};

/// A directory with a settings file, and the program that reads it.
struct Config(tempfile::TempDir);

impl Config {
    fn new(text: &str) -> Self {
        let config = Self(tempfile::tempdir().expect("a directory"));
        config.write(text);
        config
    }

    fn write(&self, text: &str) {
        fs::write(self.file(), text).expect("written");
        self.chmod(0o600);
    }

    fn chmod(&self, mode: u32) {
        fs::set_permissions(self.file(), Permissions::from_mode(mode)).expect("set");
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("reshare.toml")
    }

    fn run(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Run {
        let mut command = program(RESHARE);
        command.args(arguments).envs(variables.iter().copied()).current_dir(&self.0);
        Run::command(command.env("RESHARE_CONFIG", self.file()))
    }

    /// The value and the source of a setting of a command.
    fn shown(&self, variables: &[(&str, &str)], command: &[&str], key: &str) -> (String, String) {
        let show = [&["config", "show", "--json"], command].concat();
        let report = self.run(variables, &show).ends_with(0).report();
        let settings = report["settings"].as_array().expect("a list");
        let setting = settings.iter().find(|setting| setting["key"] == key).expect("the key");
        let text = |name: &str| setting[name].as_str().unwrap_or("none").to_owned();
        (text("value"), text("source"))
    }
}

fn send_with_a_file(network: &Network, sender: &str) -> Run {
    let other = if sender == "0" { "1" } else { "0" };
    let text = format!(
        "session = 'session.toml'\nca_file = 'ca/ca.pem'\nnetwork = 'network.toml'\n\
         certificate = 'certificate-{sender}/certificate.pem'\n\
         certificate_key = 'certificate-{sender}/certificate.key'\n\
         state_dir = 'state-{sender}'\nshared_key = 'shared.key'\n\
         agreement_key = 'file:{sender}.key'\ndb_url = 'file:url-{sender}'\nidentity = 'none'\n\
         [send]\nto = 'package-{sender}'\n\
         approval = ['approval-2.json', 'approval-{other}.json']\n[rebuild]\nconnections = 2\n"
    );
    let (file, url) = (format!("{sender}.toml"), network.path(&format!("url-{sender}")));
    fs::write(network.path(&file), text).expect("written");
    let database = &network.databases[usize::from(sender == "1")];
    fs::write(&url, format!("{database}\n")).expect("written");
    fs::set_permissions(&url, Permissions::from_mode(0o600)).expect("set");
    // From another directory: paths are relative to the file.
    let mut command = program(RESHARE);
    command.args(["send", "--json", "--config"]).arg(network.path(&file));
    Run::command(command.current_dir("/"))
}

#[test]
fn a_sender_with_a_settings_file_needs_no_flag() {
    let network = Setup::of(RESHARE).rows(ROWS as u64).with_certificates().make();
    for sender in ["0", "1"] {
        let report = send_with_a_file(&network, sender).ends_with(0).report();
        assert_eq!(report["rows"], ROWS as u64, "{report}");
        assert!(network.path(&format!("package-{sender}/manifest.json")).exists());
    }
}

#[test]
fn a_flag_is_before_a_variable_that_before_a_table_and_that_before_the_top() {
    let config = Config::new("connections = 2\n[send]\nconnections = 3\n");
    let (flag, variable) = (["send", "-j", "5"], [("RESHARE_CONNECTIONS", "4")]);
    let value = |variables: &[_], command: &[&str]| config.shown(variables, command, "connections");
    assert_eq!(value(&[], &["rebuild"]), ("2".to_owned(), "file".to_owned()));
    assert_eq!(value(&[], &["send"]), ("3".to_owned(), "file".to_owned()));
    assert_eq!(value(&variable, &["send"]), ("4".to_owned(), "environment".to_owned()));
    assert_eq!(value(&variable, &flag), ("5".to_owned(), "flag".to_owned()));
    config.write("");
    assert_eq!(config.shown(&[], &["send"], "lock_wait"), ("60".to_owned(), "default".to_owned()));
}

#[test]
fn a_value_that_contradicts_a_higher_place_or_has_no_use_is_left_alone() {
    let config = Config::new(
        "agreement_key = 'file:0.key'\nidentity = 'r.age'\nserver_url = 'https://a.example'\n\
         classic_tls = true\ndb_url = 'postgres:///a'\nmemory_limit = 5\n",
    );
    let none =
        |command: &[&str], key| assert_eq!(config.shown(&[], command, key).1, "default", "{key}");
    none(&["send", "--my-kms-key-arn", "alias/a"], "agreement_key");
    none(&["send", "--to", "x"], "server_url");
    none(&["send", "--to", "x"], "classic_tls");
    none(&["receive"], "identity");
    none(&["receive"], "memory_limit");
    none(&["purge", "--receipt", "x"], "db_url");
    none(&["verify", "--digests"], "identity");
    // What means another thing there is no value of it.
    none(&["session", "new"], "db_url");
    let there =
        |command: &[&str], key| assert_eq!(config.shown(&[], command, key).1, "file", "{key}");
    there(&["send"], "agreement_key");
    there(&["send"], "server_url");
    there(&["receive", "--rebuild"], "identity");
    there(&["receive", "--rebuild"], "memory_limit");
    there(&["purge"], "db_url");
    // A command that takes none of them reads its own command line as ever.
    let receive = ["receive", "--session", "none.toml", "--listen", "127.0.0.1:0", "--inbox", "in"];
    let files = ["--ca-file", "c", "--certificate", "c", "--certificate-key", "c"];
    config.run(&[], &[&receive[..], &files].concat()).ends_with(2).says(&["none.toml"]);
    let identity = [&receive[..], &files, &["--identity", "r.age"]].concat();
    config.run(&[], &identity).ends_with(2).says(&["--identity needs --rebuild"]);
}

#[test]
fn an_error_of_a_value_says_where_it_came_from() {
    let config = Config::new("\nconnections = 'many'\nsession = 'none.toml'\n");
    let path = config.file();
    let path = path.display();
    let load = ["load", "--in", "x.share"];
    config.run(&[], &load).ends_with(2).says(&[
        "invalid value 'many' for '--connections <N>'",
        &format!("note: --connections comes from connections in {path}, line 2"),
    ]);
    let variable = [("RESHARE_CONNECTIONS", "0")];
    config
        .run(&variable, &load)
        .ends_with(2)
        .says(&["--connections comes from RESHARE_CONNECTIONS"]);
    config.write("session = 'none.toml'\n");
    config.run(&[], &load).ends_with(2).says(&[
        &format!("cannot read the session file {}", config.0.path().join("none.toml").display()),
        &format!("--session comes from session in {path}, line 1"),
    ]);
    config
        .run(&[("RESHARE_CLASSIC_TLS", "yes")], &["send"])
        .ends_with(2)
        .says(&["RESHARE_CLASSIC_TLS is not true or false"]);
    for (text, said) in [
        ("connections = [1, 2]", "line 1: connections takes one value, and no list"),
        ("connections = true", "line 1: connections takes a value, and no true or false"),
        ("[load]\nquiet = 1", "line 2: quiet is true or false"),
        (
            "connections = 'env:NOT_SET'",
            "line 1: connections is the value of NOT_SET, which is not set",
        ),
        ("connections = 'file:none'", "No such file or directory"),
        ("conections = 1", "line 1: there is no key conections\nhint: is connections meant?"),
    ] {
        config.write(text);
        config.run(&[], &load).ends_with(2).says(&[said]);
    }
}

#[test]
fn what_a_file_of_its_own_holds_is_in_no_message() {
    let config = Config::new("connections = 'file:secret'\n");
    fs::write(config.0.path().join("secret"), "hunter2\n").expect("written");
    let refused = config.run(&[], &["load", "--in", "x", "--session", "y"]).ends_with(2);
    assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
    refused.says(&["file:secret holds no value for --connections", "line 1"]);
    config.write("db_url = 'file:url'\n");
    let url = config.0.path().join("url");
    fs::write(&url, "postgres://a:hunter2@h/d").expect("written");
    fs::set_permissions(&url, Permissions::from_mode(0o644)).expect("set");
    let refused = config.run(&[], &["load", "--in", "x", "--session", "y"]).ends_with(2);
    refused.says(&["line 1: db_url cannot be used", "has mode 0644"]);
    config.write("db_url = 'postgres://a:hunter2@h/d'\n");
    for arguments in
        [&["config", "show"][..], &["config", "show", "load"], &["config", "show", "--json"]]
    {
        let variables = [("RESHARE_SESSION_NEW_DB_URL", "postgres://a:hunter2@h/d")];
        let shown = config.run(&variables, arguments).ends_with(0);
        assert!(shown.stdout.contains("hidden"), "{}", shown.stdout);
        assert!(!shown.stdout.contains("hunter2"), "{}", shown.stdout);
    }
}

#[test]
fn a_file_that_others_may_write_or_read_a_password_of_is_refused() {
    let config = Config::new("quiet = true\n");
    let show = |mode| {
        config.chmod(mode);
        config.run(&[], &["network", "show", "--network", "none.toml"])
    };
    for mode in [0o644, 0o600] {
        assert!(!show(mode).stderr.contains("reshare.toml"), "{mode:o}");
    }
    for mode in [0o620, 0o646] {
        show(mode)
            .ends_with(4)
            .says(&["reshare.toml: its mode is", "hint: who may write it decides"]);
    }
    config.write("\ndb_url = 'postgres://a:hunter2@h/d'\n");
    let refused = show(0o644).ends_with(4);
    assert!(!refused.stderr.contains("hunter2"));
    refused.says(&["line 2: db_url holds a password", "mode 0644", "hint: close the file"]);
    assert!(!show(0o600).stderr.contains("password"));
}

#[test]
fn a_file_that_is_named_must_be_there_and_the_one_at_the_default_place_may_be() {
    let home = tempfile::tempdir().expect("a directory");
    let run = |arguments: &[&str]| {
        let mut command = program(RESHARE);
        Run::command(command.args(arguments).current_dir(&home).env("XDG_CONFIG_HOME", home.path()))
    };
    assert!(run(&["config", "show"]).ends_with(0).stdout.contains("none"));
    run(&["config", "show", "--config", "no.toml"]).ends_with(2).says(&["cannot read no.toml"]);
    run(&["config", "show", "sent"]).ends_with(2).says(&["there is no command `sent`"]);
    let place: &Path = &home.path().join("reshare");
    fs::create_dir(place).expect("made");
    fs::write(place.join("reshare.toml"), "uploads = 7\n[receive]\nrebuild = true\n")
        .expect("written");
    let shown = run(&["config", "show"]).ends_with(0).stdout;
    for said in ["uploads                  7  (uploads in ", "\n[receive]\nrebuild ", "line 3)"] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    let shown = run(&["config", "show", "upload", "--uploads", "9"]).ends_with(0).stdout;
    assert!(shown.contains("uploads                  9  (the command line)"), "{shown}");
}

#[test]
fn the_file_that_is_shown_is_the_one_after_the_command_too() {
    let config = Config::new("connections = 3\n");
    let other = config.file().with_file_name("other.toml");
    fs::write(&other, "connections = 5\n").expect("written");
    fs::set_permissions(&other, Permissions::from_mode(0o600)).expect("set");
    let path = other.to_str().expect("UTF-8");
    let show = ["config", "show", "send", "--config", path, "--json"];
    let report = config.run(&[], &show).ends_with(0).report();
    assert_eq!(report["file"], path);
    let settings = report["settings"].as_array().expect("a list");
    let connections = settings.iter().find(|setting| setting["key"] == "connections");
    assert_eq!(connections.expect("it is there")["value"], "5");
}
