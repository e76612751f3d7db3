//! The load client.

use std::process::ExitCode;

use clap::Parser as _;

use ringway_bench::cli;
use ringway_bench::cli::Cli;

fn main() -> ExitCode {
    match cli::run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
