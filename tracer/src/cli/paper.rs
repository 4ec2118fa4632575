//! Completions and manual pages, made from the definition of the command line.

use std::io;
use std::path::Path;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;

#[derive(Clone, Debug, Args)]
pub struct Completions {
    /// bash, zsh or fish
    #[arg(value_enum, hide_possible_values = true, value_parser = shell)]
    pub shell: Shell,
}

#[derive(Clone, Debug, Args)]
pub struct Man {
    /// Write a page per command into this folder [default: the first page, to stdout]
    #[arg(value_name = "DIR")]
    pub folder: Option<std::path::PathBuf>,
}

/// Those whose scripts are tested.
fn shell(typed: &str) -> Result<Shell, String> {
    match typed {
        "bash" => Ok(Shell::Bash),
        "zsh" => Ok(Shell::Zsh),
        "fish" => Ok(Shell::Fish),
        _ => Err("there are completions for bash, zsh and fish".to_owned()),
    }
}

/// The script that a shell reads.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "offheap", &mut script);
    script
}

/// The first page.
///
/// # Errors
/// None but those of writing to memory.
pub fn man() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    Ok(page)
}

/// All pages, as files: `offheap.1`, `offheap-attach.1` …
///
/// # Errors
/// When the folder can't be written.
pub fn write_man(folder: &Path) -> io::Result<()> {
    clap_mangen::generate_to(Cli::command(), folder)
}
