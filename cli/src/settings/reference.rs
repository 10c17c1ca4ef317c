//! The tables of `docs/settings.md`, made from the program's flags.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::place::{Place, key_of, place, table_of};
use super::{for_each_command, program, variable_of};

/// What follows this heading in the page is made by this test.
const HEADING: &str = "## Every key\n";

/// With this variable set to `overwrite`, the page is written and not compared.
const OVERWRITE: &str = "SETTINGS";

#[test]
fn the_page_has_every_key_and_variable() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/settings.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let (before, _) = page.split_once(HEADING).expect("its heading");
    let made = format!("{before}{HEADING}{}", tables());
    if std::env::var_os(OVERWRITE).is_some_and(|how| how == "overwrite") {
        std::fs::write(&path, &made).expect("written");
    }
    let page = std::fs::read_to_string(&path).expect("the page");
    let differing = made.lines().zip(page.lines()).find(|(made, page)| made != page);
    assert_eq!(differing, None, "{OVERWRITE}=overwrite makes docs/settings.md again");
    assert_eq!(made.len(), page.len());
    assert!(made.lines().count() > 120);
}

fn tables() -> String {
    let program = program();
    let mut shared: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut own = BTreeSet::new();
    let mut excluded: BTreeMap<(String, &str), BTreeSet<String>> = BTreeMap::new();
    let mut commands = 0;
    for_each_command(&program, &mut |words, command| {
        commands += 1;
        for key in command.get_arguments().filter_map(key_of) {
            match place(words, &key) {
                Place::Shared => {
                    shared.entry(key).or_default().insert(words.to_owned());
                }
                Place::OfCommand => {
                    let variable = variable_of(words, &key).expect("it has one");
                    own.insert(format!("| `[{}]` | `{key}` | `{variable}` |", table_of(words)));
                }
                Place::CommandLine(why) => {
                    let flag = format!("--{}", key.replace('_', "-"));
                    excluded.entry((flag, why)).or_default().insert(words.to_owned());
                }
            }
        }
    });
    let named = |words: &BTreeSet<String>| match words.len() == commands {
        true => "all".to_owned(),
        false => words.iter().map(|words| format!("`{words}`")).collect::<Vec<_>>().join(", "),
    };
    let shared = shared.iter().map(|(key, words)| {
        let variable = format!("RESHARE_{}", key.to_ascii_uppercase());
        format!("| `{key}` | `{variable}` | {} |", named(words))
    });
    let excluded = excluded
        .iter()
        .map(|((flag, why), words)| format!("| `{flag}` | {} | {why} |", named(words)));
    let sections = [
        (
            "\n### Keys of the whole file\n\n| key | variable | commands |\n| --- | --- | --- |\n",
            shared.collect::<Vec<_>>(),
        ),
        (
            "\n### Keys of one command's table\n\n| table | key | variable |\n| --- | --- | --- |\n",
            own.into_iter().collect(),
        ),
        (
            "\n### Flags that no file and no variable sets\n\n| flag | commands | because it |\n| --- | --- | --- |\n",
            excluded.collect(),
        ),
    ];
    sections.iter().map(|(head, rows)| format!("{head}{}\n", rows.join("\n"))).collect()
}
