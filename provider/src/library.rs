//! The models that a provider runs: those that it was started with, and those in a folder of
//! sealed files, which come and go while it runs.
//!
//! A file that cannot be served is named in the log and left out; the others are served. What is
//! in a file is in plain only in memory.

use std::collections::{BTreeMap, BTreeSet};

use compiler::Model;
use directory::{ModelCard, ServiceDescriptor};
use metrics::gauge;
use sphinx::Geometry;
use store::{SealedEntry, SealedFiles};
use thiserror::Error;
use wire::{Encode, GraphHash};

use crate::workers::LoadedModels;
use crate::{LoadedModel, ModuleRejected, ProviderError, Sandbox, model_card};

/// What is loaded. Its calls block: on the disk, and on compilations.
pub(crate) struct Library {
    sandbox: Sandbox,
    geometry: Geometry,
    fixed: Vec<Shelved>,
    files: Option<SealedFiles>,
    /// By file name; `None` for a file that is not served, until it is written again.
    found: BTreeMap<SealedEntry, Option<Shelved>>,
}

struct Shelved {
    card: ModelCard,
    graph: GraphHash,
    loaded: LoadedModel,
}

/// Why a file is not served.
#[derive(Debug, Error)]
enum Unfit {
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error(transparent)]
    File(#[from] compiler::FileError),
    #[error("it holds model {0}; a file is named as its model")]
    OtherName(String),
    #[error(transparent)]
    Card(#[from] ProviderError),
    #[error(transparent)]
    Rejected(#[from] ModuleRejected),
    #[error("a model of this name is served already")]
    Twice,
    #[error("the descriptor has no room for its card")]
    NoRoom,
}

impl Library {
    /// Loads `models`, and what the folder holds.
    ///
    /// # Errors
    /// [`ProviderError`] if one of `models` cannot be served, or if nothing can.
    pub(crate) fn load(
        models: &[Model],
        files: Option<SealedFiles>,
        sandbox: Sandbox,
        geometry: Geometry,
    ) -> Result<Self, ProviderError> {
        let mut library = Self {
            sandbox,
            geometry,
            fixed: Vec::new(),
            files,
            found: BTreeMap::new(),
        };
        for model in models {
            let card = model_card(geometry, model)?;
            let loaded = library.sandbox.load(&model.module.bytes, model.module.fuel);
            let name = model.name.clone();
            let loaded = loaded.map_err(|why| ProviderError::Rejected { name, why })?;
            tracing::info!(name = %model.name, "model loaded");
            library.fixed.push(Shelved::new(card, model, loaded));
        }
        library.look();
        library.count();
        Ok(library)
    }

    /// Looks at the folder; `true` if what is served changed.
    pub(crate) fn look(&mut self) -> bool {
        let Some(files) = self.files.clone() else {
            return false;
        };
        let entries = match files.list() {
            Ok(entries) => entries.into_iter().collect::<BTreeSet<_>>(),
            Err(why) => {
                tracing::warn!(%why, "models not looked at");
                return false;
            }
        };
        let before = self.found.len();
        self.found.retain(|entry, _| {
            let kept = entries.contains(entry);
            if !kept {
                tracing::info!(name = %entry.name, "model removed");
            }
            kept
        });
        let mut changed = self.found.len() != before;
        for entry in entries {
            if self.found.contains_key(&entry) {
                continue;
            }
            changed = true;
            let shelved = match self.take(&files, &entry.name) {
                Ok(shelved) => {
                    tracing::info!(name = %entry.name, "model loaded");
                    Some(shelved)
                }
                Err(why) => {
                    tracing::warn!(name = %entry.name, %why, "model not served");
                    None
                }
            };
            self.found.insert(entry, shelved);
        }
        self.count();
        changed
    }

    fn count(&self) {
        gauge!("subrosa_models_served").set(u32::try_from(self.all().count()).unwrap_or(u32::MAX));
    }

    /// The cards of all that is served.
    pub(crate) fn cards(&self) -> Vec<ModelCard> {
        self.all().map(|shelved| shelved.card.clone()).collect()
    }

    /// All that is served, ready to run.
    pub(crate) fn models(&self) -> LoadedModels {
        let pair = |shelved: &Shelved| (shelved.graph, shelved.loaded.clone());
        self.all().map(pair).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Shelved> {
        self.fixed.iter().chain(self.found.values().flatten())
    }

    fn take(&self, files: &SealedFiles, name: &str) -> Result<Shelved, Unfit> {
        let bytes = files.read(name, Model::MAX_FILE_LEN)?;
        let model = Model::from_file(&bytes)?;
        if model.name != name {
            return Err(Unfit::OtherName(model.name));
        }
        let card = model_card(self.geometry, &model)?;
        if self.all().any(|shelved| shelved.card.name == card.name) {
            return Err(Unfit::Twice);
        }
        let mut cards = self.cards();
        cards.push(card.clone());
        if !have_room(&cards) {
            return Err(Unfit::NoRoom);
        }
        let loaded = self.sandbox.load(&model.module.bytes, model.module.fuel)?;
        Ok(Shelved::new(card, &model, loaded))
    }
}

impl Shelved {
    fn new(card: ModelCard, model: &Model, loaded: LoadedModel) -> Self {
        Self {
            card,
            graph: model.graph_hash,
            loaded,
        }
    }
}

/// Whether a descriptor can list `cards`.
pub(crate) fn have_room(cards: &[ModelCard]) -> bool {
    let bytes: usize = cards.iter().map(|card| card.to_bytes().len()).sum();
    cards.len() <= ServiceDescriptor::MAX_MODELS && bytes <= ServiceDescriptor::MAX_LEN - BESIDE
}

/// Of a descriptor, beside its cards: keys, name, gateways, signature.
const BESIDE: usize = 2 << 10;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{OwnModules, SandboxLimits};

    struct Shop {
        _home: tempfile::TempDir,
        files: SealedFiles,
        library: Library,
    }

    impl Shop {
        /// Serves `tumour`, beside what the folder holds.
        fn open() -> Self {
            let home = tempfile::tempdir().unwrap();
            let files = SealedFiles::of(&home.path().join("data"), "models").unwrap();
            let limits = SandboxLimits {
                instances: 2,
                ..SandboxLimits::default()
            };
            let sandbox = Sandbox::new(limits, Arc::new(OwnModules)).unwrap();
            let fixed = vec![compiler::shipped()[0].model().unwrap()];
            let geometry = directory::Parameters::demo().geometry;
            let library = Library::load(&fixed, Some(files.clone()), sandbox, geometry).unwrap();
            Self {
                _home: home,
                files,
                library,
            }
        }

        fn names(&self) -> Vec<String> {
            let cards = self.library.cards();
            cards.iter().map(|card| card.name.to_string()).collect()
        }
    }

    /// `digits` under another name.
    fn file(name: &str) -> Vec<u8> {
        let mut model = compiler::shipped()[1].model().unwrap();
        model.name = name.to_owned();
        model.to_file().unwrap()
    }

    #[test]
    fn files_come_and_go_and_what_is_there_runs() {
        let mut shop = Shop::open();
        assert_eq!(shop.names(), ["tumour"]);
        assert!(!shop.library.look(), "nothing changed");
        shop.files.put("mine", &file("mine")).unwrap();
        assert!(shop.library.look());
        assert_eq!(shop.names(), ["tumour", "mine"]);

        let digits = compiler::shipped()[1].model().unwrap();
        let sample = &compiler::shipped()[1].samples()[0];
        let input = digits.input.quantise(&sample.input).unwrap();
        let models = shop.library.models();
        let run = models[&digits.graph_hash].run(&input).unwrap();
        assert_eq!(run.output, digits.graph.run(&input).unwrap());

        assert!(!shop.library.look());
        shop.files.remove("mine").unwrap();
        assert!(shop.library.look());
        assert_eq!(shop.names(), ["tumour"]);
        assert!(!shop.library.models().contains_key(&digits.graph_hash));
    }

    #[test]
    fn a_file_that_cannot_be_served_is_left_out_and_no_other() {
        let mut shop = Shop::open();
        shop.files.put("bad", b"no model").unwrap();
        shop.files.put("other", &file("mine")).unwrap();
        shop.files.put("tumour", &file("tumour")).unwrap();
        shop.files.put("good", &file("good")).unwrap();
        assert!(shop.library.look());
        assert_eq!(shop.names(), ["tumour", "good"]);
        // Not tried again until it is written again.
        assert!(!shop.library.look());
        shop.files.put("bad", &file("bad")).unwrap();
        assert!(shop.library.look());
        assert_eq!(shop.names(), ["tumour", "bad", "good"]);
    }

    #[test]
    fn a_descriptor_lists_sixteen() {
        let mut shop = Shop::open();
        for number in 0..16 {
            let name = format!("m{number:02}");
            shop.files.put(&name, &file(&name)).unwrap();
        }
        shop.library.look();
        assert_eq!(shop.names().len(), ServiceDescriptor::MAX_MODELS);
        assert_eq!(shop.names().last().unwrap(), "m14");
    }
}
