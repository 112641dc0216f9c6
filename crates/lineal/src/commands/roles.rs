//! `lineal init`, `serve`, `gateway`, `doctor`.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lineal_app::control::Control;
use lineal_app::project::InitOptions;
use lineal_app::self_audit::{AuditReport, keep_audited};
use lineal_app::{Code, Failure, Project, cosigning};
use lineal_blob::files;
use lineal_gateway::GatewayConfig;
use lineal_http::api::Api;
use lineal_http::{ServeError, Served, serve as bind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use super::{Done, open};
use crate::client::{RoleFile, role};
use crate::printer::{Printer, table};

pub(super) async fn init(dir: &Path, approver: &str, options: InitOptions<'_>, printer: &Printer) -> Done {
    let made = Project::init_with(dir, approver, options).await?;
    printer.result(&made, || {
        format!(
            "made {}\n  ledger {}\n  ledger key {}\n  {} can approve; the first {} ledger entries introduce the keys\n  \
             {} opens the key files; keep a copy of it apart from the project",
            made.folder.display(), made.origin, made.ledger_key, made.approver, made.entries, made.identity.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// Runs the control plane until it is told to stop.
pub(super) async fn serve(project: Project, listen: Option<&str>, printer: &Printer) -> Done {
    let _role = RoleLock::take(&project.folder(), "serve")?;
    let wanted = address(listen.unwrap_or(&project.config.serve))?;
    let last = project.scratch("")?.join("serve.last");
    let server = bind_again(&last, wanted).await?;
    let url = format!("http://{}", server.address());
    let control = Control::start(project.clone()).await?;
    RoleFileGuard::write(&last, &url)?.keep();
    let file = RoleFileGuard::write(&project.folder().join("serve.json"), &url)?;
    printer.note(&format!("lineal serve: {url}"));
    let (told, stopping) = (told_to_stop()?, control.clone());
    let (halt, halted) = oneshot::channel::<()>();
    let stop = async move {
        // Without a finding `halt` goes when this function ends.
        tokio::select! { () = told => {}, Ok(()) = halted => {} }
        // The control plane stops its model servers; if it is gone already, they went with it.
        let _ = stopping.stop().await;
    };
    let (reports, audit) = watch::channel(AuditReport::default());
    let mut serving = std::pin::pin!(server.run(Api { control, project: project.clone(), audit }, stop));
    let (served, finding) = tokio::select! {
        served = &mut serving => (served, None),
        never = keep_audited(&project, reports, |text| printer.note(text)) => match never {},
        finding = cosigning::keep_witnessed(&project, |text| printer.note(text)) => {
            // Nothing may be signed on; whoever waits for this is there as long as `serving` is.
            let _ = halt.send(());
            (serving.await, Some(finding))
        }
    };
    drop(file);
    served.map_err(|e| Failure::caused(Code::Internal, &e))?;
    finding.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Ready when the process is asked to end.
pub(super) fn told_to_stop() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| Failure::caused(Code::Internal, &e))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| Failure::caused(Code::Internal, &e))?;
    Ok(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    })
}

/// Binds `wanted`; where any port will do, the one that the file `last` names first, so that clients find the role after
/// a restart.
pub(super) async fn bind_again(last: &Path, wanted: SocketAddr) -> Result<Served, Failure> {
    let last = role(last, "lineal serve").ok();
    let last: Option<SocketAddr> = last.and_then(|file| file.url.strip_prefix("http://")?.parse().ok());
    if let Some(last) = last.filter(|last| wanted.port() == 0 && last.ip() == wanted.ip())
        && let Ok(served) = bind(last).await
    {
        return Ok(served);
    }
    bind(wanted).await.map_err(|e| match &e {
        ServeError::NotLoopback(_) | ServeError::Bind(..) => Failure::caused(Code::Address, &e),
        ServeError::Serve(_) => Failure::caused(Code::Internal, &e),
    })
}

/// Reads what a gateway needs from the project; then the project is closed again.
pub(super) async fn gateway_config(
    dir: &Path,
    listen: Option<&str>,
) -> Result<(GatewayConfig, RoleLock), Failure> {
    let project = open(dir).await?;
    let lock = RoleLock::take(&project.folder(), "gateway")?;
    let listen = address(listen.unwrap_or(&project.config.gateway))?;
    // A control plane that is away is found where it was last time; until then the stored table is served.
    let control_plane = role(&project.folder().join("serve.json"), "lineal serve")
        .or_else(|failure| {
            role(&project.folder().join("work/serve.last"), "lineal serve").map_err(|_| failure)
        })?
        .url;
    let router = lineal_app::keys::router(&project).await?;
    let config = GatewayConfig {
        listen,
        control_plane,
        router_key_pem: router.public_key().to_pem(),
        state_file: project.folder().join("gateway-table.json"),
        gateway: "local".to_owned(),
        ready_file: Some(project.folder().join("gateway.json")),
    };
    project.store.index().close().await;
    Ok((config, lock))
}

/// Runs the gateway until it is told to stop.
pub(super) fn gateway((config, lock): (GatewayConfig, RoleLock), printer: &Printer) -> Done {
    printer.note("lineal gateway: `.lineal/gateway.json` tells where it listens");
    let served = lineal_gateway::run(config);
    drop(lock);
    served.map_err(|e| Failure::caused(Code::Address, &e))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn doctor(dir: &Path, printer: &Printer) -> Done {
    let launcher = lineal_sandbox::Launcher::new(super::program()?, [lineal_app::project::SANDBOX_LAUNCH]);
    let capabilities =
        tokio::task::spawn_blocking(move || lineal_sandbox::probe(&launcher, &std::env::temp_dir()))
            .await
            .map_err(|e| Failure::caused(Code::Internal, &e))?;
    let strict = match &capabilities.strict {
        Ok(uncontrolled) => {
            uncontrolled.iter().map(|u| format!("not controlled: {}: {}", u.what, u.why)).collect::<Vec<_>>()
        }
        Err(error) => vec![format!("steps cannot run here: {error}")],
    };
    let project = open(dir).await.err().map(|failure| failure.message);
    let confined = match lineal_blob::walk::is_confined(&std::env::temp_dir()) {
        Ok(()) => "works: directories can be read while somebody exchanges what is in them".to_owned(),
        Err(error) => {
            format!("no directory can be frozen or checked: {}", lineal_app::failure::chain(&error))
        }
    };
    let facts = capabilities.facts.iter().map(|fact| (fact.name.clone(), fact.detail.clone()));
    let facts: Vec<(String, String)> = facts.chain([("openat2".to_owned(), confined)]).collect();
    let value = serde_json::json!({
        "facts": facts,
        "sandbox": strict, "works": capabilities.strict.is_ok(), "project": project,
    });
    printer.result(&value, || {
        let rows = facts.iter().map(|(name, detail)| vec![name.clone(), detail.clone()]).collect::<Vec<_>>();
        let project = project.clone().unwrap_or_else(|| "a project was found and opens".to_owned());
        format!("{}{}\n{project}", table(&["FACT", "HERE"], &rows), strict.join("\n"))
    });
    Ok(ExitCode::from(if capabilities.strict.is_ok() { 0 } else { Code::Sandbox.exit() }))
}

/// Held while a role runs, so that there is one of it in a folder.
pub(super) struct RoleLock {
    _file: File,
}

impl RoleLock {
    pub(super) fn take(folder: &Path, name: &str) -> Result<Self, Failure> {
        let path = folder.join(format!("{name}.lock"));
        let file = File::create(&path).map_err(|e| Failure::caused(Code::File, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => Err(Failure::new(
                Code::Running,
                format!("`lineal {name}` already runs in this folder; stop it first"),
            )),
            Err(std::fs::TryLockError::Error(e)) => Err(Failure::caused(Code::File, &e)),
        }
    }
}

/// The role's file, removed when the role ends.
pub(super) struct RoleFileGuard(PathBuf);

impl RoleFileGuard {
    pub(super) fn write(path: &Path, url: &str) -> Result<Self, Failure> {
        let content = RoleFile { url: url.to_owned(), pid: std::process::id() };
        let bytes = serde_json::to_vec(&content).map_err(|e| Failure::caused(Code::Internal, &e))?;
        files::replace(path, &bytes)?;
        Ok(Self(path.to_owned()))
    }

    /// Leaves the file there for the next start.
    pub(super) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for RoleFileGuard {
    fn drop(&mut self) {
        // A file that stays names a process that does not answer; clients say so.
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, Failure> {
    text.parse().map_err(|_| {
        Failure::new(Code::Usage, format!("`{text}` is not an address; expected for instance 127.0.0.1:8080"))
    })
}
