//! Writes the valid inputs that a corpus begins with: `cargo run -p reshare-fuzz --example
//! seeds -- fuzz/corpus`. Sessions, approvals and receipts come from the program itself.

use std::error::Error;
use std::fs;
use std::io::Read;
use std::iter;
use std::path::Path;
use std::sync::Arc;

use reshare_engine::row_batch::{AgreeValuesMut, RowBatch, RowsMut};
use reshare_files::ids::IdRange;
use reshare_format::package::{ManifestContent, PartEntry, Timestamp, seal_part};
use reshare_format::share_file::{Kind, ShareFileSpec, ShareFileWriter};
use reshare_fuzz::sample;
use reshare_postgres::copy::Encoder;
use reshare_postgres::table::{AgreeType, IntegerWidth, Table, TableName, TableSpec};

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = std::env::args().nth(1).ok_or("usage: seeds DIRECTORY")?;
    let corpus = Path::new(&corpus);
    for target in ["share_file", "part", "manifest", "copy"] {
        fs::create_dir_all(corpus.join(target))?;
    }
    share_files(&corpus.join("share_file"))?;
    parts(&corpus.join("part"), &corpus.join("manifest"))?;
    copies(&corpus.join("copy"))
}

fn rows(count: usize, with_row_checks: bool) -> Result<RowBatch, Box<dyn Error>> {
    let mut batch = RowBatch::with_capacity(sample::layout(), count.max(1));
    let RowsMut { ids, agree, row_checks, shares, .. } = batch.reset(count, with_row_checks)?;
    for (row, id) in ids.iter_mut().enumerate() {
        *id = row as i64 * 3 + 1;
    }
    for column in agree {
        column.nulls.iter_mut().step_by(3).for_each(|null| *null = 1);
        match column.values {
            AgreeValuesMut::Integer(values) => {
                (0i64..).zip(values).filter(|(row, _)| row % 3 != 0).for_each(|(row, v)| *v = row);
            }
            AgreeValuesMut::Uuid(values) => {
                (0u8..)
                    .zip(values)
                    .filter(|(row, _)| row % 3 != 0)
                    .for_each(|(row, v)| v.fill(row));
            }
        }
    }
    row_checks.iter_mut().for_each(|check| check.fill(9));
    for column in shares {
        (0u16..).zip(column).for_each(|(n, share)| *share = n.wrapping_mul(40_503));
    }
    Ok(batch)
}

fn spec(kind: Kind, party: u8, rows: u64) -> ShareFileSpec {
    ShareFileSpec {
        kind,
        fingerprint: sample::FINGERPRINT,
        party: sample::party(party),
        part_index: 0,
        ids: IdRange::ALL,
        rows,
        layout: sample::layout(),
    }
}

fn share_files(directory: &Path) -> Result<(), Box<dyn Error>> {
    for (kind, party, count) in
        [(Kind::Plain, 0, 0), (Kind::Plain, 0, 5), (Kind::Blinded, 1, 4), (Kind::Rebuilt, 2, 1)]
    {
        let path = directory.join(format!("{kind}-{count}"));
        let writer = ShareFileWriter::create(&path, spec(kind, party, count as u64))?;
        writer.write_rows(0, &rows(count, kind.has_row_checks())?.rows())?;
        writer.finish()?;
    }
    Ok(())
}

fn parts(parts: &Path, manifests: &Path) -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let ids = IdRange::new(1, 1_000).ok_or("a range")?;
    let mut entries = Vec::new();
    for count in [1usize, 2, 5] {
        let session = sample::expectations();
        let batch = rows(count, true)?;
        let spec = ShareFileSpec { ids, ..spec(Kind::Blinded, 1, count as u64) };
        let recipient = sample::identity().to_public();
        let path = scratch.path().join(count.to_string());
        fs::create_dir(&path)?;
        let sealed = seal_part(&path, &spec, &batch.rows(), &recipient, session.max_part_bytes)?;
        let file = fs::read(path.join(sealed.name.to_string()))?;
        let age = age::Decryptor::new_buffered(&file[..])?;
        let mut compressed = Vec::new();
        let identity = iter::once(sample::identity() as &dyn age::Identity);
        age.decrypt(identity)?.read_to_end(&mut compressed)?;
        let plain = zstd::decode_all(&compressed[..])?;
        let of = |form, bytes: &[u8]| [&[count as u8 - 1, form], bytes].concat();
        fs::write(parts.join(format!("file-{count}")), of(0, &plain))?;
        fs::write(parts.join(format!("stream-{count}")), of(2, &compressed))?;
        entries.push(PartEntry::new(
            &sealed,
            ids,
            count as u64,
            blake3::hash(b"content"),
            "2026-08-21T00:00:00Z".parse::<Timestamp>()?,
        ));
    }
    let session = sample::expectations();
    let content = |parts: &[PartEntry]| ManifestContent {
        session_id: session.session_id.clone(),
        fingerprint: session.fingerprint,
        sender: session.sender,
        receiver: session.receiver,
        key_check: [3; 16],
        parts: parts.to_vec(),
        signed_at: Timestamp::now(),
    };
    fs::write(manifests.join("empty"), content(&[]).to_bytes()?)?;
    fs::write(manifests.join("one-part"), content(&entries[..1]).to_bytes()?)?;
    fs::write(manifests.join("overlapping"), content(&entries).to_bytes()?)?;
    Ok(())
}

fn copies(directory: &Path) -> Result<(), Box<dyn Error>> {
    let spec = TableSpec::new(TableName::new("schema", "rows")?, "id", sample::layout())?;
    let types = vec![AgreeType::Integer(IntegerWidth::Two), AgreeType::Uuid];
    let table = Table::new(spec, IntegerWidth::Eight, types).ok_or("fits")?;
    let table = Arc::new(table);
    for count in [0, 1, 4] {
        let batch = rows(count, false)?;
        let mut encoder = Encoder::new(Arc::clone(&table));
        let mut stream = Vec::new();
        while let Some(message) = encoder.next_message(&batch.rows())? {
            stream.extend_from_slice(message);
        }
        fs::write(directory.join(format!("rows-{count}")), stream)?;
    }
    Ok(())
}
