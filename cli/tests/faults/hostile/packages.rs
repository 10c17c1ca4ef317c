//! What is in a package.

use std::fs::{File, hard_link};
use std::os::unix::fs::FileExt;

use super::{network, rebuild, remove, send, stand_ins};

#[test]
fn what_is_no_regular_file_in_a_package_is_refused() {
    let world = network();
    send(&world);
    let files = ["manifest.json", "part-000000.age", "manifest.sig", "manifest-chain.pem"];
    let present: Vec<_> = std::fs::read_dir(world.path("package-0"))
        .expect("readable")
        .map(|entry| entry.expect("one").file_name().into_string().expect("UTF-8"))
        .collect();
    assert!(files.iter().all(|file| present.iter().any(|name| name == file)), "{present:?}");
    for name in &present {
        let (path, elsewhere) = (world.path("package-0").join(name), world.path("elsewhere"));
        std::fs::rename(&path, &elsewhere).expect("moved");
        for (what, put) in stand_ins(&elsewhere) {
            put(&path);
            let run = rebuild(&world);
            assert_eq!(run.code, Some(4), "{name}, {what}: {}", run.stderr);
            assert!(run.stderr.contains("regular file"), "{name}, {what}: {}", run.stderr);
            remove(&path);
        }
        std::fs::rename(&elsewhere, &path).expect("moved");
    }
    assert_eq!(world.sql_at(2, "SELECT count(*) FROM \"SMPC_dev_2\".irises").trim(), "0");
    rebuild(&world).ends_with(0);
}

/// A part with a second name is taken: its bytes are digested as they are used, so anyone who can
/// write it through the other name can only have it refused.
#[test]
fn a_part_with_another_name_is_taken_as_long_as_its_bytes_are_right() {
    let world = network();
    send(&world);
    let part = world.path("package-0/part-000000.age");
    hard_link(&part, world.path("other-name")).expect("a hard link");
    let other = File::options().read(true).write(true).open(world.path("other-name"));
    let other = other.expect("opened");
    let last = other.metadata().expect("its size").len() - 1;
    let mut byte = [0];
    other.read_exact_at(&mut byte, last).expect("read");
    other.write_all_at(&[byte[0] ^ 1], last).expect("written");
    let run = rebuild(&world).ends_with(4);
    assert!(run.stderr.contains("part-000000.age"), "{}", run.stderr);
    other.write_all_at(&byte, last).expect("written");
    rebuild(&world).ends_with(0);
    assert_eq!(world.sql_at(2, "SELECT count(*) FROM \"SMPC_dev_2\".irises").trim(), "20");
}
