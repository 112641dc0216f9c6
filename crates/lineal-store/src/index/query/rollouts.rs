//! Steps of rollouts, and the order of statements in runs and rollouts.

use lineal_facts::sequence::{Series, SeriesEnd};
use lineal_facts::{ModelVersion, RolloutId};

use super::{Index, IndexError, RolloutRow, Row, document, parsed};

impl Index {
    /// The newest steps of all rollouts, oldest first.
    pub async fn rollout_steps(&self) -> Result<Vec<RolloutRow>, IndexError> {
        self.newest("SELECT * FROM rollout_steps ORDER BY position DESC LIMIT $1", Vec::new(), rollout).await
    }

    /// The newest steps of one rollout, oldest first.
    pub async fn rollout(&self, id: &RolloutId) -> Result<Vec<RolloutRow>, IndexError> {
        let sql = "SELECT * FROM rollout_steps WHERE rollout = $1 ORDER BY position DESC LIMIT $2";
        self.newest(sql, vec![id.as_str().into()], rollout).await
    }

    /// The newest steps of the rollouts of a version, oldest first.
    pub async fn rollouts_of(&self, canary: &ModelVersion) -> Result<Vec<RolloutRow>, IndexError> {
        let sql =
            "SELECT * FROM rollout_steps WHERE model = $1 AND canary = $2 ORDER BY position DESC LIMIT $3";
        self.newest(sql, vec![canary.model.as_str().into(), canary.version.into()], rollout).await
    }

    /// The latest step of each model in each environment.
    pub async fn latest_rollout_steps(&self) -> Result<Vec<RolloutRow>, IndexError> {
        let sql = "SELECT * FROM rollout_steps WHERE position IN \
                   (SELECT MAX(position) FROM rollout_steps GROUP BY environment, model) ORDER BY position LIMIT $1";
        self.list(sql, Vec::new(), rollout).await
    }

    /// The last statement of a run or a rollout so far.
    pub async fn series_end(&self, series: &Series) -> Result<Option<SeriesEnd>, IndexError> {
        let sql = "SELECT * FROM series WHERE series = $1 ORDER BY position DESC LIMIT $2";
        let binds = vec![series.as_str().into(), 1i64.into()];
        self.database.fetch(sql, binds).await?.first().map(series_member).transpose()
    }

    /// The statements of a run or a rollout in ledger order.
    pub async fn series(&self, series: &Series) -> Result<Vec<SeriesEnd>, IndexError> {
        let sql = "SELECT * FROM series WHERE series = $1 ORDER BY position LIMIT $2";
        self.list(sql, vec![series.as_str().into()], series_member).await
    }
}

fn rollout(row: &Row) -> Result<RolloutRow, IndexError> {
    Ok(RolloutRow { statement: parsed(row, "statement")?, record: document(row, "record")? })
}

fn series_member(row: &Row) -> Result<SeriesEnd, IndexError> {
    let (number, closed) = (parsed(row, "number")?, row.flag("closes")?);
    Ok(SeriesEnd { number, statement: parsed(row, "statement")?, closed })
}
