//! What a shell and a manual want to know of the commands: `mta-sts completions`, `mta-sts man`.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

/// Print the completions of a shell.
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Write the manual pages.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Where to: one file a command, mta-sts.1, mta-sts-check.1 and so on
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

/// Prints what the shell reads, for a binary of the name that the command has.
///
/// # Errors
/// The stream refuses.
pub fn completions(
    args: &CompletionsArgs,
    command: &mut Command,
    out: &mut dyn Write,
) -> io::Result<()> {
    let name = command.get_name().to_owned();
    // clap_complete panics where a stream refuses, and memory never does.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, command, name, &mut text);
    out.write_all(&text)?;
    out.flush()
}

/// Writes the manual pages.
///
/// # Errors
/// The folder cannot be made, or a file in it not written.
pub fn man(args: &ManArgs, command: Command) -> io::Result<()> {
    fs::create_dir_all(&args.folder)?;
    clap_mangen::generate_to(command, &args.folder)
}
