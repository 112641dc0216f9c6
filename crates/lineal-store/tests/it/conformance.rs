//! What must hold on every database.

use lineal_facts::predicate::{KeyRole, Outcome, RolloutTransition};
use lineal_facts::sequence::{SequenceError, Series};
use lineal_facts::{Predicate, RolloutId, Statement};
use lineal_proof::Signer;
use lineal_store::store::SYSTEM_HOLDER;
use lineal_store::{Store, StoreError};

use crate::fixture::{Fixture, Kind, copy, expected};
use crate::statements::{
    about, all, approval, artifact, at, dataset, digest, gate, incident, key_of, numbered, promotion,
    provenance, registered, rollout, run_id, told, version,
};

/// Each of these functions is a test of each kind.
macro_rules! on_all {
    ($($module:ident $kind:ident [$($name:ident)*])*) => {
        $(mod $module {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Kind::$kind).await;
            })*
        })*
    };
}

macro_rules! on_folders_and_buckets {
    (only_folders [$($only:ident)*] both [$($name:ident)*]) => {
        on_all! {
            sqlite Sqlite [$($only)* $($name)*]
            postgres Postgres [$($only)* $($name)*]
            sqlite_and_bucket SqliteAndBucket [$($name)*]
            postgres_and_bucket PostgresAndBucket [$($name)*]
        }
    };
}

on_folders_and_buckets! {
    // In a bucket, a machine refuses a ledger that went back, and one that others continued is the normal case: see
    // `bucket`.
    only_folders [
        an_index_that_lags_catches_up
        an_index_that_leads_is_made_anew
    ]
    both [
        entries_and_subjects_are_found
        snapshots_are_found
        results_are_found
        runs_are_found
        versions_and_verdicts_are_found
        approvals_promotions_and_rollouts_are_found
        series_are_found
        a_gap_in_a_series_is_refused
        a_rebuilt_index_equals_the_live_one
        an_index_of_a_fork_is_made_anew
        projections_at_the_same_time_agree
        readers_see_no_half_of_a_rebuild
        any_text_comes_back_as_it_was
        lists_never_leave_out_the_newest
    ]
}

async fn filled(kind: Kind) -> Fixture {
    let fixture = Fixture::new(kind).await;
    fixture.commit(&all()).await;
    fixture
}

async fn entries_and_subjects_are_found(kind: Kind) {
    let fixture = filled(kind).await;
    let index = fixture.store.index();
    let count = all().len() as u64;
    assert_eq!(index.size().await.unwrap(), count + 1);
    let entries = index.entries().await.unwrap();
    assert_eq!(entries.iter().map(|e| e.position).collect::<Vec<_>>(), (0..=count).rev().collect::<Vec<_>>());
    let first = entries.last().unwrap();
    assert_eq!((first.noun.as_str(), first.holder.as_deref()), ("key", Some(SYSTEM_HOLDER)));
    assert_eq!(first.signer, fixture.store.builder().public_key().id());
    assert_eq!(index.entry(&first.statement).await.unwrap().as_ref(), Some(first));
    assert_eq!(index.entry(&digest("absent")).await.unwrap(), None);
    let about = index.entries_about(&digest("first")).await.unwrap();
    assert_eq!(about.iter().map(|e| e.position).collect::<Vec<_>>(), [1]);
    let positions: Vec<u64> =
        index.entries_about(&digest("model")).await.unwrap().iter().map(|e| e.position).collect();
    assert!(positions.len() > 5 && positions.is_sorted(), "{positions:?}");
    assert_eq!(index.keyring().await.unwrap().entries().len(), 1);
}

async fn snapshots_are_found(kind: Kind) {
    let fixture = filled(kind).await;
    let index = fixture.store.index();
    let snapshots = index.snapshots().await.unwrap();
    assert_eq!(snapshots.iter().map(|s| s.digest).collect::<Vec<_>>(), [digest("second"), digest("first")]);
    assert_eq!(snapshots[0].tag, None);
    assert_eq!(snapshots[1].tag.as_ref().unwrap().as_str(), "v1");
    assert_eq!((snapshots[1].files.as_str(), snapshots[1].rows.as_str()), ("1", "3"));
    assert_eq!(snapshots[1].created_at, at(2).to_string());
    let numbers = "numbers".parse().unwrap();
    for (at, found) in [("v1", 1), (digest("second").to_string().as_str(), 1), ("v2", 0)] {
        assert_eq!(index.find_snapshots(&numbers, at).await.unwrap().len(), found, "{at}");
    }
}

async fn results_are_found(kind: Kind) {
    let fixture = filled(kind).await;
    let index = fixture.store.index();
    let pipeline = "flights".parse().unwrap();
    let train = index.result(&digest("train")).await.unwrap().unwrap();
    // The first result stands: the second one's other output is nowhere.
    assert_eq!(train.outputs.keys().collect::<Vec<_>>(), ["model", "report"]);
    assert_eq!(train.outputs["model"], artifact("model"));
    assert_eq!((train.step.as_str(), train.entropy.as_str()), ("train", "controlled"));
    assert_eq!((&train.run, train.key_document), (&run_id(1), digest("document")));
    assert_eq!(index.result(&digest("absent")).await.unwrap(), None);
    let latest = index.latest_result(&pipeline, &"train".parse().unwrap()).await.unwrap();
    assert_eq!(latest.as_ref(), Some(&train));
    let all = index.results_of(&pipeline).await.unwrap();
    assert_eq!(all.iter().map(|r| r.step.as_str()).collect::<Vec<_>>(), ["score", "train"]);
    assert_eq!(all[1], train);
    assert_eq!(index.makers(&digest("report")).await.unwrap(), std::slice::from_ref(&train));
    assert_eq!(index.makers(&digest("another report")).await.unwrap(), []);
    let used = index.dependencies(&train.statement).await.unwrap();
    // In the order of their bytes, whatever the language of the server is.
    assert_eq!(used.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["Zebra", "code", "data"]);
    let users = index.dependents(&digest("data")).await.unwrap();
    assert_eq!(users.iter().map(|d| d.position).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(users[0].statement, train.statement);
}

async fn runs_are_found(kind: Kind) {
    let fixture = filled(kind).await;
    let index = fixture.store.index();
    let runs = index.runs().await.unwrap();
    assert_eq!(runs.iter().map(|r| r.run.clone()).collect::<Vec<_>>(), [run_id(2), run_id(1)]);
    assert_eq!(index.run(&run_id(1)).await.unwrap().unwrap(), runs[1]);
    assert_eq!(index.run(&run_id(3)).await.unwrap(), None);
    assert_eq!(index.run_of_plan(&digest("plan")).await.unwrap().unwrap(), runs[1]);
    let steps = index.run_steps(&run_id(1)).await.unwrap();
    // As first sealed, in the order of execution.
    assert_eq!(steps.iter().map(|s| s.step.as_str()).collect::<Vec<_>>(), ["train", "score"]);
    assert!(!steps[0].cached && index.run_steps(&run_id(2)).await.unwrap()[0].cached);
}

async fn versions_and_verdicts_are_found(kind: Kind) {
    let fixture = filled(kind).await;
    let index = fixture.store.index();
    let late = index.versions(Some(&"late".parse().unwrap())).await.unwrap();
    assert_eq!(late.iter().map(|v| v.version.version).collect::<Vec<_>>(), [10, 9, 1]);
    // The first registration of a number stands.
    assert_eq!(late[2].record.output, "model");
    let every: Vec<String> =
        index.versions(None).await.unwrap().iter().map(|v| v.version.to_string()).collect();
    assert_eq!(every, ["early/1", "late/10", "late/9", "late/1"]);
    assert_eq!(index.version(&version("late", 9)).await.unwrap().unwrap(), late[1]);
    assert_eq!(index.version(&version("late", 2)).await.unwrap(), None);
    let gates = index.gates_about(&digest("model")).await.unwrap();
    let gates: Vec<(&str, &str, bool)> =
        gates.iter().map(|g| (g.name.as_str(), g.outcome.as_str(), g.counts)).collect();
    assert_eq!(
        gates,
        [("quality", "failed", true), ("quality", "passed", true), ("contract", "warned", true)]
    );
}

async fn approvals_promotions_and_rollouts_are_found(kind: Kind) {
    let fixture = filled(kind).await;
    let index = fixture.store.index();
    let ana = fixture.store.keys().create("ana", KeyRole::Approver).unwrap();
    fixture.commit(&[key_of("ana", KeyRole::Approver, ana.public_key())]).await;
    for (name, reason) in [("ana", "good"), ("ben", "as somebody else")] {
        fixture.store.commit(&[approval(name, reason)], &ana).await.unwrap();
    }
    let approvals = index.approvals_about(&digest("model")).await.unwrap();
    let told: Vec<(&str, &str, bool)> =
        approvals.iter().map(|a| (a.approver.as_str(), a.reason.as_str(), a.counts)).collect();
    assert_eq!(told, [("ana", "good", true), ("ben", "as somebody else", false)]);
    let promotions = index.promotions().await.unwrap();
    assert_eq!((promotions[0].version.clone(), promotions[0].counts), (version("late", 1), true));
    assert_eq!(promotions[0].environment.as_str(), "production");
    let steps = index.rollout_steps().await.unwrap();
    let transitions: Vec<RolloutTransition> = steps.iter().map(|s| s.record.transition).collect();
    use RolloutTransition::{RolledBack, Started};
    assert_eq!(transitions, [Started, Started, RolledBack]);
    assert_eq!(
        (steps[0].record.stable.clone(), steps[1].record.stable.clone()),
        (None, Some(version("late", 1)))
    );
    let one = index.rollout(&RolloutId::derive(&digest("model"), at(0), 2)).await.unwrap();
    assert_eq!(one, steps[1..]);
}

async fn series_are_found(kind: Kind) {
    let fixture = filled(kind).await;
    let index = fixture.store.index();
    let run = Series::Run(run_id(1));
    let members = index.series(&run).await.unwrap();
    assert_eq!(
        members.iter().map(|m| (m.number, m.closed)).collect::<Vec<_>>(),
        [(1, false), (2, false), (3, false), (4, true)]
    );
    assert_eq!(members[0].statement, index.result(&digest("train")).await.unwrap().unwrap().statement);
    assert_eq!(members[3].statement, index.run(&run_id(1)).await.unwrap().unwrap().statement);
    assert_eq!(index.series_end(&run).await.unwrap(), Some(members[3]));
    assert_eq!(index.series_end(&Series::Run(run_id(3))).await.unwrap(), None);
    let latest = index.latest_rollout_steps().await.unwrap();
    assert_eq!(latest, index.rollout_steps().await.unwrap()[2..]);
    let production = "production".parse().unwrap();
    let promoted = index.promotion(&version("late", 1), &digest("model"), &production).await.unwrap();
    assert_eq!(promoted.unwrap().version, version("late", 1));
    for (other, about, place) in [
        (version("late", 2), "model", "production"),
        (version("late", 1), "other", "production"),
        (version("late", 1), "model", "staging"),
    ] {
        let place = place.parse().unwrap();
        assert_eq!(index.promotion(&other, &digest(about), &place).await.unwrap(), None);
    }
}

async fn a_gap_in_a_series_is_refused(kind: Kind) {
    let fixture = filled(kind).await;
    let (store, size) = (&fixture.store, all().len() as u64 + 1);
    let refused = async |statements: &[Statement]| {
        let error = store.commit(statements, store.builder()).await.unwrap_err();
        let StoreError::Group(error) = &error else { panic!("{error}") };
        let StoreError::Sequence(error) = &**error else { panic!("{error}") };
        error.clone()
    };
    let series = Series::Run(run_id(1));
    let closed = SequenceError::Closed { series: series.clone(), last: 4, number: 5 };
    let statements = [all(), vec![provenance("late", "late", &["late"])]].concat();
    assert_eq!(refused(&numbered(statements).split_off(all().len())).await, closed);
    let again = SequenceError::Repeated { series, number: 1 };
    assert_eq!(refused(&[provenance("train", "train", &["model"])]).await, again);
    // Of a new series, without its first one; and with it, but in another order.
    let rollout_of = |transition| rollout(7, transition);
    let steps = [RolloutTransition::Started, RolloutTransition::Advanced, RolloutTransition::Promoted];
    let steps = numbered(steps.map(rollout_of).to_vec());
    let series = steps[0].member().unwrap().series;
    let missing = |missing, number| SequenceError::Missing { series: series.clone(), missing, number };
    assert_eq!(refused(&steps[1..]).await, missing(1, 2));
    assert_eq!(refused(&[steps[0].clone(), steps[2].clone()]).await, missing(2, 3));
    let mut other = steps[1].clone();
    if let Predicate::Rollout(record) = &mut other.predicate {
        record.sequence.previous = Some(digest("other"));
    }
    let previous = SequenceError::Previous { series: series.clone(), number: 2 };
    assert_eq!(refused(&[steps[0].clone(), other]).await, previous);
    assert_eq!(store.index().size().await.unwrap(), size);
    // Those who write the same one at the same time: one does.
    fixture.commit(&steps[..1]).await;
    let both = tokio::join!(
        store.commit(&steps[1..2], store.builder()),
        store.commit(&steps[1..2], store.builder())
    );
    assert_eq!([both.0.is_ok(), both.1.is_ok()].iter().filter(|ok| **ok).count(), 1);
    fixture.commit(&steps[2..]).await;
    assert_eq!(store.index().size().await.unwrap(), size + 3);
}

async fn a_rebuilt_index_equals_the_live_one(kind: Kind) {
    let fixture = filled(kind).await;
    for number in 0..5 {
        fixture.commit(&[incident(number), dataset("more", None, &number.to_string())]).await;
    }
    let live = fixture.store.index().dump().await.unwrap();
    assert!(live.len() > 60);
    // Also if it is in the other database.
    assert_eq!(live, fixture.expected().await);
    fixture.store.rebuild_index().await.unwrap();
    assert_eq!(fixture.store.index().dump().await.unwrap(), live);
}

/// Puts the ledger of `from` in place of that of `to`.
fn replace_ledger(from: &Store, to: &Store) {
    for part in ["log", "journal", "statements"] {
        let target = to.root().join(part);
        std::fs::remove_dir_all(&target).unwrap();
        copy(&from.root().join(part), &target);
    }
}

async fn an_index_that_lags_catches_up(kind: Kind) {
    let fixture = filled(kind).await;
    // A writer that died after the checkpoint; it knew another index.
    let other = fixture.copy("other").await;
    other.commit(&[incident(7), registered("new", 1, "x")], other.builder()).await.unwrap();
    replace_ledger(&other, &fixture.store);
    let again = fixture.reopen().await;
    assert_eq!(again.index().dump().await.unwrap(), expected(&other).await);
}

async fn an_index_that_leads_is_made_anew(kind: Kind) {
    let fixture = filled(kind).await;
    let yesterday = fixture.copy("yesterday").await;
    fixture.commit(&[incident(8), incident(9)]).await;
    assert!(!fixture.store.index().is_current(yesterday.ledger()).await.unwrap());
    replace_ledger(&yesterday, &fixture.store);
    let again = fixture.reopen().await;
    assert_eq!(again.index().size().await.unwrap(), all().len() as u64 + 1);
    assert_eq!(again.index().dump().await.unwrap(), expected(&yesterday).await);
}

async fn an_index_of_a_fork_is_made_anew(kind: Kind) {
    let fixture = filled(kind).await;
    let fork = async |name: &str, from: u64, count: u64| -> Store {
        let store = fixture.copy(name).await;
        let other: Vec<_> = (from..from + count).map(incident).collect();
        store.commit(&other, store.builder()).await.unwrap();
        store
    };
    let (shorter, equal, longer) =
        (fork("shorter", 100, 1).await, fork("equal", 200, 2).await, fork("longer", 300, 5000).await);
    fixture.commit(&[incident(10), incident(11)]).await;
    for other in [&equal, &longer, &shorter] {
        let index = fixture.open().await;
        index.catch_up(other.ledger()).await.unwrap();
        assert!(index.is_current(other.ledger()).await.unwrap());
        assert_eq!(index.dump().await.unwrap(), expected(other).await);
    }
}

/// As many as several transactions hold.
async fn long_ledger(fixture: &Fixture) -> Store {
    let writer = fixture.copy("writer").await;
    let many: Vec<_> = (1000..6000).map(incident).collect();
    for group in many.chunks(4000) {
        writer.commit(group, writer.builder()).await.unwrap();
    }
    writer
}

async fn projections_at_the_same_time_agree(kind: Kind) {
    let fixture = filled(kind).await;
    let writer = long_ledger(&fixture).await;
    let mut tasks = Vec::new();
    for number in 0..4 {
        let (index, writer) = (fixture.open().await, writer.clone());
        tasks.push(tokio::spawn(async move {
            if number == 3 {
                index.rebuild(writer.ledger()).await?;
            }
            index.catch_up(writer.ledger()).await?;
            index.is_current(writer.ledger()).await
        }));
    }
    // The log grows meanwhile, and its partial tiles are replaced.
    for number in 0..20 {
        writer.commit(&[incident(number)], writer.builder()).await.unwrap();
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let index = fixture.open().await;
    index.catch_up(writer.ledger()).await.unwrap();
    assert_eq!(index.dump().await.unwrap(), expected(&writer).await);
}

async fn readers_see_no_half_of_a_rebuild(kind: Kind) {
    let fixture = filled(kind).await;
    fixture.commit(&(0..2000).map(incident).collect::<Vec<_>>()).await;
    let (size, entries) = {
        let index = fixture.store.index();
        (index.size().await.unwrap(), index.entries().await.unwrap())
    };
    let rebuild = {
        let (index, store) = (fixture.open().await, fixture.store.clone());
        tokio::spawn(async move {
            for _ in 0..3 {
                index.rebuild(store.ledger()).await.unwrap();
            }
        })
    };
    let mut seen = 0;
    while !rebuild.is_finished() {
        assert_eq!(fixture.store.index().size().await.unwrap(), size);
        assert_eq!(fixture.store.index().entries().await.unwrap(), entries);
        seen += 1;
    }
    rebuild.await.unwrap();
    assert!(seen > 3, "{seen}");
}

async fn any_text_comes_back_as_it_was(kind: Kind) {
    let fixture = Fixture::new(kind).await;
    let names = [
        "it's",
        "\"; DROP TABLE entries; --",
        "$1 ?1 :a %s \\' \\",
        "täg 雪 \u{1f9ea}\u{202e}",
        "\t\r\n\u{1}",
    ];
    let big = "ä\"'\\".repeat(200_000);
    let mut statements: Vec<_> = names.iter().map(|name| about(name, name, told(name).predicate)).collect();
    statements.push(registered("late", 1, &big));
    statements.push(about(&big, "big", told(&big).predicate));
    fixture.commit(&statements).await;
    let index = fixture.store.index();
    assert_eq!(index.version(&version("late", 1)).await.unwrap().unwrap().record.output, big);
    let dump = index.dump().await.unwrap();
    assert_eq!(dump, fixture.expected().await);
    for text in names.into_iter().chain([big.as_str()]) {
        let line = format!("{text:?}");
        assert_eq!(
            dump.iter().filter(|l| l.starts_with("subjects") && l.contains(&line)).count(),
            1,
            "{text:.20}"
        );
        assert_eq!(dump.iter().filter(|l| l.starts_with("incidents") && l.contains(&line)).count(), 1);
    }
    // PostgreSQL keeps no NUL, so the ledger takes none.
    for nul in [told("a\0b"), about("a\0b", "nul", Predicate::Incident(nul_free()))] {
        let error = fixture.store.commit(&[nul], fixture.store.builder()).await.unwrap_err();
        assert!(matches!(error, StoreError::Statement(_)), "{error}");
    }
    assert_eq!(index.size().await.unwrap(), statements.len() as u64 + 1);
}

fn nul_free() -> lineal_facts::predicate::Incident {
    let Predicate::Incident(record) = told("fine").predicate else { unreachable!() };
    record
}

async fn lists_never_leave_out_the_newest(kind: Kind) {
    let fixture = Fixture::new(kind).await;
    let first = [gate("first", Outcome::Passed), rollout(1, RolloutTransition::Started)];
    fixture.commit(&first).await;
    let many: Vec<_> = (1..=10_200).map(promotion).collect();
    fixture.commit(&many).await;
    let last = [rollout(9999, RolloutTransition::Expired), gate("last", Outcome::Failed)];
    fixture.commit(&last).await;
    fixture.commit(&[registered("late", 1, "model"), registered("late", 20_000, "model")]).await;
    let good = fixture.store.index().dump().await.unwrap();
    assert_eq!(good, fixture.expected().await);
    // Older rows of the other tables, without ten thousand signatures each.
    let numbers =
        "WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < 10100)";
    let tables = [
        ("gates", "statement, name, outcome, counts"),
        (
            "rollout_steps",
            "statement, rollout, environment, model, canary, stable, transition, weight_percent, generation, cause, \
             record, decided_at",
        ),
    ];
    let raw = fixture.raw().await;
    raw.execute(&format!(
        "{numbers} INSERT INTO subjects (position, name, digest) SELECT -i, 'older', '{}' FROM numbers",
        digest("model")
    ))
    .await;
    for (table, columns) in tables {
        raw.execute(&format!(
            "{numbers} INSERT INTO {table} (position, {columns}) SELECT -i, {columns} FROM {table}, numbers \
             WHERE position < 3"
        ))
        .await;
    }
    let index = fixture.store.index();
    let promotions = index.promotions().await.unwrap();
    assert_eq!(promotions.len(), 10_000);
    // The oldest 200 are left out; what is left is oldest first.
    assert_eq!(promotions[0].version.version, 201);
    assert_eq!(promotions.last().unwrap().version.version, 10_200);
    let steps = index.rollout_steps().await.unwrap();
    assert_eq!((steps.len(), steps[0].record.generation.as_str()), (10_000, "1"));
    assert_eq!(steps.last().unwrap().record.transition, RolloutTransition::Expired);
    let gates = index.gates_about(&digest("model")).await.unwrap();
    assert_eq!((gates.len(), gates[0].name.as_str()), (10_000, "first"));
    assert_eq!(gates.last().unwrap().name, "last");
    let about = index.entries_about(&digest("model")).await.unwrap();
    assert_eq!((about.len(), about.last().unwrap().position), (10_000, 10_206));
    assert!(about.is_sorted_by_key(|e| e.position));
    assert_eq!(index.entries().await.unwrap().len(), 10_000);
    assert_eq!(index.version(&version("late", 1)).await.unwrap().unwrap().version.version, 1);
    index.rebuild(fixture.store.ledger()).await.unwrap();
    assert_eq!(index.dump().await.unwrap(), good);
}
