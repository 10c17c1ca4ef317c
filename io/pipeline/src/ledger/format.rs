//! The bytes of a ledger, defined in `docs/format.md`.

use std::mem::offset_of;

use bytemuck::{Pod, Zeroable};
use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;
use reshare_files::durable::FileBirth;
use reshare_files::ids::IdRange;
use reshare_format::session::SessionMismatch;

use super::LedgerDefect;

/// Bytes before the first entry.
pub(super) const HEADER_BYTES: u64 = 4096;
/// Bytes of a chain value: BLAKE3 over everything before it.
pub(super) const CHAIN_BYTES: u64 = 32;
/// Bytes of an entry's head.
pub(super) const ENTRY_BYTES: u64 = size_of::<RawEntry>() as u64;
/// Entry with the tags of blinded rows.
pub(super) const KIND_TAGS: u32 = 1;
/// Entry for a sealed part.
pub(super) const KIND_PART: u32 = 2;
/// Entry for a sealed part without rows that cannot be read, which it lists.
pub(super) const KIND_PART_WITHOUT_BAD_ROWS: u32 = 3;

const MAGIC: [u8; 8] = *b"rshledg\0";
const FORMAT_VERSION: u32 = 2;
/// Each slot is in its own sector, so a crash while one is written does not damage the other.
const SLOT_OFFSETS: [usize; 2] = [1024, 2048];
/// In a sector of its own, too.
const HOME_OFFSET: usize = 3072;

/// Random bytes of one ledger: the key with which it digests the content of parts.
pub(super) type DigestKey = [u8; 32];

/// The end of a chain of entries: BLAKE3 of the previous chain value and the entry.
pub(super) type Chain = [u8; 32];

/// The session and party of a ledger file.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    format_version: u32,
    header_bytes: u32,
    fingerprint: [u8; 32],
    party: u32,
    reserved: u32,
    reserved_end: [u8; 8],
    digest_key: DigestKey,
    checksum: Chain,
}

/// How much of the file is committed.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RawSlot {
    sequence: u64,
    file_bytes: u64,
    entries: u64,
    reserved: u64,
    chain: Chain,
    checksum: Chain,
}

/// Where the file belongs.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RawHome {
    adoptions: u64,
    inode: u64,
    created_nanos: u64,
    reserved: u64,
    machine: [u8; 32],
    checksum: Chain,
}

/// The head of an entry. Its payload and its chain value follow.
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct RawEntry {
    pub(super) kind: u32,
    pub(super) reserved: u32,
    pub(super) first_id: i64,
    pub(super) last_id: i64,
    pub(super) payload_bytes: u64,
}

/// One blinded row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct TagRecord {
    pub(super) id: i64,
    /// First 16 bytes of BLAKE3 of `label("ledger-version") || row identity`.
    pub(super) version: [u8; 16],
    pub(super) tag: [u8; 16],
}

/// One sealed part. The rows that were left out of it follow.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct RawPart {
    pub(super) index: u64,
    pub(super) rows: u64,
    pub(super) sealed_bytes: u64,
    pub(super) exported_at: i64,
    pub(super) content_digest: [u8; 32],
    pub(super) sealed_digest: [u8; 32],
}

const _: () = {
    assert!(size_of::<RawHeader>() == 128 && offset_of!(RawHeader, fingerprint) == 16);
    assert!(offset_of!(RawHeader, party) == 48 && offset_of!(RawHeader, digest_key) == 64);
    assert!(offset_of!(RawHeader, checksum) == 96);
    assert!(size_of::<RawSlot>() == 96 && offset_of!(RawSlot, file_bytes) == 8);
    assert!(offset_of!(RawSlot, entries) == 16 && offset_of!(RawSlot, chain) == 32);
    assert!(offset_of!(RawSlot, checksum) == 64);
    assert!(size_of::<RawHome>() == 96 && offset_of!(RawHome, inode) == 8);
    assert!(offset_of!(RawHome, created_nanos) == 16 && offset_of!(RawHome, machine) == 32);
    assert!(offset_of!(RawHome, checksum) == 64);
    assert!(size_of::<RawEntry>() == 32 && offset_of!(RawEntry, first_id) == 8);
    assert!(offset_of!(RawEntry, last_id) == 16 && offset_of!(RawEntry, payload_bytes) == 24);
    assert!(size_of::<TagRecord>() == 40 && offset_of!(TagRecord, version) == 8);
    assert!(offset_of!(TagRecord, tag) == 24);
    assert!(size_of::<RawPart>() == 96 && offset_of!(RawPart, rows) == 8);
    assert!(offset_of!(RawPart, sealed_bytes) == 16 && offset_of!(RawPart, exported_at) == 24);
    assert!(offset_of!(RawPart, content_digest) == 32 && offset_of!(RawPart, sealed_digest) == 64);
};

/// The committed length of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Committed {
    /// Counts the commits.
    pub(super) sequence: u64,
    /// Header and entries.
    pub(super) file_bytes: u64,
    /// The entries.
    pub(super) entries: u64,
    /// The last entry's chain value.
    pub(super) chain: Chain,
}

/// Where a ledger belongs: the machine and the file that it was made as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Home {
    /// A digest of the machine's id, zeros where the machine has none.
    pub(super) machine: [u8; 32],
    /// The file.
    pub(super) file: FileBirth,
}

/// What a header says.
pub(super) struct Header {
    /// What the chain begins with.
    pub(super) chain: Chain,
    /// The newer of the two slots.
    pub(super) committed: Committed,
    pub(super) digest_key: DigestKey,
    pub(super) home: Home,
    /// How often the ledger was given another home.
    pub(super) adoptions: u64,
}

/// The session and sender that a header block names, unchecked.
pub(super) fn owner(block: &[u8]) -> Option<(Fingerprint, PartyId)> {
    let header: RawHeader = read_at(block, 0)?;
    let party = PartyId::try_from(u64::from(header.party)).ok()?;
    (header.magic == MAGIC).then_some((Fingerprint(header.fingerprint), party))
}

/// Makes the header block of a new ledger.
pub(super) fn new_header(
    fingerprint: &Fingerprint,
    party: PartyId,
    digest_key: DigestKey,
    home: &Home,
) -> Vec<u8> {
    let mut header = RawHeader {
        magic: MAGIC,
        format_version: FORMAT_VERSION,
        header_bytes: HEADER_BYTES as u32,
        fingerprint: fingerprint.0,
        party: party.index().into(),
        reserved: 0,
        reserved_end: [0; 8],
        digest_key,
        checksum: [0; 32],
    };
    header.checksum = checksum_of(&header);
    let mut block = vec![0; HEADER_BYTES as usize];
    block[..size_of::<RawHeader>()].copy_from_slice(bytemuck::bytes_of(&header));
    let chain = header.checksum;
    let slots = [0, 1].map(|sequence| {
        let empty = Committed { sequence, file_bytes: HEADER_BYTES, entries: 0, chain };
        slot(&empty, &chain)
    });
    for (bytes, offset) in slots.into_iter().chain([home_block(home, 0, &chain)]) {
        block[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    block
}

/// The bytes and the offset of what says where a ledger belongs.
pub(super) fn home_block(home: &Home, adoptions: u64, header: &Chain) -> (Vec<u8>, u64) {
    let Home { machine, file: FileBirth { inode, created_nanos } } = *home;
    let mut raw =
        RawHome { adoptions, inode, created_nanos, reserved: 0, machine, checksum: [0; 32] };
    raw.checksum = home_checksum(&raw, header);
    (bytemuck::bytes_of(&raw).to_vec(), HOME_OFFSET as u64)
}

/// The bytes and the offset of the slot with a ledger's committed length.
pub(super) fn slot(committed: &Committed, header_checksum: &Chain) -> (Vec<u8>, u64) {
    let Committed { sequence, file_bytes, entries, chain } = *committed;
    let mut slot = RawSlot { sequence, file_bytes, entries, reserved: 0, chain, checksum: [0; 32] };
    slot.checksum = slot_checksum(&slot, header_checksum);
    let offset = SLOT_OFFSETS[usize::from(sequence % 2 == 1)] as u64;
    (bytemuck::bytes_of(&slot).to_vec(), offset)
}

/// Checks every bit of a header block, and that it is of this session and party.
pub(super) fn read_header(
    block: &[u8],
    fingerprint: &Fingerprint,
    party: PartyId,
) -> Result<Header, LedgerDefect> {
    let corrupt = |what| LedgerDefect::Corrupt { what, offset: 0 };
    let header: RawHeader = read_at(block, 0).ok_or(corrupt("header"))?;
    if header.magic != MAGIC {
        return Err(LedgerDefect::NotALedger);
    }
    if header.format_version != FORMAT_VERSION {
        let (expected, got) = (FORMAT_VERSION, header.format_version);
        return Err(LedgerDefect::Version { expected, got });
    }
    if header.checksum != checksum_of(&header) {
        return Err(corrupt("header"));
    }
    SessionMismatch::check(*fingerprint, Fingerprint(header.fingerprint))?;
    let got = PartyId::try_from(u64::from(header.party)).map_err(|_| corrupt("party"))?;
    if got != party {
        return Err(LedgerDefect::OtherSender { expected: party, got });
    }
    let mut rest = block.to_vec();
    let home_range = HOME_OFFSET..HOME_OFFSET + size_of::<RawHome>();
    for range in [0..size_of::<RawHeader>(), slot_range(0), slot_range(1), home_range] {
        rest.get_mut(range).ok_or(corrupt("header"))?.fill(0);
    }
    if header.header_bytes as u64 != HEADER_BYTES || rest.iter().any(|byte| *byte != 0) {
        return Err(corrupt("header"));
    }
    let slots = [read_slot(block, 0, &header.checksum)?, read_slot(block, 1, &header.checksum)?];
    let [older, newer] = match slots {
        [even, odd] if even.sequence < odd.sequence => [even, odd],
        [even, odd] => [odd, even],
    };
    let follows = older.sequence.checked_add(1) == Some(newer.sequence)
        && HEADER_BYTES <= older.file_bytes
        && older.file_bytes <= newer.file_bytes
        && older.entries <= newer.entries;
    if !follows {
        return Err(corrupt("slots"));
    }
    let (home, adoptions) = read_home(block, &header.checksum)?;
    let (chain, digest_key) = (header.checksum, header.digest_key);
    Ok(Header { chain, committed: newer, digest_key, home, adoptions })
}

fn read_home(block: &[u8], header: &Chain) -> Result<(Home, u64), LedgerDefect> {
    let corrupt = LedgerDefect::Corrupt { what: "home", offset: HOME_OFFSET as u64 };
    match read_at::<RawHome>(block, HOME_OFFSET) {
        Some(raw) if raw.reserved == 0 && raw.checksum == home_checksum(&raw, header) => {
            let RawHome { adoptions, inode, created_nanos, machine, .. } = raw;
            Ok((Home { machine, file: FileBirth { inode, created_nanos } }, adoptions))
        }
        _ => Err(corrupt),
    }
}

fn read_slot(block: &[u8], place: usize, header: &Chain) -> Result<Committed, LedgerDefect> {
    let offset = SLOT_OFFSETS[place];
    let corrupt = LedgerDefect::Corrupt { what: "slot", offset: offset as u64 };
    let Some(slot) = read_at::<RawSlot>(block, offset) else { return Err(corrupt) };
    let in_place = slot.sequence % 2 == place as u64 && slot.reserved == 0;
    if !in_place || slot.checksum != slot_checksum(&slot, header) {
        return Err(corrupt);
    }
    let RawSlot { sequence, file_bytes, entries, chain, .. } = slot;
    Ok(Committed { sequence, file_bytes, entries, chain })
}

/// The chain value after an entry.
pub(super) fn chain_of(before: &Chain, entry: &[u8]) -> Chain {
    *blake3::Hasher::new().update(before).update(entry).finalize().as_bytes()
}

/// The range of an entry's ids; `None` when it ends before it begins.
pub(super) fn range_of(entry: &RawEntry) -> Option<IdRange> {
    IdRange::new(entry.first_id, entry.last_id)
}

/// Reads plain data at an offset; `None` past the end.
pub(super) fn read_at<T: Pod>(bytes: &[u8], offset: usize) -> Option<T> {
    bytes.get(offset..offset.checked_add(size_of::<T>())?).map(bytemuck::pod_read_unaligned)
}

fn slot_range(place: usize) -> std::ops::Range<usize> {
    SLOT_OFFSETS[place]..SLOT_OFFSETS[place] + size_of::<RawSlot>()
}

fn checksum_of(header: &RawHeader) -> Chain {
    *blake3::hash(&bytemuck::bytes_of(header)[..offset_of!(RawHeader, checksum)]).as_bytes()
}

fn home_checksum(home: &RawHome, header: &Chain) -> Chain {
    chain_of(header, &bytemuck::bytes_of(home)[..offset_of!(RawHome, checksum)])
}

fn slot_checksum(slot: &RawSlot, header: &Chain) -> Chain {
    chain_of(header, &bytemuck::bytes_of(slot)[..offset_of!(RawSlot, checksum)])
}
