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

#[test]
fn the_whole_run_takes_as_few_commands_and_files_as_the_handbook_says() {
    let page = Page::of_handbook("whole-run.md");
    let blocks = page.blocks("sh");
    let lines: Vec<String> = blocks.iter().flat_map(|block| block.logical_lines()).collect();
    // The authority is made once for all runs.
    let commands =
        lines.iter().filter(|line| line.starts_with("reshare ") && !line.contains(" pki ca "));
    let carried = lines.iter().filter(|line| line.contains("cp ") && line.contains("/mnt/public"));
    let (commands, carried) = (commands.count(), carried.count());
    assert!(page.text.contains(&format!("{commands} commands, and {carried} files")));
    assert!(commands <= 11 && carried <= 6, "{commands} commands, {carried} files");
    let mut parties = Parties::new();
    parties.run(&page);
    assert_eq!(parties.compare_with_lost()["rows_equal"], ROWS);
    for party in ["party0", "party1", "party2"] {
        assert!(parties.has_settings_file(party, "receipt.json"), "{party}");
        assert!(parties.has_settings_file(party, "network.toml"), "{party}");
    }
    // What travels is public, and the session alone comes back.
    let left = parties.left_on_media();
    let public = ["party-0.public.json", "party-1.public.json", "party-2.public.json"];
    let expected = public.into_iter().chain(["session.toml"]).map(str::to_owned).collect();
    assert_eq!(left, expected);
}

fn all_rows_are_equal() -> String {
    format!("equal: all {ROWS} rows, bit for bit; recorded: the load is verified")
}
