//! The event loop of the launcher: from the fork of init to the report.

use super::account::{Account, Surroundings};
use super::answers::Answers;
use super::commands::{Commands, Word};
use super::descendants;
use super::devices::Device;
use super::exec_patch;
use super::follow::Follower;
use super::logs::Logs;
use super::pod::PodCalls;
use super::tasks::Tasks;
use crate::inside::message::{self, Message, Received};
use crate::sys::fd::{Interest, Ready, poll};
use crate::sys::process::{self, Change};
use crate::sys::ptrace::{self, Stop};
use crate::sys::seccomp::Listener;
use crate::sys::socket::Socket;
use crate::wire::{Answer, Command, answer};
use crate::{Determinism, Exit, Isolation, Report, SandboxError, Spec};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Set-up takes milliseconds; more means that a mount hangs.
const SET_UP_LIMIT: Duration = Duration::from_secs(30);

/// One step, while it lives.
pub(super) struct Supervisor<'a> {
    spec: &'a Spec,
    /// `None` once it is reaped and the number may be another process's.
    first: Option<First>,
    /// Readable when a child or tracee has changed.
    children: File,
    /// To init and to the step; `None` once the other side is closed.
    sockets: [Option<Socket>; 2],
    logs: Logs,
    devices: Vec<Device>,
    listener: Option<Listener>,
    answers: Answers,
    pod: PodCalls,
    account: Account,
    /// Process id of the step, known when it is ready.
    step: Option<i32>,
    go_ahead: Option<Instant>,
    started: bool,
    /// When set-up, or the step, is killed for taking too long.
    limit: Option<Instant>,
    /// When a step that was asked to stop is killed.
    grace: Option<Instant>,
    failure: Option<SandboxError>,
    /// The step's wait status, from init.
    status: Option<i32>,
    timed_out: bool,
    killed: bool,
}

/// The launcher's own child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// Process 1 of a pid namespace, which ends with it. It reaps the step.
    Init(i32),
    /// In a pod: the step.
    Step(i32),
}

/// What a descriptor of the loop is for.
#[derive(Clone, Copy)]
enum Source {
    Children,
    Commands,
    Socket(usize),
    Calls,
    Log(usize),
    Tee,
    Device(usize),
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(
        spec: &'a Spec,
        first: First,
        (sockets, children): ([Option<Socket>; 2], File),
        logs: Logs,
    ) -> Self {
        let answers = match &spec.determinism {
            Determinism::Off | Determinism::Observe => Answers::observing(),
            Determinism::Strict { key, epoch_s } => Answers::strict(Tasks::new(key), *epoch_s),
        };
        Self {
            spec,
            first: Some(first),
            children,
            sockets,
            logs,
            devices: Vec::new(),
            listener: None,
            answers,
            pod: PodCalls::default(),
            account: Account::default(),
            step: None,
            go_ahead: None,
            started: false,
            limit: Some(Instant::now() + SET_UP_LIMIT),
            grace: None,
            failure: None,
            status: None,
            timed_out: false,
            killed: false,
        }
    }

    /// Kills all processes of the step.
    pub(super) fn kill(&mut self) {
        self.killed = true;
        self.signal(libc::SIGKILL);
    }

    /// Sends a signal to all processes of the step.
    fn signal(&self, signal: i32) {
        match self.first {
            // It passes SIGTERM on, and the namespace ends with it.
            Some(First::Init(init)) => process::kill(init, signal),
            Some(First::Step(_)) => descendants::signal_all(signal),
            None => {}
        }
    }

    /// In a pod, where init makes none.
    pub(super) fn make_devices(&mut self) -> Result<(), SandboxError> {
        self.devices = Device::pipes(&self.spec.determinism)
            .map_err(|error| SandboxError::setup("random devices", error))?;
        Ok(())
    }

    /// Runs until the whole tree is gone, and answers with the report.
    pub(super) fn run(mut self, commands: &mut Commands) -> Result<(), SandboxError> {
        let mut parent_is_there = true;
        let usage = loop {
            let (sources, interests) = self.interests(commands, parent_is_there);
            let found = poll(&interests, self.timeout_ms())
                .map_err(|error| SandboxError::setup("waiting for events", error))?;
            self.check_limits();
            let mut ended = None;
            for (source, ready) in sources.into_iter().zip(found) {
                match (source, ready) {
                    (_, Ready::No) => {}
                    (Source::Commands, Ready::Yes | Ready::Closed) => {
                        parent_is_there = self.obey(commands.read());
                    }
                    (Source::Children, Ready::Yes | Ready::Closed) => ended = self.changes()?,
                    (Source::Socket(index), Ready::Yes | Ready::Closed) => self.message(index),
                    (Source::Calls, Ready::Yes) => self.call(),
                    (Source::Calls, Ready::Closed) => self.listener = None,
                    (Source::Log(index), Ready::Yes | Ready::Closed) => {
                        self.logs.copy(index);
                    }
                    (Source::Tee, Ready::Yes | Ready::Closed) => self.logs.pass_on(),
                    (Source::Device(index), Ready::Yes | Ready::Closed) => self.feed(index),
                }
            }
            if let Some(change) = ended {
                break change;
            }
        };
        self.finish(usage)
    }

    /// What to wait for now.
    fn interests(&self, commands: &Commands, parent_is_there: bool) -> (Vec<Source>, Vec<Interest>) {
        let mut all = vec![(Source::Children, Interest::read(&self.children))];
        if parent_is_there {
            all.push((Source::Commands, Interest::read(commands)));
        }
        for (index, socket) in self.sockets.iter().enumerate() {
            all.extend(socket.iter().map(|socket| (Source::Socket(index), Interest::read(socket))));
        }
        all.extend(self.listener.iter().map(|listener| (Source::Calls, Interest::read(listener))));
        all.extend(self.logs.pipes().map(|(index, pipe)| (Source::Log(index), Interest::read(pipe))));
        all.extend(self.logs.waiting_tee().map(|tee| (Source::Tee, Interest::write(tee))));
        let devices = self.devices.iter().enumerate();
        all.extend(devices.map(|(index, device)| (Source::Device(index), Interest::write(device.fifo()))));
        all.into_iter().unzip()
    }

    /// Milliseconds to the next limit, rounded up.
    fn timeout_ms(&self) -> Option<u64> {
        let next = self.limit.into_iter().chain(self.grace).min()?;
        let left = next.saturating_duration_since(Instant::now());
        Some(u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
    }

    fn check_limits(&mut self) {
        let now = Instant::now();
        if self.limit.is_some_and(|limit| limit <= now) {
            self.limit = None;
            if self.started {
                self.timed_out = true;
                self.kill();
            } else {
                self.fail(SandboxError::setup("start", format!("not done within {SET_UP_LIMIT:?}")));
            }
        }
        if self.grace.is_some_and(|grace| grace <= now) {
            self.grace = None;
            self.kill();
        }
    }

    /// Obeys the parent. False when it is gone.
    fn obey(&mut self, word: Word) -> bool {
        let commands = match word {
            Word::Commands(commands) => commands,
            Word::End => {
                self.kill();
                return false;
            }
        };
        for command in commands {
            match command {
                Command::Stop { grace_ms } => {
                    self.signal(libc::SIGTERM);
                    let end = Instant::now().checked_add(Duration::from_millis(grace_ms));
                    self.grace = self.grace.into_iter().chain(end).min();
                }
                Command::Kill => self.kill(),
            }
        }
        true
    }

    /// Handles all changes of children and tracees. Gives the end of the whole tree.
    fn changes(&mut self) -> Result<Option<Change>, SandboxError> {
        // One read takes the one SIGCHLD that can be pending.
        let _ = self.children.read(&mut [0; size_of::<libc::signalfd_siginfo>()]);
        loop {
            let change =
                process::wait_any(false).map_err(|error| SandboxError::setup("waiting for init", error))?;
            match change {
                None => return Ok(None),
                Some(change) if self.first == Some(First::Init(change.pid)) => {
                    if process::has_ended(change.status) {
                        self.first = None;
                        return Ok(Some(change));
                    }
                }
                Some(change)
                    if self.first == Some(First::Step(change.pid)) && process::has_ended(change.status) =>
                {
                    return self.end_in_pod(change).map(Some);
                }
                Some(change) => self.tracee(change),
            }
        }
    }

    /// In a pod the step has ended: ends the rest.
    fn end_in_pod(&mut self, step: Change) -> Result<Change, SandboxError> {
        self.first = None;
        self.status = Some(step.status);
        descendants::kill_all(|change| self.tracee(change))
            .map_err(|error| SandboxError::setup("end of the rest", error))?;
        let (cpu_ms, max_rss_bytes) = process::usage_of_children();
        Ok(Change { cpu_ms, max_rss_bytes, ..step })
    }

    fn tracee(&mut self, change: Change) {
        let Some(tasks) = self.answers.tasks() else { return };
        let Some(stop) = Stop::from_status(change.status) else {
            tasks.ended(change.pid);
            return;
        };
        let mut patched = Ok(());
        tasks.stopped(change.pid, stop, |task| patched = exec_patch::patch(change.pid, &mut task.stream));
        match patched {
            Ok(()) => {}
            // Killed in between.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => self.patch_missed(&format!("a program could not be patched at its start: {error}")),
        }
    }

    fn patch_missed(&mut self, why: &str) {
        self.account.miss("entropy", format!("AT_RANDOM is real and the vDSO may answer: {why}"));
        self.account.miss("wall clock", format!("the vDSO shows the real clock: {why}"));
    }

    fn fail(&mut self, error: SandboxError) {
        self.failure.get_or_insert(error);
        self.kill();
    }

    /// Receives from init (0) or the step (1).
    fn message(&mut self, index: usize) {
        let Some(socket) = &self.sockets[index] else { return };
        match message::receive(socket) {
            Ok(Some(received)) => {
                if let Err(error) = self.react(received) {
                    self.fail(error);
                }
            }
            Ok(None) => {
                self.sockets[index] = None;
                // The step's socket closes when its program starts. When it failed it says so before.
                if index == 1 && self.failure.is_none() {
                    self.program_started();
                }
            }
            Err(error) => self.fail(SandboxError::setup("messages from inside", error)),
        }
    }

    fn react(&mut self, received: Received) -> Result<(), SandboxError> {
        match received.message {
            Message::RootReady => {
                self.devices = Device::open_all(received.descriptors, &self.spec.determinism)
                    .map_err(|error| SandboxError::setup("random devices", error))?;
            }
            Message::Attachable => {
                let step = sender(received.sender)?;
                let word = if self.attach(step) { message::TRACED } else { b"not traced" };
                let [_, Some(socket)] = &self.sockets else { return Ok(()) };
                socket.send(word, &[]).map_err(|error| SandboxError::setup("go-ahead", error))?;
            }
            Message::StepReady { uncontrolled } => {
                for missed in uncontrolled {
                    self.account.miss(&missed.what, missed.why);
                }
                let step = sender(received.sender)?;
                self.step_ready(step, received.descriptors)?;
            }
            Message::Failed(error) => return Err(error),
            Message::Ended { status } => self.status = Some(status),
        }
        Ok(())
    }

    /// Attaches to the step and lets it start its program.
    fn step_ready(&mut self, step: i32, descriptors: Vec<OwnedFd>) -> Result<(), SandboxError> {
        self.step = Some(step);
        self.listener = descriptors.into_iter().next().map(Listener::new);
        match self.spec.isolation {
            Isolation::Namespaces => drop(self.attach(step)),
            // Attached before.
            Isolation::Pod => {}
        }
        let now = Instant::now();
        self.go_ahead = Some(now);
        let [_, Some(socket)] = &self.sockets else { return Ok(()) };
        socket.send(b"go", &[]).map_err(|error| SandboxError::setup("go-ahead", error))
    }

    /// Attaches to the step if its tasks must be known. In a pod there is another way when that is forbidden.
    fn attach(&mut self, step: i32) -> bool {
        let Some(tasks) = self.answers.tasks() else { return false };
        tasks.insert_first(step);
        match (ptrace::seize(step), self.spec.isolation) {
            (Ok(()), _) => return true,
            (Err(_), Isolation::Pod) => {
                self.pod.follower = Some(Follower::default());
                self.account.followed();
            }
            (Err(error), Isolation::Namespaces) => {
                self.patch_missed(&format!("ptrace(2) is forbidden here: {error}"));
            }
        }
        false
    }

    fn program_started(&mut self) {
        let (Some(pid), Some(go_ahead)) = (self.step, self.go_ahead) else { return };
        self.started = true;
        self.limit =
            self.spec.limits.timeout_ms.and_then(|ms| go_ahead.checked_add(Duration::from_millis(ms)));
        answer(&Answer::Started { pid: pid.unsigned_abs() });
    }

    fn call(&mut self) {
        let Some(listener) = &self.listener else { return };
        let result = match listener.receive() {
            Ok(Some(call)) if listener.still_waits(&call) => {
                match self.pod.answer((listener, &call), &mut self.answers, &self.devices) {
                    Ok(false) => listener.reply(&call, self.answers.answer(&call)),
                    done => done,
                }
            }
            Ok(Some(_) | None) => Ok(true),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            // Closing the listener makes the waiting calls fail with ENOSYS instead of hanging.
            self.listener = None;
            self.account.miss("entropy", format!("seccomp notification broke down: {error}"));
        }
    }

    fn feed(&mut self, index: usize) {
        if let Err(error) = self.devices[index].feed() {
            // Readers would wait for ever.
            self.fail(SandboxError::setup("feeding of a random device", error));
        }
    }

    /// The tree is gone: collects what is left and answers.
    fn finish(mut self, usage: Change) -> Result<(), SandboxError> {
        let wall_ms = self.go_ahead.map_or(0, |start| start.elapsed().as_millis());
        while self.sockets[1].is_some() && self.failure.is_none() {
            // A step that ended at once: its start may not have been noticed yet.
            self.message(1);
        }
        while let Some(socket) = &self.sockets[0] {
            match message::receive(socket) {
                Ok(Some(received)) => match received.message {
                    Message::Ended { status } => self.status = Some(status),
                    Message::Failed(error) => drop(self.failure.get_or_insert(error)),
                    Message::RootReady | Message::Attachable | Message::StepReady { .. } => {}
                },
                Ok(None) | Err(_) => self.sockets[0] = None,
            }
        }
        self.logs.drain();
        if let Some(error) = self.failure {
            return Err(error);
        }
        if !self.started {
            return Err(SandboxError::setup("start", "init ended before the program started"));
        }
        self.complete_account();
        for device in &self.devices {
            self.answers.counter.device(device.source, device.bytes_read());
        }
        answer(&Answer::Report(Report {
            exit: exit(self.status, self.timed_out, self.killed),
            wall_ms: u64::try_from(wall_ms).unwrap_or(u64::MAX),
            cpu_ms: usage.cpu_ms,
            max_rss_bytes: usage.max_rss_bytes,
            log_cut: self.logs.was_cut(),
            clock_reads: self.answers.clock_reads,
            entropy: self.answers.counter.into_report(),
            controlled: self.account.controlled,
            uncontrolled: self.account.uncontrolled,
        }));
        Ok(())
    }

    fn complete_account(&mut self) {
        if let Some(error) = self.answers.gave_up.take() {
            let why = format!("some calls were left to the kernel, the caller's memory is closed: {error}");
            self.account.miss("entropy", why.clone());
            self.account.miss("wall clock", why);
        }
        if let Some(error) = self.pod.missed.take() {
            self.patch_missed(&format!("a program or a file could not be looked at: {error}"));
        }
        let strangers = self.answers.tasks().map_or(0, |tasks| tasks.strangers());
        if strangers > 0 {
            let why = format!("{strangers} tasks could not be named by their creation, only by their order");
            self.account.miss("entropy of concurrent processes", why);
        }
        let host_name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let surroundings =
            Surroundings { is_root: process::ids().0 == 0, host_name: host_name.trim_end().to_owned() };
        self.account.complete(self.spec, &surroundings);
    }
}

/// Who sent a message.
fn sender(pid: Option<i32>) -> Result<i32, SandboxError> {
    pid.filter(|pid| *pid > 0).ok_or_else(|| SandboxError::setup("messages from inside", "no sender"))
}

/// How the step ended, from what init said and what the launcher did.
fn exit(status: Option<i32>, timed_out: bool, killed: bool) -> Exit {
    match status {
        // What init said last counts: a step may end by itself just before it would have been killed.
        Some(status) if libc::WIFEXITED(status) => Exit::Code(libc::WEXITSTATUS(status)),
        // In a pod the status of a step that was killed for its time is known, too.
        Some(libc::SIGKILL) if timed_out => Exit::TimedOut,
        Some(status) => Exit::Signal(libc::WTERMSIG(status)),
        None if timed_out => Exit::TimedOut,
        None if killed => Exit::Signal(libc::SIGKILL),
        None => Exit::LauncherStopped,
    }
}
