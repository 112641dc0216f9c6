//! A real Kubernetes cluster of one node, for tests; `testing/cluster/README.md` says how it holds together.

mod check;
pub(crate) mod image;
mod inside;
mod install;
pub(crate) mod lent;
mod life;
mod machine;
mod place;
mod processes;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use self::image::{Entry, Image};
use self::life::Start;
use self::place::{Name, Place};
use crate::setup::Containerd;
use crate::workspace::Workspace;

/// `cargo xtask cluster`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Which cluster; several run at once.
    #[arg(long, global = true, default_value = "one")]
    name: Name,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build what is missing, start a cluster, wait until a pod can run.
    Up {
        /// With the data that `down --keep` left: a node's reboot.
        #[arg(long)]
        kept: bool,
        /// `modules`: containerd 2 and runc 1.5, for image volumes and user namespaces. `--kept`: as it was.
        #[arg(long, value_enum, default_value_t = Containerd::Debian)]
        containerd: Containerd,
        /// For everything to be ready.
        #[arg(long, default_value_t = 90, value_name = "SECONDS")]
        limit: u64,
    },
    /// End a cluster and everything in it, and remove its data.
    Down {
        /// Leave the data for `up --kept`.
        #[arg(long)]
        keep: bool,
    },
    /// Say whether it runs, and what takes how much memory.
    Status,
    /// Run a program in the cluster's network, with `kubectl` and `KUBECONFIG`.
    Exec {
        /// With its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
        words: Vec<OsString>,
    },
    /// Print where the client configuration for programs outside of the cluster's network is.
    Kubeconfig,
    /// Put images on the node, without a registry.
    Load {
        /// OCI images in tar files.
        #[arg(required = true, value_name = "IMAGE.tar")]
        images: Vec<PathBuf>,
    },
    /// Show the last lines of every log, or all of one.
    Logs {
        /// `kubelet`, `kube-apiserver`, ...
        part: Option<String>,
    },
    /// Kill a part, as a fault; it is started again.
    Kill {
        /// `kubelet`, `kube-apiserver`, `containerd`, ... as `status` names them.
        part: String,
    },
    /// Make the image of Lineal, push it, and install or upgrade the chart in namespace `lineal`.
    Install(install::Installation),
    /// Make or upload images, without an image engine.
    Image {
        #[command(subcommand)]
        task: ImageTask,
    },
    /// Start a cluster, ask it everything that tests rely on, end it, see that nothing is left.
    Check {
        /// As for `up`.
        #[arg(long, value_enum, default_value_t = Containerd::Debian)]
        containerd: Containerd,
        /// Leave the cluster as it is if something fails.
        #[arg(long)]
        keep_failed: bool,
        /// Make the image of Debian and Python too, twice, and train something in it; some minutes more.
        #[arg(long)]
        python: bool,
    },
}

#[derive(Subcommand)]
enum ImageTask {
    /// An image of single files; prints its digest.
    Static {
        /// The tar file to write.
        out: PathBuf,
        /// Name and tag, for example `made.test/step:1`.
        image: String,
        /// `/path/in/the/image=file`.
        #[arg(required = true, value_name = "/PATH=FILE")]
        entries: Vec<Entry>,
        /// A word of what it runs, repeated for each; the first file if there is none.
        #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
        entrypoint: Vec<String>,
    },
    /// Debian with Python and, if a lock file is given, what it pins; prints its digest.
    Python {
        /// The tar file to write.
        out: PathBuf,
        /// Name and tag.
        image: String,
        /// Requirements with hashes.
        #[arg(long)]
        lock: Option<PathBuf>,
    },
    /// Upload an image to the cluster's registry; prints the name with the digest.
    Push {
        /// The tar file.
        file: PathBuf,
        /// Name in the registry.
        repository: String,
    },
}

/// Does what the arguments say.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let place = Place::of(&arguments.name)?;
    match &arguments.task {
        Task::Up { kept, containerd, limit } => {
            life::up(workspace, &place, Start { kept: *kept, containerd: *containerd, limit_seconds: *limit })
        }
        Task::Down { keep } => life::down(&place, *keep),
        Task::Status => status(&place),
        Task::Exec { words } => inside::exec(&place, words),
        Task::Kubeconfig => {
            place.running()?;
            println!("{}", place.machine_kubeconfig().display());
            Ok(())
        }
        Task::Load { images } => inside::load(&place, images),
        Task::Logs { part } => logs(&place, part.as_deref()),
        Task::Kill { part } => life::kill(&place, part),
        Task::Install(options) => install::install(workspace, &place, options),
        Task::Image { task } => image(&place, task),
        Task::Check { containerd, keep_failed, python } => {
            let (containerd, keep_failed, python) = (*containerd, *keep_failed, *python);
            check::check(workspace, check::Options { containerd, python, keep_failed })
        }
    }
}

fn status(place: &Place) -> Result<()> {
    for (name, folder) in machine::running()?.iter().filter(|(name, _)| *name != place.name.to_string()) {
        println!("cluster {name} runs too, in {folder}");
    }
    let Some(init) = place.init() else { bail!("cluster {} is down", place.name) };
    let stage = if place.at("ready").exists() { "up" } else { "starting" };
    println!("cluster {} is {stage} (process {}) in {}", place.name, init.pid, place.state.display());
    let programs = processes::memory(&processes::below(init));
    for (name, usage) in &programs {
        println!("{:6} MiB  {:3} x {name}", usage.kib / 1024, usage.count);
    }
    println!("{:6} MiB  in all", programs.iter().map(|(_, usage)| usage.kib).sum::<u64>() / 1024);
    Ok(())
}

fn logs(place: &Place, part: Option<&str>) -> Result<()> {
    let folder = place.at("log");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    let named =
        |file: &Path| file.file_stem().is_some_and(|stem| Some(stem.to_string_lossy().as_ref()) == part);
    if part.is_some() {
        files.retain(|file| named(file));
    }
    if files.is_empty() {
        bail!("no such log in `{}`", folder.display());
    }
    for file in files {
        let text = String::from_utf8_lossy(&std::fs::read(&file)?).into_owned();
        if part.is_some() {
            print!("{text}");
        } else {
            println!("--- {}\n{}", file.display(), crate::shell::tail(&text));
        }
    }
    Ok(())
}

fn image(place: &Place, task: &ImageTask) -> Result<()> {
    let printed = match task {
        ImageTask::Static { out, image, entries, entrypoint } => {
            let first = || entries.iter().map(|entry| entry.path.clone()).take(1).collect();
            let entrypoint = if entrypoint.is_empty() { first() } else { entrypoint.clone() };
            Image { name: image.clone(), entrypoint }.write(out, entries)?
        }
        ImageTask::Python { out, image, lock } => image::python::write(out, image, lock.as_deref())?,
        ImageTask::Push { file, repository } => inside::push(place, file, repository)?,
    };
    println!("{printed}");
    Ok(())
}
