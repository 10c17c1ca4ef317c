//! Prints what `cargo bench` measured as one table, each figure next to its limit, and writes it
//! as CSV.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Parser;
use reshare_benches::table::{Figure, Line, Target, text, write_csv};
use reshare_engine::kernel::Backend;
use serde_json::Value;

#[derive(Debug, Parser)]
#[command(about = "Prints what `cargo bench` measured as one table, and writes it as CSV")]
struct Args {
    /// Where criterion keeps its results
    #[arg(long, value_name = "DIR", default_value = "target/criterion")]
    results: PathBuf,

    /// Leave out results that are older than this file
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,

    /// Write the table to this file
    #[arg(long, value_name = "FILE", default_value = "target/bench.csv")]
    csv: PathBuf,
}

/// A figure, what it is held against, and the ratio to be reached. `{kernel}` is the backend that
/// the program would take here, `{all}` the number of cores.
const GOALS: [(&str, &str, Option<f64>); 25] = [
    (
        "blind/aes256-ctr/{kernel}/memory/1-threads",
        "blind/limit/memcpy/memory/1-threads",
        Some(0.75),
    ),
    (
        "blind/aes256-ctr/{kernel}/memory/{all}-threads",
        "blind/limit/memcpy/memory/{all}-threads",
        Some(0.70),
    ),
    (
        "blind/aes256-ctr/{kernel}/in-place/memory/1-threads",
        "blind/limit/memcpy/memory/1-threads",
        Some(0.75),
    ),
    (
        "blind/aes256-ctr/{kernel}/in-place/memory/{all}-threads",
        "blind/limit/memcpy/memory/{all}-threads",
        Some(0.70),
    ),
    (
        "blind/aes256-ctr/avx2+vaes-256/memory/1-threads",
        "blind/limit/memcpy/memory/1-threads",
        Some(0.70),
    ),
    ("blind/aes256-ctr/avx2+aes-ni/memory/1-threads", "blind/limit/memcpy/memory/1-threads", None),
    ("blind/aes256-ctr/{kernel}/memory/1-threads", "blind/oracle/memory/1-threads", Some(10.0)),
    ("tag/blake3/row", "tag/limit/blake3-of-64-kib/row", None),
    (
        "blind+tag/aes256-ctr/{kernel}/in-place/memory/1-threads",
        "blind/aes256-ctr/{kernel}/in-place/memory/1-threads",
        None,
    ),
    ("blind/aes256-ctr/{kernel}/row", "blind/limit/keystream/row", None),
    ("merge/{kernel}/memory/1-threads", "merge/limit/plain-sum/memory/1-threads", Some(0.95)),
    (
        "merge/{kernel}/memory/{all}-threads",
        "merge/limit/plain-sum/memory/{all}-threads",
        Some(0.95),
    ),
    ("part/seal-to-memory/1-threads", "part/age/write-to-sink/1-threads", Some(1.2)),
    ("part/open/1-threads", "part/age/read-to-sink/1-threads", None),
    ("part/seal/1-threads", "part/limit/age-blake3-write/1-threads", None),
    ("part/seal/{all}-threads", "part/limit/age-blake3-write/{all}-threads", Some(0.85)),
    ("part/open/1-threads", "part/limit/read-age-blake3/1-threads", Some(1.2)),
    ("part/open/{all}-threads", "part/limit/read-age-blake3/{all}-threads", Some(0.85)),
    ("copy/decode", "copy/limit/memcpy-to-columns", None),
    ("copy/encode", "copy/limit/memcpy-to-rows", None),
    ("share-file/write/1-threads", "share-file/limit/write-blake3/1-threads", None),
    ("share-file/write/{all}-threads", "share-file/limit/write-blake3/{all}-threads", None),
    ("share-file/map", "share-file/limit/fold-of-memory", None),
    ("share-file/map", "share-file/limit/read", None),
    ("merge/join", "", None),
];

/// What criterion knows of one bench.
struct Measured {
    figure: Figure,
    unit: &'static str,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let since = match &args.since {
        Some(file) => fs::metadata(file)?.modified()?,
        None => SystemTime::UNIX_EPOCH,
    };
    let mut measured = Vec::new();
    collect(&args.results, since, &mut measured)?;
    measured.sort_by(|a: &Measured, b| a.figure.name.cmp(&b.figure.name));
    let lines = lines(&measured);
    print!("{}", text(&lines));
    write_csv(&args.csv, &lines)?;
    println!("written to {}", args.csv.display());
    Ok(())
}

/// Reads every `new/benchmark.json` below a directory with the estimates next to it.
fn collect(
    directory: &Path,
    since: SystemTime,
    measured: &mut Vec<Measured>,
) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let file = entry.path().join("benchmark.json");
        if entry.file_name() == "new" && file.is_file() {
            if fs::metadata(&file)?.modified()? >= since {
                measured.extend(read(&file)?);
            }
        } else {
            collect(&entry.path(), since, measured)?;
        }
    }
    Ok(())
}

/// The rate of one bench; `None` where it says no amount.
fn read(file: &Path) -> Result<Option<Measured>, Box<dyn Error>> {
    let about: Value = serde_json::from_slice(&fs::read(file)?)?;
    let estimates: Value =
        serde_json::from_slice(&fs::read(file.with_file_name("estimates.json"))?)?;
    let nanoseconds = estimates["median"]["point_estimate"].as_f64().ok_or("no median")?;
    let (amount, unit) = match (&about["throughput"]["Bytes"], &about["throughput"]["Elements"]) {
        (Value::Number(bytes), _) => (bytes.as_f64(), "GB/s"),
        (_, Value::Number(rows)) => (rows.as_f64(), "rows/ns"),
        _ => return Ok(None),
    };
    let name = about["full_id"].as_str().ok_or("no name")?.to_owned();
    let value = amount.ok_or("no amount")? / nanoseconds;
    Ok(Some(Measured { figure: Figure { name, value }, unit }))
}

/// The goals first, then everything else that was measured.
fn lines(measured: &[Measured]) -> Vec<Line> {
    let find = |name: &str| measured.iter().find(|one| one.figure.name == name);
    let mut lines = Vec::new();
    let mut named = Vec::new();
    for (figure, limit, target) in GOALS {
        let (figure, limit) = (here(figure), here(limit));
        if let Some(found) = find(&figure) {
            lines.push(Line {
                figure: found.figure.clone(),
                unit: found.unit,
                limit: find(&limit).map(|limit| limit.figure.clone()),
                target: target.map(Target::AtLeast),
            });
        } else if target.is_some() {
            eprintln!("not measured: {figure}");
        }
        named.extend([figure, limit]);
    }
    let rest = measured.iter().filter(|one| !named.contains(&one.figure.name));
    lines.extend(rest.map(|one| {
        let (figure, unit) = (one.figure.clone(), one.unit);
        Line { figure, unit, limit: None, target: None }
    }));
    // One core: "1-threads" and "{all}-threads" are the same.
    lines.dedup();
    lines
}

/// A name of [`GOALS`] as it is on this machine.
fn here(name: &str) -> String {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    name.replace("{kernel}", &Backend::detect().to_string()).replace("{all}", &all.to_string())
}
