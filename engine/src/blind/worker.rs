//! The work of one thread on a piece of the rows.

use std::ops::Range;

use super::Blinder;
use crate::keystream::Keystream;
use crate::ring::RingElement;
use crate::row_key::{ContentTag, RowHasher, RowIdentity};
use crate::rows::{AgreeSlice, AgreeValues, RowCheck, Rows};
use crate::rows_mut::{AgreeSliceMut, AgreeValuesMut, RowsMut};
use crate::tile::Tile;

/// A piece of the rows to be blinded into other memory, and tagged if tags are wanted.
pub(super) struct OutOfPlace<'a> {
    pub(super) plain: Rows<'a>,
    pub(super) blinded: RowsMut<'a>,
    pub(super) tags: Option<&'a mut [ContentTag]>,
    /// Whether the rows are too many for the cache.
    pub(super) streamed: bool,
}

impl OutOfPlace<'_> {
    pub(super) fn split(self) -> (Self, Option<Self>) {
        let Some(middle) = middle(self.plain.len()) else { return (self, None) };
        let (tags, later_tags) = self.tags.map(|tags| tags.split_at_mut(middle)).unzip();
        let (blinded, later) = self.blinded.split_at(middle);
        let later_plain = self.plain.slice(middle..self.plain.len());
        let (plain, streamed) = (self.plain.slice(0..middle), self.streamed);
        let first = Self { plain, blinded, tags, streamed };
        (first, Some(Self { plain: later_plain, blinded: later, tags: later_tags, streamed }))
    }
}

/// A piece of the rows to be blinded in place, and tagged if tags are wanted.
pub(super) struct InPlace<'a> {
    pub(super) rows: RowsMut<'a>,
    pub(super) tags: Option<&'a mut [ContentTag]>,
}

impl InPlace<'_> {
    pub(super) fn split(self) -> (Self, Option<Self>) {
        let Some(middle) = middle(self.rows.len()) else { return (self, None) };
        let (tags, later_tags) = self.tags.map(|tags| tags.split_at_mut(middle)).unzip();
        let (rows, later) = self.rows.split_at(middle);
        (Self { rows, tags }, Some(Self { rows: later, tags: later_tags }))
    }
}

/// The row at which a piece is cut in two. `None` when a half would have too few rows to blind
/// together.
fn middle(rows: usize) -> Option<usize> {
    (rows >= 2 * ROWS_AT_ONCE).then(|| (rows / 2).next_multiple_of(ROWS_AT_ONCE))
}

/// 2 KiB of keystream: while the cipher makes a tile, the stores of the tile before it still drain.
/// 4 KiB costs 15 %, and less than 1 KiB does not fill the widest step of the cipher.
const TILE: usize = 256;

/// Rows that are blinded together, column by column: the columns of one row are far apart, and
/// memory is slow at the start of each. One row at a time costs 15 %, and 8 gain 3 % at most. Rows
/// that were just tagged must still be in the L2 cache.
const ROWS_AT_ONCE: usize = 4;

/// The buffers of one thread for a piece, allocated once for all its rows.
pub(super) struct Worker<'a> {
    blinder: &'a Blinder,
    hasher: RowHasher,
    tile: Tile<TILE>,
    /// The keystreams of the rows that are being blinded.
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
        self.keystreams.push(key.keystream_with(self.blinder.cipher));
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

/// Cuts a number of rows into groups that are blinded together.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cipher::{Cipher, CipherBackend};
    use crate::fingerprint::Fingerprint;
    use crate::kernel::{Backend, Kernels, portable};
    use crate::key_schedule::{KeySchedule, SharedSecret};
    use crate::layout::{RowLayout, ShareColumn};
    use crate::party::PartyId;
    use crate::row_batch::RowBatch;

    /// Below a line of the cache, whole lines and not, whole tiles and not, half blocks.
    const COLUMNS: [usize; 5] = [4, 1032, 32, 12, 4096];

    /// Rows with the formulas' answers, one row after the other.
    struct Example {
        plain: RowBatch,
        blinded: Vec<Vec<u16>>,
        row_checks: Vec<RowCheck>,
        tags: Vec<ContentTag>,
    }

    fn blinder(backend: Backend, cipher: CipherBackend) -> Blinder {
        let fingerprint = Fingerprint([5; 32]);
        let keys = KeySchedule::derive(&SharedSecret::new([1; 32]), "run", &fingerprint);
        let [sender, other, receiver] = [3, 1, 2].map(|n| PartyId::new(n).expect("a party"));
        let blinder = Blinder::new(&keys, &fingerprint, sender, other, receiver);
        let kernels = Kernels::new(backend).expect("it is available");
        let cipher = Cipher::new(cipher).expect("it is available");
        blinder.expect("three parties").with_kernels(kernels).with_cipher(cipher)
    }

    fn plain(layout: &Arc<RowLayout>, rows: usize) -> RowBatch {
        let mut batch = RowBatch::with_capacity(Arc::clone(layout), rows);
        let columns = batch.reset(rows, false).expect("there is room");
        columns.ids.iter_mut().zip(-4..).for_each(|(id, n)| *id = 3 * n);
        let mut word = 0_u16;
        for share in columns.shares.into_iter().flatten() {
            word = word.wrapping_mul(40_503).wrapping_add(8_191);
            *share = word;
        }
        batch
    }

    impl Example {
        fn new(blinder: &Blinder, layout: &Arc<RowLayout>, rows: usize) -> Self {
            let mut hasher = blinder.hasher.clone();
            let mut example = Self {
                plain: plain(layout, rows),
                blinded: vec![vec![]; COLUMNS.len()],
                row_checks: vec![],
                tags: vec![],
            };
            let plain = example.plain.rows();
            for row in 0..rows {
                let identity = RowIdentity::new(plain.ids[row], plain.agree_values(row));
                let key = hasher.row_key(&identity);
                example.tags.push(hasher.content_tag(&identity, plain.share_row(row)));
                example.row_checks.push(hasher.row_check(&key));
                let mut keystream = key.keystream();
                for (blinded, shares) in example.blinded.iter_mut().zip(plain.share_row(row)) {
                    let mut hidden_by = vec![0; shares.len()];
                    keystream.fill(&mut hidden_by);
                    let mut out = vec![RingElement::ZERO; shares.len() / 4];
                    let (shares, hidden_by) =
                        (bytemuck::cast_slice(shares), bytemuck::cast_slice(&hidden_by));
                    portable::weight_and_blind(&blinder.weighting, &mut out, shares, hidden_by)
                        .expect("they are as long");
                    blinded.extend_from_slice(bytemuck::cast_slice(&out));
                }
            }
            example
        }

        #[track_caller]
        fn check(&self, rows: &Rows<'_>, tags: &[ContentTag], how: &str) {
            assert_eq!(rows.ids, self.plain.rows().ids, "{how}");
            assert!(rows.shares == self.blinded, "{how}");
            assert_eq!((rows.row_checks, tags), (&self.row_checks[..], &self.tags[..]), "{how}");
        }
    }

    #[test]
    fn groups_of_any_size_are_blinded_as_row_by_row_with_the_formulas() {
        let column =
            |(n, len): (usize, &usize)| ShareColumn { name: format!("share{n}"), len: *len };
        let columns = COLUMNS.iter().enumerate().map(column).collect();
        let layout = Arc::new(RowLayout::new(vec![], columns).expect("a layout"));
        let pairs = |backend| CipherBackend::available().map(move |cipher| (backend, cipher));
        for (backend, cipher) in Backend::available().flat_map(pairs) {
            let blinder = blinder(backend, cipher);
            for rows in 0..=2 * ROWS_AT_ONCE + 3 {
                let example = Example::new(&blinder, &layout, rows);
                let how = |way: &str| format!("{rows} rows, {backend}, {cipher}, {way}");
                let mut tags = vec![ContentTag::default(); rows];
                for (streamed, way) in [(false, "in the cache"), (true, "streamed")] {
                    let mut to = RowBatch::with_capacity(Arc::clone(&layout), rows);
                    let blinded = to.reset(rows, true).expect("there is room");
                    let (plain, tags_out) = (example.plain.rows(), Some(&mut tags[..]));
                    let piece = OutOfPlace { plain, blinded, tags: tags_out, streamed };
                    Worker::new(&blinder).blind(piece);
                    example.check(&to.rows(), &tags, &how(way));
                    tags.fill(ContentTag::default());
                }
                let mut batch = plain(&layout, rows);
                let rows = batch.add_row_checks().expect("there are none");
                Worker::new(&blinder).blind_in_place(InPlace { rows, tags: Some(&mut tags[..]) });
                example.check(&batch.rows(), &tags, &how("in place"));
            }
        }
    }

    #[test]
    fn pieces_are_of_whole_groups_but_for_the_last() {
        let cuts = [7, 8, 9, 11, 12, 15, 16, 1_001].map(middle);
        let at = [None, Some(4), Some(4), Some(8), Some(8), Some(8), Some(8), Some(500)];
        assert_eq!(cuts, at);
    }
}
