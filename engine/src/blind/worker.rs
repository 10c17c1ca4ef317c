//! What one thread does with a piece of the rows.

use std::ops::Range;

use super::Blinder;
use crate::keystream::Keystream;
use crate::ring::RingElement;
use crate::row_key::{ContentTag, RowHasher, RowIdentity};
use crate::rows::{AgreeSlice, AgreeValues, RowCheck, Rows};
use crate::rows_mut::{AgreeSliceMut, AgreeValuesMut, RowsMut};
use crate::tile::Tile;

/// A piece of the rows to be blinded into another place, and tagged where there is room for it.
pub(super) struct OutOfPlace<'a> {
    pub(super) plain: Rows<'a>,
    pub(super) blinded: RowsMut<'a>,
    pub(super) tags: Option<&'a mut [ContentTag]>,
    /// Whether from memory to memory.
    pub(super) streamed: bool,
}

impl OutOfPlace<'_> {
    pub(super) fn split(self) -> (Self, Option<Self>) {
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
pub(super) struct InPlace<'a> {
    pub(super) rows: RowsMut<'a>,
    pub(super) tags: Option<&'a mut [ContentTag]>,
}

impl InPlace<'_> {
    pub(super) fn split(self) -> (Self, Option<Self>) {
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

/// Rows that are blinded together, column by column: one row's columns are far apart, and the
/// memory is slow to begin anew at each. One at a time costs 15 %, and 8 win 3 % at most; rows
/// that were just tagged must still be in the second cache.
const ROWS_AT_ONCE: usize = 4;

/// What one thread needs, allocated once for many rows.
pub(super) struct Worker<'a> {
    blinder: &'a Blinder,
    hasher: RowHasher,
    tile: Tile<TILE>,
    /// Those of the rows at work.
    keystreams: Vec<Keystream>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(blinder: &'a Blinder) -> Self {
        let (hasher, tile) = (blinder.hasher.clone(), Tile::new());
        Self { blinder, hasher, tile, keystreams: Vec::with_capacity(ROWS_AT_ONCE) }
    }

    pub(super) fn blind(&mut self, piece: OutOfPlace<'_>) {
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

    pub(super) fn blind_in_place(&mut self, piece: InPlace<'_>) {
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
