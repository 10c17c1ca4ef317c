//! The files that travel between parties or stay on their disks: sessions, keys, packages.
//!
//! # Reading order
//! * [`keys`]: agreement keys, age identities, certificates and what they sign.
//! * [`network`]: which number belongs to which party, for good.
//! * [`session`]: what the three parties agreed on, its fingerprint, approvals.
//! * [`share_file`]: rows in columns, mapped into memory.
//! * [`package`]: a share file that is compressed and sealed is a part, and a signed record says
//!   what it covers; a manifest closes a package.
//! * [`receipt`]: the receiver's signed statement that it loaded what was delivered.
//!
//! The bytes of all of them are defined in `docs/format.md`. Nothing that comes from another party
//! is used before it is verified: only a check turns a [`package::UnverifiedManifest`] into a
//! [`package::Manifest`].
//!
//! # What is absent
//! No database, no network, no async runtime and no KMS: a program that checks a package needs this
//! crate and the two below it.
//!
//! # Examples
//! A share file that is written, mapped and checked:
//!
//! ```
//! use std::sync::Arc;
//!
//! use reshare_engine::fingerprint::Fingerprint;
//! use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
//! use reshare_engine::party::PartyId;
//! use reshare_engine::row_batch::RowBatch;
//! use reshare_engine::rows::AgreeValue;
//! use reshare_files::ids::IdRange;
//! use reshare_format::share_file::{Expected, Kind, ShareFile, ShareFileSpec, ShareFileWriter};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layout = Arc::new(RowLayout::new(
//!     vec![AgreeColumn { name: "version_id".into(), kind: AgreeKind::Integer }],
//!     vec![ShareColumn { name: "code".into(), len: 4 }],
//! )?);
//! let mut rows = RowBatch::with_capacity(Arc::clone(&layout), 1);
//! rows.push_bytes(7, &[AgreeValue::Integer(1)], &[&[1; 8]])?;
//!
//! let (kind, fingerprint, party) = (Kind::Plain, Fingerprint([0; 32]), PartyId::new(0)?);
//! let spec = ShareFileSpec {
//!     kind,
//!     fingerprint,
//!     party,
//!     part_index: 0,
//!     ids: IdRange::ALL,
//!     rows: 1,
//!     layout: Arc::clone(&layout),
//! };
//! let directory = tempfile::tempdir()?;
//! let path = directory.path().join("party0.share");
//! let writer = ShareFileWriter::create(&path, spec)?;
//! writer.write_rows(0, &rows.rows())?;
//! writer.finish()?; // The file appears now, complete.
//!
//! // A file of another session, party or layout is refused before a row is looked at.
//! let expected = Expected { fingerprint, kind, party: Some(party), layout: Some(layout) };
//! let file = ShareFile::open(&path, &expected)?;
//! file.verify_digest()?;
//! assert_eq!((file.rows().ids, file.rows().len()), (&[7_i64][..], 1));
//!
//! let other = Expected { fingerprint: Fingerprint([1; 32]), ..expected };
//! assert!(ShareFile::open(&path, &other).is_err());
//! # Ok(())
//! # }
//! ```
//!
//! A manifest claims something when it is read, and is believed when it fits the session:
//!
//! ```
//! use reshare_engine::fingerprint::Fingerprint;
//! use reshare_engine::party::PartyId;
//! use reshare_engine::layout::RowLayout;
//! use reshare_files::ids::IdRange;
//! use reshare_format::package::{
//!     ManifestContent, PackageExpectations, Timestamp, UnverifiedManifest,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let content = ManifestContent {
//!     session_id: "2026-11-lost-disk".to_owned(),
//!     fingerprint: Fingerprint([0; 32]),
//!     sender: PartyId::new(0)?,
//!     receiver: PartyId::new(2)?,
//!     key_check: [0; 16],
//!     parts: vec![],
//!     signed_at: Timestamp::now(),
//! };
//! let bytes = content.to_bytes()?;
//! let manifest = UnverifiedManifest::read(bytes.clone())?;
//! assert_eq!(manifest.claims(), &content);
//!
//! // What the session says of the package; with certificates, `trust` verifies the signature.
//! let expected = PackageExpectations {
//!     session_id: content.session_id.clone(),
//!     fingerprint: content.fingerprint,
//!     sender: content.sender,
//!     receiver: content.receiver,
//!     layout: RowLayout::iris().into(),
//!     ids: IdRange::ALL,
//!     max_part_bytes: 64 << 20,
//!     trust: None,
//! };
//! assert_eq!(manifest.clone().verify(&expected, None)?.totals().parts, 0);
//! let other_sender = PackageExpectations { sender: PartyId::new(1)?, ..expected };
//! assert!(manifest.verify(&other_sender, None).is_err());
//!
//! // One changed byte, and it is no manifest: there is one way to write it.
//! let mut changed = bytes;
//! changed.push(b' ');
//! assert!(UnverifiedManifest::read(changed).is_err());
//! # Ok(())
//! # }
//! ```

pub mod keys;
pub mod network;
pub mod package;
pub mod party;
pub mod receipt;
pub mod session;
pub mod share_file;

mod read;
