//! The `ringway` binary: the allocator, then the command line.

use std::process::ExitCode;

/// Many small blocks of few sizes, freed on other cores than they were made on: jemalloc's case.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    ringway::cli::run(ringway::server::read, ringway::server::serve)
}
