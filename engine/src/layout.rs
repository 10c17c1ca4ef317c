//! The columns of a row: names, kinds and lengths, the same at all three parties.

/// Elements of `u16` in one ring element: every share column is a multiple of it.
pub(crate) const U16_PER_ELEMENT: usize = 4;

/// A column of shares: `len` u16 in every row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareColumn {
    /// Name in the database and in files.
    pub name: String,
    /// Length of one row in u16, a positive multiple of four.
    pub len: usize,
}

/// The kind of values in an agree column.
///
/// SMALLINT, INTEGER and BIGINT are one kind: the two senders may differ in the width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AgreeKind {
    /// Any integer that fits 64 bits.
    Integer,
    /// A UUID, as its 16 bytes.
    Uuid,
}

/// A column whose value says which content a row holds: both senders must agree on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreeColumn {
    /// Name in the database and in files.
    pub name: String,
    /// The kind of its values.
    pub kind: AgreeKind,
}

/// The agree columns and share columns of a row, in session order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowLayout {
    agree: Vec<AgreeColumn>,
    shares: Vec<ShareColumn>,
}

impl RowLayout {
    /// The most columns of either sort: the share file's header has room for these.
    pub const MAX_COLUMNS: usize = 16;
    /// The longest column name in bytes: PostgreSQL's own limit.
    pub const MAX_NAME_BYTES: usize = 63;
    /// The most u16 of one row, over all share columns: 32 MiB, which is half of the largest part.
    pub(crate) const MAX_ROW_U16: usize = 16 << 20;

    /// Checks and takes the columns of a row.
    ///
    /// # Errors
    /// A [`LayoutError`] for no or too many columns, an unusable or repeated name, or a
    /// length that is no positive multiple of four or too large.
    pub fn new(agree: Vec<AgreeColumn>, shares: Vec<ShareColumn>) -> Result<Self, LayoutError> {
        if shares.is_empty() {
            return Err(LayoutError::NoShareColumn);
        }
        for count in [agree.len(), shares.len()] {
            if count > Self::MAX_COLUMNS {
                return Err(LayoutError::TooManyColumns { count });
            }
        }
        let names = || {
            let agree = agree.iter().map(|column| &column.name);
            agree.chain(shares.iter().map(|column| &column.name))
        };
        for (index, name) in names().enumerate() {
            if name.is_empty() || name.len() > Self::MAX_NAME_BYTES || name.contains('\0') {
                return Err(LayoutError::BadName { name: name.clone() });
            }
            if names().take(index).any(|earlier| earlier == name) {
                return Err(LayoutError::RepeatedName { name: name.clone() });
            }
        }
        let mut total = 0_usize;
        for column in &shares {
            let ok = column.len > 0 && column.len.is_multiple_of(U16_PER_ELEMENT);
            total = total.saturating_add(column.len);
            if !ok || total > Self::MAX_ROW_U16 {
                let (name, len) = (column.name.clone(), column.len);
                return Err(LayoutError::BadLength { name, len });
            }
        }
        Ok(Self { agree, shares })
    }

    /// The layout of an iris table: 76,800 bytes of shares, agreed by `version_id`.
    #[must_use]
    pub fn iris() -> Self {
        let share = |name: &str, len| ShareColumn { name: name.to_owned(), len };
        Self {
            agree: vec![AgreeColumn { name: "version_id".to_owned(), kind: AgreeKind::Integer }],
            shares: vec![
                share("left_code", 12_800),
                share("left_mask", 6_400),
                share("right_code", 12_800),
                share("right_mask", 6_400),
            ],
        }
    }

    /// The agree columns, in session order.
    #[must_use]
    pub fn agree(&self) -> &[AgreeColumn] {
        &self.agree
    }

    /// The share columns, in session order: the keystream runs over them in this order.
    #[must_use]
    pub fn shares(&self) -> &[ShareColumn] {
        &self.shares
    }

    /// The u16 of one row, over all share columns.
    #[must_use]
    pub fn row_u16(&self) -> usize {
        self.shares.iter().map(|column| column.len).sum()
    }

    /// The bytes of share data in one row.
    #[must_use]
    pub fn row_share_bytes(&self) -> usize {
        self.row_u16() * size_of::<u16>()
    }
}

/// Why columns make no layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// There is nothing to reshare.
    #[error("a row has no share column")]
    NoShareColumn,
    /// More columns than a file's header has room for.
    #[error("{count} columns are too many: at most {max}", max = RowLayout::MAX_COLUMNS)]
    TooManyColumns {
        /// How many were given.
        count: usize,
    },
    /// A name that is empty, too long or holds a NUL.
    #[error("column name {name:?} is empty, longer than 63 bytes or holds a NUL")]
    BadName {
        /// The name.
        name: String,
    },
    /// A name given twice.
    #[error("column {name:?} is named twice")]
    RepeatedName {
        /// The name.
        name: String,
    },
    /// A length that is zero, no multiple of four, or too large.
    #[error(
        "share column {name:?} cannot have {len} u16: a positive multiple of 4 is needed, and at most 16 Mi a row"
    )]
    BadLength {
        /// The column.
        name: String,
        /// The length that was given, in u16.
        len: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(name: &str, len: usize) -> ShareColumn {
        ShareColumn { name: name.to_owned(), len }
    }

    #[test]
    fn an_iris_row_is_76800_bytes() {
        let iris = RowLayout::iris();
        assert_eq!(iris.row_share_bytes(), 76_800);
        let again = RowLayout::new(iris.agree().to_vec(), iris.shares().to_vec());
        assert_eq!(again, Ok(iris));
    }

    #[test]
    fn unusable_columns_are_refused() {
        let refuse = |shares| RowLayout::new(vec![], shares).expect_err("must be refused");
        assert_eq!(refuse(vec![]), LayoutError::NoShareColumn);
        assert!(matches!(refuse(vec![share("a", 0)]), LayoutError::BadLength { .. }));
        assert!(matches!(refuse(vec![share("a", 6)]), LayoutError::BadLength { .. }));
        assert!(matches!(refuse(vec![share("a", usize::MAX - 3)]), LayoutError::BadLength { .. }));
        assert!(matches!(refuse(vec![share("", 4)]), LayoutError::BadName { .. }));
        let twice = vec![share("a", 4), share("a", 4)];
        assert!(matches!(refuse(twice), LayoutError::RepeatedName { .. }));
        let many = (0..17).map(|n| share(&format!("c{n}"), 4)).collect();
        assert_eq!(refuse(many), LayoutError::TooManyColumns { count: 17 });
    }
}
