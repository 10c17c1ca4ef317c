//! The `reshare` binary.

fn main() -> std::process::ExitCode {
    reshare_cli::main()
}
