//! The `ringway` binary: the allocator, then the command line.

use std::process::ExitCode;

use ringway::stdx::planted;

/// Many small blocks of few sizes, freed on other cores than they were made on: jemalloc's case.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    plant_fault();
    ringway::cli::run(ringway::server::read, ringway::server::serve)
}

/// Only where debug assertions are on: see [`planted`].
#[expect(clippy::disallowed_methods, reason = "a fault of a test is no setting")]
fn plant_fault() {
    let Some(Ok(name)) = planted::VARIABLE.map(std::env::var) else { return };
    assert!(planted::plant(&name), "no fault is called {name:?}");
    eprintln!("RINGWAY IS MADE TO FAIL, for a test: {name}");
}
