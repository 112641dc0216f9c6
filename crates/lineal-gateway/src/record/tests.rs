use super::*;

fn route() -> Arc<ServedRoute> {
    crate::table::tests::served_route()
}

fn note(chosen: usize, share: usize, id: &str) -> Note {
    let answer =
        Answer { id: id.to_owned(), share, prediction: Some(0.5), answered_at: Timestamp::from_unix_ms(0) };
    Note { route: route(), chosen, failed: chosen != share, latency_ms: 600.0, answer: Some(answer) }
}

#[test]
fn a_retry_counts_against_the_chosen_version_and_is_recorded_for_the_one_that_answered() {
    let mut backlog = Backlog::default();
    backlog.add(note(0, 1, "a"));
    backlog.add(note(0, 0, "b"));
    let report = backlog.take("g", 1, 7);
    let window = &report.windows[0];
    assert_eq!(report.windows.len(), 1);
    assert_eq!((window.version, window.role, window.requests, window.errors), (2, Role::Canary, 2, 1));
    assert_eq!((window.slow, window.latency_sum_ms), (2, 1200.0));
    assert_eq!(
        report.records.iter().map(|r| (r.version, r.role)).collect::<Vec<_>>(),
        [(1, Role::Stable), (2, Role::Canary)]
    );
    assert!(backlog.is_empty());
}

#[test]
fn old_records_make_room_and_windows_keep_the_sum() {
    let mut backlog = Backlog::default();
    let extra = 100;
    for n in 0..BACKLOG_RECORD_LIMIT + extra {
        backlog.add(note(1, 1, &n.to_string()));
    }
    let first = backlog.take("g", 1, 7);
    assert_eq!(first.windows[0].requests, (BACKLOG_RECORD_LIMIT + extra) as u64);
    assert_eq!(first.dropped_records, extra as u64);
    assert_eq!((first.records.len(), first.records[0].id.as_str()), (RECORD_LIMIT, "100"));
    let second = backlog.take("g", 2, 7);
    assert_eq!((second.windows.len(), second.dropped_records, second.records.len()), (0, 0, RECORD_LIMIT));
}

#[test]
fn a_full_queue_drops_and_counts() {
    let (recorder, notes) = queue();
    for n in 0..QUEUE_LIMIT + 3 {
        recorder.note(note(1, 1, &n.to_string()));
    }
    let mut backlog = Backlog::default();
    notes.collect(&mut backlog);
    let report = backlog.take("g", 1, 7);
    assert_eq!((report.dropped_records, report.windows[0].requests), (3, QUEUE_LIMIT as u64));
}

#[tokio::test]
async fn the_first_note_after_a_collection_announces_itself() {
    let (recorder, notes) = queue();
    let mut backlog = Backlog::default();
    for id in ["a", "b", "c"] {
        recorder.note(note(1, 1, id));
        notes.arrived().await;
        notes.collect(&mut backlog);
    }
    assert_eq!(backlog.take("g", 1, 7).records.len(), 3);
}
