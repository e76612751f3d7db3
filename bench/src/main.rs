//! The load client.

use std::process::ExitCode;

use clap::Parser as _;

use ringway_bench::cli;
use ringway_bench::cli::Cli;
use ringway_bench::cli::Misuse;
use ringway_bench::interrupt;

fn main() -> ExitCode {
    match cli::run(&Cli::parse()) {
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.is::<Misuse>() { ExitCode::from(2) } else { failure() }
        }
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => failure(),
    }
}

fn failure() -> ExitCode {
    if interrupt::is_wanted() { ExitCode::from(interrupt::EXIT_CODE) } else { ExitCode::FAILURE }
}
