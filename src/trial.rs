//! Has a module compiled by a process of its own before the provider compiles it.
//!
//! The process is this program again, as `subrosa compile-module`: without environment, with
//! limits that it sets itself, killed at the deadline or when it says too much. Only its verdict
//! is read.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use link::Clock;
use provider::{ModuleRejected, SandboxLimits, Trial, Verdict};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use rustix::process::Signal;
use wire::Time;

use crate::SystemClock;

/// Tries modules in processes of one program.
#[derive(Debug, Clone)]
pub struct ChildProcess {
    program: PathBuf,
}

impl ChildProcess {
    /// Of the program that runs.
    ///
    /// # Errors
    /// What the system says if it does not know the program's file.
    pub fn own() -> io::Result<Self> {
        std::env::current_exe().map(Self::of)
    }

    /// Of a program that knows `compile-module`.
    #[must_use]
    pub fn of(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
        }
    }
}

impl Trial for ChildProcess {
    fn compile(&self, module: &[u8], limits: &SandboxLimits) -> Result<(), ModuleRejected> {
        let deadline = Deadline::after(limits.compile_time);
        let (mut running, pipes) = self.start(limits).map_err(missing)?;
        let said = pipes.converse(module, &deadline)?;
        match Verdict::read(&said, module) {
            Err(ModuleRejected::CompilerGarbled) if said.is_empty() => {
                Err(broken_off(running.ended(&deadline)?))
            }
            verdict => verdict,
        }
    }
}

impl ChildProcess {
    fn start(&self, limits: &SandboxLimits) -> io::Result<(Running, Pipes)> {
        let memory_bytes = limits.compile_memory_bytes;
        let time = limits.compile_time;
        let cpu_seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let child = Command::new(&self.program)
            .arg("compile-module")
            .args(["--memory-bytes", &memory_bytes.to_string()])
            .args(["--cpu-seconds", &cpu_seconds.to_string()])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut running = Running(child);
        let (input, output) = (running.0.stdin.take(), running.0.stdout.take());
        let (input, output) = input.zip(output).ok_or(ErrorKind::BrokenPipe)?;
        ioctl_fionbio(&input, true)?;
        ioctl_fionbio(&output, true)?;
        Ok((running, Pipes { input, output }))
    }
}

struct Deadline {
    clock: SystemClock,
    at: Time,
}

impl Deadline {
    fn after(time: Duration) -> Self {
        let clock = SystemClock::new();
        let at = clock.now().after(time);
        Self { clock, at }
    }

    /// What is left until then.
    fn left(&self) -> Result<Duration, ModuleRejected> {
        let left = self.at.since(self.clock.now());
        Some(left)
            .filter(|left| !left.is_zero())
            .ok_or(ModuleRejected::CompileTimeout)
    }
}

/// A process that does not outlive this value.
struct Running(Child);

impl Running {
    /// How it ended, once it has said its last.
    fn ended(&mut self, deadline: &Deadline) -> Result<ExitStatus, ModuleRejected> {
        loop {
            if let Some(status) = self.0.try_wait().map_err(missing)? {
                return Ok(status);
            }
            std::thread::sleep(deadline.left()?.min(SOON));
        }
    }
}

impl Drop for Running {
    /// Kills the process if it still runs, and waits until it is gone.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Pipes {
    input: ChildStdin,
    output: ChildStdout,
}

impl Pipes {
    /// Tells it the module and reads what it says: no more than one byte beyond a verdict, and
    /// only until then.
    fn converse(self, module: &[u8], deadline: &Deadline) -> Result<Vec<u8>, ModuleRejected> {
        let Self { input, mut output } = self;
        let mut unsent = Some((input, module));
        let mut said = Vec::new();
        while said.len() <= Verdict::LEN {
            let left = deadline.left()?;
            wait(unsent.as_ref().map(|(input, _)| input), &output, left).map_err(missing)?;
            unsent = unsent.and_then(|(input, module)| send(input, module));
            let mut bytes = [0; Verdict::LEN + 1];
            match output.read(&mut bytes) {
                Ok(0) => break,
                Ok(read) => said.extend_from_slice(&bytes[..read]),
                Err(e) if passes(&e) => {}
                Err(e) => return Err(missing(e)),
            }
        }
        Ok(said)
    }
}

/// Waits until a pipe is ready, or for `time`.
fn wait(input: Option<&ChildStdin>, output: &ChildStdout, time: Duration) -> io::Result<()> {
    let mut pipes = vec![PollFd::new(output, PollFlags::IN)];
    pipes.extend(input.map(|input| PollFd::new(input, PollFlags::OUT)));
    let time = Timespec::try_from(time).map_err(|_| ErrorKind::InvalidInput)?;
    match poll(&mut pipes, Some(&time)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Sends what the pipe takes. `None` when all is sent, or when the process takes no more: what it
/// says then decides.
fn send(mut input: ChildStdin, module: &[u8]) -> Option<(ChildStdin, &[u8])> {
    match input.write(module) {
        Ok(sent) => Some(&module[sent..])
            .filter(|unsent| !unsent.is_empty())
            .map(|unsent| (input, unsent)),
        Err(e) if passes(&e) => Some((input, module)),
        Err(_) => None,
    }
}

fn passes(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// What it means that a process ended so, without a word.
fn broken_off(status: ExitStatus) -> ModuleRejected {
    match status.signal() {
        Some(signal) if signal == Signal::XCPU.as_raw() => ModuleRejected::CompileTimeout,
        Some(_) => ModuleRejected::CompilerCrashed,
        None => ModuleRejected::CompilerGarbled,
    }
}

#[allow(clippy::needless_pass_by_value, reason = "what map_err gives")]
fn missing(error: io::Error) -> ModuleRejected {
    ModuleRejected::CompilerMissing(error.kind())
}

/// How often to look for the end of a process whose pipe is closed: it is about to come.
const SOON: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_names_what_the_module_took_too_much_of() {
        let killed = |signal: Signal| broken_off(ExitStatus::from_raw(signal.as_raw()));
        assert_eq!(killed(Signal::XCPU), ModuleRejected::CompileTimeout);
        for signal in [Signal::ABORT, Signal::SEGV, Signal::KILL] {
            assert_eq!(killed(signal), ModuleRejected::CompilerCrashed);
        }
        let exited = broken_off(ExitStatus::from_raw(1 << 8));
        assert_eq!(exited, ModuleRejected::CompilerGarbled);
    }
}
