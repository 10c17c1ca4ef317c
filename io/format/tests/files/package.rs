//! A package: a directory and its manifest.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reshare_engine::row_batch::RowBatch;
use reshare_format::keys::{Identity, SealKind};
use reshare_format::package::{
    ManifestContent, ManifestError, Package, PackageDefect as D, PackageError as E,
    PackageExpectations, PackageWriter, PartDefect, PartEntry, PartName, Timestamp,
};
use reshare_format::share_file::ShareFileDefect;

use crate::common::*;

struct Made {
    directory: tempfile::TempDir,
    identity: Identity,
    session: PackageExpectations,
    content: ManifestContent,
}

/// The ids of the parts of a made package, by index.
const PARTS: [[i64; 3]; 3] = [[1, 2, 3], [10, 15, 19], [20, 21, 29]];

impl Made {
    /// A closed package of three small parts, sealed by three threads.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::generate(SealKind::Hybrid);
        let session = session(&small_layout());
        let path = directory.path().join("package");
        let writer = PackageWriter::create(&path, session.clone(), identity.to_public()).unwrap();
        let seal = |index: usize| {
            let ids = PARTS[index];
            let batch = rows_of(&session.layout, &ids, true);
            let span = range(ids[0], ids[2]);
            let part = writer.seal(index as u64, span, &batch.rows()).unwrap();
            let digest = blake3::hash(&[index as u8]);
            PartEntry::new(&part, span, 3, digest, Timestamp::now())
        };
        let parts = std::thread::scope(|scope| {
            let threads = [0, 1, 2].map(|index| scope.spawn(move || seal(index)));
            threads.map(|thread| thread.join().unwrap()).to_vec()
        });
        let content = ManifestContent {
            session_id: session.session_id.clone(),
            fingerprint: session.fingerprint,
            sender: session.sender,
            receiver: session.receiver,
            key_check: [3; 16],
            parts,
            signed_at: Timestamp::now(),
        };
        writer.close(&content).unwrap();
        Self { directory, identity, session, content }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("package")
    }

    fn part(&self, index: u64) -> PathBuf {
        self.path().join(PartName::new(index).to_string())
    }

    fn open(&self) -> Result<Package, E> {
        Package::open(self.path(), self.session.clone())
    }

    /// Opens the package and every part of it.
    fn open_all(&self) -> Result<Package, E> {
        let package = self.open()?;
        let mut batch = RowBatch::with_capacity(Arc::clone(&self.session.layout), 3);
        for entry in package.manifest().parts() {
            package.files().open_part(entry, &self.identity, &mut batch)?;
        }
        Ok(package)
    }
}

#[test]
fn a_package_is_opened_as_it_was_sealed() {
    let made = Made::new();
    let package = made.open().unwrap();
    assert_eq!(package.manifest().content(), &made.content);
    let mut batch = RowBatch::with_capacity(small_layout(), 3);
    for (entry, ids) in package.manifest().parts().iter().zip(PARTS) {
        package.files().open_part(entry, &made.identity, &mut batch).unwrap();
        assert_same_rows(&batch.rows(), &rows_of(&small_layout(), &ids, true).rows());
        let prefix = package.files().open_part_prefix(entry, &made.identity).unwrap();
        assert_eq!(prefix.ids, ids);
    }
    let names = ["manifest.json", "part-000000.age", "part-000001.age", "part-000002.age"];
    assert_eq!(file_names(&made.path()), names);
}

#[test]
fn a_bit_flipped_in_any_part_of_a_package_is_refused() {
    let made = Made::new();
    made.open_all().unwrap();
    for index in 0..3 {
        let path = made.part(index);
        let len = fs::metadata(&path).unwrap().len() as usize;
        for position in (index as usize..len).step_by(17) {
            flip(&path, position);
            let error = made.open_all().expect_err("must be refused");
            let E::Part(part) = error else { panic!("{error:?}") };
            assert!(matches!(*part.defect, PartDefect::SealedDigest { .. }), "{part:?}");
            flip(&path, position);
        }
    }
    made.open_all().unwrap();
}

/// Fields that only a signature protects: nothing else in a package depends on them.
fn without_signed_facts(content: &ManifestContent) -> ManifestContent {
    let mut content = content.clone();
    content.key_check = [0; 16];
    content.signed_at = "2000-01-01T00:00:00Z".parse().unwrap();
    for part in &mut content.parts {
        part.content_digest = blake3::Hash::from_bytes([0; 32]);
        part.exported_at = content.signed_at;
    }
    content
}

#[test]
fn a_bit_flipped_in_the_manifest_is_refused_or_changes_only_what_its_signature_protects() {
    let made = Made::new();
    let path = made.path().join("manifest.json");
    let bytes = fs::read(&path).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let expected = without_signed_facts(&made.content);
    let mut accepted = 0;
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        file.write_all_at(&changed, 0).unwrap();
        if let Ok(package) = made.open_all() {
            let content = package.manifest().content();
            assert_ne!(content, &made.content, "bit {bit} changes nothing");
            assert_eq!(without_signed_facts(content), expected, "bit {bit}");
            accepted += 1;
        }
    }
    assert!(accepted > 0, "digits of the content digest can only be protected by a signature");
}

#[test]
fn missing_extra_and_unfinished_files_are_refused() {
    let made = Made::new();
    let extra = made.path().join("part-000003.age");
    fs::write(&extra, b"x").unwrap();
    assert!(matches!(made.open(), Err(E::Defect { path, defect: D::ExtraFile }) if path == extra));
    fs::remove_file(&extra).unwrap();
    for name in ["readme.txt", "part-0.age", "manifest.json.bak", ".hidden"] {
        let extra = made.path().join(name);
        fs::write(&extra, b"x").unwrap();
        assert!(matches!(made.open(), Err(E::Defect { defect: D::ExtraFile, .. })), "{name}");
        fs::remove_file(&extra).unwrap();
    }
    let unfinished = made.path().join(".part-000001.age.tmp-Abcd1234");
    fs::write(&unfinished, b"x").unwrap();
    assert!(
        matches!(made.open(), Err(E::Defect { path, defect: D::UnfinishedFile }) if path == unfinished)
    );
    fs::remove_file(&unfinished).unwrap();
    made.open_all().unwrap();
    fs::remove_file(made.part(1)).unwrap();
    assert!(
        matches!(made.open(), Err(E::Defect { path, defect: D::MissingPart }) if path == made.part(1))
    );
}

#[test]
fn truncated_extended_and_swapped_parts_are_refused() {
    let made = Made::new();
    let bytes = fs::read(made.part(2)).unwrap();
    for changed in [&bytes[..bytes.len() - 1], &[], &[&bytes[..], b"x"].concat()] {
        fs::write(made.part(2), changed).unwrap();
        assert!(matches!(made.open(), Err(E::Defect { defect: D::PartSize { .. }, .. })));
    }
    fs::write(made.part(2), fs::read(made.part(1)).unwrap()).unwrap();
    fs::write(made.part(1), &bytes).unwrap();
    assert!(made.open_all().is_err(), "swapped parts must be refused");
}

#[test]
fn swapped_parts_that_the_manifest_lists_as_swapped_are_refused_by_their_headers() {
    let made = Made::new();
    let (a, b) = (fs::read(made.part(0)).unwrap(), fs::read(made.part(1)).unwrap());
    fs::write(made.part(0), &b).unwrap();
    fs::write(made.part(1), &a).unwrap();
    fs::remove_file(made.path().join("manifest.json")).unwrap();
    let mut content = made.content.clone();
    for (part, bytes) in content.parts.iter_mut().zip([&b, &a]) {
        part.sealed_bytes = bytes.len() as u64;
        part.sealed_digest = blake3::hash(bytes);
    }
    fs::write(made.path().join("manifest.json"), content.to_bytes().unwrap()).unwrap();
    let error = made.open_all().unwrap_err();
    let E::Part(part) = error else { panic!("{error:?}") };
    let index = matches!(*part.defect, PartDefect::Content(ShareFileDefect::OtherPart { .. }));
    assert!(index, "{part:?}");
}

#[test]
fn links_directories_and_fifos_in_the_place_of_files_are_refused() {
    let made = Made::new();
    let aside = made.directory.path().join("aside");
    fs::rename(made.part(0), &aside).unwrap();
    symlink(&aside, made.part(0)).unwrap();
    assert!(
        matches!(made.open(), Err(E::Defect { path, defect: D::NotRegular }) if path == made.part(0))
    );
    fs::remove_file(made.part(0)).unwrap();
    fs::create_dir(made.part(0)).unwrap();
    assert!(matches!(made.open(), Err(E::Defect { defect: D::NotRegular, .. })));
    fs::remove_dir(made.part(0)).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(made.part(0)).status().unwrap();
    assert!(fifo.success());
    assert!(matches!(made.open(), Err(E::Defect { defect: D::NotRegular, .. })));
    fs::remove_file(made.part(0)).unwrap();
    fs::rename(&aside, made.part(0)).unwrap();
    made.open_all().unwrap();

    let manifest = made.path().join("manifest.json");
    fs::rename(&manifest, &aside).unwrap();
    assert!(matches!(made.open(), Err(E::Defect { defect: D::NotClosed, .. })));
    symlink(&aside, &manifest).unwrap();
    assert!(
        matches!(made.open(), Err(E::Defect { path, defect: D::NotRegular }) if path == manifest)
    );
    let file = Package::open(&aside, made.session.clone());
    assert!(matches!(file, Err(E::Defect { defect: D::NotADirectory, .. })));
}

#[test]
fn a_part_swapped_for_a_link_after_the_package_was_opened_is_not_followed() {
    let made = Made::new();
    let package = made.open().unwrap();
    let aside = made.directory.path().join("aside");
    fs::rename(made.part(0), &aside).unwrap();
    symlink(&aside, made.part(0)).unwrap();
    let mut batch = RowBatch::with_capacity(small_layout(), 3);
    let entry = &package.manifest().parts()[0];
    let error = package.files().open_part(entry, &made.identity, &mut batch).unwrap_err();
    assert!(matches!(*error.defect, PartDefect::NotRegular), "{error:?}");
}

#[test]
fn a_closed_package_changes_no_more() {
    let made = Made::new();
    let again = PackageWriter::create(made.path(), made.session.clone(), made.identity.to_public());
    assert!(matches!(again, Err(E::Defect { defect: D::AlreadyClosed, .. })));
}

fn writer(directory: &Path, identity: &Identity) -> PackageWriter {
    let session = session(&small_layout());
    PackageWriter::create(directory, session, identity.to_public()).unwrap()
}

#[test]
fn of_two_that_close_a_package_one_wins_and_sealing_ends() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::generate(SealKind::Hybrid);
    let [first, second, third] = [(); 3].map(|()| writer(directory.path(), &identity));
    let made = Made::new();
    let content = ManifestContent { parts: vec![], ..made.content };
    first.close(&content).unwrap();
    let bytes = fs::read(directory.path().join("manifest.json")).unwrap();
    let other = ManifestContent { key_check: [9; 16], ..content };
    assert!(matches!(second.close(&other), Err(E::Defect { defect: D::AlreadyClosed, .. })));
    let batch = rows_of(&small_layout(), &[1], true);
    let sealed = third.seal(0, range(1, 1), &batch.rows());
    assert!(matches!(sealed, Err(E::Defect { defect: D::AlreadyClosed, .. })));
    assert_eq!(fs::read(directory.path().join("manifest.json")).unwrap(), bytes);
    assert_eq!(file_names(directory.path()), ["manifest.json"]);
}

#[test]
fn an_interrupted_package_continues_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::generate(SealKind::Hybrid);
    let batch = rows_of(&small_layout(), &[1, 2, 3], true);
    let part = writer(directory.path(), &identity).seal(4, range(1, 3), &batch.rows()).unwrap();
    fs::write(directory.path().join(".part-000005.age.tmp-Abcd1234"), b"half").unwrap();

    let again = writer(directory.path(), &identity);
    assert_eq!(again.parts().unwrap(), [(part.name, part.sealed_bytes)]);
    assert_eq!(again.read_part(part.name).unwrap(), Some(part));
    assert_eq!(again.read_part(PartName::new(5)).unwrap(), None);
    assert_eq!(file_names(directory.path()), ["part-000004.age"]);
    let resealed = again.seal(4, range(1, 3), &batch.rows()).unwrap();
    assert_ne!(resealed.sealed_digest, part.sealed_digest, "age is randomised");
    again.remove_part(part.name).unwrap();
    assert_eq!(again.parts().unwrap(), []);
}

#[test]
fn a_package_is_not_closed_around_the_wrong_parts() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::generate(SealKind::Hybrid);
    let batch = rows_of(&small_layout(), &[1, 2, 3], true);
    let part = writer(directory.path(), &identity).seal(0, range(1, 3), &batch.rows()).unwrap();
    let entry = PartEntry::new(&part, range(1, 3), 3, blake3::hash(b"tags"), Timestamp::now());
    let content = ManifestContent { parts: vec![entry], ..Made::new().content };
    let close = |content: &ManifestContent| writer(directory.path(), &identity).close(content);

    let none = close(&ManifestContent { parts: vec![], ..content.clone() });
    assert!(matches!(none, Err(E::Defect { defect: D::ExtraFile, .. })), "{none:?}");
    let mut other = content.clone();
    other.sender = party(0);
    let sender = close(&other);
    let is_refused =
        matches!(sender, Err(E::Manifest { source: ManifestError::OtherSender { .. }, .. }));
    assert!(is_refused, "{sender:?}");
    let mut other = content.clone();
    other.parts[0].sealed_bytes += 1;
    assert!(matches!(close(&other), Err(E::Defect { defect: D::PartSize { .. }, .. })));
    let late = writer(directory.path(), &identity);
    fs::rename(directory.path().join("part-000000.age"), directory.path().join("aside")).unwrap();
    assert!(matches!(late.close(&content), Err(E::Defect { defect: D::ExtraFile, .. })));
    fs::rename(directory.path().join("aside"), directory.path().join("part-000000.age")).unwrap();
    close(&content).unwrap();
}

#[test]
fn a_package_is_not_begun_in_a_directory_with_other_files() {
    let directory = tempfile::tempdir().unwrap();
    let of_the_system = directory.path().join("lost+found");
    fs::create_dir(&of_the_system).unwrap();
    let recipient = || Identity::generate(SealKind::Hybrid).to_public();
    let create = || PackageWriter::create(directory.path(), session(&small_layout()), recipient());
    create().expect("what every disk has is passed over");
    let found = directory.path().join("lost and found");
    fs::create_dir(&found).unwrap();
    assert!(matches!(create(), Err(E::Defect { path, defect: D::ExtraFile }) if path == found));
}
