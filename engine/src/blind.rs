//! A sender's work: weights its shares for the receiver and blinds them.

mod worker;

use std::fmt;

use rayon::iter::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator, split};

use crate::cipher::Cipher;
use crate::fingerprint::Fingerprint;
use crate::kernel::{Kernels, Weighting};
use crate::key_schedule::KeySchedule;
use crate::party::PartyId;
use crate::row_batch::{PushError, RowBatch};
use crate::row_key::{ContentTag, RowHasher, RowIdentity};
use crate::rows::Rows;
use crate::shamir::{Sign, WeightError, weight};
use worker::{InPlace, OutOfPlace, Worker};

/// Blinds the rows of one sender for one receiver.
///
/// Computes `m = w * s + r` for the lower sender and `m = w * s - r` for the higher one, with
/// the weight `w` of the sender at the receiver and `r` from the row's keystream, which runs on
/// over the share columns in layout order.
///
/// # Secrecy
/// Holds keys: wiped when dropped, and `Debug` prints none of them. The caller must make sure that
/// one row is never blinded with two contents.
///
/// # Source
/// `docs/format.md`, *Keys, row key, keystream*.
#[derive(Clone)]
pub struct Blinder {
    hasher: RowHasher,
    weighting: Weighting,
    kernels: Kernels,
    cipher: Cipher,
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
            cipher: Cipher::detect(),
        })
    }

    /// Takes other kernels than the fastest ones.
    #[must_use]
    pub fn with_kernels(self, kernels: Kernels) -> Self {
        Self { kernels, ..self }
    }

    /// Takes another cipher for the keystream than the fastest one.
    #[must_use]
    pub fn with_cipher(self, cipher: Cipher) -> Self {
        Self { cipher, ..self }
    }

    /// Tags the content of each row. A ledger needs the tags before rows are blinded.
    ///
    /// `tags` then has one tag a row, in the order of the rows, as
    /// [`RowHasher::content_tag`] computes it.
    ///
    /// Works on as many threads as the current rayon pool has.
    ///
    /// # Errors
    /// A [`BlindError`] when the rows could not be blinded either; `tags` is then unchanged.
    ///
    /// # Secrecy
    /// Tags are keyed, and stay with the sender all the same: equal contents of one id have
    /// equal tags.
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
    /// `blinded[r] = w * plain[r] ± keystream(row key of r)`, with the sender's weight and sign,
    /// in `u16` words; ids and agree columns stay as they are, and each row gets its row check.
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

    /// Blinds the rows of `batch` in place.
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
        let (backend, cipher) = (self.kernels.backend(), self.cipher.backend());
        let mut shown = f.debug_struct("Blinder");
        shown.field("backend", &backend).field("cipher", &cipher).finish_non_exhaustive()
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

/// More than most L3 caches hold. So many rows leave the cache before they are read again, however
/// they are written.
const STREAMED_BYTES: usize = 32 << 20;

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
    /// The rows have row checks, so they are blinded already.
    #[error("the rows are blinded already")]
    AlreadyBlinded,
    /// An id that appears twice, which would use one keystream twice, or that is out of order.
    #[error("row {id} is not greater than the row in front of it")]
    IdsNotAscending {
        /// The row.
        id: i64,
    },
    /// The rows do not fit.
    #[error(transparent)]
    Batch(#[from] PushError),
}
