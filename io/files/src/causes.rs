//! An error and what caused it.

use std::error::Error;
use std::iter::successors;

/// The error, its cause, the cause of that, and so on.
pub fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |cause| (*cause).source())
}

/// The messages of an error and of its causes, in one line.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let messages: Vec<_> = causes(error).map(ToString::to_string).collect();
    messages.join(": ")
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;
    use crate::file_error::OnFile;

    #[test]
    fn an_error_is_followed_by_its_causes() {
        let disk = Err::<(), _>(io::Error::other("it is broken")).on("read", Path::new("/disk"));
        let error = disk.expect_err("broken");
        assert_eq!(with_causes(&error), "cannot read /disk: it is broken");
        assert!(causes(&error).any(|cause| cause.is::<io::Error>()));
    }
}
