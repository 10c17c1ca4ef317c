//! The rows of a session, with its list of ids if it has one.

use reshare_files::ids::IdRange;
use reshare_format::session::{IdList, Session, SessionIds};
use reshare_postgres::plan::ExportIds;

/// The ids of a session.
#[derive(Debug, Clone)]
pub enum RowIds {
    /// Every id in a range.
    Range(IdRange),
    /// These ids, ascending, at least one.
    List(Vec<i64>),
}

impl RowIds {
    /// Takes a session's range, or the list that was checked against it; `None` when the list is
    /// missing.
    #[must_use]
    pub fn of(session: &Session, list: Option<&IdList>) -> Option<Self> {
        match (session.ids(), list) {
            (SessionIds::Range(range), _) => Some(Self::Range(*range)),
            (SessionIds::List { .. }, Some(list)) => Some(Self::List(list.ids().to_vec())),
            (SessionIds::List { .. }, None) => None,
        }
    }

    /// The smallest range that holds all ids.
    #[must_use]
    pub fn bounds(&self) -> IdRange {
        match self {
            Self::Range(range) => *range,
            Self::List(ids) => IdRange::of(ids).unwrap_or(IdRange::ALL),
        }
    }

    /// The ids in the form that an export takes.
    pub(crate) fn export_ids(&self) -> ExportIds<'_> {
        match self {
            Self::Range(range) => ExportIds::Range(*range),
            Self::List(ids) => ExportIds::List(ids),
        }
    }

    /// The ids within a range in the form that an export takes; `None` when there are none.
    pub(crate) fn export_ids_within(&self, bounds: IdRange) -> Option<ExportIds<'_>> {
        match self {
            Self::Range(range) => range.intersection(bounds).map(ExportIds::Range),
            Self::List(ids) => {
                let start = ids.partition_point(|id| *id < bounds.first());
                let end = ids.partition_point(|id| *id <= bounds.last());
                (start < end).then(|| ExportIds::List(&ids[start..end]))
            }
        }
    }
}
