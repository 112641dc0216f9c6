use super::*;

fn location(url: &str, endpoint: &str) -> Result<BucketLocation, BucketLocationError> {
    BucketLocation::new(url, Some(endpoint.to_owned()), None, false)
}

#[test]
fn places_are_read_and_print_as_they_were_written() {
    for url in ["s3://models", "s3://models/a", "s3://my.bucket-2/team_a/lineal"] {
        assert_eq!(location(url, "https://s3.example").unwrap().to_string(), url);
    }
    let slash = location("s3://models/a/", "https://s3.example:9000/").unwrap();
    assert_eq!((slash.bucket(), slash.prefix(), slash.region()), ("models", "a", "us-east-1"));
}

#[test]
fn what_is_no_place_is_refused() {
    let long = format!("s3://bucket/{}", "x".repeat(600));
    let wrong =
        ["", "models", "s3://", "s3://ab", "s3://models//a", "s3://models/../a", "s3://mo dels", &long];
    for url in wrong {
        let refused = location(url, "https://s3.example");
        assert!(matches!(refused, Err(BucketLocationError::Url(_))), "{url}");
    }
    for endpoint in ["s3.example", "ftp://s3.example", "https://user:word@s3.example", "https://s3.example/a"]
    {
        let refused = location("s3://models", endpoint);
        assert!(matches!(refused, Err(BucketLocationError::Endpoint(_))), "{endpoint}: {refused:?}");
    }
}

#[test]
fn only_this_machine_is_spoken_to_in_the_clear() {
    for endpoint in ["http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost:9000"] {
        location("s3://models", endpoint).unwrap();
    }
    let far = location("s3://models", "http://10.0.0.7:9000");
    assert!(matches!(far, Err(BucketLocationError::Unencrypted(_))), "{far:?}");
    BucketLocation::new("s3://models", Some("http://10.0.0.7:9000".to_owned()), None, true).unwrap();
}

#[test]
fn settings_hold_it_as_a_table() {
    let text = r#"{"url":"s3://models/a","endpoint":"https://s3.example","region":"eu-west-1"}"#;
    let location: BucketLocation = serde_json::from_str(text).unwrap();
    assert_eq!(location.region(), "eu-west-1");
    assert_eq!(serde_json::to_string(&location).unwrap(), text);
    assert!(serde_json::from_str::<BucketLocation>(r#"{"url":"models"}"#).is_err());
    assert!(serde_json::from_str::<BucketLocation>(r#"{"url":"s3://models","secret":"x"}"#).is_err());
}
