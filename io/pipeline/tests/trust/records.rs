//! Part records in packages: what an open package covers, and what a closed one must have.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use reshare_files::durable::faults::{Fault, Faults, Plan};
use reshare_files::fault::Refusable;
use reshare_files::ids::IdRange;
use reshare_format::keys::certificate::PartyCertificate;
use reshare_format::package::{
    MANIFEST_NAME, OpenPackage, Package, PackageDefect as D, PackageError as E,
    PackageExpectations, PackageRecords, PartName, PartRecord, PartRecordError, RECORDS_NAME,
    RecordLine, Timestamp,
};
use reshare_pipeline::packages::{PackagesSoFar, expectations};

use crate::pipeline::pack_signed;
use crate::support::{World, now, party};

fn expected(world: &World, sender: u8) -> PackageExpectations {
    expectations(&world.session, party(sender), Some(&world.trust)).expect("the authority")
}

fn package(world: &World, sender: u8) -> PathBuf {
    world.path().join(format!("package-{sender}"))
}

/// A closed package of sender 0: five rows in three parts, of ids 1 to 2, 3 to 4, and 5 to 100.
async fn packed() -> World {
    let world = World::new();
    assert_eq!(pack_signed(&world, 0, 1..=5).await.expect("packed").parts, 3);
    world
}

/// Copies some files of sender 0's package, as a medium that is not complete has them.
fn copied(world: &World, names: &[&str]) -> PathBuf {
    let to = world.path().join("copy");
    if to.exists() {
        fs::remove_dir_all(&to).expect("removed");
    }
    fs::create_dir(&to).expect("made");
    for name in names {
        fs::copy(package(world, 0).join(name), to.join(name)).expect("copied");
    }
    to
}

fn lines(directory: &Path) -> Vec<String> {
    let text = fs::read_to_string(directory.join(RECORDS_NAME)).expect("records");
    text.split_inclusive('\n').map(str::to_owned).collect()
}

fn write_lines(directory: &Path, lines: &[String]) {
    fs::write(directory.join(RECORDS_NAME), lines.concat()).expect("written");
}

fn defect<T: std::fmt::Debug>(opened: Result<T, E>) -> D {
    match opened {
        Err(error @ E::Defect { .. }) => {
            assert!(error.is_refusal() || error.is_not_closed(), "{error}");
            let E::Defect { defect, .. } = error else { unreachable!() };
            defect
        }
        other => panic!("{other:?}"),
    }
}

/// The record of a part of the package, changed and signed.
fn record_like(world: &World, index: u64, change: impl FnOnce(&mut PartRecord)) -> String {
    let records = PackageRecords::load(&package(world, 0), &expected(world, 0)).expect("read");
    let records = records.expect("there are records");
    let mut record = records.get(PartName::new(index)).expect("recorded").record.clone();
    change(&mut record);
    let certificate = world.certificate(0);
    let line = signed_line(world, &record, &certificate);
    RecordLine::chain(world.session.fingerprint(), certificate.chain()) + &line
}

fn signed_line(world: &World, record: &PartRecord, certificate: &PartyCertificate) -> String {
    let signed = record.sign(certificate).expect("signed");
    RecordLine::part(world.session.fingerprint(), &signed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_package_has_exactly_the_records_of_its_parts() {
    let world = packed().await;
    let directory = package(&world, 0);
    let opened = Package::open(&directory, expected(&world, 0)).expect("good");
    let records = opened.records().expect("read").expect("there");
    let recorded: Vec<_> = records.iter().map(|of| of.record.part.clone()).collect();
    assert_eq!(recorded, opened.manifest().parts());
    let bounds: Vec<_> = records.iter().filter_map(|of| of.record.bounds).collect();
    assert_eq!(bounds, [(1, 2), (3, 4), (5, 5)].map(|(a, b)| IdRange::new(a, b).expect("ids")));
    // A chain, and a line for each part.
    assert_eq!(lines(&directory).len(), 4);
    // Packages of earlier versions have none, and the manifest says all.
    fs::remove_file(directory.join(RECORDS_NAME)).expect("there");
    let opened = Package::open(&directory, expected(&world, 0)).expect("as before");
    assert!(opened.records().expect("read").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_of_the_records_counts() {
    let world = packed().await;
    let directory = package(&world, 0);
    let path = directory.join(RECORDS_NAME);
    let whole = fs::read(&path).expect("there");
    for at in (0..whole.len()).step_by(11) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).expect("written");
        let error = Package::open(&directory, expected(&world, 0)).expect_err("changed");
        assert!(error.is_refusal(), "byte {at}: {error}");
    }
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).expect("written");
        Package::open(&directory, expected(&world, 0)).expect_err("cut");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_missing_extra_or_another_than_the_manifest_says_is_refused() {
    let world = packed().await;
    let directory = package(&world, 0);
    let good = lines(&directory);
    let opened = || Package::open(&directory, expected(&world, 0));
    let (first, last) = (PartName::new(0), PartName::new(2));
    for (index, line) in [(0, 1), (2, 3)] {
        let mut without = good.clone();
        without.remove(line);
        write_lines(&directory, &without);
        assert_eq!(defect(opened()), D::RecordMissing { name: PartName::new(index) });
    }
    let resealed = record_like_with(&world, &good, 0, |record| {
        record.part.sealed_digest = blake3::hash(b"another");
    });
    write_lines(&directory, &[good.concat(), resealed]);
    assert_eq!(defect(opened()), D::RecordDiffers { name: first });
    // Records tile the ids: an extra one takes the place of those that it overlaps.
    let extra = record_like_with(&world, &good, 2, |record| {
        record.part.name = PartName::new(7);
        record.part.ids = IdRange::new(90, 95).expect("ids");
        (record.part.rows, record.bounds) = (1, IdRange::new(91, 91));
    });
    write_lines(&directory, &[good.concat(), extra]);
    assert_eq!(defect(opened()), D::RecordMissing { name: last });
    // The very same twice: nothing is wrong, but a closed package has each once.
    write_lines(&directory, &[good.concat(), good[1].clone()]);
    assert_eq!(defect(opened()), D::RecordsNotSettled);
    write_lines(&directory, &good);
    opened().expect("as it was");
}

/// As [`record_like`], from a file that is as it was made.
fn record_like_with(
    world: &World,
    good: &[String],
    index: u64,
    change: impl FnOnce(&mut PartRecord),
) -> String {
    write_lines(&package(world, 0), good);
    record_like(world, index, change)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_part_that_no_manifest_lists_is_extra() {
    let world = World::new();
    // The package of rows 1 and 2 alone, with a record more beyond the last part.
    pack_signed(&world, 0, 1..=2).await.expect("packed");
    let directory = package(&world, 0);
    let good = lines(&directory);
    let manifest = fs::read_to_string(directory.join(MANIFEST_NAME)).expect("closed");
    assert!(manifest.contains("\"last_id\":100"), "{manifest}");
    let extra = record_like(&world, 0, |record| {
        record.part.name = PartName::new(7);
        record.part.ids = IdRange::new(3, 100).expect("ids");
        (record.part.rows, record.bounds) = (1, IdRange::new(3, 3));
    });
    write_lines(&directory, &[good.concat(), extra]);
    // Its ids were the listed part's: that has no record any more.
    let refused = defect(Package::open(&directory, expected(&world, 0)));
    assert_eq!(refused, D::RecordMissing { name: PartName::new(0) });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_package_is_taken_as_far_as_its_records_and_parts_go() {
    let world = packed().await;
    let parts = ["part-000000.age", "part-000001.age", "part-000002.age"];
    let covered = |names: &[&str]| {
        let opened = OpenPackage::open(copied(&world, names), expected(&world, 0)).expect("opened");
        (opened.parts().len(), opened.covered_up_to())
    };
    assert_eq!(covered(&[RECORDS_NAME]), (0, None));
    assert_eq!(covered(&[RECORDS_NAME, parts[0]]), (1, Some(2)));
    assert_eq!(covered(&[RECORDS_NAME, parts[0], parts[1]]), (2, Some(4)));
    assert_eq!(covered(&[RECORDS_NAME, parts[0], parts[2]]), (1, Some(2)));
    assert_eq!(covered(&[RECORDS_NAME, parts[1], parts[2]]), (0, None));
    assert_eq!(covered(&[RECORDS_NAME, parts[0], parts[1], parts[2]]), (3, Some(100)));
    // Half a file, a line that was cut off, and files that are still on their way.
    let copy = copied(&world, &[RECORDS_NAME, parts[0], parts[1]]);
    let part = fs::read(copy.join(parts[1])).expect("there");
    fs::write(copy.join(parts[1]), &part[..part.len() / 2]).expect("written");
    fs::write(copy.join(".part-000002.age.tmp-aB3dE6fG"), b"half").expect("written");
    let opened = OpenPackage::open(&copy, expected(&world, 0)).expect("opened");
    assert_eq!((opened.parts().len(), opened.covered_up_to()), (1, Some(2)));
    let copy = copied(&world, &[RECORDS_NAME, parts[0], parts[1], parts[2]]);
    let text = fs::read(copy.join(RECORDS_NAME)).expect("there");
    fs::write(copy.join(RECORDS_NAME), &text[..text.len() - 1]).expect("written");
    let opened = OpenPackage::open(&copy, expected(&world, 0)).expect("opened");
    assert_eq!(opened.covered_up_to(), Some(4));
    // Without records nothing is known of it, and other files belong to no package.
    fs::remove_file(copy.join(RECORDS_NAME)).expect("there");
    assert_eq!(defect(OpenPackage::open(&copy, expected(&world, 0))), D::NotClosed);
    let copy = copied(&world, &[RECORDS_NAME]);
    fs::write(copy.join("notes.txt"), b"x").expect("written");
    assert_eq!(defect(OpenPackage::open(&copy, expected(&world, 0))), D::ExtraFile);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_the_sender_has_not_signed_are_refused_in_an_open_package_too() {
    let world = packed().await;
    let copy = copied(&world, &[RECORDS_NAME, "part-000000.age"]);
    let good = lines(&copy);
    let refused = |lines: &[String]| {
        write_lines(&copy, lines);
        match OpenPackage::open(&copy, expected(&world, 0)) {
            Err(E::Record { line, source, .. }) => (line, source),
            other => panic!("{other:?}"),
        }
    };
    let mut damaged = good.clone();
    damaged[2] = damaged[2].replacen("part ", "part A", 1);
    assert!(matches!(refused(&damaged), (3, PartRecordError::Damaged)));
    // Without its certificates, with another party's, and with another key check.
    assert!(matches!(refused(&good[1..]), (1, PartRecordError::Damaged)));
    let record = record_like(&world, 1, |record| record.key_check = [9; 16]);
    let (line, source) = refused(&[good.concat(), record]);
    assert!(line == 6 && matches!(source, PartRecordError::OtherKeys), "{line}: {source}");
    let other = world.certificate(1);
    let records = PackageRecords::load(&package(&world, 0), &expected(&world, 0)).expect("read");
    let record = records.expect("there").get(PartName::new(0)).expect("recorded").record.clone();
    let forged = RecordLine::chain(world.session.fingerprint(), other.chain())
        + &signed_line(&world, &record, &other);
    let (line, source) = refused(&[forged]);
    assert!(line == 2 && matches!(source, PartRecordError::Signature(_)), "{source}");
    write_lines(&copy, &good);
    OpenPackage::open(&copy, expected(&world, 0)).expect("as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_without_a_row_records_that_it_covers_everything() {
    let world = packed().await;
    let report = pack_signed(&world, 1, RangeInclusive::new(6, 5)).await.expect("packed");
    assert_eq!((report.rows, report.parts), (0, 0));
    let directory = package(&world, 1);
    Package::open(&directory, expected(&world, 1)).expect("good");
    fs::remove_file(directory.join(MANIFEST_NAME)).expect("closed");
    let opened = OpenPackage::open(&directory, expected(&world, 1)).expect("opened");
    assert_eq!((opened.parts().len(), opened.covered_up_to()), (0, Some(100)));
    let identity = world.identity.clone();
    let copy = copied(&world, &[RECORDS_NAME, "part-000000.age"]);
    let both = [directory, copy];
    let both = PackagesSoFar::open(&world.session, Some(&world.trust), both, identity);
    let both = both.expect("opened");
    let covered = both.sides().map(|side| (side.sender, side.closed, side.covered_up_to));
    assert_eq!(covered, [(0, false, Some(2)), (1, false, Some(100))]);
    assert!(!both.is_closed());
}

/// Wherever a run dies, no part has its name before its record is durable, and the next run closes
/// the package with exactly the records of its parts.
#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_dies_at_any_call_leaves_no_part_without_its_record() {
    let world = World::new();
    let directory = package(&world, 0);
    let mut seen = BTreeMap::new();
    for nth in 1..1000 {
        for made in [directory.clone(), world.path().join("state")] {
            if made.exists() {
                fs::remove_dir_all(made).expect("removed");
            }
        }
        let gone =
            Plan { calls: vec![], nth, count: u64::MAX, fault: Fault::Error(ErrorKind::Other) };
        let faults = Faults::plan(&directory, gone);
        let died = pack_signed(&world, 0, 1..=5).await;
        let is_over = faults.seen() < nth;
        drop(faults);
        assert_eq!(died.is_ok(), is_over, "{nth}");
        let named = fs::read_dir(&directory).into_iter().flatten().flatten();
        let named = named.filter_map(|entry| entry.file_name().to_str()?.parse::<PartName>().ok());
        let records = PackageRecords::load(&directory, &expected(&world, 0)).expect("sound");
        let records = records.unwrap_or_default();
        let mut parts = 0;
        for name in named {
            let part = &records.get(name).expect("recorded before").record.part;
            let bytes = fs::read(directory.join(name.to_string())).expect("there");
            assert_eq!(blake3::hash(&bytes), part.sealed_digest, "{nth}: {name}");
            parts += 1;
        }
        *seen.entry(parts).or_insert(0) += 1;
        let again = pack_signed(&world, 0, 1..=5).await.expect("packed");
        assert_eq!(again.rows, 5, "{nth}");
        assert!(again.closed_before || again.parts_kept == parts, "{nth}: {again:?}");
        Package::open(&directory, expected(&world, 0)).expect("good");
        assert_eq!(lines(&directory).iter().filter(|line| line.starts_with("part ")).count(), 3);
        if is_over {
            assert!(nth > 15, "only {nth} calls");
            assert!(seen.len() == 4, "{seen:?}");
            return;
        }
    }
    panic!("the walk does not end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_without_its_record_is_made_again() {
    let world = packed().await;
    let directory = package(&world, 0);
    for name in [MANIFEST_NAME, RECORDS_NAME] {
        fs::remove_file(directory.join(name)).expect("there");
    }
    let again = pack_signed(&world, 0, 1..=5).await.expect("packed");
    assert_eq!((again.rows, again.parts_kept), (5, 0));
    let opened = Package::open(&directory, expected(&world, 0)).expect("good");
    assert_eq!(opened.records().expect("read").expect("there").iter().count(), 3);
    assert!(opened.manifest().content().signed_at >= Timestamp::from(now() - time::Duration::HOUR));
}
