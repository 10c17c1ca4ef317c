//! What a sender has signed of its parts, and which of them were used.
//!
//! A log of lines, each with a checksum. A part's line is durable before its file is listed, and a
//! line that a part was used before its file is removed. The line of a part that is only in memory
//! is written with the line that it was used. So after a crash a line may be of a part that never
//! came, and no part that was used is without one.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use reshare_engine::fingerprint::Fingerprint;
use reshare_files::durable::{self, DurableLog};
use reshare_files::ids::IdRange;
use reshare_format::keys::certificate::CertificateChain;
use reshare_format::package::{
    PackageExpectations, PartEntry, PartName, PartRecord, RecordLine, SignedPartRecord,
};

/// The records of one sender, by the first id that each covers.
#[derive(Debug)]
pub(super) struct PartRecords {
    path: PathBuf,
    /// Made with the first record.
    log: Option<DurableLog>,
    bytes: u64,
    /// What the last records in the log were verified with.
    chain: Option<CertificateChain>,
    known: BTreeMap<i64, Known>,
    names: HashMap<PartName, i64>,
    /// The first id of the session.
    begin: i64,
    covered_up_to: Option<i64>,
    /// The last id up to which everything is used.
    used_up_to: Option<i64>,
}

/// A record, and what became of its part.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) record: PartRecord,
    pub(super) stage: PartStage,
    /// What the log lacks of it so far.
    unlogged: Option<Box<RecordProof>>,
}

/// Says which record a line of a log has, if it counts.
type Accept<'a> = dyn Fn(&SignedPartRecord, Option<&CertificateChain>) -> Option<PartRecord> + 'a;

/// What a log of records claims.
#[derive(Debug, Clone, Default)]
pub(super) struct RecordsGlance {
    /// Parts with rows, all of which are loaded.
    pub(super) used: Vec<PartName>,
    /// The last id up to which all parts were used.
    pub(super) used_up_to: Option<i64>,
}

/// A signed record, and the certificates that verify it.
#[derive(Debug, Clone)]
pub(super) struct RecordProof {
    pub(super) signed: SignedPartRecord,
    pub(super) chain: CertificateChain,
}

/// How far a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PartStage {
    /// It is there, and may be replaced.
    Arrived,
    /// It is being merged.
    Taken,
    /// All its rows are in the table.
    Used,
}

impl RecordProof {
    /// Adds the lines of a log whose last certificates are `chain`.
    fn put_lines(
        &self,
        session: &PackageExpectations,
        chain: Option<&CertificateChain>,
        lines: &mut String,
    ) {
        if chain != Some(&self.chain) {
            lines.push_str(&RecordLine::chain(session.fingerprint, &self.chain));
        }
        lines.push_str(&RecordLine::part(session.fingerprint, &self.signed));
    }
}

impl Known {
    /// Whether a part holds the same rows, in whichever file they were sealed.
    pub(super) fn has_content_of(&self, part: &PartEntry) -> bool {
        let own = &self.record.part;
        (own.name, own.ids, own.rows, own.content_digest)
            == (part.name, part.ids, part.rows, part.content_digest)
    }
}

impl PartRecords {
    /// Reads a log, or begins one. A line that is damaged or that the sender has not signed is
    /// passed over: its part then counts as one that has not come.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn open(path: PathBuf, session: &PackageExpectations) -> io::Result<Self> {
        let mut records = Self::look(path, session)?;
        if records.bytes > 0 {
            let log = DurableLog::open(&records.path)?;
            // What a crash has cut off.
            log.truncate(records.bytes)?;
            records.log = Some(log);
        }
        Ok(records)
    }

    /// As [`Self::open`], and changes nothing.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn look(path: PathBuf, session: &PackageExpectations) -> io::Result<Self> {
        let verified = |signed: &SignedPartRecord, chain: Option<&CertificateChain>| {
            signed.verify(session, chain?).ok()
        };
        Self::read_log(path, session.fingerprint, session.ids.first(), &verified)
    }

    /// What a log claims, to show it. No signature is verified, and a running receiver may be
    /// further: of parts in memory nothing is written yet.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn glance(
        path: PathBuf,
        session: Fingerprint,
        first_id: i64,
    ) -> io::Result<RecordsGlance> {
        let claimed = |signed: &SignedPartRecord, _: Option<&_>| signed.claims().ok();
        let records = Self::read_log(path, session, first_id, &claimed)?;
        let used_up_to = records.reach(None, |known| known.stage == PartStage::Used);
        let used = records.used_parts().map(|part| part.name).collect();
        Ok(RecordsGlance { used, used_up_to })
    }

    fn read_log(
        path: PathBuf,
        session: Fingerprint,
        begin: i64,
        accept: &Accept<'_>,
    ) -> io::Result<Self> {
        let mut records = Self {
            path,
            log: None,
            bytes: 0,
            chain: None,
            known: BTreeMap::new(),
            names: HashMap::new(),
            begin,
            covered_up_to: None,
            used_up_to: None,
        };
        let text = match durable::open_regular(&records.path) {
            Ok(Some(file)) => {
                let mut text = Vec::new();
                io::Read::read_to_end(&mut io::Read::take(file, MAX_BYTES), &mut text)?;
                text
            }
            Ok(None) => return Err(io::ErrorKind::InvalidInput.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(records),
            Err(error) => return Err(error),
        };
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            if line.ends_with(b"\n") {
                records.bytes += line.len() as u64;
                records.read(line, session, accept);
            }
        }
        Ok(records)
    }

    fn read(&mut self, line: &[u8], session: Fingerprint, accept: &Accept<'_>) {
        let passed_over = || {
            tracing::warn!("{}: a line is damaged and was passed over", self.path.display());
        };
        match RecordLine::read(session, line) {
            Some(RecordLine::Chain(chain)) => self.chain = chain,
            Some(RecordLine::Part(signed)) => match accept(&signed, self.chain.as_ref()) {
                Some(record) => self.insert(record),
                None => passed_over(),
            },
            Some(RecordLine::Used(name)) => {
                let first = self.names.get(&name);
                match first.and_then(|first| self.known.get_mut(first)) {
                    Some(known) => known.stage = PartStage::Used,
                    None => passed_over(),
                }
            }
            None => passed_over(),
        }
    }

    /// Makes a record durable; [`Self::insert`] is called when its part is there.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn log(
        &mut self,
        session: &PackageExpectations,
        proof: &RecordProof,
    ) -> io::Result<()> {
        let mut lines = String::new();
        proof.put_lines(session, self.chain.as_ref(), &mut lines);
        self.append(lines.as_bytes())?;
        self.chain = Some(proof.chain.clone());
        Ok(())
    }

    /// Makes the record of a part durable that was [`Self::insert_unlogged`].
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn log_late(
        &mut self,
        session: &PackageExpectations,
        name: PartName,
    ) -> io::Result<()> {
        let proof = self.get(name).and_then(|known| known.unlogged.clone());
        let Some(proof) = proof else { return Ok(()) };
        self.log(session, &proof)?;
        if let Some(known) = self.names.get(&name).and_then(|first| self.known.get_mut(first)) {
            known.unlogged = None;
        }
        Ok(())
    }

    /// Notes a record, in place of those that it overlaps.
    pub(super) fn insert(&mut self, record: PartRecord) {
        self.note(Known { record, stage: PartStage::Arrived, unlogged: None });
    }

    /// Notes the record of a part in memory. It becomes durable when the part is used, or earlier
    /// by [`Self::log_late`].
    pub(super) fn insert_unlogged(&mut self, record: PartRecord, proof: RecordProof) {
        let unlogged = Some(Box::new(proof));
        self.note(Known { record, stage: PartStage::Arrived, unlogged });
    }

    fn note(&mut self, known: Known) {
        let part = &known.record.part;
        let (name, first) = (part.name, part.ids.first());
        let mut replaced: Vec<i64> = self.overlapping(part.ids).map(first_of).collect();
        // The same part in another place: an earlier cut.
        replaced.extend(self.names.get(&name));
        for first in &replaced {
            if let Some(known) = self.known.remove(first) {
                self.names.remove(&known.record.part.name);
            }
        }
        self.names.insert(name, first);
        self.known.insert(first, known);
        // What was replaced may leave a gap behind.
        self.extend(if replaced.is_empty() { self.covered_up_to } else { None });
    }

    /// Forgets the record of a part, which has become another.
    pub(super) fn forget(&mut self, name: PartName) {
        if let Some(first) = self.names.remove(&name) {
            self.known.remove(&first);
            self.extend(None);
        }
    }

    /// Keeps those records alone whose part is there, or needs no file.
    pub(super) fn retain(&mut self, is_there: impl Fn(&PartEntry) -> bool) {
        self.known.retain(|_, known| {
            let part = &known.record.part;
            known.stage == PartStage::Used || part.rows == 0 || is_there(part)
        });
        self.names =
            self.known.iter().map(|(first, known)| (known.record.part.name, *first)).collect();
        self.extend(None);
        self.used_up_to = self.reach(None, |known| known.stage == PartStage::Used);
    }

    /// The records of parts that cover some of `ids`.
    pub(super) fn overlapping(&self, ids: IdRange) -> impl Iterator<Item = &Known> {
        let before = self.known.range(..ids.first()).next_back();
        let within = self.known.range(ids.first()..=ids.last());
        let all = before.into_iter().chain(within).map(|(_, known)| known);
        all.filter(move |known| known.record.part.ids.overlaps(ids))
    }

    /// The record of a part.
    pub(super) fn get(&self, name: PartName) -> Option<&Known> {
        self.known.get(self.names.get(&name)?)
    }

    /// Whether all rows of a part are in the table.
    pub(super) fn is_used(&self, name: PartName) -> bool {
        self.get(name).is_some_and(|known| known.stage == PartStage::Used)
    }

    /// The parts with rows that were used.
    pub(super) fn used_parts(&self) -> impl Iterator<Item = &PartEntry> {
        let used = self.known.values().filter(|known| known.stage == PartStage::Used);
        used.map(|known| &known.record.part).filter(|part| part.rows > 0)
    }

    /// The last id up to which all parts were used.
    pub(super) fn used_up_to(&self) -> Option<i64> {
        self.used_up_to
    }

    /// Whether nothing is missing before a part.
    pub(super) fn continues(&self, part: &PartEntry) -> bool {
        self.next_after(self.covered_up_to).is_none_or(|next| part.ids.first() <= next)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// All records by ascending ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Known> {
        self.known.values()
    }

    /// Whether nothing but what is used comes before a part: then only this part, or one of the
    /// other sender, lets the frontier move on.
    pub(super) fn is_next(&self, part: &PartEntry) -> bool {
        self.next_after(self.used_up_to).is_none_or(|next| part.ids.first() <= next)
    }

    /// The last id up to which nothing is missing.
    pub(super) fn covered_up_to(&self) -> Option<i64> {
        self.covered_up_to
    }

    /// What both senders must have in common; `None` before the first record.
    pub(super) fn key_check(&self) -> Option<[u8; 16]> {
        self.known.values().next().map(|known| known.record.key_check)
    }

    /// Takes the parts that cover ids after `after` and up to `up_to`, where nothing is missing: they
    /// are not replaced any more.
    pub(super) fn take(&mut self, after: Option<i64>, up_to: i64) -> Vec<PartEntry> {
        let before = after.and_then(|after| self.known.range(..=after).next_back());
        let start = before.map_or(i64::MIN, |(first, _)| *first);
        if start > up_to {
            return vec![];
        }
        let mut taken = vec![];
        for known in self.known.range_mut(start..=up_to).map(|(_, known)| known) {
            let part = &known.record.part;
            if after.is_none_or(|after| part.ids.last() > after) {
                known.stage = known.stage.max(PartStage::Taken);
                taken.extend((part.rows > 0).then(|| part.clone()));
            }
        }
        taken
    }

    /// Notes durably that parts were used, all of whose ids are at most `up_to`; returns those
    /// that have rows. What the log lacks of them comes before.
    ///
    /// # Errors
    /// What the file system says: then their files must stay.
    pub(super) fn use_up(
        &mut self,
        session: &PackageExpectations,
        up_to: i64,
    ) -> io::Result<Vec<PartName>> {
        let begin = self.next_after(self.used_up_to);
        let Some(begin) = begin.filter(|begin| *begin <= up_to) else { return Ok(vec![]) };
        let is_used_now =
            |known: &Known| known.stage != PartStage::Used && known.record.part.ids.last() <= up_to;
        let (mut names, mut lines, mut chain) = (vec![], String::new(), self.chain.as_ref());
        let candidates = self.known.range(begin..=up_to).map(|(_, known)| known);
        for known in candidates.filter(|known| is_used_now(known)) {
            let part = &known.record.part;
            if let Some(proof) = &known.unlogged {
                proof.put_lines(session, chain, &mut lines);
                chain = Some(&proof.chain);
            }
            lines.push_str(&RecordLine::used(session.fingerprint, part.name));
            names.extend((part.rows > 0).then_some(part.name));
        }
        if lines.is_empty() {
            return Ok(names);
        }
        let chain = chain.cloned();
        self.append(lines.as_bytes())?;
        self.chain = chain;
        for (_, known) in self.known.range_mut(begin..=up_to) {
            if known.record.part.ids.last() <= up_to {
                known.stage = PartStage::Used;
                known.unlogged = None;
            }
        }
        self.used_up_to = self.reach(self.used_up_to, |known| known.stage == PartStage::Used);
        Ok(names)
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let log = match &self.log {
            Some(log) => log,
            None => {
                durable::write_whole(&self.path, b"")?;
                self.log.insert(DurableLog::open(&self.path)?)
            }
        };
        // After a failure the same place is written again.
        log.write_all_at(lines, self.bytes)?;
        log.sync()?;
        self.bytes += lines.len() as u64;
        Ok(())
    }

    /// Finds out how far the records reach, of which nothing is missing up to `from`.
    fn extend(&mut self, from: Option<i64>) {
        self.covered_up_to = self.reach(from, |_| true);
    }

    /// The first id after those that were reached; `None` when these are all there are.
    fn next_after(&self, reached: Option<i64>) -> Option<i64> {
        reached.map_or(Some(self.begin), |last| last.checked_add(1))
    }

    /// The last id of a row of records without a gap, each `wanted`, after `from`.
    fn reach(&self, from: Option<i64>, wanted: impl Fn(&Known) -> bool) -> Option<i64> {
        let mut reached = from;
        loop {
            let known = self.next_after(reached).and_then(|next| self.known.get(&next));
            let Some(known) = known.filter(|known| wanted(known)) else { return reached };
            reached = Some(known.record.part.ids.last());
        }
    }
}

/// Next to the package's directory, which holds nothing but the package.
pub(super) fn records_of(directory: &Path) -> PathBuf {
    directory.with_extension("records")
}

/// More than any package's parts need.
const MAX_BYTES: u64 = 4 << 30;

fn first_of(known: &Known) -> i64 {
    known.record.part.ids.first()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use reshare_engine::layout::RowLayout;
    use reshare_engine::party::PartyId;
    use reshare_format::package::{SealedPart, Timestamp};

    use super::*;

    fn range(first: i64, last: i64) -> IdRange {
        IdRange::new(first, last).unwrap()
    }

    fn session() -> PackageExpectations {
        let party = |index| PartyId::new(index).unwrap();
        PackageExpectations {
            session_id: "session".to_owned(),
            fingerprint: Fingerprint([7; 32]),
            sender: party(0),
            receiver: party(2),
            layout: Arc::new(RowLayout::iris()),
            ids: range(1, 1000),
            max_part_bytes: 1 << 20,
            trust: None,
        }
    }

    fn record(index: u64, ids: IdRange, rows: u64) -> PartRecord {
        let PackageExpectations { session_id, fingerprint, sender, receiver, .. } = session();
        let sealed_digest = blake3::hash(&index.to_le_bytes());
        let sealed = SealedPart { name: PartName::new(index), sealed_bytes: rows, sealed_digest };
        let now = Timestamp::now();
        PartRecord {
            session_id,
            fingerprint,
            sender,
            receiver,
            key_check: [1; 16],
            part: PartEntry::new(&sealed, ids, rows, sealed_digest, now),
            bounds: (rows > 0).then_some(ids),
            signed_at: now,
        }
    }

    fn empty(directory: &Path) -> PartRecords {
        PartRecords::open(directory.join("p.records"), &session()).unwrap()
    }

    fn names(records: &PartRecords) -> Vec<u64> {
        records.iter().map(|known| known.record.part.name.index()).collect()
    }

    #[test]
    fn parts_are_taken_in_order_as_far_as_nothing_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let mut records = empty(directory.path());
        records.insert(record(1, range(11, 20), 3));
        assert_eq!((records.covered_up_to(), records.take(None, 0)), (None, vec![]));
        records.insert(record(0, range(1, 10), 3));
        records.insert(record(3, range(31, 40), 3));
        assert_eq!(records.covered_up_to(), Some(20));
        let taken = |records: &mut PartRecords, after| {
            let up_to = records.covered_up_to().unwrap();
            records.take(after, up_to).iter().map(|part| part.name.index()).collect::<Vec<_>>()
        };
        assert_eq!(taken(&mut records, None), [0, 1]);
        assert_eq!(taken(&mut records, Some(10)), [1]);
        assert_eq!(taken(&mut records, Some(9)), [0, 1]);
        assert_eq!(records.take(Some(20), 9), []);
        // Without a row there is no part to take.
        records.insert(record(2, range(21, 30), 0));
        assert_eq!(records.covered_up_to(), Some(40));
        assert_eq!(taken(&mut records, Some(20)), [3]);
        let stage = |name| records.get(PartName::new(name)).unwrap().stage;
        assert_eq!([0, 2, 3].map(stage), [PartStage::Taken; 3]);
    }

    #[test]
    fn a_part_continues_what_is_covered_and_the_next_one_what_was_used() {
        let directory = tempfile::tempdir().unwrap();
        let (mut records, session) = (empty(directory.path()), session());
        let part = |index, first| record(index, range(first, first + 9), 3).part;
        assert!(records.continues(&part(0, 1)) && records.is_next(&part(0, 1)));
        assert!(!records.continues(&part(1, 11)) && !records.is_next(&part(1, 11)));
        records.insert(record(0, range(1, 10), 3));
        assert!(records.continues(&part(1, 11)) && !records.is_next(&part(1, 11)));
        assert!(!records.continues(&part(2, 21)));
        records.use_up(&session, 10).unwrap();
        assert!(records.is_next(&part(1, 11)) && !records.is_next(&part(2, 21)));
    }

    #[test]
    fn what_was_used_is_known_after_a_restart_and_what_lacks_its_part_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (mut records, session) = (empty(directory.path()), session());
        for (index, first) in [(0, 1), (1, 11), (2, 21)] {
            records.insert(record(index, range(first, first + 9), 3));
        }
        assert_eq!(records.use_up(&session, 0).unwrap(), []);
        assert_eq!(records.use_up(&session, 15).unwrap(), [PartName::new(0)]);
        assert_eq!(records.use_up(&session, 19).unwrap(), []);
        assert_eq!(records.use_up(&session, 20).unwrap(), [PartName::new(1)]);
        assert_eq!(names(&records), [0, 1, 2]);
        records.retain(|_| false);
        assert_eq!((names(&records), records.covered_up_to()), (vec![0, 1], Some(20)));
        let text = std::fs::read_to_string(records.path).unwrap();
        let expected = ["used part-000000.age ", "used part-000001.age "];
        assert!(text.lines().zip(expected).all(|(line, begin)| line.starts_with(begin)), "{text}");
    }

    #[test]
    fn lines_that_are_damaged_or_cut_are_passed_over_and_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.records");
        let good = RecordLine::used(session().fingerprint, PartName::new(9));
        for text in
            ["", "used", "used part-000001.age 0123456789abcdef\n", "\n\n", "\u{fffd} x y\n"]
        {
            std::fs::write(&path, format!("{text}{good}cut off")).unwrap();
            let records = PartRecords::open(path.clone(), &session()).unwrap();
            assert_eq!(names(&records), [0_u64; 0]);
            let left = std::fs::read_to_string(&path).unwrap();
            assert_eq!(left.len() as u64, records.bytes, "{text:?}");
            assert!(left.ends_with(&good), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn coverage_is_what_a_walk_from_the_first_id_finds(
            cuts in prop::collection::vec((0_u64..12, 1_i64..60, 0_i64..12, any::<bool>()), 0..40),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let mut records = empty(directory.path());
            for (index, first, len, forget) in cuts {
                if forget {
                    records.forget(PartName::new(index));
                } else {
                    records.insert(record(index, range(first, first + len), 1));
                }
                let ranges: Vec<IdRange> =
                    records.iter().map(|known| known.record.part.ids).collect();
                prop_assert!(ranges.is_sorted_by(|a, b| a.last() < b.first()));
                let mut covered = None;
                while let Some(next) = ranges
                    .iter()
                    .find(|range| range.first() == covered.map_or(1, |last: i64| last + 1))
                {
                    covered = Some(next.last());
                }
                prop_assert_eq!(records.covered_up_to(), covered);
                for known in records.iter() {
                    let found = records.get(known.record.part.name).unwrap();
                    prop_assert_eq!(&found.record, &known.record);
                }
            }
        }
    }
}
