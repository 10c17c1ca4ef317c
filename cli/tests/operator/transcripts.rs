//! What the program prints, word by word: help, errors and exit codes.

#[test]
fn the_program_prints_what_the_transcripts_say() {
    // Flags may come from variables of this environment: the transcripts must not depend on it.
    let cases = trycmd::TestCases::new();
    cases.env("RESHARE_SESSION", "").env("DATABASE_URL", "");
    cases.case("tests/cmd/*.trycmd");
}
