//! `send`, `rebuild` and `receive --rebuild` from and to real databases, next to `psql` moving the
//! same rows in the same run.
//!
//! Both take turns, and medians are compared: what else the machine does meets both alike.

mod delivery;
mod line;
mod network;
mod one_pass;
mod processes;
mod psql;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use reshare_benches::table::{Figure, Line, Target, text, write_csv};

use self::network::Network;
use self::one_pass::Pass;

#[derive(Debug, Parser)]
#[command(about = "Measures `send` and `rebuild` against psql, and writes a table")]
struct Args {
    /// Rows of each party; with several numbers the cost per row is compared, too
    #[arg(
        long,
        value_name = "N",
        env = "ROWS",
        value_delimiter = ',',
        default_value = "2000,20000"
    )]
    rows: Vec<usize>,

    /// Also `send` and `rebuild` of so many rows, once each, on as little disk as can be: at
    /// most two packages and a table
    #[arg(long, value_name = "N")]
    once: Option<usize>,

    /// Instead, measure `send` over long lines, next to curl with a package that is ready
    #[arg(long)]
    line: bool,

    /// Times that each is measured
    #[arg(long, value_name = "N", env = "RUNS", default_value_t = 5)]
    runs: usize,

    /// Connections of either side [default: one a core, at most 4]
    #[arg(short = 'j', long, value_name = "N")]
    connections: Option<usize>,

    /// Where packages and COPY files go: a file system in memory
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    directory: PathBuf,

    /// The program [default: reshare next to this one]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,

    /// Databases that sync nothing to the disk: less noise, and less like production
    #[arg(long)]
    no_sync: bool,

    /// Write the table to this file
    #[arg(long, value_name = "FILE", default_value = "target/bench-e2e.csv")]
    csv: PathBuf,
}

/// One thing that is done in two ways.
struct Contest {
    name: &'static str,
    limit: &'static str,
    target: f64,
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

/// `send`, `rebuild`, `load`, and from database to database, one after the other and at once.
struct Contests {
    send: Contest,
    rebuild: Contest,
    load: Contest,
    through: Contest,
    at_once: Contest,
    /// The same passes, next to what the databases have to do in one.
    databases: Contest,
    passes: Vec<Pass>,
}

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let connections = args.connections.unwrap_or(cores.min(4)).max(1);
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("reshare"),
    };
    let mut lines = Vec::new();
    let mut costs = Vec::new();
    for &rows in &args.rows {
        let network = Network::make(&program, &args.directory, rows, connections, !args.no_sync)?;
        if args.line {
            lines.extend(over_lines(&network, rows, args.runs)?);
            continue;
        }
        network.seed()?;
        network.certify()?;
        let mut contests = Contests::new();
        for run in 0..args.runs.max(1) {
            contests.run(&network, run)?;
        }
        lines.extend(contests.lines(rows));
        let measured = [&contests.send, &contests.rebuild, &contests.at_once];
        costs.push((rows, measured.map(|one| median(&one.ours))));
    }
    if let Some(rows) = args.once {
        let network = Network::make(&program, &args.directory, rows, connections, !args.no_sync)?;
        let mut contests = Contests::new();
        contests.run_once(&network)?;
        lines.extend([&contests.send, &contests.rebuild].map(|contest| contest.line(rows)));
        let measured = [&contests.send, &contests.rebuild].map(|one| median(&one.ours));
        costs.push((rows, [measured[0], measured[1], f64::NAN]));
    }
    lines.extend(costs_per_row(&costs));
    print!("{}", text(&lines));
    write_csv(&args.csv, &lines)?;
    println!("written to {}", args.csv.display());
    Ok(())
}

/// Windows of a connection: what systems grant unless they are tuned, and what a tuned one does.
const WINDOWS: [(&str, usize); 2] = [("2 MiB", 2 << 20), ("16 MiB", 16 << 20)];

/// `send` over lines of 150 ms, next to curl with four connections.
fn over_lines(network: &Network, rows: usize, runs: usize) -> Result<Vec<Line>, Failure> {
    network.seed_parties(&[0, 1])?;
    network.certify()?;
    let mut lines = Vec::new();
    for (window, bytes) in WINDOWS {
        let name = |name: &str| format!("{name}, {window} a connection, {rows} rows");
        let mut took = [vec![], vec![], vec![]];
        for run in 0..runs.max(1) {
            took[0].push(network.send_over_line(bytes, None)?);
            took[1].push(network.send_over_line(bytes, Some(4))?);
            took[2].push(network.curl_over_line(bytes)?);
            let [adaptive, four, curl] = took.each_ref().map(|took| last(took));
            eprintln!(
                "run {}: {window}: send {adaptive:.2} s, --uploads 4 {four:.2} s, curl {curl:.2} s",
                run + 1
            );
        }
        let [adaptive, four, curl] = took.each_ref().map(|took| median(took));
        for (what, value) in [("send", adaptive), ("send --uploads 4", four)] {
            let limit =
                Figure { name: "curl, 4 connections, a ready package".to_owned(), value: curl };
            let (figure, target) = (Figure { name: name(what), value }, Some(Target::AtMost(1.0)));
            lines.push(Line { figure, unit: "s", limit: Some(limit), target });
        }
    }
    Ok(lines)
}

impl Contests {
    fn new() -> Self {
        let contest = |name, limit, target| Contest {
            name,
            limit,
            target,
            ours: Vec::new(),
            theirs: Vec::new(),
        };
        Self {
            send: contest("send", "psql COPY out to /dev/null", 2.4),
            rebuild: contest("rebuild", "psql COPY in from files", 1.15),
            load: contest("load of a file of rebuilt shares", "psql COPY in from files", 1.05),
            through: contest("two sends and a rebuild", "psql COPY out | COPY in", 1.7),
            at_once: contest("two sends and receive at once", "psql COPY out | COPY in", 1.5),
            databases: contest("two sends and receive at once", "psql: both out, one in", 1.25),
            passes: Vec::new(),
        }
    }

    fn all(&self) -> [&Contest; 6] {
        [&self.send, &self.rebuild, &self.load, &self.through, &self.at_once, &self.databases]
    }

    /// Measures everything once; who begins changes from run to run.
    fn run(&mut self, network: &Network, run: usize) -> Result<(), Failure> {
        let ours_first = run.is_multiple_of(2);
        self.send.take_turns(ours_first, || network.send(), || network.psql_out())?;
        self.rebuild.take_turns(ours_first, || network.rebuild(), || network.psql_in())?;
        self.load.take_turns(ours_first, || network.load(), || network.psql_in())?;
        self.through.take_turns(ours_first, || network.through(), || network.psql_through())?;
        let passes = &mut self.passes;
        let one_pass = || {
            let pass = network.one_pass()?;
            passes.push(pass);
            Ok(pass.seconds)
        };
        self.at_once.take_turns(ours_first, one_pass, || network.psql_through())?;
        let same_pass = last(&self.at_once.ours);
        self.databases.take_turns(ours_first, || Ok(same_pass), || network.psql_of_a_pass())?;
        for contest in self.all() {
            let (ours, theirs) = (last(&contest.ours), last(&contest.theirs));
            eprintln!("run {}: {} {ours:.2} s, psql {theirs:.2} s", run + 1, contest.name);
        }
        Ok(())
    }

    /// Measures `send` and `rebuild` once. Rows and packages go as soon as nothing needs them.
    fn run_once(&mut self, network: &Network) -> Result<(), Failure> {
        network.seed_parties(&[0])?;
        // There is but one run: neither of the two reads what the other has warmed.
        network.psql_out()?;
        self.send.take_turns(true, || network.send_of(0), || network.psql_out())?;
        network.drop_rows(0)?;
        network.seed_parties(&[1])?;
        network.send_of(1)?;
        network.drop_rows(1)?;
        network.make_target()?;
        self.rebuild.take_turns(true, || network.rebuild_alone(), || network.psql_in_again())
    }

    fn lines(&self, rows: usize) -> Vec<Line> {
        let mut lines: Vec<_> = self.all().map(|contest| contest.line(rows)).into();
        lines.extend(self.pass_lines(rows));
        lines
    }

    /// What the processes of one pass take, but for time.
    fn pass_lines(&self, rows: usize) -> Vec<Line> {
        let delivered = 2.0 * (rows * ROW_BYTES) as f64;
        let line = |what: &str, unit, figure: fn(&Pass, f64) -> f64| {
            let figures: Vec<f64> =
                self.passes.iter().map(|pass| figure(pass, delivered)).collect();
            let figure =
                Figure { name: format!("at once: {what}, {rows} rows"), value: median(&figures) };
            Line { figure, unit, limit: None, target: None }
        };
        vec![
            line("CPU of the sender 0, delivered", "s/GB", |pass, all| 2e9 * pass.cpu[0] / all),
            line("CPU of the sender 1, delivered", "s/GB", |pass, all| 2e9 * pass.cpu[1] / all),
            line("CPU of the receiver, delivered", "s/GB", |pass, all| 1e9 * pass.cpu[2] / all),
            line("CPU of all three, delivered", "s/GB", |pass, all| {
                1e9 * pass.cpu.iter().sum::<f64>() / all
            }),
            line("memory of the receiver", "MiB", |pass, _| pass.peak_mib),
            line("receiver's files / delivered", "", |pass, all| pass.written / all),
            line("first rows committed after", "s", |pass, _| pass.first_rows),
        ]
    }
}

impl Contest {
    fn take_turns(
        &mut self,
        ours_first: bool,
        ours: impl FnOnce() -> Result<f64, Failure>,
        theirs: impl FnOnce() -> Result<f64, Failure>,
    ) -> Result<(), Failure> {
        if ours_first {
            self.ours.push(ours()?);
            self.theirs.push(theirs()?);
        } else {
            self.theirs.push(theirs()?);
            self.ours.push(ours()?);
        }
        Ok(())
    }

    fn line(&self, rows: usize) -> Line {
        let name = |name: &str| format!("{name}, {rows} rows");
        Line {
            figure: Figure { name: name(self.name), value: median(&self.ours) },
            unit: "s",
            limit: Some(Figure { name: self.limit.to_owned(), value: median(&self.theirs) }),
            target: Some(Target::AtMost(self.target)),
        }
    }
}

/// The shares of a row.
const ROW_BYTES: usize = 76_800;

/// What a row costs in the largest table, next to what it costs in the smallest one.
///
/// What was not measured is no number, and has no line.
fn costs_per_row(costs: &[(usize, [f64; 3])]) -> Vec<Line> {
    let (Some((few, few_took)), Some((many, many_took))) = (costs.first(), costs.last()) else {
        return Vec::new();
    };
    if few == many {
        return Vec::new();
    }
    let per_row = |seconds: f64, rows: usize| 1e6 * seconds / rows as f64;
    let pairs = ["send", "rebuild", "at once"].into_iter().zip(few_took.iter().zip(many_took));
    let measured =
        pairs.filter(|(_, (few_took, many_took))| (**few_took + **many_took).is_finite());
    let lines = measured.map(|(name, (few_took, many_took))| Line {
        figure: Figure {
            name: format!("{name}, a row of {many}"),
            value: per_row(*many_took, *many),
        },
        unit: "us",
        limit: Some(Figure { name: format!("a row of {few}"), value: per_row(*few_took, *few) }),
        target: Some(Target::AtMost(1.15)),
    });
    lines.collect()
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (len, middle) if len % 2 == 1 => sorted[middle],
        (_, middle) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

fn last(figures: &[f64]) -> f64 {
    figures.last().copied().unwrap_or(f64::NAN)
}
