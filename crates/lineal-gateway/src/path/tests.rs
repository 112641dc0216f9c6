use super::*;

#[test]
fn paths_of_the_protocol() {
    let get = |path| target(&Method::GET, path);
    let post = |path| target(&Method::POST, path);
    assert_eq!(post("/v2/models/delay/infer"), Target::Infer("delay"));
    assert_eq!(get("/v2/models/delay"), Target::Model("delay"));
    assert_eq!(get("/v2/models/delay/ready"), Target::Model("delay"));
    assert_eq!(get("/v2/health/live"), Target::Live);
    assert_eq!(get("/v2/health/ready"), Target::Ready);
    assert_eq!(get("/-/status"), Target::Status);
    assert_eq!(post("/v2/models/delay/versions/3/infer"), Target::Pinned);
    assert_eq!(get("/v2/models/delay/versions/3"), Target::Pinned);
    assert_eq!(get("/v2/models/delay/infer"), Target::Method);
    assert_eq!(post("/-/status"), Target::Method);
    for path in [
        "/",
        "/v2",
        "/v2/models",
        "/v2/models/",
        "/v2/models//infer",
        "/v2/models/a/b",
        "/v2/models/a/infer/",
    ] {
        assert_eq!(post(path), Target::Unknown, "{path}");
    }
}
