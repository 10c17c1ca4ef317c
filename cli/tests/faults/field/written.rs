//! Outputs that the command line names.

use std::io::Read;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::process::Command;

use reshare_fixtures::network::{Network, Run, Setup};

use super::shell;
use crate::RESHARE;

/// Commands with an output that appears by rename, as flags up to that output.
fn with_output(world: &Network) -> Vec<Vec<String>> {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let packages = "--identity r.age --package p0 --package p1";
    let url = &world.databases[0];
    let shared = world.shared_key_id();
    let new = format!(
        "session new --session-id n --environment dev --sender 0=0.pub --sender 1=1.pub \
         --receiver 2=2.pub --shared-key-id {shared} --out"
    );
    vec![
        words(&format!("merge --session session.toml {packages} --out")),
        words(&format!("export --session session.toml --party-id 0 --db-url {url} --out")),
        words(&new),
        words("keygen shared --out"),
        words("keygen agreement --out"),
        words("keygen recipient --out"),
        words("session approve --session session.toml --party-id 0 --own-public-key 0.pub --out"),
        words(&format!("verify --session session.toml --db-url {url} {packages} --receipt")),
    ]
}

fn run(world: &Network, words: &[String], output: &str) -> Run {
    let words: Vec<&str> = words.iter().map(String::as_str).chain([output]).collect();
    world.run(&words)
}

#[test]
fn an_output_takes_the_place_of_no_device_pipe_or_link_and_nothing_is_read_for_it() {
    let world = Setup::of(RESHARE).rows(9).make();
    std::fs::write(world.path("file"), "kept").expect("written");
    symlink(world.path("file"), world.path("link")).expect("a link");
    symlink(world.path("none"), world.path("dangling")).expect("a link");
    assert!(Command::new("mkfifo").arg(world.path("pipe")).status().expect("mkfifo").success());
    let null = Command::new("mknod").arg(world.path("null")).args(["c", "1", "3"]).status();
    let has_device = null.expect("mknod").success();
    let before = world.files();
    for words in with_output(&world) {
        let devices = if has_device { &["null", "/dev/stdout"][..] } else { &["/dev/stdout"] };
        for output in ["link", "dangling", "pipe", "/dev/null", "none/file"].iter().chain(devices) {
            let run = run(&world, &words, output).ends_with(2);
            let flag = words.last().expect("a flag");
            run.says(&[output, "hint: ", flag]);
        }
        let here = run(&world, &words, ".").ends_with(2);
        here.says(&["it is a directory"]);
    }
    for words in [&["man", "--out", "nowhere"][..], &["pki", "ca", "--out", "file/below"]] {
        world.run(words).ends_with(2).says(&["cannot write into", "hint: check --out"]);
    }
    assert_eq!(world.files(), before);
    let kind = |name: &str| world.path(name).symlink_metadata().expect("there").file_type();
    assert!(kind("pipe").is_fifo() && kind("link").is_symlink());
    assert!(!has_device || kind("null").is_char_device());
}

#[test]
fn an_output_that_cannot_be_made_is_found_before_a_row_is_loaded() {
    let world = Setup::of(RESHARE).rows(9).make();
    (0..2).for_each(|sender| drop(world.send(sender, &format!("p{sender}")).ends_with(0)));
    for flags in [["--report", "nonexistent/r.json"], ["--leftover-ids", "nonexistent/ids"]] {
        world.rebuild(&flags).ends_with(2).says(&["there is no directory nonexistent", flags[0]]);
    }
    let count = "SELECT count(*) FROM \"SMPC_dev_2\".irises";
    assert_eq!(world.sql(&world.target, count), "0");
}

#[test]
fn a_report_is_written_to_a_pipe_and_to_standard_output() {
    let world = Setup::of(RESHARE).rows(9).make();
    (0..2).for_each(|sender| drop(world.send(sender, &format!("p{sender}")).ends_with(0)));
    assert!(Command::new("mkfifo").arg(world.path("pipe")).status().expect("mkfifo").success());
    // Nobody reads it: that is not waited for.
    world.rebuild(&["--report", "pipe"]).ends_with(2).says(&["nothing reads from this pipe"]);
    let pipe = world.path("pipe");
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        std::fs::File::open(pipe).expect("opened").read_to_string(&mut text).expect("text");
        text
    });
    // The reader may need a moment to open it.
    let mut code = Some(2);
    while code == Some(2) {
        code = world.rebuild(&["--report", "pipe"]).code;
    }
    assert_eq!(code, Some(0));
    let report: serde_json::Value =
        serde_json::from_str(&reading.join().expect("read")).expect("JSON");
    assert_eq!(report["rows"], 9);
    let rebuild = "\"$RESHARE\" rebuild --session session.toml --identity r.age --package p0 \
                   --package p1 --quiet";
    let url = &world.target;
    for to in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        let script = format!("{rebuild} --db-url '{url}' --report {to} | cat");
        let shown = shell(world.directory(), &script).ends_with(0).stdout;
        assert!(shown.contains("\"rows_skipped\": 9"), "{shown}");
    }
    let script = format!("{rebuild} --db-url '{url}' --report >(cat >copy) && sleep 0.2; cat copy");
    let shown = shell(world.directory(), &script).ends_with(0).stdout;
    assert!(shown.contains("\"rows_skipped\": 9"), "{shown}");
    assert!(std::fs::metadata("/dev/null").expect("there").file_type().is_char_device());
}

#[test]
fn a_package_is_made_only_where_its_place_is_there_and_mounted() {
    let world = Setup::of(RESHARE).rows(9).make();
    let run = world.send(0, "nonexist/party0").ends_with(2);
    run.says(&["cannot write into nonexist", "mount the medium"]);
    assert!(!world.path("nonexist").exists());
    let send = format!(
        "\"$RESHARE\" send --session session.toml --agreement-key 0.key --shared-key shared.key --state-dir state-0 \
         --target-party-id 2 --expect-fingerprint {} --db-url '{}'",
        world.fingerprint, world.databases[0]
    );
    // In a namespace of its own, where a medium is mounted or not.
    let in_namespace = |script: &str| {
        let mut command = reshare_fixtures::network::program("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-e", "-c", script]);
        Run::command(command.env("RESHARE", RESHARE).current_dir(world.directory()))
    };
    let bare = in_namespace(&format!("umount -R /mnt 2>/dev/null || true; {send} --to /mnt/p0"));
    bare.ends_with(2).says(&["no medium is mounted below /mnt", "--on-root-disk"]);
    in_namespace(&format!("mount -t tmpfs none /mnt; {send} --to /mnt/p0; test -d /mnt/p0"))
        .ends_with(0);
}
