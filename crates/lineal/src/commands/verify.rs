//! `lineal verify` and `lineal lineage`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use lineal_app::audit::{self, Pins};
use lineal_app::lineage::{self, Direction, Lineage};
use lineal_app::verify::{self, Node, Scope, Verification, VerifySubject, WitnessDemand};
use lineal_app::{Code, Failure, Project, model_signing};

use super::{Done, observer};
use crate::cli::{GraphFormat, VerifyArguments};
use crate::printer::Printer;

pub(super) async fn verify(project: &Project, arguments: &VerifyArguments, printer: &Printer) -> Done {
    let subject = arguments.subject.as_deref().ok_or_else(nothing_named)?;
    let (policy, max_age) = (arguments.witness_policy.as_deref(), arguments.witness_max_age.as_deref());
    let demand = WitnessDemand::of(project, policy, max_age)?;
    let scope = if arguments.full { Scope::Ledger } else { Scope::Subject };
    let verification = verify::verify(project, &VerifySubject::parse(subject)?, &demand, scope).await?;
    printer.result(&verification, || text(&verification));
    Ok(exit(&verification, printer))
}

fn nothing_named() -> Failure {
    Failure::new(Code::Usage, "name a subject, or evidence with --bundle")
}

/// An audit folder or a bundle, without a project.
pub(super) fn evidence(arguments: &VerifyArguments, printer: &Printer) -> Done {
    let path = arguments.bundle.as_ref().ok_or_else(nothing_named)?;
    if !path.exists() {
        let text = format!("there is no folder and no bundle `{}`", path.display());
        return Err(Failure::new(Code::File, text));
    }
    let mut pins = Pins::default();
    if let Some(key) = &arguments.key {
        pins.key = Some(model_signing::read_key(key)?);
    }
    for key in &arguments.log_keys {
        pins.logs.push(key.parse().map_err(|e| Failure::caused(Code::Usage, &e))?);
    }
    if let Some(root) = &arguments.trusted_root {
        pins.add_trusted_root(root)?;
    }
    let audit = if path.is_dir() {
        audit::verify_folder(path, &pins, &observer(printer))?
    } else {
        audit::verify_bundle(path, &pins)?
    };
    printer.result(&audit, || text(&audit.verification));
    if audit.verification.verified && !audit.log_pinned {
        printer
            .note("whose log this is was not checked; name the log's key with --log-key or --trusted-root");
    }
    Ok(exit(&audit.verification, printer))
}

fn text(verification: &Verification) -> String {
    let word = if verification.verified { "VERIFIED" } else { "NOT VERIFIED" };
    let mut text = format!("{word}: {}\n", verification.subject);
    print_node(&verification.tree, "", &mut text);
    if let Some(reason) = &verification.because {
        text.push_str(&format!("the whole ledger was checked, because {reason}\n"));
    }
    for finding in &verification.findings {
        text.push_str(&format!("{}: {}\n", finding.code, finding.message));
    }
    text
}

fn exit(verification: &Verification, printer: &Printer) -> ExitCode {
    verification.failure().map_or(ExitCode::SUCCESS, |failure| printer.failure(&failure))
}

fn print_node(node: &Node, indent: &str, text: &mut String) {
    let mark = if node.ok { "" } else { "  <-- NOT OK" };
    let separator = if node.detail.is_empty() { "" } else { ": " };
    text.push_str(&format!("{}{separator}{}{mark}\n", node.label, node.detail));
    let last = node.children.len().saturating_sub(1);
    for (position, child) in node.children.iter().enumerate() {
        let (branch, below) = if position == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        text.push_str(&format!("{indent}{branch}"));
        print_node(child, &format!("{indent}{below}"), text);
    }
}

pub(super) async fn lineage(
    project: &Project,
    subject: &str,
    down: bool,
    format: GraphFormat,
    printer: &Printer,
) -> Done {
    let direction = if down { Direction::Down } else { Direction::Up };
    let graph = lineage::lineage(project, &VerifySubject::parse(subject)?, direction).await?;
    match format {
        GraphFormat::Json => printer.line(&serde_json::to_string_pretty(&graph).unwrap_or_default()),
        GraphFormat::Dot => printer.line(graph.to_dot().trim_end()),
        GraphFormat::Tree => printer.result(&graph, || {
            let mut text = String::new();
            print_graph(&graph, &graph.subject, direction, 0, &mut BTreeSet::new(), &mut text);
            text
        }),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_graph(
    graph: &Lineage,
    id: &str,
    direction: Direction,
    depth: usize,
    seen: &mut BTreeSet<String>,
    text: &mut String,
) {
    let Some(node) = graph.nodes.get(id) else { return };
    let again = !seen.insert(id.to_owned());
    let mark = if again { " (see above)" } else { "" };
    text.push_str(&format!("{}{} {}{mark}\n", "  ".repeat(depth), node.kind, node.label));
    if again {
        return;
    }
    for (made, from) in &graph.edges {
        let next = match direction {
            Direction::Up if made == id => from,
            Direction::Down if from == id => made,
            Direction::Up | Direction::Down => continue,
        };
        print_graph(graph, next, direction, depth + 1, seen, text);
    }
}
