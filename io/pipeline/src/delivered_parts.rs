//! The parts that a receiver has of both senders.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use reshare_engine::layout::RowLayout;
use reshare_engine::party::PartyId;
use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::Rows;
use reshare_files::ids::IdRange;
use reshare_files::memory::Locked;
use reshare_format::keys::Identity;
use reshare_format::package::{PartEntry, PartFiles, PartName};
use reshare_format::receipt::content_of_parts;
use reshare_format::session::{IdList, Session, SessionIds};
use reshare_format::share_file::RowPrefix;
use reshare_postgres::load_source::LoadSource;

use super::error::PipelineError;
use super::pool::PooledBatch;
use super::sweep::{HeldRows, PartRef};

/// Parts of both senders, as far as they have arrived: both packages of a session, or the part of
/// them that can be merged by now.
#[derive(Clone)]
pub(crate) struct DeliveredParts {
    /// The lower party's first.
    sides: [SideParts; 2],
    receiver: Arc<Receiver>,
}

/// What a receiver needs to open the parts of both senders.
#[derive(Clone)]
pub(crate) struct Receiver {
    identity: Arc<Locked<Identity>>,
    layout: Arc<RowLayout>,
    bounds: IdRange,
    ids: Ids,
}

/// Which ids the session is about.
#[derive(Clone)]
enum Ids {
    Range,
    /// A list that was not given: no row can be checked against it.
    ListNotGiven,
    List(Arc<[i64]>),
}

/// One sender's parts.
#[derive(Debug, Clone)]
pub(crate) struct SideParts {
    files: PartFiles,
    entries: Vec<PartEntry>,
    ranges: Vec<IdRange>,
    /// The last id that these parts speak for: up to there, rows that are in none do not come.
    covered_up_to: Option<i64>,
    /// Parts whose files are not there any more.
    gone: Vec<(PartName, IdRange)>,
    /// Sealed bytes of parts that are in memory, which this process has digested.
    held: HashMap<PartName, Bytes>,
}

impl SideParts {
    /// Takes parts by ascending ids.
    pub(crate) fn new(
        files: PartFiles,
        entries: Vec<PartEntry>,
        covered_up_to: Option<i64>,
    ) -> Self {
        let ranges = entries.iter().map(|part| part.ids).collect();
        let (gone, held) = (vec![], HashMap::new());
        Self { files, entries, ranges, covered_up_to, gone, held }
    }

    /// Notes parts whose files were removed after their rows were loaded.
    pub(crate) fn without_files(self, gone: Vec<(PartName, IdRange)>) -> Self {
        Self { gone, ..self }
    }

    /// Of these parts the sealed bytes are in memory.
    pub(crate) fn holding(self, held: HashMap<PartName, Bytes>) -> Self {
        Self { held, ..self }
    }

    /// The parts that cover ids of `range`; `None` where others may still come.
    fn within(&self, range: IdRange) -> Option<&[PartEntry]> {
        if self.covered_up_to.is_none_or(|last| last < range.last()) {
            return None;
        }
        let start = self.ranges.partition_point(|ids| ids.last() < range.first());
        let end = self.ranges.partition_point(|ids| ids.first() <= range.last());
        Some(&self.entries[start..end.max(start)])
    }
}

impl Receiver {
    /// Takes the identity that parts are sealed to.
    ///
    /// # Errors
    /// [`PipelineError::OtherIdentity`].
    pub(crate) fn new(session: &Session, identity: Identity) -> Result<Self, PipelineError> {
        let (own, expected) = (identity.to_public(), &session.receiver().recipient);
        if own != *expected {
            let (got, expected) = (own.kind(), expected.kind());
            return Err(PipelineError::OtherIdentity { got, expected });
        }
        let (layout, bounds) = (Arc::clone(session.layout()), session.ids().range());
        let ids = match session.ids() {
            SessionIds::Range(_) => Ids::Range,
            SessionIds::List { .. } => Ids::ListNotGiven,
        };
        let identity = Arc::new(Locked::new(identity));
        Ok(Self { identity, layout, bounds, ids })
    }

    /// Sets the list that the session is about, where it is about one.
    pub(crate) fn with_list(mut self, list: &IdList) -> Self {
        if !matches!(self.ids, Ids::Range) {
            self.ids = Ids::List(list.ids().into());
        }
        self
    }

    /// The ids that the session is about.
    pub(crate) fn bounds(&self) -> IdRange {
        self.bounds
    }
}

impl DeliveredParts {
    pub(crate) fn new(receiver: Arc<Receiver>, sides: [SideParts; 2]) -> Self {
        Self { sides, receiver }
    }

    /// The same parts of a session about a list of ids.
    pub(crate) fn with_list(self: Arc<Self>, list: &IdList) -> Arc<Self> {
        let receiver = Receiver::clone(&self.receiver).with_list(list);
        Arc::new(Self { receiver: Arc::new(receiver), ..Arc::unwrap_or_clone(self) })
    }

    /// The last id that both senders have covered.
    pub(crate) fn frontier(&self) -> Option<i64> {
        let [lower, higher] = &self.sides;
        lower.covered_up_to.min(higher.covered_up_to)
    }

    /// Refuses to merge ids of a part that is not there any more.
    ///
    /// # Errors
    /// [`PipelineError::PartGone`].
    pub(crate) fn check_there(&self, segments: &[IdRange]) -> Result<(), PipelineError> {
        let mut gone = self.sides.iter().flat_map(|side| &side.gone);
        let needed = gone.find_map(|(part, ids)| {
            let ids = segments.iter().find_map(|segment| segment.intersection(*ids))?;
            Some(PipelineError::PartGone { part: *part, ids })
        });
        needed.map_or(Ok(()), Err)
    }

    /// What rows of `range` are rebuilt from; `None` where parts of it may still come.
    pub(crate) fn load_source(&self, range: IdRange) -> Option<LoadSource> {
        load_source(&self.sides, range)
    }

    /// Refuses rows that the session is not about.
    pub(crate) fn check_ids(&self, ids: &[i64]) -> Result<(), PipelineError> {
        match &self.receiver.ids {
            Ids::Range => Ok(()),
            Ids::ListNotGiven if ids.is_empty() => Ok(()),
            Ids::ListNotGiven => Err(PipelineError::NoIdList),
            Ids::List(listed) => match ids.iter().find(|id| listed.binary_search(id).is_err()) {
                Some(id) => Err(PipelineError::NotListed { id: *id }),
                None => Ok(()),
            },
        }
    }

    /// The list of ids, where the session is about one.
    pub(crate) fn listed(&self) -> Option<&[i64]> {
        match &self.receiver.ids {
            Ids::List(listed) => Some(listed),
            Ids::Range | Ids::ListNotGiven => None,
        }
    }

    /// The ranges of both senders' parts, the lower party's first.
    pub(crate) fn ranges(&self) -> [&[IdRange]; 2] {
        self.sides.each_ref().map(|side| side.ranges.as_slice())
    }

    /// What the columns are.
    pub(crate) fn layout(&self) -> &Arc<RowLayout> {
        &self.receiver.layout
    }

    /// The ids that the session is about.
    pub(crate) fn bounds(&self) -> IdRange {
        self.receiver.bounds
    }

    /// The most rows of one part.
    pub(crate) fn part_rows_at_most(&self) -> usize {
        let parts = self.sides.iter().flat_map(|side| &side.entries);
        parts.map(|part| usize::try_from(part.rows).unwrap_or(usize::MAX)).max().unwrap_or(0)
    }

    /// Opens a part: see [`PartFiles::open_part`].
    pub(crate) fn open_part(
        &self,
        part: PartRef,
        batch: &mut RowBatch,
    ) -> Result<(), PipelineError> {
        let side = &self.sides[part.side.index()];
        let (entry, identity) = (&side.entries[part.index], &self.receiver.identity);
        match side.held.get(&entry.name) {
            Some(sealed) => side.files.open_held_part(sealed, entry, identity, batch)?,
            None => side.files.open_part(entry, identity, batch)?,
        }
        Ok(())
    }

    /// Opens the beginning of a part: ids, agree columns and row checks.
    pub(crate) fn open_prefix(&self, part: PartRef) -> Result<HeldPrefix, PipelineError> {
        let side = &self.sides[part.side.index()];
        let (entry, identity) = (&side.entries[part.index], &self.receiver.identity);
        let prefix = match side.held.get(&entry.name) {
            Some(sealed) => side.files.open_held_part_prefix(sealed, entry, identity)?,
            None => side.files.open_part_prefix(entry, identity)?,
        };
        Ok(HeldPrefix { layout: Arc::clone(&self.receiver.layout), prefix })
    }
}

/// What rows of `range` are rebuilt from; `None` where parts of it may still come.
pub(crate) fn load_source(sides: &[SideParts; 2], range: IdRange) -> Option<LoadSource> {
    let source =
        |side: &SideParts| Some((side.files.sender(), content_of_parts(side.within(range)?)));
    let [lower, higher]: [Option<(PartyId, _)>; 2] = sides.each_ref().map(source);
    Some(LoadSource::Packages([lower?, higher?]))
}

/// A part without its shares: enough for a join.
pub(crate) struct HeldPrefix {
    layout: Arc<RowLayout>,
    prefix: RowPrefix,
}

impl HeldRows for HeldPrefix {
    fn rows(&self) -> Rows<'_> {
        Rows {
            layout: &self.layout,
            ids: &self.prefix.ids,
            agree: self.prefix.agree.iter().map(|column| column.as_slice()).collect(),
            row_checks: &self.prefix.row_checks,
            shares: Vec::new(),
        }
    }
}

impl HeldRows for PooledBatch {
    fn rows(&self) -> Rows<'_> {
        RowBatch::rows(self)
    }
}
