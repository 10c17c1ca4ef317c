//! The `reshare` binary.

/// Memory that a limit does not give ends the run with a word.
#[global_allocator]
static ALLOCATOR: reshare_cli::EndingAllocator = reshare_cli::EndingAllocator;

fn main() -> std::process::ExitCode {
    reshare_cli::main()
}
