//! The handbook, compared with the program: its first pages run as they are written, its commands
//! are those of the program, and its reference has every flag.

mod commands;
mod pages;
mod parties;
mod reference;

use pages::Page;
use parties::{Parties, ROWS};

#[test]
fn removable_media_work_as_the_handbook_says() {
    let mut parties = Parties::new();
    let printed = parties.run(&Page::of_handbook("removable-media.md"));
    assert!(printed.contains(&all_rows_are_equal()), "{printed}");
    assert_eq!(parties.compare_with_lost()["rows_equal"], ROWS);
    // The last block removes the packages; what is public stays.
    let left = parties.left_on_media();
    assert!(left.contains("session.toml"), "{left:?}");
    assert!(!left.contains("party0") && !left.contains("party1"), "{left:?}");
}

#[test]
fn the_network_works_as_the_handbook_says() {
    let mut parties = Parties::new();
    let printed = parties.run(&Page::of_handbook("network.md"));
    assert!(printed.contains(&all_rows_are_equal()), "{printed}");
    assert!(printed.contains("receipt for both senders: receipt.json"), "{printed}");
    assert_eq!(parties.compare_with_lost()["rows_equal"], ROWS);
}

fn all_rows_are_equal() -> String {
    format!("equal: all {ROWS} rows, bit for bit; recorded: the load is verified")
}
