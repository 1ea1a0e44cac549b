//! `subrosa provider add|remove|list`: the model files in a provider's state, whether it runs or not.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use store::SealedFiles;

use crate::cli::ShelfCommand;
use crate::config::{NodeConfig, Role};
use crate::exit::Fault;
use crate::node::MODELS;
use crate::{model, network_file};

/// `subrosa provider add|remove|list`
///
/// # Errors
/// [`Fault`]: usage if the directory is no provider's, or the file no model that it could serve.
pub fn command(command: &ShelfCommand) -> Result<(), Fault> {
    let (said, line, json) = match command {
        ShelfCommand::Add { dir, model, json } => {
            let name = add(dir, model)?;
            let line = format!(
                "{name} is sealed into {}: served within seconds, listed next epoch",
                dir.display()
            );
            (json!({ "added": name }), line, *json)
        }
        ShelfCommand::Remove { dir, name, json } => {
            remove(dir, name)?;
            (json!({ "removed": name }), format!("{name} is gone"), *json)
        }
        ShelfCommand::List { dir, json } => list(dir, *json)?,
    };
    let line = if json { said.to_string() } else { line };
    writeln!(std::io::stdout().lock(), "{line}").map_err(Fault::output)
}

/// Seals the model file at `path` into the state of the provider in `dir`; its name.
///
/// # Errors
/// As [`command`].
pub fn add(dir: &Path, path: &Path) -> Result<String, Fault> {
    let config = config(dir)?;
    let network = network_file::read(&config.network).map_err(Fault::usage)?;
    let model = model::read(path)?;
    if compiler::shipped().iter().any(|m| m.name == model.name) {
        return Err(Fault::usage(format!(
            "{}: a model that ships with this program is named {:?}; import it with another --name",
            path.display(),
            model.name
        )));
    }
    ::provider::model_card(network.parameters().geometry, &model).map_err(Fault::usage)?;
    let file = model.to_file().map_err(Fault::usage)?;
    let files = files(&config)?;
    files.put(&model.name, &file).map_err(Fault::usage)?;
    Ok(model.name)
}

fn remove(dir: &Path, name: &str) -> Result<(), Fault> {
    let files = files(&config(dir)?)?;
    if files.remove(name).map_err(Fault::usage)? {
        return Ok(());
    }
    let held = files.list().map_err(Fault::usage)?;
    let near = client::nearest(name, held.iter().map(|file| file.name.as_str()));
    let hint = near.map(|near| format!("; did you mean {near:?}?"));
    Err(Fault::usage(format!(
        "{}: holds no model file {name:?}{}",
        dir.display(),
        hint.unwrap_or_default()
    )))
}

fn list(dir: &Path, json: bool) -> Result<(Value, String, bool), Fault> {
    let held = files(&config(dir)?)?.list().map_err(Fault::usage)?;
    let names: Vec<&str> = held.iter().map(|file| file.name.as_str()).collect();
    let line = if names.is_empty() {
        format!(
            "no model files; add one with `subrosa provider add {} MODEL`",
            dir.display()
        )
    } else {
        names.join("\n")
    };
    Ok((json!({ "models": names }), line, json))
}

fn config(dir: &Path) -> Result<NodeConfig, Fault> {
    let config = NodeConfig::read(dir).map_err(Fault::usage)?;
    if config.role == Role::Provider {
        Ok(config)
    } else {
        let role = config.role.label();
        Err(Fault::usage(format!(
            "{}: this is a {role}; only providers serve models",
            dir.display()
        )))
    }
}

/// Without the state's lock, which the provider holds while it runs.
fn files(config: &NodeConfig) -> Result<SealedFiles, Fault> {
    SealedFiles::of(&config.data, MODELS).map_err(Fault::usage)
}
