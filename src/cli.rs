//! The command line: what a person may ask of this binary.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Ask a model a question, and nobody learns who asked.
#[derive(Debug, Parser)]
#[command(
    name = "subrosa",
    term_width = 80,
    version,
    about,
    after_help = "Start with: subrosa demo          (the whole network on this machine, under a minute)\n\
                  Then:       subrosa testnet up DIR, subrosa ask --help\n\n\
                  No audit, no public network yet: do not rely on it."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole network on loopback and ask it real questions.
    #[command(
        after_help = "4 authorities, 9 mixes, 4 gateways, 2 providers, 1 asking and 4 idle \
                            clients, over QUIC on loopback.\nExit status 1 if an answer is missing \
                            or not exact."
    )]
    Demo(DemoArgs),
    /// A network on this machine, a process a node.
    #[command(subcommand)]
    Testnet(TestnetCommand),
    /// List the models that the network's providers serve.
    Models(ModelsArgs),
    /// Ask a model a question.
    #[command(after_help = "Examples:\n  \
        subrosa ask --network net/network.toml --model tumour --input in.csv\n  \
        subrosa ask --network net/network.toml --json -\n\n\
        With `--json -` one client stays and reads a question a line:\n  \
        {\"model\": \"tumour\", \"input\": [17.99, 10.38, ...], \"id\": 1}\n\
        and writes an answer a line, as they come, with the question's id.")]
    Ask(AskArgs),
    /// Make a model file from ONNX, look into it, run it here, time it.
    #[command(
        subcommand,
        after_help = "From your file to an answer, with no network yet:\n  \
            subrosa model import m.onnx --calibrate train.npy -o m.subrosa\n  \
            subrosa model run m.subrosa rows.csv\n\n\
            Then a provider can serve it: docs/models.md goes all the way."
    )]
    Model(ModelCommand),
    /// Keys that an operator makes by hand.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Run an authority.
    #[command(subcommand)]
    Authority(RoleCommand),
    /// Run a mix.
    #[command(subcommand)]
    Mix(RoleCommand),
    /// Run a gateway.
    #[command(subcommand)]
    Gateway(RoleCommand),
    /// Run a provider, and say which model files it serves.
    #[command(subcommand)]
    Provider(ProviderCommand),
    /// Compile a module from standard input within limits, and say whether that worked.
    #[command(hide = true)]
    CompileModule(CompileModuleArgs),
}

/// `subrosa compile-module`, which a provider starts for itself.
#[derive(Debug, clap::Args)]
pub struct CompileModuleArgs {
    /// Most address space of this process.
    #[arg(long, value_name = "BYTES")]
    pub memory_bytes: u64,
    /// Most processor time of this process.
    #[arg(long, value_name = "SECONDS")]
    pub cpu_seconds: u64,
}

/// `subrosa demo`
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Print one JSON object instead of screens.
    #[arg(long)]
    pub json: bool,
    /// How many held-out samples to ask about, all models together.
    #[arg(long, default_value_t = 40, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
    pub questions: u32,
    /// How many questions are under way at once; 1 shows how long one takes by itself.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub at_once: u32,
    /// Share of all datagrams that do not arrive, from 0 to 0.5.
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = loss)]
    pub loss: link::Chance,
}

/// `subrosa testnet ...`
#[derive(Debug, Subcommand)]
pub enum TestnetCommand {
    /// Write configs and keys into DIR, start every node, wait until questions can be asked.
    Up {
        /// A new or empty directory, or one that `testnet up` made before.
        dir: PathBuf,
        /// A model file for provider-1 to serve too; may be given again.
        #[arg(long = "model", value_name = "MODEL")]
        models: Vec<PathBuf>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print every node's state and counters as a table.
    Status {
        /// The testnet's directory.
        dir: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Stop every node that `up` started.
    Down {
        /// The testnet's directory.
        dir: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Start one node again, after a crash or a kill.
    Start {
        /// The testnet's directory.
        dir: PathBuf,
        /// The node's name, for example mix-3.
        node: String,
    },
}

/// `subrosa models`
#[derive(Debug, clap::Args)]
pub struct ModelsArgs {
    /// The network's file.
    #[arg(long, value_name = "FILE")]
    pub network: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `subrosa ask`
#[derive(Debug, clap::Args)]
pub struct AskArgs {
    /// The network's file.
    #[arg(long, value_name = "FILE")]
    pub network: PathBuf,
    /// The model's name (subrosa models lists them).
    #[arg(long, value_name = "NAME", required_unless_present = "lines")]
    pub model: Option<String>,
    /// The numbers: .json, .csv, .npy, or - for standard input.
    #[arg(long, value_name = "FILE", required_unless_present = "lines")]
    pub input: Option<PathBuf>,
    /// Seconds until an answer counts as missing.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub deadline: Duration,
    /// Print JSON, one object an answer.
    #[arg(long)]
    pub json: bool,
    /// Keep one client; read a JSON question a line, write a JSON answer a line (with --json).
    #[arg(value_name = "-", value_parser = ["-"], requires = "json", conflicts_with_all = ["model", "input"])]
    pub lines: Option<String>,
    /// Rate class: 0 is about 13 GB a day of cover traffic, 1 and 2 are 5 and 20 times that.
    #[arg(long, default_value_t = 0, value_name = "CLASS")]
    pub class: u8,
}

/// `subrosa model ...`
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Turn an ONNX model into integers that run the same everywhere.
    #[command(after_help = "Example:\n  \
        subrosa model import wine.onnx --calibrate train.npy -o wine.subrosa\n\n\
        Calibration samples are inputs as the model will see them, a few hundred: from\n\
        them the importer takes its scales, and on them it compares integers with floats.\n\
        The file may be anybody's: it is read within --memory and --deadline, no other\n\
        file is opened, and what is not understood is refused by name.")]
    Import(ModelImportArgs),
    /// Print what is in a model file.
    Inspect(ModelInspectArgs),
    /// Run a model file on rows of numbers, in the sandbox that a provider uses.
    #[command(after_help = "Example:\n  \
        subrosa model run wine.subrosa rows.csv\n  \
        subrosa model run wine.subrosa --json - < rows.json\n\n\
        Prints {\"outputs\": [[...]], \"labels\": [...], \"fuel\": n} with --json.")]
    Run(ModelRunArgs),
    /// Time a model file on this machine.
    #[command(after_help = "Example:\n  \
        subrosa model bench wine.subrosa --onnx wine.onnx --python venv/bin/python\n\n\
        warm: one instance, run after run. fresh: an instance a run, as providers do.")]
    Bench(ModelBenchArgs),
}

/// `subrosa model import`
#[derive(Debug, clap::Args)]
pub struct ModelImportArgs {
    /// The model.
    #[arg(value_name = "ONNX")]
    pub onnx: PathBuf,
    /// Samples to take scales from: .npy, .csv or .json, a row each.
    #[arg(long, value_name = "FILE")]
    pub calibrate: PathBuf,
    /// What is true of each sample, to count right answers: .npy, or .csv with a line each.
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// The file to write.
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub file: PathBuf,
    /// The name to ask for it by; the file's if not given.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// One line for people.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Names of the classes, in order; those in the model if not given.
    #[arg(long, value_name = "A,B,..", value_delimiter = ',')]
    pub classes: Vec<String>,
    /// Which output is wanted, if the model has several that are no labels.
    #[arg(long, value_name = "NAME")]
    pub take: Option<String>,
    /// One scale for all inputs (pixels), not one each (features of different units).
    #[arg(long)]
    pub shared_scale: bool,
    /// Share of samples on which integers must say what floats say, from 0 to 1.
    #[arg(long, value_name = "SHARE", default_value = "0.99", value_parser = permille)]
    pub agreement: u16,
    /// Most memory that reading the model may take, in MiB, beside the file.
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub memory: u32,
    /// Seconds until the import is given up.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    pub deadline: Duration,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `subrosa model inspect`
#[derive(Debug, clap::Args)]
pub struct ModelInspectArgs {
    /// The model file.
    #[arg(value_name = "MODEL")]
    pub file: PathBuf,
    /// Write its WebAssembly module there too.
    #[arg(long, value_name = "FILE")]
    pub module: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `subrosa model run`
#[derive(Debug, clap::Args)]
pub struct ModelRunArgs {
    /// The model file.
    #[arg(value_name = "MODEL")]
    pub file: PathBuf,
    /// The rows: .npy, .csv, .json, or - for standard input.
    #[arg(value_name = "ROWS")]
    pub rows: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `subrosa model bench`
#[derive(Debug, clap::Args)]
pub struct ModelBenchArgs {
    /// The model file.
    #[arg(value_name = "MODEL")]
    pub file: PathBuf,
    /// The ONNX file that it was made of, to time in onnxruntime, one thread.
    #[arg(long, value_name = "FILE")]
    pub onnx: Option<PathBuf>,
    /// A Python that has onnxruntime and numpy.
    #[arg(long, value_name = "FILE", default_value = "python3")]
    pub python: PathBuf,
    /// Seconds a measurement.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub time: Duration,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `subrosa keys ...`
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Draw a key into FILE, readable by you alone, and print its public half.
    #[command(
        after_help = "An operator of several nodes names the file in each node.toml, \
                            family = \"FILE\",\nso that no route takes two of its mixes."
    )]
    New {
        /// A file that is not there yet.
        file: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// `subrosa ROLE ...`
#[derive(Debug, Subcommand)]
pub enum RoleCommand {
    /// Run the node whose node.toml is in DIR, until SIGTERM or Ctrl-C.
    Run {
        /// The node's directory.
        dir: PathBuf,
    },
}

/// `subrosa provider ...`
#[derive(Debug, Subcommand)]
pub enum ProviderCommand {
    /// Run the node whose node.toml is in DIR, until SIGTERM or Ctrl-C.
    Run {
        /// The node's directory.
        dir: PathBuf,
    },
    /// Which model files it serves.
    #[command(flatten)]
    Shelf(ShelfCommand),
}

/// `subrosa provider add|remove|list`
#[derive(Debug, Subcommand)]
pub enum ShelfCommand {
    /// Serve a model file: sealed into the node's state, picked up within seconds if it runs.
    #[command(
        after_help = "The catalogue lists it from the next epoch on. What lies in the state can be \
                            read\nwith its keys alone; MODEL itself is left as it is."
    )]
    Add {
        /// The node's directory.
        dir: PathBuf,
        /// The model file.
        model: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Serve a model file no more.
    Remove {
        /// The node's directory.
        dir: PathBuf,
        /// The model's name.
        name: String,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// List the model files in the node's state.
    List {
        /// The node's directory.
        dir: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

fn loss(text: &str) -> Result<link::Chance, String> {
    let share: f64 = text
        .parse()
        .map_err(|_| "not a number; a tenth is 0.1".to_owned())?;
    if !(0.0..1.0).contains(&share) {
        return Err("must be 0 or more and below 1; a tenth is 0.1".to_owned());
    }
    if share > MAX_LOSS {
        return Err(format!(
            "above {MAX_LOSS} too few handshakes end within their 5 s for a network to come up"
        ));
    }
    link::Chance::new(share).ok_or_else(|| "not a share".to_owned())
}

/// Where three of four round trips fail.
const MAX_LOSS: f64 = 0.5;

fn permille(text: &str) -> Result<u16, String> {
    let share: f64 = text
        .parse()
        .map_err(|_| "not a number; 99 of 100 is 0.99".to_owned())?;
    if !(0.0..=1.0).contains(&share) {
        return Err("must be 0 to 1; 99 of 100 is 0.99".to_owned());
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 1000"
    )]
    Ok((share * 1000.0).round() as u16)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.1..=3600.0).contains(&seconds) {
        return Err("must be 0.1 to 3600".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}
