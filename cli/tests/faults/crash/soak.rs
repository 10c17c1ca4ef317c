//! Random kills of every process and of the server, over the path of one pass, under supervisors
//! that start again whatever ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reshare_fixtures::network::{Direction, End, Running, TIME_LIMIT, Way};
use reshare_fixtures::postgres::Shutdown;

use super::world::{ROWS, World, start_cluster};

/// For how many minutes rounds go on; two rounds unless it is set: `make soak`.
const MINUTES: &str = "RESHARE_SOAK_MINUTES";
/// Repeats the rounds of an earlier run, as it printed it.
const SEED: &str = "RESHARE_SOAK_SEED";

/// Numbers that a failure can be repeated with: SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// A process that is started again until it has ended well.
struct Supervised<'a> {
    name: &'static str,
    start: Box<dyn Fn() -> Running + 'a>,
    running: Running,
    is_done: bool,
}

impl<'a> Supervised<'a> {
    fn new(name: &'static str, start: impl Fn() -> Running + 'a) -> Self {
        let running = start();
        Self { name, start: Box::new(start), running, is_done: false }
    }

    /// Starts it again if it ended with a failure that another run may mend.
    fn look(&mut self) {
        if self.is_done || self.running.is_running() {
            return;
        }
        let run = self.running.finish();
        match run.code {
            Some(0) => self.is_done = true,
            // A failure that passes, a signal that it heeded, one that it could not.
            Some(1 | 143) | None => self.again(),
            Some(_) => panic!("{}: {run:?}", self.name),
        }
    }

    fn again(&mut self) {
        self.running = (self.start)();
        self.is_done = false;
    }
}

/// Two senders, and a receiver that rebuilds what arrives.
struct Round<'a> {
    world: &'a World,
    line: &'a Way,
    /// Both senders, then the receiver.
    processes: [Supervised<'a>; 3],
    leads: bool,
}

impl<'a> Round<'a> {
    fn start(world: &'a World, line: &'a Way) -> Self {
        let sender = |name, index: usize| {
            let url = &world.databases[index];
            Supervised::new(name, move || {
                let to = ["-j", "1", "--db-url", url, "--server-url", &line.url];
                let to = [&to[..], &["--retry-for", "600"]].concat();
                world.start_as(&index.to_string(), &World::sender("send", &index.to_string(), &to))
            })
        };
        let receiver = Supervised::new("receiver", move || {
            let mut command = world.receiving("inbox");
            command.args(["--rebuild", "--identity", "r.age", "--json", "-j", "2"]);
            let limits = ["--batch-size", "4", "--linger", "20", "--db-url", &world.databases[2]];
            Running::start(command.args(limits))
        });
        let processes = [sender("sender 0", 0), sender("sender 1", 1), receiver];
        Self { world, line, processes, leads: false }
    }

    /// One look of every supervisor; whether all are done.
    fn look(&mut self) -> bool {
        self.processes.iter_mut().for_each(Supervised::look);
        let [.., receiver] = &mut self.processes;
        if !receiver.running.said("receiving on ") {
            self.leads = false;
        } else if !self.leads && receiver.running.is_running() {
            self.line.lead_to(&receiver.running.address());
            self.leads = true;
        }
        let [zero, one, receiver] = &mut self.processes;
        let senders_done = zero.is_done && one.is_done;
        if receiver.is_done && !senders_done {
            // A sender that never heard of the end asks again.
            receiver.again();
            self.leads = false;
        }
        senders_done && self.processes[2].is_done
    }

    fn hit(&mut self, dice: &mut Dice) {
        let victim = dice.below(7);
        let Some(process) = self.processes.get_mut(victim as usize / 2) else {
            self.world.cluster.restart(Shutdown::Immediate).expect("restarted");
            return;
        };
        if !process.is_done && victim.is_multiple_of(2) {
            process.running.kill();
        } else if !process.is_done && process.running.is_running() {
            process.running.signal("-TERM");
        }
        if victim >= 4 {
            self.leads = false;
        }
    }

    fn run(mut self, dice: &mut Dice) {
        for _ in 0..1 + dice.below(12) {
            let pause = Duration::from_millis(10 + dice.below(600));
            let start = Instant::now();
            while start.elapsed() < pause {
                if self.look() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            self.hit(dice);
        }
        let start = Instant::now();
        while !self.look() {
            let said = || self.processes.each_ref().map(|one| (one.name, one.running.lines()));
            assert!(start.elapsed() < TIME_LIMIT, "it does not end: {:#?}", said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn random_kills_of_any_process_and_of_the_server_lose_and_repeat_nothing() {
    let minutes = Duration::from_secs(60 * number(MINUTES).unwrap_or(0));
    let seed = number(SEED).unwrap_or_else(|| {
        let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
        u64::from(now.subsec_nanos())
    });
    println!("{SEED}={seed}");
    let (mut dice, cluster) = (Dice(seed), Arc::new(start_cluster()));
    let (start, mut rounds) = (Instant::now(), 0);
    while rounds < 2 || start.elapsed() < minutes {
        let world = World::on(Arc::clone(&cluster));
        let line = Way::to_receiver("127.0.0.1:1", Direction::ToServer, i64::MAX, End::Hold);
        Round::start(&world, &line).run(&mut dice);
        world.assert_rebuilt();
        let [lower, higher] = ["inbox/sender-0", "inbox/sender-1"];
        let verify = ["verify", "--json", "--digests", "--db-url", &world.databases[2]];
        let verify = [&verify[..], &["--package", lower, "--package", higher]].concat();
        let report = world.run_as("2", &verify).ends_with(0);
        assert_eq!(report.number("rows_equal"), ROWS);
        rounds += 1;
    }
    println!("{rounds} rounds, no difference");
}
