//! `subrosa keys`: keys that an operator makes by hand and shares among nodes.

use std::io::Write;
use std::path::Path;

use directory::Identity;
use serde_json::json;
use store::KeyFile;
use wire::FamilyId;

use crate::cli::KeysCommand;
use crate::exit::Fault;
use crate::services;

/// `subrosa keys ...`
///
/// # Errors
/// [`Fault`] if the file is there already or cannot be written.
pub fn command(command: &KeysCommand) -> Result<(), Fault> {
    let KeysCommand::New { file, json } = command;
    let public = new(file)?;
    let line = if *json {
        json!({ "file": file, "public": public.to_string() }).to_string()
    } else {
        format!("{public}")
    };
    writeln!(std::io::stdout().lock(), "{line}").map_err(Fault::output)
}

fn new(file: &Path) -> Result<FamilyId, Fault> {
    let key = Identity::generate(&mut *services().entropy.rng());
    let seed = key.seed();
    KeyFile::at(file)
        .create(seed.as_ref())
        .map_err(Fault::usage)?;
    Ok(FamilyId(key.public()))
}
