//! A sender's work: weights its shares for the receiver and blinds them.

use std::fmt;
use std::ops::Range;

use rayon::iter::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator, split};

use crate::fingerprint::Fingerprint;
use crate::kernel::{Kernels, Weighting};
use crate::key_schedule::KeySchedule;
use crate::keystream::Keystream;
use crate::party::PartyId;
use crate::ring::RingElement;
use crate::row_batch::{PushError, RowBatch};
use crate::row_key::{ContentTag, RowHasher, RowIdentity};
use crate::rows::{AgreeSlice, AgreeValues, RowCheck, Rows};
use crate::rows_mut::{AgreeSliceMut, AgreeValuesMut, RowsMut};
use crate::shamir::{Sign, WeightError, weight};
use crate::tile::Tile;

/// Blinds the rows of one sender for one receiver.
///
/// Computes `m = w * s + r` for the lower sender and `m = w * s - r` for the higher one, with
/// the weight `w` of the sender at the receiver and `r` from the row's keystream, which runs on
/// over the share columns in layout order.
///
/// # Secrecy
/// Who has the keys can blind: wiped when dropped, and `Debug` prints no key. The caller sees to
/// it that one row is never blinded with two contents.
///
/// # Source
/// DESIGN.md sections 3 and 4.
#[derive(Clone)]
pub struct Blinder {
    hasher: RowHasher,
    weighting: Weighting,
    kernels: Kernels,
}

impl Blinder {
    /// Prepares for `sender`, with `other` as the second sender.
    ///
    /// # Errors
    /// [`WeightError`] when any two of the parties are equal.
    pub fn new(
        keys: &KeySchedule,
        fingerprint: &Fingerprint,
        sender: PartyId,
        other: PartyId,
        receiver: PartyId,
    ) -> Result<Self, WeightError> {
        let weight = weight(sender, other, receiver)?;
        Ok(Self {
            hasher: RowHasher::new(keys, fingerprint),
            weighting: Weighting::new(weight, Sign::of(sender, other)),
            kernels: Kernels::detect(),
        })
    }

    /// Takes other kernels than the fastest ones.
    #[must_use]
    pub fn with_kernels(self, kernels: Kernels) -> Self {
        Self { kernels, ..self }
    }

    /// Tags the content of each row: what a ledger asks for before rows are blinded.
    ///
    /// Works on as many threads as the current rayon pool has.
    ///
    /// # Errors
    /// A [`BlindError`] when the rows could not be blinded either; `tags` is then unchanged.
    pub fn tag(&self, plain: &Rows<'_>, tags: &mut Vec<ContentTag>) -> Result<(), BlindError> {
        check(plain)?;
        let init = || self.hasher.clone();
        reset(tags, plain.len()).par_iter_mut().enumerate().for_each_init(
            init,
            |hasher, (row, tag)| {
                let identity = RowIdentity::new(plain.ids[row], plain.agree_values(row));
                *tag = hasher.content_tag(&identity, plain.share_row(row));
            },
        );
        Ok(())
    }

    /// Blinds `plain` into `blinded`, which then holds these rows and no others.
    ///
    /// Works on as many threads as the current rayon pool has.
    ///
    /// # Errors
    /// A [`BlindError`] when the rows cannot be blinded; `blinded` is then unchanged.
    pub fn blind(&self, plain: &Rows<'_>, blinded: &mut RowBatch) -> Result<(), BlindError> {
        self.out_of_place(plain, blinded, None)
    }

    /// Does what [`Self::tag`] and [`Self::blind`] do, in one pass over the memory.
    ///
    /// # Errors
    /// A [`BlindError`] when the rows cannot be blinded; `blinded` and `tags` are then unchanged.
    pub fn tag_and_blind(
        &self,
        plain: &Rows<'_>,
        blinded: &mut RowBatch,
        tags: &mut Vec<ContentTag>,
    ) -> Result<(), BlindError> {
        self.out_of_place(plain, blinded, Some(tags))
    }

    /// Blinds the rows of `batch` where they are.
    ///
    /// Works on as many threads as the current rayon pool has.
    ///
    /// # Errors
    /// A [`BlindError`] when the rows cannot be blinded; `batch` is then unchanged.
    pub fn blind_in_place(&self, batch: &mut RowBatch) -> Result<(), BlindError> {
        self.in_place(batch, None)
    }

    /// Does what [`Self::tag`] and [`Self::blind_in_place`] do, in one pass over the memory.
    ///
    /// # Errors
    /// A [`BlindError`] when the rows cannot be blinded; `batch` and `tags` are then unchanged.
    pub fn tag_and_blind_in_place(
        &self,
        batch: &mut RowBatch,
        tags: &mut Vec<ContentTag>,
    ) -> Result<(), BlindError> {
        self.in_place(batch, Some(tags))
    }

    fn out_of_place(
        &self,
        plain: &Rows<'_>,
        blinded: &mut RowBatch,
        tags: Option<&mut Vec<ContentTag>>,
    ) -> Result<(), BlindError> {
        check(plain)?;
        if plain.layout != &**blinded.layout() {
            return Err(BlindError::LayoutsDiffer);
        }
        let blinded = blinded.reset(plain.len(), true)?;
        let tags = tags.map(|tags| reset(tags, plain.len()));
        let streamed = plain.len() * plain.layout.row_share_bytes() >= STREAMED_BYTES;
        let whole = OutOfPlace { plain: plain.clone(), blinded, tags, streamed };
        split(whole, OutOfPlace::split)
            .for_each_init(|| Worker::new(self), |worker, piece| worker.blind(piece));
        Ok(())
    }

    fn in_place(
        &self,
        batch: &mut RowBatch,
        tags: Option<&mut Vec<ContentTag>>,
    ) -> Result<(), BlindError> {
        check(&batch.rows())?;
        let rows = batch.add_row_checks()?;
        let tags = tags.map(|tags| reset(tags, rows.len()));
        let whole = InPlace { rows, tags };
        split(whole, InPlace::split)
            .for_each_init(|| Worker::new(self), |worker, piece| worker.blind_in_place(piece));
        Ok(())
    }
}

impl fmt::Debug for Blinder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backend = self.kernels.backend();
        f.debug_struct("Blinder").field("backend", &backend).finish_non_exhaustive()
    }
}

/// Refuses what must not be blinded: a keystream that is used twice gives shares away.
fn check(plain: &Rows<'_>) -> Result<(), BlindError> {
    if !plain.is_well_formed() {
        return Err(BlindError::Malformed);
    }
    if !plain.row_checks.is_empty() {
        return Err(BlindError::AlreadyBlinded);
    }
    match plain.first_id_out_of_order() {
        None => Ok(()),
        Some(id) => Err(BlindError::IdsNotAscending { id }),
    }
}

/// Makes room for one tag a row.
fn reset(tags: &mut Vec<ContentTag>, rows: usize) -> &mut [ContentTag] {
    tags.clear();
    tags.resize(rows, ContentTag::default());
    tags
}

/// A piece of the rows to be blinded into another place, and tagged where there is room for it.
struct OutOfPlace<'a> {
    plain: Rows<'a>,
    blinded: RowsMut<'a>,
    tags: Option<&'a mut [ContentTag]>,
    /// Whether from memory to memory.
    streamed: bool,
}

impl OutOfPlace<'_> {
    fn split(self) -> (Self, Option<Self>) {
        let middle = self.plain.len() / 2;
        if middle == 0 {
            return (self, None);
        }
        let (tags, later_tags) = self.tags.map(|tags| tags.split_at_mut(middle)).unzip();
        let (blinded, later) = self.blinded.split_at(middle);
        let later_plain = self.plain.slice(middle..self.plain.len());
        let (plain, streamed) = (self.plain.slice(0..middle), self.streamed);
        let first = Self { plain, blinded, tags, streamed };
        (first, Some(Self { plain: later_plain, blinded: later, tags: later_tags, streamed }))
    }
}

/// A piece of the rows to be blinded where they are, and tagged where there is room for it.
struct InPlace<'a> {
    rows: RowsMut<'a>,
    tags: Option<&'a mut [ContentTag]>,
}

impl InPlace<'_> {
    fn split(self) -> (Self, Option<Self>) {
        let middle = self.rows.len() / 2;
        if middle == 0 {
            return (self, None);
        }
        let (tags, later_tags) = self.tags.map(|tags| tags.split_at_mut(middle)).unzip();
        let (rows, later) = self.rows.split_at(middle);
        (Self { rows, tags }, Some(Self { rows: later, tags: later_tags }))
    }
}

/// 2 KiB of keystream: while the cipher makes a tile, the memory still works for the one before
/// it. 4 KiB cost 15 %, and below 1 KiB the cipher's widest step is not filled.
const TILE: usize = 256;

/// More than most third caches hold. Rows of which there are as many leave the cache before
/// anybody reads them, whatever way they are written.
const STREAMED_BYTES: usize = 32 << 20;

/// Rows that are blinded together, column by column: one row's columns are far apart, and the
/// memory is slow to begin anew at each. One at a time costs 15 %, and 8 win 3 % at most; rows
/// that were just tagged must still be in the second cache.
const ROWS_AT_ONCE: usize = 4;

/// What one thread needs, allocated once for many rows.
struct Worker<'a> {
    blinder: &'a Blinder,
    hasher: RowHasher,
    tile: Tile<TILE>,
    /// Those of the rows at work.
    keystreams: Vec<Keystream>,
}

impl<'a> Worker<'a> {
    fn new(blinder: &'a Blinder) -> Self {
        let (hasher, tile) = (blinder.hasher.clone(), Tile::new());
        Self { blinder, hasher, tile, keystreams: Vec::with_capacity(ROWS_AT_ONCE) }
    }

    fn blind(&mut self, piece: OutOfPlace<'_>) {
        let OutOfPlace { plain, mut blinded, mut tags, streamed } = piece;
        blinded.ids.copy_from_slice(plain.ids);
        for (to, from) in blinded.agree.iter_mut().zip(&plain.agree) {
            copy_agree(to, from);
        }
        for rows in at_once(plain.len()) {
            self.keystreams.clear();
            for row in rows.clone() {
                let identity = RowIdentity::new(plain.ids[row], plain.agree_values(row));
                // First the tag, which brings the row into the cache for the kernel.
                if let Some(tags) = &mut tags {
                    tags[row] = self.hasher.content_tag(&identity, plain.share_row(row));
                }
                blinded.row_checks[row] = self.begin(&identity);
            }
            let shares = plain.shares_from(rows.start);
            for (to, from) in blinded.share_rows_mut(rows).zip(shares) {
                let (to, from) = (bytemuck::cast_slice_mut(to), bytemuck::cast_slice(from));
                if streamed {
                    let Blinder { kernels, weighting, .. } = self.blinder;
                    kernels
                        .blind_streaming(weighting, to, from, &mut self.keystreams)
                        .expect("the rows have one layout");
                } else {
                    self.blind_column(to, from);
                }
            }
        }
    }

    /// Derives a row's key, and answers with the row check.
    fn begin(&mut self, identity: &RowIdentity) -> RowCheck {
        let key = self.hasher.row_key(identity);
        self.keystreams.push(key.keystream());
        self.hasher.row_check(&key)
    }

    fn blind_column(&mut self, blinded: &mut [RingElement], plain: &[RingElement]) {
        let Blinder { kernels, weighting, .. } = self.blinder;
        let elements = blinded.len() / self.keystreams.len();
        let rows = blinded.chunks_exact_mut(elements).zip(plain.chunks_exact(elements));
        for ((to, from), keystream) in rows.zip(&mut self.keystreams) {
            for (to, from) in to.chunks_mut(TILE).zip(from.chunks(TILE)) {
                let tile = self.tile.next(to.len(), keystream);
                kernels
                    .weight_and_blind(weighting, to, from, tile)
                    .expect("the columns are as long, and the tile was cut to the chunk");
            }
        }
    }

    fn blind_in_place(&mut self, piece: InPlace<'_>) {
        let InPlace { mut rows, mut tags } = piece;
        for at_once in at_once(rows.len()) {
            self.keystreams.clear();
            for row in at_once.clone() {
                let identity = RowIdentity::new(rows.ids[row], rows.agree_values(row));
                if let Some(tags) = &mut tags {
                    tags[row] = self.hasher.content_tag(&identity, rows.share_row(row));
                }
                rows.row_checks[row] = self.begin(&identity);
            }
            for shares in rows.share_rows_mut(at_once) {
                self.blind_column_in_place(bytemuck::cast_slice_mut(shares));
            }
        }
    }

    fn blind_column_in_place(&mut self, shares: &mut [RingElement]) {
        let Blinder { kernels, weighting, .. } = self.blinder;
        let rows = shares.chunks_exact_mut(shares.len() / self.keystreams.len());
        for (shares, keystream) in rows.zip(&mut self.keystreams) {
            for shares in shares.chunks_mut(TILE) {
                let tile = self.tile.next(shares.len(), keystream);
                kernels
                    .weight_and_blind_in_place(weighting, shares, tile)
                    .expect("the tile was cut to the chunk");
            }
        }
    }
}

/// Cuts so many rows into those that are blinded together.
fn at_once(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(ROWS_AT_ONCE).map(move |first| first..rows.min(first + ROWS_AT_ONCE))
}

fn copy_agree(to: &mut AgreeSliceMut<'_>, from: &AgreeSlice<'_>) {
    to.nulls.copy_from_slice(from.nulls);
    match (&mut to.values, from.values) {
        (AgreeValuesMut::Integer(to), AgreeValues::Integer(from)) => to.copy_from_slice(from),
        (AgreeValuesMut::Uuid(to), AgreeValues::Uuid(from)) => to.copy_from_slice(from),
        _ => unreachable!("both sides were checked against one layout"),
    }
}

/// Why rows are not blinded. Never holds a share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlindError {
    /// The columns are not those of the layout.
    #[error("the columns of the rows are not as long or not of the kinds that the layout says")]
    Malformed,
    /// The rows and the batch they go into have different layouts.
    #[error("the rows and the batch they go into have different layouts")]
    LayoutsDiffer,
    /// The rows have row checks, so somebody blinded them.
    #[error("the rows are blinded already")]
    AlreadyBlinded,
    /// Twice the same id, which would use one keystream twice, or one out of order.
    #[error("row {id} is not greater than the row in front of it")]
    IdsNotAscending {
        /// The row.
        id: i64,
    },
    /// They do not fit.
    #[error(transparent)]
    Batch(#[from] PushError),
}
