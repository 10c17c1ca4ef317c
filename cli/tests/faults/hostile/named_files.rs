//! Files that a flag names.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;

use reshare_fixtures::network::{Network, files_in};

use super::{ends, make_pipe, network, send};

/// What a command says of a file flag that names no file.
const NO_FILE: &str = "regular file";

/// Commands that are given one odd file, each with the flag that names it.
fn commands_with(world: &Network, odd: &str) -> Vec<(&'static str, Vec<String>)> {
    let key = format!("file:{odd}");
    let sender = |flag: &'static str| {
        let mut flags = world.sender_flags(0);
        flags.set(flag, if flag == "--agreement-key" { &key } else { odd });
        (flag, flags.command("send").iter().map(|word| (*word).to_owned()).collect())
    };
    let flags = ["--session", "--agreement-key", "--approval", "--ca-file", "--certificate"];
    let more = ["--certificate-key", "--network"];
    let mut commands: Vec<_> = flags.into_iter().chain(more).map(sender).collect();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let mut rebuild = world.receiver_flags();
    rebuild.remove("--listen").remove("--health-listen").remove("--inbox");
    rebuild.remove("--keep-free-bytes").set("--identity", odd);
    rebuild.add("--package", Some("package-0")).add("--package", Some("package-1"));
    commands.push(("--identity", words(&rebuild.command("rebuild"))));
    let session = ["--session", "session.toml", "--db-url"];
    let verify = [&["verify"], &session[..], &[&world.databases[0], "--file", odd]].concat();
    let load = [&["load"], &session[..], &[&world.target, "--in", odd]].concat();
    let sender_key = format!("0={odd}");
    let new = ["session", "new", "--out", "n.toml", "--session-id", "n", "--environment", "dev"];
    let new = [&new[..], &["--receiver", "2=age1", "--sender", &sender_key]].concat();
    commands.extend([
        ("path", words(&["inspect", odd])),
        ("path", words(&verify)),
        ("path", words(&load)),
        ("--session", words(&["session", "show", "--session", odd])),
        ("--sender", words(&new)),
    ]);
    commands
}

#[test]
fn no_command_waits_for_a_pipe_or_reads_a_device_in_the_place_of_a_file() {
    let world = network();
    make_pipe(&world.path("pipe"));
    send(&world);
    for odd in ["pipe", "/dev/zero", "/dev/tty"] {
        for (_, command) in commands_with(&world, odd) {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            let run = ends(&mut world.program_as("0", &words));
            assert!([Some(1), Some(2), Some(4)].contains(&run.code), "{command:?}: {}", run.stderr);
            // Where there is no terminal, it cannot even be opened.
            let says = run.stderr.contains(NO_FILE) || odd == "/dev/tty";
            assert!(says, "{command:?}: {}", run.stderr);
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_asked_for_by_its_flag() {
    let world = network();
    send(&world);
    for (flag, command) in commands_with(&world, "nowhere") {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let run = ends(&mut world.program_as("0", &words));
        assert_eq!(run.code, Some(2), "{command:?}: {}", run.stderr);
        assert!(run.stderr.contains("nowhere"), "{command:?}: {}", run.stderr);
        let hint = run.stderr.lines().find(|line| line.starts_with("hint: "));
        assert!(hint.is_some_and(|hint| hint.contains(flag)), "{command:?}: {}", run.stderr);
    }
}

#[test]
fn files_that_claim_to_be_huge_are_refused_without_being_read() {
    let world = network();
    let sparse = |name: &str, begin: &[u8]| {
        std::fs::write(world.path(name), begin).expect("written");
        let file = File::options().write(true).open(world.path(name)).expect("opened");
        file.set_len(1 << 42).expect("a disk that takes sparse files");
    };
    sparse("sparse", b"");
    let run = ends(&mut world.program_as("0", &["session", "show", "--session", "sparse"]));
    run.refuses("bytes");
    ends(&mut world.program_as("0", &["inspect", "sparse"])).refuses("no share file");
    let export = ["export", "--session", "session.toml", "--party-id", "0", "--out", "0.shares"];
    let database = ["--db-url", &world.databases[0]];
    world.run_as("0", &[&export[..], &database].concat()).ends_with(0);
    let whole = std::fs::read(world.path("0.shares")).expect("there");
    sparse("long.shares", &whole);
    let run = ends(&mut world.program_as("0", &["inspect", "long.shares"]));
    run.refuses("it goes on after its last byte");
    std::fs::create_dir(world.path("package")).expect("a directory");
    sparse("package/manifest.json", b"{");
    ends(&mut world.program_as("0", &["inspect", "package"])).refuses("manifest");
}

#[test]
fn a_share_file_that_others_may_shorten_is_not_mapped() {
    let world = network();
    let export = ["export", "--session", "session.toml", "--party-id", "0", "--out", "0.shares"];
    let database = ["--db-url", &world.databases[0]];
    world.run_as("0", &[&export[..], &database].concat()).ends_with(0);
    let mut pack = world.sender_flags(0);
    pack.remove("--db-url").set("--in", "0.shares");
    let verify = ["verify", "--session", "session.toml", "--party-id", "0", "--file", "0.shares"];
    let verify = [&verify[..], &database].concat();
    let chmod = |mode| {
        let permissions = Permissions::from_mode(mode);
        std::fs::set_permissions(world.path("0.shares"), permissions).expect("chmod");
    };
    for mode in [0o606, 0o602] {
        chmod(mode);
        for words in [pack.command("pack"), verify.clone()] {
            let run = ends(&mut world.program_as("0", &words)).ends_with(4);
            run.refuses("others may write it while it is read (chmod go-w)");
        }
    }
    chmod(0o640);
    world.run_as("0", &verify).ends_with(0);
    world.run_as("0", &pack.command("pack")).ends_with(0);
}

#[test]
fn a_ledger_is_a_regular_file() {
    let world = network();
    let files = files_in(world.directory());
    let ledger = files.keys().find(|path| path.ends_with("ledger-0")).expect("a ledger");
    let elsewhere = world.path("ledger");
    std::fs::rename(ledger, &elsewhere).expect("moved");
    for (what, put) in super::stand_ins(&elsewhere) {
        put(ledger);
        let run = ends(&mut world.program_as("0", &world.sender_flags(0).command("send")));
        assert!([Some(1), Some(4)].contains(&run.code), "{what}: {:?} {}", run.code, run.stderr);
        assert!(run.stderr.contains("ledger-0"), "{what}: {}", run.stderr);
        assert!(!world.path("package-0/part-000000.age").exists(), "{what}");
        super::remove(ledger);
    }
    std::fs::rename(&elsewhere, ledger).expect("moved");
    world.run_as("0", &world.sender_flags(0).command("send")).ends_with(0);
}
