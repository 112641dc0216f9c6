use super::*;

#[test]
fn finds_the_first_number_of_the_named_output() {
    let body = br#"{"model_name":"m","outputs":[
        {"name":"other","shape":[1],"datatype":"FP64","data":[7]},
        {"name":"p","shape":[2,2],"datatype":"FP64","data":[[0.25,0.75],[1,2]]}]}"#;
    assert_eq!(first_number(body, "p"), Some(0.25));
    assert_eq!(first_number(body, "other"), Some(7.0));
    assert_eq!(first_number(body, "absent"), None);
}

#[test]
fn the_order_of_fields_does_not_matter() {
    let body = br#"{"outputs":[{"data":[[-3,4]],"datatype":"INT32","name":"p"}],"id":"x"}"#;
    assert_eq!(first_number(body, "p"), Some(-3.0));
    assert_eq!(first_number(body, "q"), None);
}

#[test]
fn booleans_are_numbers_and_texts_are_not() {
    assert_eq!(first_number(br#"{"outputs":[{"name":"p","data":[true]}]}"#, "p"), Some(1.0));
    assert_eq!(first_number(br#"{"outputs":[{"name":"p","data":["yes",1]}]}"#, "p"), None);
    assert_eq!(first_number(br#"{"outputs":[{"name":"p","data":[null]}]}"#, "p"), None);
    assert_eq!(first_number(br#"{"outputs":[{"name":"p","data":[]}]}"#, "p"), None);
    assert_eq!(first_number(br#"{"outputs":[{"name":"\u0070","data":5}]}"#, "p"), Some(5.0));
}

#[test]
fn garbage_is_no_prediction() {
    let nested = [b"{\"outputs\":[{\"name\":\"p\",\"data\":".as_slice(), &vec![b'['; 100_000]].concat();
    for body in [
        b"".as_slice(),
        b"<html>",
        b"[1,2]",
        b"{\"outputs\":3}",
        b"{\"outputs\":[{\"name\":1}]}",
        b"\xff",
        &nested,
    ] {
        assert_eq!(first_number(body, "p"), None);
    }
}
