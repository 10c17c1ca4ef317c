//! How the beginning of a part is compressed. Its shares never are.

use std::str::FromStr;

/// How ids, agree columns and row checks are compressed in a part.
///
/// The share columns are blinded and therefore pseudo-random: no compressor makes them smaller,
/// so they are always stored. Every setting gives zstd frames that any zstd reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Compressed as quickly as zstd can.
    #[default]
    Auto,
    /// Stored.
    Off,
    /// Compressed at a level of zstd, from 1 to 19.
    Level(u8),
}

impl Compression {
    /// The highest level: higher ones need more memory in the reader.
    pub const MAX_LEVEL: u8 = 19;

    /// The level of zstd; `None` to store.
    pub(super) fn level(self) -> Option<i32> {
        match self {
            Self::Auto => Some(1),
            Self::Off => None,
            Self::Level(level) => Some(level.into()),
        }
    }
}

impl FromStr for Compression {
    type Err = CompressionError;

    fn from_str(text: &str) -> Result<Self, CompressionError> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => match text.parse() {
                Ok(level @ 1..=Self::MAX_LEVEL) => Ok(Self::Level(level)),
                _ => Err(CompressionError),
            },
        }
    }
}

/// Text that is none of the ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected auto, off or a level from 1 to 19")]
pub struct CompressionError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_words_and_the_levels_of_zstd_are_taken() {
        assert_eq!("auto".parse(), Ok(Compression::Auto));
        assert_eq!("off".parse(), Ok(Compression::Off));
        assert_eq!("19".parse(), Ok(Compression::Level(19)));
        for bad in ["", "0", "20", "-1", "256", "Auto", "1 "] {
            assert_eq!(bad.parse::<Compression>(), Err(CompressionError), "{bad:?}");
        }
    }
}
