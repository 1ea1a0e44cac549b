//! The front door of Subrosa: one binary, a subcommand a role.

use std::process::ExitCode;

use clap::Parser;
use subrosa::cli::{Cli, Command, ProviderCommand, RoleCommand};
use subrosa::config::Role;
use subrosa::exit::Fault;
use subrosa::{ask, compile_module, demo, keys, logging, model, node, shelf, testnet};

fn main() -> ExitCode {
    // clap ends usage errors with status 2 by itself.
    let command = Cli::parse().command;
    // Before there are threads: it gives up the right to any.
    if let Command::CompileModule(args) = &command {
        return match compile_module::run(args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => fault.end(),
        };
    }
    // Without a runtime: nothing waits for the network, and Ctrl-C ends it wherever it is.
    if let Command::Model(command) = &command {
        return match model::command(command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => fault.end(),
        };
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return Fault::failed(format!("no threads: {error}")).end(),
    };
    match runtime.block_on(run(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fault.end(),
    }
}

async fn run(command: Command) -> Result<(), Fault> {
    match command {
        Command::Demo(args) => demo::run(&args).await,
        Command::Testnet(command) => testnet::command(command).await,
        Command::Models(args) => ask::models(&args).await,
        Command::Ask(args) => ask::ask(&args).await,
        Command::Keys(command) => keys::command(&command),
        Command::Model(command) => model::command(&command),
        Command::Authority(RoleCommand::Run { dir }) => serve(Role::Authority, dir).await,
        Command::Mix(RoleCommand::Run { dir }) => serve(Role::Mix, dir).await,
        Command::Gateway(RoleCommand::Run { dir }) => serve(Role::Gateway, dir).await,
        Command::Provider(ProviderCommand::Run { dir }) => serve(Role::Provider, dir).await,
        Command::Provider(ProviderCommand::Shelf(command)) => shelf::command(&command),
        Command::CompileModule(args) => compile_module::run(&args),
    }
}

async fn serve(role: Role, dir: std::path::PathBuf) -> Result<(), Fault> {
    logging::to_standard_error();
    node::run(role, &dir).await
}
