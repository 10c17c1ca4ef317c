//! A state directory, rows and their tags.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
use reshare_engine::party::PartyId;
use reshare_engine::row_batch::RowBatch;
use reshare_engine::row_key::ContentTag;
use reshare_engine::rows::AgreeValue;
use reshare_files::ids::IdRange;
use reshare_format::package::Timestamp;
use reshare_pipeline::ledger::{Ledger, LedgerDefect, LedgerError, LedgerPart};
use reshare_postgres::export::{BadRow, RowDefect};
use tempfile::TempDir;

pub(crate) const SESSION: Fingerprint = Fingerprint([3; 32]);

pub(crate) fn party(index: u8) -> PartyId {
    PartyId::new(index).expect("a party")
}

/// A directory with the ledger of party 1.
pub(crate) struct State {
    directory: TempDir,
}

/// A row: its id, its version, its tag.
pub(crate) type Row = (i64, i64, u8);

impl State {
    pub(crate) fn new() -> Self {
        let state = Self { directory: tempfile::tempdir().expect("a directory") };
        assert!(Ledger::create(state.path(), &SESSION, party(1)).expect("made"));
        state
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn file(&self) -> PathBuf {
        Ledger::path_in(self.path(), &SESSION, party(1))
    }

    pub(crate) fn try_open(&self) -> Result<Ledger, LedgerError> {
        Ledger::open(self.path(), &SESSION, party(1))
    }

    #[track_caller]
    pub(crate) fn open(&self) -> Ledger {
        self.try_open().expect("sound")
    }

    #[track_caller]
    pub(crate) fn defect(&self) -> LedgerDefect {
        self.try_open().expect_err("must be refused").defect
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(self.file()).expect("read")
    }

    /// Writes over the file, which stays the same file.
    pub(crate) fn write(&self, bytes: &[u8]) {
        fs::write(self.file(), bytes).expect("written");
    }

    /// Removes what says that a ledger was made here and how far it had come.
    pub(crate) fn forget(&self) {
        fs::remove_file(self.register()).expect("removed");
    }

    pub(crate) fn register(&self) -> PathBuf {
        self.path().join("register")
    }
}

#[track_caller]
pub(crate) fn admit(ledger: &Ledger, rows: &[Row]) -> Vec<bool> {
    try_admit(ledger, rows).expect("recorded")
}

pub(crate) fn try_admit(ledger: &Ledger, rows: &[Row]) -> Result<Vec<bool>, LedgerError> {
    let layout = RowLayout::new(
        vec![AgreeColumn { name: "version_id".into(), kind: AgreeKind::Integer }],
        vec![ShareColumn { name: "code".into(), len: 4 }],
    );
    let mut batch = RowBatch::with_capacity(Arc::new(layout.expect("valid")), rows.len());
    for (id, version, _) in rows {
        batch.push_bytes(*id, &[AgreeValue::Integer(*version)], &[&[0; 8]]).expect("fits");
    }
    let tags: Vec<ContentTag> = rows.iter().map(|row| ContentTag([row.2; 16])).collect();
    ledger.admit(&batch.rows(), &tags)
}

/// A part; every second one without rows that could not be read.
pub(crate) fn part(index: u64, first: i64, last: i64) -> LedgerPart {
    let defects = [
        RowDefect::Length { column: 3, bytes: 1 << 40 },
        RowDefect::Null { column: 1 },
        RowDefect::Damaged,
    ];
    let bad_rows = (first..).zip(defects).map(|(id, defect)| BadRow { id, defect });
    LedgerPart {
        index,
        ids: IdRange::new(first, last).expect("in order"),
        rows: last.abs_diff(first) + 1,
        sealed_bytes: 1000 + index,
        sealed_digest: blake3::hash(&index.to_le_bytes()),
        content_digest: blake3::hash(b"content"),
        exported_at: "2026-01-31T23:59:59Z".parse::<Timestamp>().expect("a time"),
        left_out: vec![first],
        bad_rows: bad_rows.filter(|_| index.is_multiple_of(2)).collect(),
    }
}

/// What a model of the ledger admits.
#[derive(Default)]
pub(crate) struct Model(BTreeMap<(i64, i64), u8>);

impl Model {
    pub(crate) fn admit(&mut self, rows: &[Row]) -> Vec<bool> {
        let verdict =
            |(id, version, tag): &Row| *self.0.entry((*id, *version)).or_insert(*tag) == *tag;
        rows.iter().map(verdict).collect()
    }
}
