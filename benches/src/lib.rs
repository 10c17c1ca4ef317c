//! Shared parts of the benches: rows of a fixed seed, thread pools, short groups.

pub mod plain_part;
pub mod stage;
pub mod table;

use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use rayon::ThreadPool;
use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::key_schedule::{KeySchedule, SharedSecret};
use reshare_engine::layout::RowLayout;
use reshare_engine::party::PartyId;
use reshare_engine::ring::RingElement;
use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::AgreeValue;
use reshare_engine::shamir::share;

/// The session that every bench runs in.
pub const FINGERPRINT: Fingerprint = Fingerprint([0x42; 32]);

/// How many rows are far larger than any cache: 256 MiB, so 512 MiB for input and output. Few when
/// only the answers count.
#[must_use]
pub fn rows_in_memory() -> usize {
    stage::rows_or_few((256 << 20) / 76_800)
}

/// Returns a party.
///
/// # Panics
/// Above party 14.
#[must_use]
pub fn party(index: u8) -> PartyId {
    PartyId::new(index).expect("a party")
}

/// Returns the keys of the benches' session.
#[must_use]
pub fn keys() -> KeySchedule {
    KeySchedule::derive(&SharedSecret::new([1; 32]), "bench", &FINGERPRINT)
}

/// Makes one party's share of `rows` iris records, which are the same for every party.
///
/// # Panics
/// When memory for them cannot be had.
#[must_use]
pub fn iris_share(index: u8, rows: usize) -> RowBatch {
    let mut batch = RowBatch::with_capacity(Arc::new(RowLayout::iris()), rows);
    let mut columns = batch.reset(rows, false).expect("the batch has room for them");
    let mut words = Words(7);
    for row in 0..rows {
        columns.ids[row] = row as i64 + 1;
        let version = AgreeValue::Integer(3);
        columns.agree.iter_mut().for_each(|column| column.set(row, version));
        for shares in columns.share_row_mut(row) {
            for element in bytemuck::cast_slice_mut::<u16, RingElement>(shares) {
                *element = share(words.element(), words.element(), party(index));
            }
        }
    }
    batch
}

/// Makes `count` ring elements of a fixed seed.
#[must_use]
pub fn elements(seed: u64, count: usize) -> Vec<RingElement> {
    let mut words = Words(seed);
    (0..count).map(|_| words.element()).collect()
}

/// Makes a pool with this many threads.
///
/// # Panics
/// When the system gives no threads.
#[must_use]
pub fn pool(threads: usize) -> ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")
}

/// The numbers of threads to measure: one, and all the machine has.
#[must_use]
pub fn thread_counts() -> Vec<usize> {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    if all == 1 { vec![1] } else { vec![1, all] }
}

/// Opens a group that takes about a second a figure, in bytes of share data.
pub fn short_group<'a>(
    criterion: &'a mut Criterion,
    name: &str,
    share_bytes: usize,
) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .throughput(Throughput::Bytes(share_bytes as u64));
    if share_bytes > 1 << 20 {
        group.sampling_mode(SamplingMode::Flat);
    }
    group
}

/// SplitMix64.
struct Words(u64);

impl Words {
    fn element(&mut self) -> RingElement {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytemuck::cast(mixed ^ (mixed >> 31))
    }
}
