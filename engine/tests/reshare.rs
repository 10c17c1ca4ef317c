//! The laws of resharing: what two senders blind and the receiver merges is the reference share.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use reshare_engine::blind::{BlindError, Blinder};
use reshare_engine::cipher::{Cipher, CipherBackend};
use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::kernel::{Backend, Kernels};
use reshare_engine::key_schedule::{KeySchedule, SharedSecret};
use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
use reshare_engine::merge::{MergeError, join, merge, merge_with};
use reshare_engine::party::PartyId;
use reshare_engine::ring::RingElement;
use reshare_engine::row_batch::{PushError, RowBatch};
use reshare_engine::row_key::{ContentTag, RowHasher, RowIdentity};
use reshare_engine::rows::{AgreeValue, Rows};
use reshare_engine::shamir::share;

const FINGERPRINT: Fingerprint = Fingerprint([0x5a; 32]);

/// Records that every party holds a share of.
struct Records {
    layout: Arc<RowLayout>,
    seed: u64,
}

impl Records {
    /// The share of one party of the rows with these ids.
    fn share(&self, party: PartyId, ids: &[i64]) -> RowBatch {
        let mut batch = RowBatch::with_capacity(self.layout.clone(), ids.len());
        for id in ids {
            self.push(&mut batch, party, *id, self.agree(*id));
        }
        batch
    }

    fn push(&self, batch: &mut RowBatch, party: PartyId, id: i64, agree: Vec<AgreeValue>) {
        let mut words = Words(self.seed ^ id as u64);
        let mut element = || RingElement(std::array::from_fn(|_| words.next()));
        let column = |column: &ShareColumn| -> Vec<u8> {
            let elements = (0..column.len / 4).map(|_| share(element(), element(), party));
            bytemuck::cast_slice(&elements.collect::<Vec<_>>()).to_vec()
        };
        let columns: Vec<Vec<u8>> = self.layout.shares().iter().map(column).collect();
        let columns: Vec<&[u8]> = columns.iter().map(Vec::as_slice).collect();
        batch.push_bytes(id, &agree, &columns).expect("fits");
    }

    fn agree(&self, id: i64) -> Vec<AgreeValue> {
        let mut words = Words(!self.seed ^ id as u64);
        let value = |column: &AgreeColumn| match (words.next() % 4, column.kind) {
            (0, _) => AgreeValue::Null,
            (_, AgreeKind::Integer) => AgreeValue::Integer(i64::from(words.next()) - 9),
            (_, AgreeKind::Uuid) => AgreeValue::Uuid([words.next() as u8; 16]),
        };
        self.layout.agree().iter().map(value).collect()
    }

    /// A share of the rows with these ids, weighted and blinded.
    fn deliver(&self, sender: u8, other: u8, receiver: u8, ids: &[i64]) -> RowBatch {
        let plain = self.share(party(sender), ids);
        let mut blinded = RowBatch::with_capacity(self.layout.clone(), ids.len());
        let mut tags = Vec::new();
        blinder(sender, other, receiver)
            .tag_and_blind(&plain.rows(), &mut blinded, &mut tags)
            .expect("ok");
        assert_eq!(tags.len(), ids.len());
        blinded
    }
}

fn party(index: u8) -> PartyId {
    PartyId::new(index).expect("a party")
}

fn keys() -> KeySchedule {
    KeySchedule::derive(&SharedSecret::new([3; 32]), "a session", &FINGERPRINT)
}

fn blinder(sender: u8, other: u8, receiver: u8) -> Blinder {
    Blinder::new(&keys(), &FINGERPRINT, party(sender), party(other), party(receiver))
        .expect("three parties")
}

fn small_layout() -> Arc<RowLayout> {
    layout(&[AgreeKind::Integer, AgreeKind::Uuid], &[8, 4, 3084])
}

fn layout(agree: &[AgreeKind], lens: &[usize]) -> Arc<RowLayout> {
    let agree = agree.iter().enumerate();
    let agree = agree.map(|(n, kind)| AgreeColumn { name: format!("a{n}"), kind: *kind });
    let shares = lens.iter().enumerate();
    let shares = shares.map(|(n, len)| ShareColumn { name: format!("s{n}"), len: *len });
    Arc::new(RowLayout::new(agree.collect(), shares.collect()).expect("a layout"))
}

/// Everything but the row checks.
fn same_content(left: &Rows<'_>, right: &Rows<'_>) -> bool {
    left.ids == right.ids && left.agree == right.agree && left.shares == right.shares
}

fn rebuild(first: &Rows<'_>, second: &Rows<'_>, layout: &Arc<RowLayout>) -> RowBatch {
    let join = join(first, second).expect("joins");
    let mut rebuilt = RowBatch::with_capacity(layout.clone(), join.pairs.len());
    merge(first, second, &join.pairs, &mut rebuilt).expect("merges");
    rebuilt
}

#[test]
fn every_pair_of_senders_rebuilds_the_share_of_every_receiver() {
    let records = Records { layout: layout(&[AgreeKind::Integer], &[12, 8]), seed: 11 };
    let ids = [-3, 0, 7];
    let mut tried = 0;
    for (i, j, k) in
        (0..15).flat_map(|i| (0..15).flat_map(move |j| (0..15).map(move |k| (i, j, k))))
    {
        if i == j || i == k || j == k {
            let refused = Blinder::new(&keys(), &FINGERPRINT, party(i), party(j), party(k));
            assert!(refused.is_err());
            continue;
        }
        let (first, second) = (records.deliver(i, j, k, &ids), records.deliver(j, i, k, &ids));
        let rebuilt = rebuild(&first.rows(), &second.rows(), &records.layout);
        let reference = records.share(party(k), &ids);
        assert!(same_content(&rebuilt.rows(), &reference.rows()), "{i} and {j} to {k}");
        tried += 1;
    }
    assert_eq!(tried, 15 * 14 * 13);
}

#[test]
fn real_rows_are_rebuilt_with_the_kernels_and_ciphers_of_every_backend() {
    let records = Records { layout: Arc::new(RowLayout::iris()), seed: 12 };
    let ids: Vec<i64> = (1..=20).collect();
    let reference = records.share(party(2), &ids);
    let (mut all_tags, mut ran) = (Vec::new(), Vec::new());
    let pairs = || {
        let pairs = |kernels| CipherBackend::available().map(move |cipher| (kernels, cipher));
        Backend::available().flat_map(pairs)
    };
    for (backend, cipher) in pairs() {
        let kernels = Kernels::new(backend).expect("it is available");
        let by = Cipher::new(cipher).expect("it is available");
        let blind = |sender, other| {
            let blinder = blinder(sender, other, 2).with_kernels(kernels).with_cipher(by);
            let plain = records.share(party(sender), &ids);
            let mut blinded = RowBatch::with_capacity(records.layout.clone(), ids.len());
            let mut tags = vec![ContentTag([1; 16]); 3];
            blinder.tag_and_blind(&plain.rows(), &mut blinded, &mut tags).expect("blinds");
            let mut in_place = plain;
            let mut tags_in_place = Vec::new();
            blinder.tag_and_blind_in_place(&mut in_place, &mut tags_in_place).expect("blinds");
            assert!(same_content(&in_place.rows(), &blinded.rows()));
            assert_eq!(in_place.rows().row_checks, blinded.rows().row_checks);
            assert_eq!(tags, tags_in_place);
            (blinded, tags)
        };
        let ((first, tags), (second, other_tags)) = (blind(0, 1), blind(1, 0));
        let join = join(&first.rows(), &second.rows()).expect("joins");
        let mut rebuilt = RowBatch::with_capacity(records.layout.clone(), ids.len());
        merge_with(kernels, &first.rows(), &second.rows(), &join.pairs, &mut rebuilt)
            .expect("merges");
        assert!(same_content(&rebuilt.rows(), &reference.rows()), "{backend}, {cipher}");
        all_tags.push((tags, other_tags));
        ran.push((backend, cipher));
    }
    println!("kernels and ciphers that ran: {ran:?}");
    assert_eq!(ran, pairs().collect::<Vec<_>>());
    assert!(all_tags.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn blinding_without_tags_and_tagging_alone_give_what_both_at_once_give() {
    let records = Records { layout: Arc::new(RowLayout::iris()), seed: 16 };
    // 34 MiB, which is written past the cache where it is not in place.
    let ids: Vec<i64> = (1..=470).collect();
    let plain = records.share(party(0), &ids);
    let blinder = blinder(0, 1, 2);
    let room = || RowBatch::with_capacity(records.layout.clone(), ids.len());
    let (mut expected, mut expected_tags) = (room(), Vec::new());
    blinder.tag_and_blind(&plain.rows(), &mut expected, &mut expected_tags).expect("blinds");

    let (mut blinded, mut tags) = (room(), vec![ContentTag([1; 16]); 30]);
    blinder.blind(&plain.rows(), &mut blinded).expect("blinds");
    blinder.tag(&plain.rows(), &mut tags).expect("tags");
    let mut in_place = plain;
    blinder.blind_in_place(&mut in_place).expect("blinds");
    assert_eq!(tags, expected_tags);
    for blinded in [blinded.rows(), in_place.rows()] {
        assert!(same_content(&blinded, &expected.rows()));
        assert_eq!(blinded.row_checks, expected.rows().row_checks);
    }
    // Tags are of plain rows: a ledger would take others for changed content.
    assert_eq!(blinder.tag(&blinded.rows(), &mut tags), Err(BlindError::AlreadyBlinded));
}

#[test]
fn every_row_has_a_keystream_of_its_own_that_runs_on_over_the_columns() {
    let records = Records { layout: small_layout(), seed: 13 };
    let zero: Vec<Vec<u8>> = records.layout.shares().iter().map(|c| vec![0; c.len * 2]).collect();
    let zero: Vec<&[u8]> = zero.iter().map(Vec::as_slice).collect();
    let ids: Vec<i64> = (1..=40).collect();
    let mut batch = RowBatch::with_capacity(records.layout.clone(), ids.len());
    // The same values for two rows, so that only the id tells them apart.
    let agree = |id: i64| match id % 4 {
        0 | 1 => [AgreeValue::Integer(1), AgreeValue::Null],
        _ => [AgreeValue::Null, AgreeValue::Uuid([1; 16])],
    };
    ids.iter().for_each(|id| batch.push_bytes(*id, &agree(*id), &zero).expect("fits"));
    let mut tags = Vec::new();
    blinder(0, 1, 2).tag_and_blind_in_place(&mut batch, &mut tags).expect("blinds");
    // The shares are zero, so what is left is the keystream, running on over the columns.
    let rows = batch.rows();
    let blinded = |row| -> Vec<u16> { rows.share_row(row).flatten().copied().collect() };
    let streams: Vec<Vec<u16>> = (0..ids.len()).map(blinded).collect();
    let mut hasher = RowHasher::new(&keys(), &FINGERPRINT);
    for (row, id) in ids.iter().enumerate() {
        let identity = RowIdentity::new(*id, agree(*id).into_iter());
        let key = hasher.row_key(&identity);
        let mut expected = vec![0; records.layout.row_u16()];
        key.keystream().fill(&mut expected);
        assert_eq!(streams[row], expected, "row {id}");
        assert_eq!(rows.row_checks[row], hasher.row_check(&key));
        let zeros = zero.iter().map(|bytes| bytemuck::cast_slice(bytes));
        assert_eq!(tags[row], hasher.content_tag(&identity, zeros));
    }
    for (a, b) in (0..ids.len()).flat_map(|b| (0..b).map(move |a| (a, b))) {
        let same = streams[a].iter().zip(&streams[b]).filter(|(a, b)| a == b).count();
        assert!(same < 5, "rows {a} and {b} have {same} words in common");
        assert_ne!(rows.row_checks[a], rows.row_checks[b]);
        assert_ne!(tags[a], tags[b]);
    }
    let zeros = streams.iter().flatten().filter(|word| **word == 0).count();
    assert!(zeros < 20, "{zeros} words of the keystream are zero");
}

#[test]
fn tags_tell_a_changed_share_and_nothing_else() {
    let records = Records { layout: small_layout(), seed: 14 };
    let tags = |sender, receiver, batch: &mut RowBatch| {
        let mut tags = Vec::new();
        blinder(sender, 9, receiver).tag_and_blind_in_place(batch, &mut tags).expect("blinds");
        tags
    };
    let ids = [1, 2, 3];
    let before = tags(0, 2, &mut records.share(party(0), &ids));
    assert_eq!(before, tags(0, 3, &mut records.share(party(0), &ids)));
    let mut changed = records.share(party(0), &ids);
    changed.rows_mut().share_row_mut(1).last().expect("a column")[3083] ^= 1;
    let after = tags(0, 2, &mut changed);
    assert_eq!((before[0], before[2]), (after[0], after[2]));
    assert_ne!(before[1], after[1]);
}

#[test]
fn rows_that_must_not_be_blinded_are_refused_and_nothing_changes() {
    let records = Records { layout: small_layout(), seed: 15 };
    let blinder = blinder(0, 1, 2);
    let plain = records.share(party(0), &[1, 2]);
    let mut tags = vec![ContentTag([7; 16])];
    let mut small = RowBatch::with_capacity(records.layout.clone(), 1);
    let full = blinder.tag_and_blind(&plain.rows(), &mut small, &mut tags);
    assert_eq!(full, Err(BlindError::Batch(PushError::Full { capacity: 1 })));
    let mut other = RowBatch::with_capacity(layout(&[], &[4]), 2);
    let layouts = blinder.tag_and_blind(&plain.rows(), &mut other, &mut tags);
    assert_eq!(layouts, Err(BlindError::LayoutsDiffer));

    let mut out = RowBatch::with_capacity(records.layout.clone(), 2);
    for ids in [[2, 2], [2, 1]] {
        let mut unsorted = records.share(party(0), &ids);
        let expected = Err(BlindError::IdsNotAscending { id: ids[1] });
        assert_eq!(blinder.tag_and_blind(&unsorted.rows(), &mut out, &mut tags), expected);
        assert_eq!(blinder.tag_and_blind_in_place(&mut unsorted, &mut tags), expected);
    }
    let mut short = plain.rows();
    short.shares[0] = &short.shares[0][..8];
    assert_eq!(blinder.tag_and_blind(&short, &mut out, &mut tags), Err(BlindError::Malformed));
    let mut short = plain.rows();
    short.agree.pop();
    assert_eq!(blinder.tag_and_blind(&short, &mut out, &mut tags), Err(BlindError::Malformed));
    assert!(out.is_empty() && small.is_empty() && other.is_empty());
    assert_eq!(tags, [ContentTag([7; 16])]);

    blinder.tag_and_blind(&plain.rows(), &mut out, &mut tags).expect("blinds");
    let twice = out.rows().shares[0].to_vec();
    assert_eq!(
        blinder.tag_and_blind_in_place(&mut out, &mut tags),
        Err(BlindError::AlreadyBlinded)
    );
    assert_eq!(
        blinder.tag_and_blind(&out.rows(), &mut small, &mut tags),
        Err(BlindError::AlreadyBlinded)
    );
    assert_eq!(out.rows().shares[0], twice);
}

#[test]
fn rows_that_one_sender_lacks_or_disagrees_on_are_left_over() {
    let records = Records { layout: small_layout(), seed: 16 };
    let mut first = records.share(party(0), &[1, 2, 4]);
    let mut second = RowBatch::with_capacity(records.layout.clone(), 4);
    for id in [2, 3, 4, 9] {
        let agree = if id == 4 {
            vec![AgreeValue::Integer(77), AgreeValue::Null]
        } else {
            records.agree(id)
        };
        records.push(&mut second, party(1), id, agree);
    }
    let mut tags = Vec::new();
    blinder(0, 1, 2).tag_and_blind_in_place(&mut first, &mut tags).expect("blinds");
    blinder(1, 0, 2).tag_and_blind_in_place(&mut second, &mut tags).expect("blinds");
    let found = join(&first.rows(), &second.rows()).expect("joins");
    assert_eq!(found.pairs, [(1, 0)]);
    assert_eq!((found.only_first, found.only_second), (vec![1], vec![3, 9]));
    assert_eq!(found.disagree, [4]);
    let swapped = join(&second.rows(), &first.rows()).expect("joins");
    assert_eq!((swapped.pairs, swapped.disagree), (vec![(0, 1)], vec![4]));
    assert_eq!((swapped.only_first, swapped.only_second), (vec![3, 9], vec![1]));
}

#[test]
fn rows_blinded_with_different_keys_are_refused() {
    let records = Records { layout: small_layout(), seed: 17 };
    let first = records.deliver(0, 1, 2, &[1, 5, 6]);
    let keys = KeySchedule::derive(&SharedSecret::new([4; 32]), "a session", &FINGERPRINT);
    let wrong = Blinder::new(&keys, &FINGERPRINT, party(1), party(0), party(2)).expect("parties");
    let mut second = records.share(party(1), &[5, 6]);
    wrong.blind_in_place(&mut second).expect("blinds");
    assert_eq!(join(&first.rows(), &second.rows()), Err(MergeError::RowCheck { id: 5 }));
}

#[test]
fn rows_that_cannot_be_merged_are_refused_and_nothing_changes() {
    let records = Records { layout: small_layout(), seed: 18 };
    let (first, second) = (records.deliver(0, 1, 2, &[1, 2]), records.deliver(1, 0, 2, &[1, 2]));
    let (first, second) = (first.rows(), second.rows());
    let plain = records.share(party(1), &[1, 2]);
    assert_eq!(join(&first, &plain.rows()), Err(MergeError::NotBlinded));
    let other = RowBatch::with_capacity(layout(&[], &[4]), 1);
    assert_eq!(join(&first, &other.rows()), Err(MergeError::LayoutsDiffer));
    let mut unsorted = first.clone();
    unsorted.ids = &[1, 1];
    assert_eq!(join(&second, &unsorted), Err(MergeError::IdsNotAscending { id: 1 }));
    let mut short = first.clone();
    short.row_checks = &short.row_checks[..1];
    assert_eq!(join(&second, &short), Err(MergeError::Malformed));

    let mut rebuilt = RowBatch::with_capacity(records.layout.clone(), 1);
    for (a, b) in [(0, 1), (2, 2), (0, 2), (u32::MAX, 0)] {
        let refused = merge(&first, &second, &[(a, b)], &mut rebuilt);
        assert_eq!(refused, Err(MergeError::NoPair { first: a, second: b }));
    }
    let full = merge(&first, &second, &[(0, 0), (1, 1)], &mut rebuilt);
    assert_eq!(full, Err(MergeError::Batch(PushError::Full { capacity: 1 })));
    let mut elsewhere = RowBatch::with_capacity(layout(&[], &[4]), 2);
    let layouts = merge(&first, &second, &[(0, 0)], &mut elsewhere);
    assert_eq!(layouts, Err(MergeError::LayoutsDiffer));
    assert!(rebuilt.is_empty() && elsewhere.is_empty());
}

fn any_layout() -> impl Strategy<Value = Arc<RowLayout>> {
    let kinds = prop::collection::vec(select(vec![AgreeKind::Integer, AgreeKind::Uuid]), 0..=3);
    // In ring elements: below, at and above a tile, and an odd number of AES half-blocks.
    let lens =
        prop::collection::vec(prop_oneof![1..40_usize, 765..771_usize, 1530..1540_usize], 1..=5);
    (kinds, lens).prop_map(|(kinds, lens)| {
        layout(&kinds, &lens.iter().map(|elements| elements * 4).collect::<Vec<_>>())
    })
}

/// Three different parties.
fn parties() -> impl Strategy<Value = (u8, u8, u8)> {
    Just((0..15).collect::<Vec<u8>>()).prop_shuffle().prop_map(|all| (all[0], all[1], all[2]))
}

/// Ids with gaps, which of them each sender has, and where each cuts them.
fn deliveries() -> impl Strategy<Value = Vec<(i64, [bool; 2], [bool; 2])>> {
    let id = (any::<i16>(), any::<[bool; 2]>(), any::<[bool; 2]>());
    prop::collection::vec(id, 1..24).prop_map(|rows| {
        let rows = rows.into_iter().map(|(id, has, cut)| (i64::from(id), (has, cut)));
        let by_id: BTreeMap<i64, _> = rows.collect();
        by_id.into_iter().map(|(id, (has, cut))| (id, has, cut)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn any_layout_split_and_gaps_rebuild_what_both_have(
        layout in any_layout(),
        (i, j, k) in parties(),
        rows in deliveries(),
        seed: u64,
    ) {
        let records = Records { layout: layout.clone(), seed };
        // Each sender blinds its own parts of its own rows: the parts are put together again
        // column by column, as a receiver finds them in any order of cuts.
        let deliver = |side: usize, sender, other| -> Vec<RowBatch> {
            let mut parts = vec![Vec::new()];
            for (id, has, cut) in &rows {
                if has[side] {
                    parts.last_mut().expect("never empty").push(*id);
                }
                if cut[side] {
                    parts.push(Vec::new());
                }
            }
            parts.iter().map(|ids| records.deliver(sender, other, k, ids)).collect()
        };
        let (first, second) = (deliver(0, i, j), deliver(1, j, i));
        let both: Vec<i64> = rows.iter().filter(|row| row.1 == [true; 2]).map(|row| row.0).collect();
        let mut rebuilt = RowBatch::with_capacity(layout, both.len());
        for (a, b) in first.iter().flat_map(|a| second.iter().map(move |b| (a, b))) {
            let join = join(&a.rows(), &b.rows()).expect("joins");
            prop_assert!(join.disagree.is_empty());
            merge(&a.rows(), &b.rows(), &join.pairs, &mut rebuilt).expect("merges");
        }
        let reference = records.share(party(k), &both);
        prop_assert!(same_content(&rebuilt.rows(), &reference.rows()));
    }

    #[test]
    fn merge_is_commutative(layout in any_layout(), (i, j, k) in parties(), seed: u64) {
        let records = Records { layout: layout.clone(), seed };
        let ids: Vec<i64> = (0..7).collect();
        let (first, second) = (records.deliver(i, j, k, &ids), records.deliver(j, i, k, &ids));
        let one = rebuild(&first.rows(), &second.rows(), &layout);
        let other = rebuild(&second.rows(), &first.rows(), &layout);
        prop_assert!(same_content(&one.rows(), &other.rows()));
    }
}

/// SplitMix64: reproducible words without a dependency.
struct Words(u64);

impl Words {
    fn next(&mut self) -> u16 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) as u16
    }
}
