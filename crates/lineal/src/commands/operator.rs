//! `lineal operator`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use lineal_app::exchange::Exchange;
use lineal_app::project::{FOLDER, InitOptions};
use lineal_app::self_audit::{AuditReport, keep_audited};
use lineal_app::{Code, Failure, Project, cosigning};
use lineal_facts::Digest;
use lineal_http::health::{self, Health};
use lineal_kube::operator::{Operator, Settings};
use tokio::sync::{mpsc, watch};

use super::Done;
use super::roles::{RoleLock, address, told_to_stop};
use crate::cli::OperatorArguments;
use crate::printer::Printer;

/// Runs the operator until it is told to stop.
pub(super) async fn run(dir: &Path, arguments: OperatorArguments, printer: &Printer) -> Done {
    if !dir.join(FOLDER).exists() {
        Project::init_with(dir, &arguments.approver, InitOptions::default()).await?;
    }
    let project = super::open(dir).await?;
    cosigning::refuse_if_rolled_back(&project).await?;
    let _role = RoleLock::take(&project.folder(), "operator")?;
    let (listen, health) = (address(&arguments.listen)?, address(&arguments.health)?);
    let certificate = project.store.keys().exchange_certificate()?;
    let pin = Digest::of(&certificate.certificate).to_string();
    let settings = Settings {
        namespace: arguments.namespace,
        advertise: arguments.advertise,
        pin: pin.trim_start_matches("sha256:").to_owned(),
        step_image: arguments.step_image,
        step_image_pull_policy: arguments.step_image_pull_policy,
        parallel_steps: arguments.parallel_steps,
    };
    let exchange = Exchange::open(&project)?;
    let (complaints, mut complained) = mpsc::unbounded_channel();
    // Its reader is there for as long as the operator.
    let complain = move |text: &str| drop(complaints.send(text.to_owned()));
    let operator = Operator::new(project.clone(), exchange.clone(), settings, Arc::new(complain)).await?;
    let notes = async {
        while let Some(text) = complained.recv().await {
            printer.note(&format!("lineal operator: {text}"));
        }
    };
    let server = lineal_http::exchange::bind(listen, certificate, exchange, operator.doorkeeper()).await;
    let server = server.map_err(|e| Failure::caused(Code::Address, &e))?;
    printer.note(&format!("lineal operator: exchange on https://{}", server.address()));
    let told = told_to_stop()?;
    let (reports, _audit) = watch::channel(AuditReport::default());
    tokio::select! {
        () = told => Ok(ExitCode::SUCCESS),
        never = keep_audited(&project, reports, |text| printer.note(text)) => match never {},
        finding = cosigning::keep_witnessed(&project, |text| printer.note(text)) => Err(finding),
        served = server.run(std::future::pending()) => ended(served, listen),
        served = health::serve(health, answers(&operator), std::future::pending()) => ended(served, health),
        ((), ()) = async { tokio::join!(operator.clone().operate(), notes) } => Err(Failure::new(Code::Cluster, "a watch of the cluster ended")),
    }
}

fn answers(operator: &Operator) -> Health {
    let counted = operator.clone();
    Health { ready: operator.ready(), metrics: Arc::new(move || counted.metrics()) }
}

fn ended(served: std::io::Result<()>, address: SocketAddr) -> Done {
    match served {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::new(Code::Address, format!("cannot serve on {address}: {error}"))),
    }
}
