//! Sealing and opening parts, next to the crate `age`, one BLAKE3 and the same file alone.
//!
//! Each thread has a part of its own, as in the program. In memory, next to the crate's own writer
//! and reader without digest, file or frames.

use std::hint::black_box;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use criterion::{Criterion, criterion_group, criterion_main};
use reshare_benches::plain_part::{age_open, age_seal, plain_open, plain_seal, shares_digest};
use reshare_benches::stage::{ROWS_PER_PART, blinded, directory, on_each, rows_or_few, spec};
use reshare_benches::{FINGERPRINT, party, pool, short_group, thread_counts};
use reshare_engine::row_batch::RowBatch;
use reshare_format::keys::{Identity, SealKind};
use reshare_format::package::{
    Compression, PackageExpectations, PartEntry, PartName, SealedPart, Timestamp, open_part,
    seal_part, seal_part_to,
};
use reshare_format::share_file::Kind;

const MAX_PART_BYTES: u64 = 1 << 30;

fn parts(criterion: &mut Criterion) {
    for threads in thread_counts() {
        // Rows of their own for each thread: no cache holds them all.
        let rows: Vec<_> = (0..threads).map(|_| blinded(rows_or_few(ROWS_PER_PART))).collect();
        let identity = Identity::generate(SealKind::Hybrid);
        let mut bench = Bench { directory: directory(), identity, rows };
        if threads == 1 {
            bench.in_memory(criterion);
        }
        let entries = bench.seal(criterion, threads);
        bench.open(criterion, threads, &entries);
        if threads == 1 {
            // What the hybrid seal adds to the other one is in a header of each part.
            bench.identity = Identity::generate(SealKind::Classic);
            let entries = bench.seal(criterion, threads);
            bench.open(criterion, threads, &entries);
        }
    }
}

struct Bench {
    directory: tempfile::TempDir,
    identity: Identity,
    rows: Vec<RowBatch>,
}

impl Bench {
    fn part_bytes(&self) -> usize {
        self.rows[0].len() * self.rows[0].layout().row_share_bytes()
    }

    /// Stands before the names of what is measured with this recipient.
    fn prefix(&self) -> &'static str {
        match self.identity.to_public().kind() {
            SealKind::Hybrid => "",
            SealKind::Classic => "classic-",
        }
    }

    fn path(&self, place: usize) -> PathBuf {
        self.directory.path().join(PartName::new(place as u64).to_string())
    }

    /// Measures sealing into memory on one thread, and the crate `age` alone in both directions.
    fn in_memory(&self, criterion: &mut Criterion) {
        let (rows, recipient) = (&self.rows[0], self.identity.to_public());
        let mut group = short_group(criterion, "part", self.part_bytes());
        group.bench_function("age/write-to-sink/1-threads", |bencher| {
            bencher.iter(|| age_seal(io::sink(), black_box(&rows.rows()), &recipient));
        });
        let sealed = age_seal(Vec::new(), &rows.rows(), &recipient).expect("seals");
        group.bench_function("age/read-to-sink/1-threads", |bencher| {
            bencher.iter(|| age_open(&sealed[..], &self.identity, &mut io::sink()).expect("opens"));
        });
        let mut opened = blake3::Hasher::new();
        age_open(&sealed[..], &self.identity, &mut opened).expect("opens");
        assert_eq!(opened.finalize(), shares_digest(&rows.rows()), "age seals something else");

        let (spec, mut buffer) = (spec(Kind::Blinded, 0, rows), sealed);
        let mut seal = || {
            buffer.clear();
            let rows = black_box(rows).rows();
            seal_part_to(&mut buffer, &spec, &rows, &recipient, Compression::Auto).expect("seals").1
        };
        group.bench_function("seal-to-memory/1-threads", |bencher| bencher.iter(&mut seal));
        let part = seal();
        assert_eq!(part.sealed_digest, blake3::hash(&buffer), "another digest than its bytes");
    }

    /// Measures sealing, and leaves a sealed part for each thread.
    fn seal(&self, criterion: &mut Criterion, threads: usize) -> Vec<PartEntry> {
        let (pool, recipient) = (pool(threads), self.identity.to_public());
        let mut group = short_group(criterion, "part", threads * self.part_bytes());
        let prefix = self.prefix();
        let limit = format!("{prefix}limit/age-blake3-write/{threads}-threads");
        let plain_seal = |place: usize| {
            let (path, rows) = (self.path(place), self.rows[place].rows());
            plain_seal(&path, &rows, &recipient).expect("writes");
        };
        group.bench_function(limit, |bencher| bencher.iter(|| on_each(&pool, plain_seal)));
        on_each(&pool, plain_seal);
        for place in 0..threads {
            let mut plain = blake3::Hasher::new();
            plain_open(&self.path(place), &self.identity, &mut plain).expect("opens");
            let expected = shares_digest(&self.rows[place].rows());
            assert_eq!(plain.finalize(), expected, "the limit seals something else");
        }
        let sealed: Vec<_> = (0..threads).map(|_| Mutex::new(None)).collect();
        let seal = |place: usize| {
            let rows = &self.rows[place];
            let spec = spec(Kind::Blinded, place, rows);
            let directory = self.directory.path();
            let part = seal_part(directory, &spec, &rows.rows(), &recipient, MAX_PART_BYTES);
            *sealed[place].lock().expect("not poisoned") = Some(part.expect("seals"));
        };
        group.bench_function(format!("{prefix}seal/{threads}-threads"), |bencher| {
            bencher.iter(|| on_each(&pool, seal));
        });
        on_each(&pool, seal);
        let parts = sealed.iter().map(|part| part.lock().expect("not poisoned").expect("sealed"));
        parts.zip(&self.rows).map(|(part, rows)| entry(&part, rows)).collect()
    }

    fn open(&self, criterion: &mut Criterion, threads: usize, entries: &[PartEntry]) {
        let pool = pool(threads);
        let mut group = short_group(criterion, "part", threads * self.part_bytes());
        let prefix = self.prefix();
        group.bench_function(
            format!("{prefix}limit/read-age-blake3/{threads}-threads"),
            |bencher| {
                bencher.iter(|| {
                    on_each(&pool, |place| {
                        let path = self.path(place);
                        let digest = plain_open(&path, &self.identity, &mut std::io::sink());
                        assert_eq!(digest.expect("reads"), entries[place].sealed_digest);
                    });
                });
            },
        );
        let session = self.session();
        let opened =
            self.rows.iter().map(|rows| RowBatch::with_capacity(rows.layout().clone(), rows.len()));
        let opened: Vec<_> = opened.map(Mutex::new).collect();
        let open = |place: usize| {
            let mut batch = opened[place].lock().expect("not poisoned");
            let path = self.path(place);
            let opened = open_part(&path, &entries[place], &self.identity, &session, &mut batch);
            opened.expect("opens");
        };
        group.bench_function(format!("{prefix}open/{threads}-threads"), |bencher| {
            bencher.iter(|| on_each(&pool, open));
        });
        on_each(&pool, open);
        for (batch, rows) in opened.iter().zip(&self.rows) {
            let batch = batch.lock().expect("not poisoned");
            let (got, expected) = (batch.rows(), rows.rows());
            assert!(got.ids == expected.ids && got.row_checks == expected.row_checks);
            assert!(got.shares == expected.shares, "other shares were opened than were sealed");
        }
    }

    fn session(&self) -> PackageExpectations {
        let spec = spec(Kind::Blinded, 0, &self.rows[0]);
        PackageExpectations {
            session_id: "bench".to_owned(),
            fingerprint: FINGERPRINT,
            sender: party(0),
            receiver: party(2),
            layout: spec.layout,
            ids: spec.ids,
            max_part_bytes: MAX_PART_BYTES,
            trust: None,
        }
    }
}

fn entry(part: &SealedPart, rows: &RowBatch) -> PartEntry {
    let ids = spec(Kind::Blinded, 0, rows).ids;
    let content = blake3::hash(b"the benches look at no content tag");
    PartEntry::new(part, ids, rows.len() as u64, content, Timestamp::now())
}

criterion_group!(benches, parts);
criterion_main!(benches);
