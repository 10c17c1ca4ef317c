//! Parts, as a sender who holds the recipient may have sealed them.

use std::io::Write;
use std::iter;
use std::path::PathBuf;

use reshare_engine::row_batch::RowBatch;
use reshare_files::ids::IdRange;
use reshare_format::package::{
    PartEntry, PartName, SealedPart, Timestamp, open_part, open_part_prefix,
};
use tempfile::TempDir;

use crate::sample;
use crate::share_file::fix_checksum;

/// The most rows that a part here claims.
const ROWS: u64 = 64;

/// The first byte says how many rows the manifest claims; the second, whether the rest is the
/// share file, the same with a checksum that fits, or what a decompressor is given.
///
/// # Panics
/// When a part is accepted whose rows are not as many as the manifest claims.
pub fn check(data: &[u8]) -> bool {
    let [rows, form, rest @ ..] = data else { return false };
    let rows = u64::from(*rows) % ROWS + 1;
    let compressed = match form % 3 {
        0 => compress(rest),
        1 => {
            let mut file = rest.to_vec();
            fix_checksum(&mut file);
            compress(&file)
        }
        _ => rest.to_vec(),
    };
    let sealed = seal(&compressed);
    open(&sealed, rows)
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).expect("compressed")
}

fn seal(bytes: &[u8]) -> Vec<u8> {
    let recipient = sample::identity().to_public();
    let recipients = iter::once(&recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).expect("one recipient");
    let mut sealed = Vec::new();
    let mut writer = encryptor.wrap_output(&mut sealed).expect("wrapped");
    writer.write_all(bytes).expect("written");
    writer.finish().expect("finished");
    sealed
}

fn open(sealed: &[u8], rows: u64) -> bool {
    let path = &path();
    std::fs::write(path, sealed).expect("written");
    let part = SealedPart {
        name: PartName::new(0),
        sealed_bytes: sealed.len() as u64,
        sealed_digest: blake3::hash(sealed),
    };
    let ids = IdRange::new(1, 1_000).expect("in order");
    let exported_at = Timestamp::now();
    let entry = PartEntry::new(&part, ids, rows, blake3::hash(b"content"), exported_at);
    let session = sample::expectations();
    let mut batch = RowBatch::with_capacity(sample::layout(), ROWS as usize);
    let opened = open_part(path, &entry, sample::identity(), &session, &mut batch);
    let prefix = open_part_prefix(path, &entry, sample::identity(), &session);
    match opened {
        Ok(()) => {
            assert_eq!(batch.len() as u64, rows, "rows");
            let prefix = prefix.expect("a prefix of what is opened");
            assert_eq!(prefix.ids, batch.rows().ids, "ids");
        }
        Err(_) => assert_eq!(batch.len(), 0, "rows of a part that was refused"),
    }
    !batch.is_empty()
}

thread_local! {
    /// One directory for all runs of a thread: tests run in several.
    static DIRECTORY: TempDir = tempfile::tempdir().expect("a directory");
}

fn path() -> PathBuf {
    DIRECTORY.with(|directory| directory.path().join("part-000000.age"))
}
