//! README.md and the pages of `docs/`, and the code blocks in them.

use std::path::{Path, PathBuf};

/// A page in Markdown.
pub(crate) struct Page {
    /// Its path from the top of the repository.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// A fenced block of code.
pub(crate) struct Block {
    /// The line of the page on which its first line is.
    pub(crate) line: usize,
    pub(crate) language: String,
    /// Without the indentation of a list.
    pub(crate) text: String,
}

impl Page {
    /// One page of `docs/`.
    pub(crate) fn of_handbook(name: &str) -> Self {
        Self::read(format!("docs/{name}"))
    }

    /// README.md and every page of `docs/`.
    pub(crate) fn all() -> Vec<Self> {
        let entries = std::fs::read_dir(root().join("docs")).expect("the handbook");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let names = names.map(|name| name.into_string().expect("UTF-8"));
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".md")).collect();
        names.sort();
        let pages = names.iter().map(|name| Self::of_handbook(name));
        std::iter::once(Self::read("README.md".to_owned())).chain(pages).collect()
    }

    fn read(name: String) -> Self {
        let text = std::fs::read_to_string(root().join(&name)).expect("a page");
        Self { name, text }
    }

    /// The blocks in one language.
    pub(crate) fn blocks(&self, language: &str) -> Vec<Block> {
        let mut blocks = self.all_blocks();
        blocks.retain(|block| block.language == language);
        blocks
    }

    fn all_blocks(&self) -> Vec<Block> {
        let (mut blocks, mut open) = (vec![], None::<(Block, usize)>);
        for (line, text) in self.text.lines().enumerate() {
            let indent = text.len() - text.trim_start().len();
            open = match (text.trim_start().strip_prefix("```"), open) {
                (Some(language), None) => {
                    let language = language.to_owned();
                    Some((Block { line: line + 2, language, text: String::new() }, indent))
                }
                (Some(_), Some((block, _))) => {
                    blocks.push(block);
                    None
                }
                (None, Some((mut block, of_list))) => {
                    block.text.push_str(text.get(of_list..).unwrap_or_default());
                    block.text.push('\n');
                    Some((block, of_list))
                }
                (None, None) => None,
            };
        }
        assert!(open.is_none(), "{}: a block is not closed", self.name);
        blocks
    }

    /// The text below a heading, up to the next heading of the same or a higher level.
    pub(crate) fn section(&self, heading: &str) -> Option<&str> {
        let (_, below) = self.text.split_once(&format!("\n{heading}\n"))?;
        let level = heading.split(' ').next()?.len();
        let ends = (1..=level).map(|level| format!("\n{} ", "#".repeat(level)));
        let end = ends.filter_map(|end| below.find(&end)).min();
        Some(&below[..end.unwrap_or(below.len())])
    }
}

impl Block {
    /// Its lines, with those that end in `\` joined to the next.
    pub(crate) fn logical_lines(&self) -> Vec<String> {
        self.text.replace("\\\n", " ").lines().map(|line| line.trim().to_owned()).collect()
    }

    /// Who runs it: what follows the comment sign in its first line.
    pub(crate) fn who(&self, comment: &str) -> Option<&str> {
        self.text.lines().next()?.strip_prefix(comment).map(str::trim)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}
