use super::*;

#[test]
fn what_a_cluster_adds_is_not_the_images() {
    let all = [
        ("PATH", "/opt/bin"),
        ("LD_LIBRARY_PATH", "/opt/lib"),
        ("HOSTNAME", "pod-1"),
        ("TERM", "xterm"),
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("KUBERNETES_PORT", "tcp://10.0.0.1:443"),
        ("REDIS_SERVICE_HOST", "10.0.0.2"),
        ("REDIS_SERVICE_PORT_MAIN", "1"),
        ("REDIS_PORT", "tcp://10.0.0.2:1"),
        ("REDIS_PORT_1_TCP_ADDR", "10.0.0.2"),
        ("LINEAL_EXCHANGE", "https://10.0.0.3:1"),
    ];
    let image = of_image(all.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(image.keys().collect::<Vec<_>>(), ["LD_LIBRARY_PATH", "PATH"]);
}

#[test]
fn a_step_finds_its_folders_and_its_seed() {
    let env = of_step("7");
    let ours: Vec<_> = env.iter().filter(|(name, _)| name.starts_with("LINEAL_")).collect();
    let ours: Vec<_> = ours.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        ours,
        [
            "LINEAL_IN=/lineal/in",
            "LINEAL_OUT=/lineal/out",
            "LINEAL_PARAMS=/lineal/params.json",
            "LINEAL_SEED=7"
        ]
    );
}

#[test]
fn the_search_path_of_a_step_in_an_image_is_the_images() {
    assert!(!of_step_in_image("7").contains_key("PATH"));
    assert_eq!(of_step_in_image("7").len() + 1, of_step("7").len());
    assert_eq!(of_image([])["PATH"], "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
}
