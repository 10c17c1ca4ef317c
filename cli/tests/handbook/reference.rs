//! The page that lists every command and flag, compared with the program's own help.

use std::collections::{BTreeMap, BTreeSet};

use reshare_fixtures::network::{Run, program};

use crate::pages::Page;

/// Flags by command, such as `session new`.
type Reference = BTreeMap<String, BTreeSet<String>>;

/// Flags that every command takes: the page names them once.
const OF_EVERY_COMMAND: [&str; 6] =
    ["--config", "--help", "--json", "--quiet", "--verbose", "--log-format"];

#[test]
fn the_reference_has_every_command_with_every_flag() {
    let mut in_program = Reference::new();
    add_from_help(&mut vec![], &mut in_program);
    let in_page = in_page(&Page::of_handbook("commands.md"));
    let lacks = |some: &Reference, all: &Reference| -> Vec<String> {
        let missing = |(command, flags): (&String, &BTreeSet<String>)| match some.get(command) {
            None => vec![format!("reshare {command}")],
            Some(there) => {
                let flags = flags.difference(there);
                flags.map(|flag| format!("reshare {command} {flag}")).collect()
            }
        };
        all.iter().flat_map(missing).collect()
    };
    let nothing: Vec<String> = vec![];
    assert_eq!(lacks(&in_page, &in_program), nothing, "docs/commands.md lacks these");
    assert_eq!(lacks(&in_program, &in_page), nothing, "the program has no such commands or flags");
}

/// Adds a command's flags, or those of the commands below it, as `--help` prints them.
fn add_from_help(command: &mut Vec<String>, reference: &mut Reference) {
    let help = program(env!("CARGO_BIN_EXE_reshare"))
        .args(&*command)
        .arg("--help")
        .output()
        .expect("it starts");
    let help = Run::of(help).ends_with(0).stdout;
    let Some((_, below)) = help.split_once("\nCommands:\n") else {
        reference.insert(command.join(" "), help.lines().filter_map(flag_of_help).collect());
        return;
    };
    for line in below.lines().take_while(|line| !line.is_empty()) {
        // A continuation line is indented further.
        let Some(name) = line.strip_prefix("  ").filter(|line| !line.starts_with(' ')) else {
            continue;
        };
        let name = name.split(' ').next().expect("a word").to_owned();
        if name != "help" {
            command.push(name);
            add_from_help(command, reference);
            command.pop();
        }
    }
}

/// The flag that a line of a help text defines; descriptions are indented further.
fn flag_of_help(line: &str) -> Option<String> {
    let text = line.trim_start();
    if !text.starts_with('-') || line.len() - text.len() > 6 {
        return None;
    }
    let mut words = text.split([' ', ',', '.']);
    let flag = words.find(|word| word.starts_with("--"))?.to_owned();
    (!OF_EVERY_COMMAND.contains(&flag.as_str())).then_some(flag)
}

/// The commands of the page, each with its own flags and with those of the groups that it names.
fn in_page(page: &Page) -> Reference {
    let mut reference = Reference::new();
    for heading in page.text.lines().filter(|line| line.starts_with("### reshare ")) {
        let section = page.section(heading).expect("it is there");
        let mut flags = flags_of_tables(section);
        for group in section.split("](#flags-").skip(1) {
            let name = group.split(')').next().expect("a link");
            let group = page.section(&format!("### Flags: {name}"));
            flags.extend(flags_of_tables(group.unwrap_or_else(|| panic!("no flags of {name}"))));
        }
        let command = heading.trim_start_matches("### reshare ").to_owned();
        assert!(reference.insert(command, flags).is_none(), "{heading} is there twice");
    }
    reference
}

/// The flags in the first columns of a section's tables.
fn flags_of_tables(section: &str) -> BTreeSet<String> {
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let code = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let flags =
        code.filter_map(|code| code.split(' ').next()).filter(|word| word.starts_with("--"));
    flags.map(str::to_owned).collect()
}
