//! From the file's fields to a consistent pipeline.

use std::collections::{BTreeMap, BTreeSet};

use lineal_facts::manifest::check_path;
use lineal_facts::{GateName, StepName};

use super::file::{EnvFile, GateFile, PipelineFile, ServeFile, StepFile};
use super::name::{DataName, EnvName, OutputName, ParamName};
use super::order::topological;
use super::param::ParamValue;
use super::suggest::hint;
use super::{
    ARGUMENT_LIMIT, DEFAULT_READY_TIMEOUT_MS, DEFAULT_TIMEOUT_MS, Determinism, Env, Gate, Output, OutputKind,
    OutputRef, Pipeline, PipelineError, STEP_LIMIT, Serve, Source, Step,
};
use crate::gate::Expectations;

type Checked<T> = Result<T, PipelineError>;

/// Everything a reference can name.
struct Scope<'a> {
    params: &'a BTreeMap<ParamName, ParamValue>,
    data: BTreeSet<DataName>,
    envs: &'a BTreeMap<EnvName, Env>,
    outputs: BTreeMap<StepName, BTreeMap<OutputName, OutputKind>>,
}

pub(super) fn pipeline(file: PipelineFile) -> Checked<Pipeline> {
    if file.steps.0.is_empty() {
        return invalid("steps", "a pipeline needs at least one step");
    }
    if file.steps.0.len() > STEP_LIMIT {
        return invalid("steps", format!("{} steps; at most {STEP_LIMIT}", file.steps.0.len()));
    }
    let mut envs = BTreeMap::new();
    for (name, fields) in file.envs {
        let env = env(&format!("envs.{name}"), fields)?;
        envs.insert(name, env);
    }
    let code = code_paths(&file.code)?;
    let scope = Scope {
        params: &file.params,
        data: file.data.keys().cloned().collect(),
        envs: &envs,
        outputs: declared_outputs(&file.steps.0),
    };
    let default = file.determinism.unwrap_or(Determinism::Observe);
    let mut steps = Vec::with_capacity(file.steps.0.len());
    for (name, fields) in file.steps.0 {
        steps.push(scope.step(name, fields, default)?);
    }
    let steps = in_order(steps)?;
    let mut gates = BTreeMap::new();
    for (name, fields) in file.gates {
        let gate = scope.gate(&name, fields)?;
        gates.insert(name, gate);
    }
    let serve = file.serve.map(|fields| scope.serve(fields)).transpose()?;
    let index = steps.iter().enumerate().map(|(position, step)| (step.name.clone(), position)).collect();
    let data = file.data.into_iter().map(|(name, uri)| (name, uri.0)).collect();
    Ok(Pipeline {
        name: file.metadata.name,
        seed: file.seed,
        params: file.params,
        data,
        envs,
        code,
        gates,
        serve,
        steps,
        index,
    })
}

impl Scope<'_> {
    fn step(&self, name: StepName, file: StepFile, default: Determinism) -> Checked<Step> {
        let at = format!("steps.{name}");
        if name.as_str() == "data" {
            return invalid(&at, "a step cannot be called `data`, because `data.NAME` is a snapshot");
        }
        command(&format!("{at}.run"), &file.run)?;
        let env = self.env(&format!("{at}.env"), file.env)?;
        let mut inputs = BTreeMap::new();
        for (input, text) in file.inputs {
            let source = self.source(&format!("{at}.in.{input}"), &text)?;
            inputs.insert(input, source);
        }
        let mut params = BTreeSet::new();
        for text in &file.params {
            let at = format!("{at}.params");
            let Some((param, _)) = self.params.get_key_value(text.as_str()) else {
                let known = self.params.keys().map(ParamName::as_str);
                return Err(unknown(&at, "param", text, hint(text, known)));
            };
            if !params.insert(param.clone()) {
                return invalid(&at, format!("`{text}` is listed twice; remove one of them"));
            }
        }
        let mut outputs = BTreeMap::new();
        for (output, file) in file.out {
            check_path(&file.path).or_else(|e| invalid(&format!("{at}.out.{output}"), e))?;
            outputs.insert(output, Output { path: file.path, kind: file.kind });
        }
        check_outputs(&at, &outputs)?;
        let determinism = file.determinism.unwrap_or(default);
        let probes: BTreeSet<_> = file.probe.iter().copied().collect();
        if !probes.is_empty() && determinism == Determinism::Off {
            return invalid(&format!("{at}.probe"), "a probe needs `determinism: observe` or `strict`");
        }
        let timeout_ms = file.timeout.unwrap_or(DEFAULT_TIMEOUT_MS);
        Ok(Step {
            name,
            run: file.run,
            env,
            inputs,
            params,
            outputs,
            timeout_ms,
            resources: file.resources,
            node_selector: file.node_selector,
            determinism,
            probes,
        })
    }

    fn gate(&self, name: &GateName, file: GateFile) -> Checked<Gate> {
        let at = format!("gates.{name}");
        let field = |field: &str| format!("{at}.{field}");
        match (file.contract, file.on, file.metrics, file.model, file.requests, file.expect) {
            (Some(contract), Some(on), None, None, None, None) => {
                check_path(&contract).or_else(|e| invalid(&field("contract"), e))?;
                Ok(Gate::Contract { contract, on: self.source(&field("on"), &on)? })
            }
            (None, None, Some(metrics), None, None, Some(expect)) => {
                let metrics = self.metrics(&field("metrics"), &metrics)?;
                Ok(Gate::Metrics { metrics, expect: some_expectations(&at, expect)? })
            }
            (None, None, None, Some(model), Some(requests), Some(expect)) => Ok(Gate::Inference {
                model: self.output(&field("model"), &model)?,
                requests: self.source(&field("requests"), &requests)?,
                expect: some_expectations(&at, expect)?,
            }),
            _ => invalid(
                &at,
                "a gate is exactly one of {contract, on}, {metrics, expect} or {model, requests, expect}",
            ),
        }
    }

    fn serve(&self, file: ServeFile) -> Checked<Serve> {
        command("serve.run", &file.run)?;
        if file.output.is_empty() || file.output.len() > 256 || file.output.chars().any(char::is_control) {
            return invalid("serve.output", "expected the name of an output tensor");
        }
        let Some(env) = self.env("serve.env", file.env)? else {
            return invalid("serve.env", "name the environment that the server runs in");
        };
        Ok(Serve {
            model: self.output("serve.model", &file.model)?,
            run: file.run,
            env,
            output: file.output,
            ready_timeout_ms: file.ready_timeout.unwrap_or(DEFAULT_READY_TIMEOUT_MS),
        })
    }

    fn env(&self, at: &str, name: Option<String>) -> Checked<Option<EnvName>> {
        let Some(name) = name else { return Ok(None) };
        match self.envs.get_key_value(name.as_str()) {
            Some((env, _)) => Ok(Some(env.clone())),
            None => Err(unknown(at, "env", &name, hint(&name, self.envs.keys().map(EnvName::as_str)))),
        }
    }

    fn source(&self, at: &str, text: &str) -> Checked<Source> {
        let Some(name) = text.strip_prefix("data.") else {
            return self.output(at, text).map(Source::Output);
        };
        match self.data.get(name) {
            Some(name) => Ok(Source::Data(name.clone())),
            None => Err(unknown(at, "data", name, hint(name, self.data.iter().map(DataName::as_str)))),
        }
    }

    fn output(&self, at: &str, text: &str) -> Checked<OutputRef> {
        let Some((step, output)) = text.split_once('.') else {
            return invalid(at, format!("`{text}` is not a reference; write `data.NAME` or `STEP.OUTPUT`"));
        };
        let found = step.parse::<StepName>().ok().and_then(|name| self.outputs.get_key_value(&name));
        let Some((step, outputs)) = found else {
            return Err(unknown(at, "step", step, hint(step, self.outputs.keys().map(StepName::as_str))));
        };
        match outputs.get_key_value(output) {
            Some((output, _)) => Ok(OutputRef { step: step.clone(), output: output.clone() }),
            None => {
                let known = hint(output, outputs.keys().map(OutputName::as_str));
                Err(unknown(at, "output", &format!("{step}.{output}"), known))
            }
        }
    }

    fn metrics(&self, at: &str, text: &str) -> Checked<OutputRef> {
        let reference = self.output(at, text)?;
        let kind = self.outputs.get(&reference.step).and_then(|outputs| outputs.get(&reference.output));
        if kind == Some(&OutputKind::Metrics) {
            return Ok(reference);
        }
        invalid(at, format!("`{reference}` is not a JSON report; declare that output with `as: metrics`"))
    }
}

fn env(at: &str, file: EnvFile) -> Checked<Env> {
    match (file.python, file.image) {
        (Some(folder), None) => relative_path(&format!("{at}.python"), &folder).map(Env::Python),
        (None, Some(image)) => image.parse().map(Env::Image).or_else(|e| invalid(&format!("{at}.image"), e)),
        (None, None) | (Some(_), Some(_)) => {
            invalid(at, "an environment is exactly one of {python: FOLDER} or {image: NAME@sha256:HEX}")
        }
    }
}

fn declared_outputs(steps: &[(StepName, StepFile)]) -> BTreeMap<StepName, BTreeMap<OutputName, OutputKind>> {
    let outputs = |step: &StepFile| step.out.iter().map(|(name, out)| (name.clone(), out.kind)).collect();
    steps.iter().map(|(name, step)| (name.clone(), outputs(step))).collect()
}

fn in_order(steps: Vec<Step>) -> Checked<Vec<Step>> {
    let position: BTreeMap<&StepName, usize> = steps.iter().enumerate().map(|(p, s)| (&s.name, p)).collect();
    let needs: Vec<Vec<usize>> = steps
        .iter()
        .map(|step| {
            let outputs = step.inputs.values().filter_map(|source| match source {
                Source::Data(_) => None,
                Source::Output(reference) => position.get(&reference.step).copied(),
            });
            outputs.collect::<BTreeSet<usize>>().into_iter().collect()
        })
        .collect();
    let order = topological(&needs).map_err(|circle| {
        let first = circle.first().copied();
        let names = circle.iter().copied().chain(first).map(|p| steps[p].name.as_str());
        PipelineError::Cycle(names.collect::<Vec<_>>().join(" -> "))
    })?;
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|p| steps[p].take()).collect())
}

fn check_outputs(at: &str, outputs: &BTreeMap<OutputName, Output>) -> Checked<()> {
    if outputs.is_empty() {
        return invalid(&format!("{at}.out"), "a step needs at least one output");
    }
    let pairs = outputs.iter().map(|(name, output)| (name.as_str(), output.path.as_str()));
    match overlap(pairs) {
        None => Ok(()),
        Some((one, other)) => invalid(
            &format!("{at}.out"),
            format!("`{one}` and `{other}` are the same path, or one is inside the other"),
        ),
    }
}

/// Two names whose paths are equal or one above the other.
fn overlap<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Option<(&'a str, &'a str)> {
    let pairs: Vec<_> = pairs.collect();
    let mut by_path = BTreeMap::new();
    for (name, path) in &pairs {
        if let Some(other) = by_path.insert(*path, *name) {
            return Some((other, name));
        }
    }
    for (name, path) in &pairs {
        let mut parent = *path;
        while let Some((above, _)) = parent.rsplit_once('/') {
            if let Some(other) = by_path.get(above) {
                return Some((other, name));
            }
            parent = above;
        }
    }
    None
}

fn code_paths(code: &[String]) -> Checked<Vec<String>> {
    let mut paths = Vec::with_capacity(code.len());
    for path in code {
        paths.push(relative_path("code", path)?);
    }
    match overlap(paths.iter().map(|path| (path.as_str(), path.as_str()))) {
        None => Ok(paths),
        Some((one, other)) => invalid("code", format!("`{one}` and `{other}` overlap; remove one of them")),
    }
}

/// A path below the file's directory; one `/` at the end is dropped.
fn relative_path(at: &str, path: &str) -> Checked<String> {
    let path = path.strip_suffix('/').unwrap_or(path);
    match check_path(path) {
        Ok(()) => Ok(path.to_owned()),
        Err(_) => invalid(
            at,
            format!("`{path}` must be relative to the file, without `.`, `..`, `\\` or control characters"),
        ),
    }
}

fn command(at: &str, run: &[String]) -> Checked<()> {
    if run.first().is_none_or(String::is_empty) {
        return invalid(at, "the command is empty; write [program, argument, ...]");
    }
    if run.len() > ARGUMENT_LIMIT {
        return invalid(at, format!("{} arguments; at most {ARGUMENT_LIMIT}", run.len()));
    }
    if run.iter().any(|argument| argument.contains('\0')) {
        return invalid(at, "an argument contains a NUL character, which no program can receive");
    }
    Ok(())
}

fn some_expectations(at: &str, expect: Expectations) -> Checked<Expectations> {
    if expect.is_empty() {
        return invalid(&format!("{at}.expect"), "nothing is expected, so nothing would be tested");
    }
    Ok(expect)
}

fn unknown(at: &str, kind: &'static str, name: &str, hint: String) -> PipelineError {
    let name = name.chars().take(80).collect();
    PipelineError::Unknown { at: at.to_owned(), kind, name, hint }
}

fn invalid<T>(at: &str, reason: impl ToString) -> Checked<T> {
    Err(PipelineError::Invalid { at: at.to_owned(), reason: reason.to_string() })
}
