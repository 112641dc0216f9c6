//! The environment variables that are the same wherever a step runs.

use std::collections::BTreeMap;

/// Seconds since 1970 that steps see where a fixed time is needed: 2020-01-01T00:00:00Z.
pub const FIXED_TIME_S: i64 = 1_577_836_800;

const PATH: &str = "PATH";
/// What container runtimes set where an image sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a step finds its code; also its working directory.
pub const CODE: &str = "/lineal/code";
/// Where a step finds its inputs.
pub const INPUTS: &str = "/lineal/in";
/// Where a step writes its outputs.
pub const OUTPUTS: &str = "/lineal/out";
/// Where a step finds its parameters.
pub const PARAMETERS: &str = "/lineal/params.json";

/// The clean environment variables of a step or server, without those of its own role.
pub fn fixed() -> BTreeMap<String, String> {
    let fixed_time = FIXED_TIME_S.to_string();
    [
        ("HOME", "/tmp"),
        ("LC_ALL", "C.UTF-8"),
        ("MKL_NUM_THREADS", "1"),
        ("NUMEXPR_NUM_THREADS", "1"),
        ("OMP_NUM_THREADS", "1"),
        ("OPENBLAS_NUM_THREADS", "1"),
        ("PATH", "/lineal/env/bin:/usr/local/bin:/usr/bin:/bin"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("PYTHONHASHSEED", "0"),
        ("PYTHONUNBUFFERED", "1"),
        ("SOURCE_DATE_EPOCH", fixed_time.as_str()),
        ("TZ", "UTC"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// [`fixed`] and those of a step with this seed, on a base system.
pub fn of_step(seed: &str) -> BTreeMap<String, String> {
    let mut env = fixed();
    env.append(&mut own(seed));
    env
}

/// Those of [`fixed`] that go over an image's own ones: all but the search path, which is the image's.
pub fn fixed_in_image() -> BTreeMap<String, String> {
    let mut env = fixed();
    env.remove(PATH);
    env
}

/// [`fixed_in_image`] and those of a step with this seed.
pub fn of_step_in_image(seed: &str) -> BTreeMap<String, String> {
    let mut env = fixed_in_image();
    env.append(&mut own(seed));
    env
}

fn own(seed: &str) -> BTreeMap<String, String> {
    [("LINEAL_IN", INPUTS), ("LINEAL_OUT", OUTPUTS), ("LINEAL_PARAMS", PARAMETERS), ("LINEAL_SEED", seed)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// Of the variables that an image's processes get, those that are the image's: without what a container runtime and
/// Kubernetes add, and without ours.
///
/// An image without a search path gets the one that container runtimes give it.
///
/// It goes by names, so that an image's own variable of such a name is left out too, in a pod and on this machine.
pub fn of_image(all: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let added = |name: &str| {
        matches!(name, "HOSTNAME" | "TERM")
            || name.starts_with("KUBERNETES_")
            || name.starts_with("LINEAL_")
            || name.contains("_SERVICE_")
            || name.contains("_PORT")
    };
    let mut env: BTreeMap<String, String> = all.into_iter().filter(|(name, _)| !added(name)).collect();
    env.entry(PATH.to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
    env
}

#[cfg(test)]
mod tests;
