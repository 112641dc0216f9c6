//! What a request asks for, by its method and path.

use http::Method;

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    /// `POST /v2/models/{model}/infer`.
    Infer(&'a str),
    /// `GET /v2/models/{model}` or `/v2/models/{model}/ready`: asked of the stable version.
    Model(&'a str),
    /// `GET /v2/health/live`: the process runs.
    Live,
    /// `GET /v2/health/ready`: a table is served.
    Ready,
    /// `GET /-/status`.
    Status,
    /// A path below `/v2/models/{model}/versions/`: the table chooses versions, not the client.
    Pinned,
    /// A known path with another method.
    Method,
    /// Anything else.
    Unknown,
}

/// Reads method and path. Names are not percent-decoded: a model name never needs it.
pub(crate) fn target<'a>(method: &Method, path: &'a str) -> Target<'a> {
    let (target, expected) = match path {
        "/-/status" => (Target::Status, Method::GET),
        "/v2/health/live" => (Target::Live, Method::GET),
        "/v2/health/ready" => (Target::Ready, Method::GET),
        _ => match model_path(path) {
            Some((model, "infer")) => (Target::Infer(model), Method::POST),
            Some((model, "" | "ready")) => (Target::Model(model), Method::GET),
            Some((_, rest)) if rest == "versions" || rest.starts_with("versions/") => return Target::Pinned,
            Some(_) | None => return Target::Unknown,
        },
    };
    if *method == expected { target } else { Target::Method }
}

fn model_path(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/v2/models/")?;
    let (model, rest) = rest.split_once('/').map_or((rest, ""), |(model, rest)| (model, rest));
    (!model.is_empty()).then_some((model, rest))
}

#[cfg(test)]
mod tests;
