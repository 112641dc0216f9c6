//! Where a step runs: what its result depends on, or may be asked about.

/// The x86-64 micro-architecture level, which decides the kernels that numeric libraries pick. It is in the cache key.
pub fn cpu_class() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    let class = if std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512bw") {
        "x86-64-v4"
    } else if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
        "x86-64-v3"
    } else {
        "x86-64-v2"
    };
    #[cfg(not(target_arch = "x86_64"))]
    let class = std::env::consts::ARCH;
    class
}

/// The release of the running kernel, for instance `6.1.0-18-amd64`.
pub fn kernel() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(64).collect();
    if text.is_empty() { "unknown".to_owned() } else { text }
}
