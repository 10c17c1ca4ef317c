//! A link to the database's host that is really cut: no packet comes back, and nothing says so.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reshare_fixtures::network::{Run, Running, TIME_LIMIT};
use tempfile::TempDir;

use super::world::{ROWS, World, parts};

/// A process that lives as long as this value.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        // It has ended by itself if something went wrong before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Held {
    /// Starts a process in namespaces of its own, and waits until it is in them.
    fn unshared(mut command: Command) -> Self {
        command.args(["sh", "-c", "echo in; exec cat"]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut held = Self(child.expect("unshare: util-linux"));
        let mut line = [0; 3];
        let said = held.0.stdout.as_mut().expect("piped").read_exact(&mut line);
        said.expect("network namespaces: allow this user to make them, or run the test as root");
        held
    }

    /// A command in these namespaces.
    fn enter(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.0.id().to_string(), "--net"]);
        if !is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg(program);
        command
    }

    fn ip(&self, words: &str) {
        let mut ip = self.enter("ip");
        let done = ip.args(words.split(' ')).output().expect("ip: run `make setup`");
        assert!(done.status.success(), "ip {words}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id");
    String::from_utf8_lossy(&id.stdout).trim() == "0"
}

/// Two hosts with a cable in between: the program is on one of them, the database on the other.
struct Cable {
    here: Held,
    there: Held,
    _proxy: Held,
    _directory: TempDir,
}

/// The database's host. Nobody else sees these addresses.
const THERE: &str = "10.213.0.2";
/// Bytes a second that the slow side of the database takes or gives: a part of 200 KB takes a
/// while.
const RATE: &str = "500k";

impl Cable {
    /// `slow` is the direction of nginx that is held to a rate.
    fn to(world: &World, slow: &str) -> Self {
        let mut unshare = Command::new("unshare");
        unshare.arg("--net");
        if !is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        let here = Held::unshared(unshare);
        let mut unshare = here.enter("unshare");
        unshare.arg("--net");
        let there = Held::unshared(unshare);
        here.ip(&format!("link add cable type veth peer name cable netns {}", there.0.id()));
        for (host, address) in [(&here, "10.213.0.1"), (&there, THERE)] {
            host.ip(&format!("address add {address}/24 dev cable"));
            host.ip("link set cable up");
        }
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path();
        let socket = world.cluster.socket_directory().join(".s.PGSQL.5432");
        let text = format!(
            "include /etc/nginx/modules-enabled/*.conf;\npid {0}/pid;\nerror_log {0}/log;\n\
             daemon off;\nmaster_process off;\nevents {{}}\n\
             stream {{ server {{ listen {THERE}:5432 so_keepalive=1s:1s:2; {slow} {RATE};\n\
             proxy_pass unix:{1}; }} }}\n",
            at.display(),
            socket.display()
        );
        fs::File::create(at.join("conf"))
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("written");
        let mut nginx = there.enter("nginx");
        nginx.arg("-c").arg(at.join("conf")).stdin(Stdio::null()).stderr(Stdio::null());
        let proxy = Held(nginx.spawn().expect("nginx: run `make setup`"));
        let cable = Self { here, there, _proxy: proxy, _directory: directory };
        cable.wait_for_proxy();
        cable
    }

    fn wait_for_proxy(&self) {
        let start = Instant::now();
        loop {
            let mut bash = self.here.enter("bash");
            bash.args(["-c", &format!("exec 3<>/dev/tcp/{THERE}/5432")]).stderr(Stdio::null());
            if bash.status().expect("bash").success() {
                return;
            }
            assert!(start.elapsed() < TIME_LIMIT, "nginx and its stream module: run `make setup`");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The URL of a database at its far end. A machine that is gone is noticed after seconds.
    fn url(&self, socket_url: &str) -> String {
        let (before, _) = socket_url.split_once('?').expect("parameters");
        let name = before.rsplit('/').next().expect("a name");
        format!(
            "postgresql://postgres@{THERE}/{name}?sslmode=disable&connect_timeout=3&keepalives_idle=1\
             &keepalives_interval=1&keepalives_count=2&tcp_user_timeout=2000"
        )
    }

    fn run_as(&self, world: &World, party: &str, words: &[&str]) -> Command {
        let program = world.program_as(party, words);
        let mut command = self.here.enter(program.get_program().to_str().expect("UTF-8"));
        command.args(program.get_args()).current_dir(world.directory());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Cuts the cable as soon as something is so, and waits for the end of the run.
    fn cut_when(&self, command: &mut Command, is_so: impl Fn() -> bool) -> Run {
        let mut job = Running::start(command);
        assert!(job.runs_until(is_so), "{:#?}", job.lines());
        self.there.ip("link set cable down");
        let run = job.finish();
        self.there.ip("link set cable up");
        run
    }
}

#[test]
fn a_sender_whose_database_is_cut_off_notices_it_and_goes_on_when_it_is_back() {
    let world = World::new();
    let cable = Cable::to(&world, "proxy_download_rate");
    let url = cable.url(&world.databases[0]);
    let send = World::send(&url, "0", "p0");
    let some_parts = || !parts(&world.path("p0")).is_empty();
    let run = cable.cut_when(&mut cable.run_as(&world, "0", &send), some_parts).ends_with(1);
    run.says(&["the connection to the server was lost", "hint: ", "run the same command again"]);
    let again = Run::command(&mut cable.run_as(&world, "0", &send)).ends_with(0);
    assert_eq!(again.number("rows"), ROWS);
    assert!(again.number("parts_kept") > 0, "{}", again.stdout);
}

#[test]
fn a_receiver_whose_database_is_cut_off_notices_it_and_goes_on_when_it_is_back() {
    let world = World::new();
    world.send_both();
    let cable = Cable::to(&world, "proxy_upload_rate");
    let url = cable.url(&world.databases[2]);
    let rebuild = World::rebuild(&url);
    let progress = "SELECT to_regclass('\"SMPC_dev_2\".reshare_progress') IS NOT NULL";
    let some_rows = || {
        let count = "SELECT count(*) > 0 FROM \"SMPC_dev_2\".irises";
        world.sql(progress) == "t" && world.sql(count) == "t"
    };
    let run = cable.cut_when(&mut cable.run_as(&world, "2", &rebuild), some_rows).ends_with(1);
    run.says(&["the connection to the server was lost", "hint: run the same command again"]);
    let again = Run::command(&mut cable.run_as(&world, "2", &rebuild)).ends_with(0);
    assert!(again.number("rows_skipped") > 0, "{}", again.stdout);
    world.assert_rebuilt();
}
