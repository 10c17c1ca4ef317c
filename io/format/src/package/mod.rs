//! Sealing and opening parts, and the manifest that closes a package.
//!
//! A part is `blinded share file -> zstd -> age`. A package is a directory of parts with a manifest
//! that lists all of them: it may hold no other file except the manifest's signature and the parts'
//! signed records. The bytes are defined in `docs/format.md`.

mod age_header;
mod age_payload;
mod compression;
mod directory;
mod error;
mod expectations;
pub(crate) mod hex_bytes;
mod manifest;
mod manifest_check;
mod manifest_content;
mod open;
mod open_package;
mod part_name;
mod part_record;
mod record_lines;
mod record_map;
mod records;
mod records_writer;
mod seal;
mod signature;
mod signed_manifest;
mod survey;
mod writer;
mod zstd_store;

pub use compression::{Compression, CompressionError};
pub use directory::{Package, PartFiles, read_manifest};
pub use error::{ManifestError, PackageDefect, PackageError, PartDefect, PartError};
pub use expectations::{NoAuthority, PackageExpectations};
pub use manifest::{
    MANIFEST_FORMAT, MANIFEST_NAME, MAX_MANIFEST_BYTES, MAX_PARTS, Manifest, UnverifiedManifest,
};
pub use manifest_content::{ManifestContent, PartEntry, Totals};
pub use open::{open_held_part, open_held_part_prefix, open_part, open_part_prefix};
pub use open_package::OpenPackage;
pub use part_name::PartName;
pub use part_record::{
    MAX_PART_RECORD_CHARS, PART_RECORD_FORMAT, PartRecord, PartRecordError, SignedPartRecord,
};
pub use record_lines::RecordLine;
pub use records::{PackageRecords, RECORDS_NAME, RecordedPart, read_record_claims};
pub use seal::{
    SealedPart, Sealing, rows_per_part_at_most, seal_part, seal_part_recorded, seal_part_to,
    sealed_bytes_at_most,
};
pub use signature::{
    CHAIN_NAME, MAX_SIGNATURE_BYTES, ManifestSignature, SIGNATURE_NAME, read_chain,
};
pub use survey::{Closed, PackageSurvey, survey};
pub use writer::PackageWriter;

pub use signed_manifest::SignedManifest;

pub use reshare_files::timestamp::Timestamp;
